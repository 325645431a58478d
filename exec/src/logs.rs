//! The log of a stream: two files with a bound, and positions that do not move.
//!
//! A position counts the bytes of the stream since the task was first started. `stdout.log` holds the newest;
//! when it is full it becomes `stdout.log.1` and the one before is gone. `stdout.log.pos` says at which
//! position a file begins, and which file (its inode) it speaks of. A rotation renames first and writes
//! the position after, so between the two it speaks of what is now `stdout.log.1`; since that file's length is
//! known, every state in which a rotation can be interrupted is readable ([`Layout::read`]).

use crate::{
    ExecError,
    folder::{TaskFolder, open},
    task::Stream,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A smaller bound would make a rotation of every line.
pub const MIN_LOG_BYTES: u64 = 4096;

/// No read hands over more at once.
pub const MAX_READ: usize = 1 << 20;

/// No position file is longer.
const MAX_POSITION: u64 = 64;

/// No stream is longer: 8 EiB.
const MAX_BASE: u64 = u64::MAX / 2;

/// How often a reader looks again when the files are rotated under it.
const RETRIES: usize = 16;

/// A position in a stream. Hand back the one you got to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogCursor(pub u64);

impl LogCursor {
    /// The oldest byte that is still there.
    pub const START: LogCursor = LogCursor(0);
    /// Behind the newest byte: a read from here gives nothing, and the position to follow from.
    pub const END: LogCursor = LogCursor(u64::MAX);
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// For its owner alone, and never waiting: somebody may have put a pipe in the place of a file.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NONBLOCK);
    options
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

struct Part {
    file: File,
    metadata: Metadata,
}

impl Part {
    fn open(path: &Path) -> io::Result<Option<Part>> {
        let Some(file) = missing_is_none(options().read(true).open(path))? else { return Ok(None) };
        let metadata = file.metadata()?;
        Ok(Some(Part { file, metadata }))
    }

    fn len(&self) -> u64 {
        // What is not a file (somebody put a device there) has no content for us.
        if self.metadata.is_file() { self.metadata.len() } else { 0 }
    }
}

/// The two files of a stream, and where the newer one begins.
struct Layout {
    newer: Option<Part>,
    older: Option<Part>,
    base: u64,
}

impl Layout {
    fn read(log: &Path) -> io::Result<Layout> {
        for _ in 0..RETRIES {
            if let Some(layout) = Layout::try_read(log)? {
                return Ok(layout);
            }
        }
        Err(io::Error::other("the log rotates faster than it can be read"))
    }

    /// `None`: it was rotated meanwhile.
    fn try_read(log: &Path) -> io::Result<Option<Layout>> {
        let position = Position::read(log)?;
        let newer = Part::open(log)?;
        let older = Part::open(&with_suffix(log, ".1"))?;
        if Position::read(log)? != position {
            return Ok(None);
        }
        let newer_inode = newer.as_ref().map(|p| p.metadata.ino());
        let older_inode = older.as_ref().map(|p| p.metadata.ino());
        let older_len = older.as_ref().map_or(0, Part::len);
        if newer_inode.is_some() && newer_inode == older_inode {
            return Ok(None);
        }
        let base = match position {
            Some(p) if Some(p.inode) == newer_inode => p.base,
            Some(p) if Some(p.inode) == older_inode => p.base.saturating_add(older_len),
            Some(_) if newer_inode.is_some() => return Ok(None),
            // The log itself was removed by hand: go on from where it began.
            Some(p) => p.base,
            None => older_len,
        };
        Ok(Some(Layout { newer, older, base }))
    }

    fn start(&self) -> u64 {
        self.base.saturating_sub(self.older.as_ref().map_or(0, Part::len))
    }

    fn end(&self) -> u64 {
        self.base.saturating_add(self.newer.as_ref().map_or(0, Part::len))
    }
}

/// The content of `stdout.log.pos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    base: u64,
    inode: u64,
}

impl Position {
    /// One that makes no sense (a power loss may empty it) is as good as none: the positions then begin anew with what
    /// is there, whereas without its log a task could not even be started.
    fn read(log: &Path) -> io::Result<Option<Position>> {
        let mut text = Vec::new();
        match open(&with_suffix(log, ".pos")) {
            Ok(file) => file.take(MAX_POSITION).read_to_end(&mut text)?,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => return Ok(None),
            Err(e) => return Err(e),
        };
        let text = String::from_utf8_lossy(&text);
        let mut words = text.split_ascii_whitespace().map(str::parse);
        let (Some(Ok(base)), Some(Ok(inode))) = (words.next(), words.next()) else { return Ok(None) };
        // No stream gets that far: a sum with it must not overflow.
        Ok((base <= MAX_BASE).then_some(Position { base, inode }))
    }

    fn write(self, log: &Path) -> io::Result<()> {
        let (path, temporary) = (with_suffix(log, ".pos"), with_suffix(log, ".pos.tmp"));
        let mut file = options().write(true).create(true).truncate(true).open(&temporary)?;
        writeln!(file, "{} {}", self.base, self.inode)?;
        fs::rename(temporary, path)
    }
}

/// Reads at most `max` bytes from `from` on, and says where to go on. A position whose bytes are gone
/// is moved to the oldest that are there.
///
/// # Errors
/// The disk.
pub fn read_log(
    folder: &TaskFolder,
    stream: Stream,
    from: LogCursor,
    max: usize,
) -> Result<(Vec<u8>, LogCursor), ExecError> {
    let log = folder.log(stream);
    let layout = Layout::read(&log).map_err(ExecError::io("read", &log))?;
    let from = from.0.clamp(layout.start(), layout.end());
    let bytes = read_span(&layout, from, max.min(MAX_READ)).map_err(ExecError::io("read", &log))?;
    let next = from.saturating_add(bytes.len() as u64);
    Ok((bytes, LogCursor(next)))
}

/// The last bytes of a stream, at most `max`, none from before position `from`.
///
/// # Errors
/// The disk.
pub fn read_tail(folder: &TaskFolder, stream: Stream, from: u64, max: usize) -> Result<Vec<u8>, ExecError> {
    let log = folder.log(stream);
    let layout = Layout::read(&log).map_err(ExecError::io("read", &log))?;
    let from = layout.end().saturating_sub(max as u64).max(from).clamp(layout.start(), layout.end());
    read_span(&layout, from, max).map_err(ExecError::io("read", &log))
}

fn read_span(layout: &Layout, from: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let parts = [(layout.start(), &layout.older), (layout.base, &layout.newer)];
    for (begin, part) in parts {
        let Some(part) = part else { continue };
        let at = from.saturating_add(bytes.len() as u64);
        let end = begin.saturating_add(part.len());
        if at < begin || at >= end {
            continue;
        }
        let mut file = &part.file;
        file.seek(SeekFrom::Start(at - begin))?;
        // Only up to the length that was seen: what is appended now belongs to the next read.
        file.take((end - at).min((max - bytes.len()) as u64)).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The writing end, in the shim. It never fails: what cannot be written is dropped and counted.
#[derive(Debug)]
pub struct LogWriter {
    log: PathBuf,
    max: u64,
    file: Option<File>,
    len: u64,
    base: u64,
    unsaved: Option<Position>,
    dropped: u64,
    error: Option<io::Error>,
}

impl LogWriter {
    /// Continues the log of `stream`, each of whose files may have `max` bytes. No file is made before
    /// there is something to say.
    ///
    /// # Errors
    /// The files are there and cannot be read.
    pub fn open(folder: &TaskFolder, stream: Stream, max: u64) -> Result<LogWriter, ExecError> {
        let log = folder.log(stream);
        let layout = Layout::read(&log).map_err(ExecError::io("read", &log))?;
        let len = layout.newer.as_ref().map_or(0, Part::len);
        Ok(LogWriter {
            log,
            max: max.max(MIN_LOG_BYTES),
            file: None,
            len,
            base: layout.base,
            unsaved: None,
            dropped: 0,
            error: None,
        })
    }

    /// The position behind the last byte.
    pub fn position(&self) -> u64 {
        self.base + self.len
    }

    /// Appends.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) => {
                    self.dropped += bytes.len() as u64;
                    self.error.get_or_insert(e);
                    return;
                }
            }
        }
    }

    /// What was lost and why, if anything.
    pub fn complaint(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let name = self.log.file_name().unwrap_or_default().to_string_lossy();
        Some(format!("{} bytes of {name} were dropped: {error}", self.dropped))
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len >= self.max {
            self.rotate()?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => options().append(true).create(true).open(&self.log)?,
        };
        let room = usize::try_from(self.max - self.len).unwrap_or(usize::MAX).min(bytes.len());
        let result = file.write(&bytes[..room]);
        self.file = Some(file);
        let n = result?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.len += n as u64;
        Ok(n)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Readers bridge one rotation without its position, not two.
        self.save_position()?;
        // The new file is made before the oldest goes, so that it cannot get the inode that `.pos` speaks of.
        let fresh = with_suffix(&self.log, ".new");
        let file = options().append(true).create(true).open(&fresh)?;
        file.set_len(0)?;
        fs::rename(&self.log, with_suffix(&self.log, ".1"))?;
        fs::rename(&fresh, &self.log)?;
        self.base += self.len;
        self.len = 0;
        let inode = file.metadata()?.ino();
        self.file = Some(file);
        self.unsaved = Some(Position { base: self.base, inode });
        // A failure comes up at the next rotation; until then nothing is lost.
        let _ = self.save_position();
        Ok(())
    }

    fn save_position(&mut self) -> io::Result<()> {
        if let Some(position) = self.unsaved {
            position.write(&self.log)?;
            self.unsaved = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
