//! An anonymous network namespace: held by a file descriptor, never named, gone with this process.

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::Arc,
};

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    inode: u64,
}

impl Netns {
    /// A new one, with the loopback interface up.
    ///
    /// # Errors
    /// This process may not make one.
    pub fn new() -> Result<Netns> {
        // A thread of its own enters the new namespace and ends; the descriptor keeps it.
        let made = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let file = made.join().map_err(|_| anyhow!("the thread that makes a namespace panicked"))??;
        let inode = file.metadata()?.ino();
        let space = Netns { file: Arc::new(file), inode };
        space.ip("link set lo up\n")?;
        Ok(space)
    }

    /// A path that names it for `ip ... netns PATH`, as long as this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// A command that will run inside, and that dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        command
    }

    /// Runs `work` on a thread inside. Sockets that it makes belong to the namespace for good.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` fails.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
                work()
            });
            inside.join().map_err(|_| anyhow!("the work inside the namespace panicked"))?
        })
    }

    /// Whether a process is inside. A zombie is nowhere.
    pub fn holds(&self, pid: i32) -> bool {
        std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| m.ino() == self.inode)
    }

    /// Runs a batch of `ip` commands inside.
    ///
    /// # Errors
    /// One of them failed.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.feed(&["ip", "-batch", "-"], batch)
    }

    /// Loads a ruleset of nft inside, as one transaction.
    ///
    /// # Errors
    /// The rules are refused.
    pub fn nft(&self, rules: &str) -> Result<()> {
        self.feed(&["nft", "-f", "-"], rules)
    }

    /// Writes a setting under `/proc/sys/net`, which shows the namespace of the thread that looks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| std::fs::write(&path, value).with_context(|| format!("cannot write {path}")))
    }

    fn feed(&self, program: &[&str], input: &str) -> Result<()> {
        let mut child = self
            .command(program[0])
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", program[0]))?;
        let mut stdin = child.stdin.take().context("no pipe to the child")?;
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("`{}` refused:\n{}{input}", program.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// A command in the network as it is, that dies with the thread that starts it.
pub fn bound_to_us(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    command
}
