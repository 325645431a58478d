//! What can go wrong with a lab, in words for whoever builds one.

use std::io;

/// Why the lab is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel refuses something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// `ip` or `nft` refuses its input.
    #[error("`{program}` refused: {said}\n{input}")]
    Tool {
        /// The command line.
        program: String,
        /// What it said.
        said: String,
        /// What it was told.
        input: String,
    },
    /// Work on a host of the lab panicked.
    #[error("the work inside the namespace panicked")]
    Panicked,
    /// There is no such site or host.
    #[error("the lab has no {what} {name:?}")]
    Unknown {
        /// `site` or `host`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// Two things of one name.
    #[error("the lab has a {what} {name:?} already")]
    Taken {
        /// `site` or `host`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An address plan has an end.
    #[error("{what}: at most {most}")]
    Full {
        /// What there is too much of.
        what: String,
        /// The bound.
        most: usize,
    },
    /// What was asked makes no sense for this site, or cannot be had here.
    #[error("{name}: {why}")]
    Refused {
        /// The site, or the part of a file.
        name: String,
        /// Why not.
        why: String,
    },
    /// The file of a lab cannot be read or is not valid; the message names line and column.
    #[error("{file}: {why}")]
    Parse {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

impl LabError {
    /// The kernel's refusal of `what`.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let what = what.into();
        |source| LabError::System { what, source }
    }

    pub(crate) fn refused(name: impl Into<String>, why: impl Into<String>) -> LabError {
        LabError::Refused { name: name.into(), why: why.into() }
    }
}
