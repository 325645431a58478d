//! The one place that reads the clocks, the randomness and the logging settings of the system.
//! Everything else is handed what it needs.

use anyhow::Context as _;
use holm_exec::sys::boot_clock;
use holm_types::{Mono, Now, Wall};
use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing_subscriber::EnvFilter;

/// When this process first asked, on the host's clock since its boot.
static START: OnceLock<Duration> = OnceLock::new();

/// The date.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The date in the name of a file: names sort as the dates do.
pub fn stamp() -> String {
    let now = i64::try_from(wall().0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    now.unwrap_or_default().strftime("%Y%m%d-%H%M%S-%3f").to_string()
}

fn start() -> Duration {
    *START.get_or_init(boot_clock)
}

/// Both clocks. The monotonic one goes on while the host is suspended, so that no lease seems to last through that.
pub fn now() -> Now {
    Now { mono: Mono(boot_clock().saturating_sub(start())), wall: wall() }
}

/// When a point of the monotonic clock comes, for the runtime's timers.
pub fn instant_of(mono: Mono) -> tokio::time::Instant {
    tokio::time::Instant::now() + mono.since(now().mono)
}

/// A point of the monotonic clock as milliseconds of the host's clock since its boot, which other processes know too.
pub fn boot_ms_of(mono: Mono) -> u64 {
    u64::try_from((start() + mono.0).as_millis()).unwrap_or(u64::MAX)
}

/// Random bytes of the operating system, for keys and seeds.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}

/// Logs go to standard error; `HOLM_LOG` or `--log` choose what, `HOLM_LOG_FORMAT=json` how.
pub fn start_logging(filter: Option<&str>) {
    let filter = EnvFilter::try_new(filter.unwrap_or("warn,holm=info")).unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("HOLM_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}

/// Two worker threads: the loop and the network. A small board has few cores, and each thread
/// costs memory.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(1024 * 1024)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
}
