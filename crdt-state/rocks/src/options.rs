//! How the database uses memory and disk.

use holm_state::Table;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel};

/// Bounds of memory and files.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that all tables together buffer before they write a file.
    pub write_buffers: usize,
    /// Bytes of the cache of blocks that were read.
    pub block_cache: usize,
    /// Files kept open.
    pub open_files: i32,
}

impl Default for Options {
    fn default() -> Options {
        Options { write_buffers: 4 << 20, block_cache: 4 << 20, open_files: 64 }
    }
}

impl Options {
    pub(crate) fn build(&self) -> (rocksdb::Options, Vec<ColumnFamilyDescriptor>) {
        let cache = Cache::new_lru_cache(self.block_cache);
        let mut database = rocksdb::Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_max_open_files(self.open_files);
        database.set_db_write_buffer_size(self.write_buffers);
        database.set_max_total_wal_size(self.write_buffers as u64 * 4);
        database.set_max_background_jobs(2);
        database.set_keep_log_file_num(2);
        database.set_max_log_file_size(256 << 10);
        database.set_log_level(LogLevel::Warn);
        database.set_stats_dump_period_sec(0);
        database.set_bytes_per_sync(1 << 20);
        // A crash tears at most the last record of the log, and nothing before it was lost: open
        // up to there, but never over a hole, behind which acknowledged changes would be missing.
        database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let family = |table: &Table| ColumnFamilyDescriptor::new(table.name(), self.family(&cache));
        let tables = Table::ALL.iter().map(family);
        let unused = ColumnFamilyDescriptor::new("default", self.family(&cache));
        (database, tables.chain([unused]).collect())
    }

    fn family(&self, cache: &Cache) -> rocksdb::Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_block_size(16 << 10);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut family = rocksdb::Options::default();
        family.set_block_based_table_factory(&blocks);
        family.set_write_buffer_size(self.write_buffers / 2);
        family.set_arena_block_size(64 << 10);
        family.set_max_write_buffer_number(2);
        family.set_target_file_size_base(4 << 20);
        family.set_max_bytes_for_level_base(16 << 20);
        family.set_compression_type(DBCompressionType::Lz4);
        family
    }
}
