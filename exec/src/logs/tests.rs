use super::*;
use proptest::prelude::*;

fn folder() -> (tempfile::TempDir, TaskFolder) {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = TaskFolder::new(dir.path().to_owned());
    (dir, folder)
}

fn writer(folder: &TaskFolder) -> LogWriter {
    LogWriter::open(folder, Stream::Stdout, MIN_LOG_BYTES).expect("a writer")
}

fn read(folder: &TaskFolder, from: u64, max: usize) -> (Vec<u8>, u64) {
    let (bytes, next) = read_log(folder, Stream::Stdout, LogCursor(from), max).expect("readable");
    (bytes, next.0)
}

#[test]
fn nothing_written_reads_as_nothing() {
    let (_dir, folder) = folder();
    assert_eq!(read(&folder, 0, 10), (vec![], 0));
    assert_eq!(read(&folder, u64::MAX, 10), (vec![], 0));
    assert_eq!(read_tail(&folder, Stream::Stdout, 0, 10).expect("readable"), b"");
}

#[test]
fn an_interrupted_rotation_is_readable_at_every_step() {
    let (_dir, folder) = folder();
    let log = folder.log(Stream::Stdout);
    let old = with_suffix(&log, ".1");
    let all: Vec<u8> = (0..MIN_LOG_BYTES * 2).map(|i| (i % 251) as u8).collect();
    let mut w = writer(&folder);
    w.write(&all);
    let whole = read(&folder, 0, usize::MAX);
    assert_eq!(whole, (all.clone(), all.len() as u64));

    // The steps of a second rotation, one by one.
    fs::write(with_suffix(&log, ".new"), b"").expect("written");
    assert_eq!(read(&folder, 0, usize::MAX), whole);
    fs::rename(&log, &old).expect("renamed");
    let half = MIN_LOG_BYTES as usize;
    assert_eq!(read(&folder, 0, usize::MAX), (all[half..].to_vec(), all.len() as u64));
    fs::rename(with_suffix(&log, ".new"), &log).expect("renamed");
    assert_eq!(read(&folder, 0, usize::MAX), (all[half..].to_vec(), all.len() as u64));
    // A shim that comes now goes on at the right position.
    let mut w = writer(&folder);
    assert_eq!(w.position(), all.len() as u64);
    w.write(b"more");
    assert_eq!(read(&folder, all.len() as u64, 10).0, b"more");
}

#[test]
fn a_full_disk_is_counted_and_told() {
    let (_dir, folder) = folder();
    std::os::unix::fs::symlink("/dev/full", folder.log(Stream::Stdout)).expect("a link");
    let mut w = writer(&folder);
    w.write(b"12345");
    w.write(b"678");
    let complaint = w.complaint().expect("a complaint");
    assert!(complaint.starts_with("8 bytes of stdout.log were dropped: No space left"), "{complaint}");
}

#[test]
fn a_tail_spans_both_files_and_stops_at_the_start_of_the_run() {
    let (_dir, folder) = folder();
    let mut w = writer(&folder);
    w.write(&[b'a'; MIN_LOG_BYTES as usize - 2]);
    let from = w.position();
    w.write(b"bbbbb");
    assert_eq!(read_tail(&folder, Stream::Stdout, 0, 7).expect("readable"), b"aabbbbb");
    assert_eq!(read_tail(&folder, Stream::Stdout, from, 7).expect("readable"), b"bbbbb");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A reader that keeps up gets every byte once and in order, whatever the sizes of writes and
    /// reads, across rotations and restarts of the shim; one that lags loses a prefix only.
    #[test]
    fn following_loses_nothing(
        writes in proptest::collection::vec((1usize..3000, any::<bool>()), 1..24),
        chunk in 1usize..5000,
    ) {
        let (_dir, folder) = folder();
        let mut w = writer(&folder);
        let (mut all, mut got, mut at) = (Vec::new(), Vec::new(), 0);
        for (i, (len, reopen)) in writes.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|k| (i * 31 + k) as u8).collect();
            if reopen {
                w = writer(&folder);
            }
            w.write(&bytes);
            all.extend_from_slice(&bytes);
            prop_assert_eq!(w.position(), all.len() as u64);
            loop {
                let (bytes, next) = read(&folder, at, chunk);
                if bytes.is_empty() {
                    break;
                }
                got.extend(bytes);
                at = next;
            }
            prop_assert!(got == all);
        }
        let (rest, end) = read(&folder, 0, usize::MAX);
        prop_assert_eq!(end, all.len() as u64);
        prop_assert!(all.ends_with(&rest));
        prop_assert!(rest.len() as u64 <= 2 * MIN_LOG_BYTES);
    }
}

#[test]
fn a_position_file_that_makes_no_sense_costs_the_position_and_not_the_log() {
    for garbage in ["", "garbage", "12", "18446744073709551615 7", "\u{0}\u{0}\u{0}"] {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = TaskFolder::new(dir.path().to_owned());
        let mut log = LogWriter::open(&folder, Stream::Stdout, MIN_LOG_BYTES).expect("open");
        log.write(&[b'x'; 6000]);
        fs::write(dir.path().join("stdout.log.pos"), garbage).expect("written");
        let mut log = LogWriter::open(&folder, Stream::Stdout, MIN_LOG_BYTES).expect("the task can be started again");
        log.write(b"more");
        let (bytes, _) = read_log(&folder, Stream::Stdout, LogCursor::START, MAX_READ).expect("readable");
        assert!(bytes.len() == 6004 && bytes.ends_with(b"xmore"), "{garbage:?}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_log_stops_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = TaskFolder::new(dir.path().to_owned());
    nix::unistd::mkfifo(&folder.log(Stream::Stdout), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut log = LogWriter::open(&folder, Stream::Stdout, MIN_LOG_BYTES).expect("open");
    log.write(b"lost");
    assert!(log.complaint().expect("a complaint").contains("4 bytes of stdout.log were dropped"));
    let (bytes, _) = read_log(&folder, Stream::Stdout, LogCursor::START, MAX_READ).expect("readable");
    assert!(bytes.is_empty());
}
