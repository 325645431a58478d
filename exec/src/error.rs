//! The one error of this crate.

use std::{io, path::PathBuf};

/// What a shim says that does not start its task because its lease is over.
pub const LEASE_OVER: &str = "its lease is over";

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried, as a verb: "read", "create".
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a task folder does not say what it should.
    #[error("{path} is not valid: {why}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another agent manages this folder.
    #[error("another agent holds {path}")]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// There is no such task here.
    #[error("no task {0} on this node")]
    NotFound(String),
    /// The task did not start; the text says why, for people.
    #[error("{0}")]
    Start(String),
    /// The lease of the task was over before it ran.
    #[error("{}", LEASE_OVER)]
    LeaseOver,
    /// A worker thread failed.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl ExecError {
    /// Whether this host could not do its part, so that nothing is said about the task: it may well run elsewhere.
    pub fn is_of_the_host(&self) -> bool {
        match self {
            ExecError::Io { .. } | ExecError::Corrupt { .. } | ExecError::InUse { .. } | ExecError::Worker(_) => true,
            ExecError::NotFound(_) | ExecError::Start(_) | ExecError::LeaseOver => false,
        }
    }

    /// For `map_err`: an [`ExecError::Io`] about `path`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ExecError {
        let path = path.into();
        move |source| ExecError::Io { what, path, source }
    }
}
