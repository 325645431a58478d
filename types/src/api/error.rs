//! Why a request was refused.

/// Why a request was refused; its code is the JSON-RPC error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The app is at another revision than expected.
    #[error("the app is at revision {current}, not {expected}: read it again and repeat")]
    RevisionConflict {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        current: u64,
    },
    /// This node may not do that.
    #[error("{0}")]
    NotAuthorised(String),
    /// This node holds as much of that scope as it may.
    #[error("{0}")]
    NoRoom(String),
    /// Too much at once; try again.
    #[error("{0}")]
    Busy(String),
    /// The node's disk or another part of it failed.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// The JSON-RPC error code: outside -32768..-32000, which the specification reserves.
    pub fn code(&self) -> i32 {
        match self {
            ApiError::Invalid(_) => 1003,
            ApiError::NotFound(_) => 1004,
            ApiError::NotAuthorised(_) => 1006,
            ApiError::RevisionConflict { .. } => 1009,
            ApiError::NoRoom(_) => 1013,
            ApiError::Busy(_) => 1029,
            ApiError::Internal(_) => 1050,
        }
    }

    /// `data.reason`: stable, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            ApiError::Invalid(_) => "invalid",
            ApiError::NotFound(_) => "not_found",
            ApiError::NotAuthorised(_) => "not_authorised",
            ApiError::RevisionConflict { .. } => "revision_conflict",
            ApiError::NoRoom(_) => "no_room",
            ApiError::Busy(_) => "busy",
            ApiError::Internal(_) => "internal",
        }
    }
}
