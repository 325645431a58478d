//! Exit codes: 0, 1 failed, 2 not placed, 3 usage, 4 not found, 5 timed out, 6 not authorised.

use holm_rpc::RpcError;
use std::process::ExitCode;

/// The command line itself is wrong, or help was asked for.
pub fn usage_exit(error: &clap::Error) -> ExitCode {
    // Nothing better can be done when standard error is closed.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// A slot found no node.
pub const NOT_PLACED: u8 = 2;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 4;
/// It took too long.
pub const TIMED_OUT: u8 = 5;

/// The credential or token is refused.
pub const NOT_AUTHORISED: u8 = 6;

/// A failure that decides the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A failure with an exit code.
pub fn failure(code: u8, message: impl Into<String>) -> anyhow::Error {
    Failure { code, message: message.into() }.into()
}

/// Prints what is wrong and gives its exit code.
pub fn failure_exit(error: &anyhow::Error) -> ExitCode {
    let code = if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.code
    } else {
        match error.downcast_ref::<RpcError>() {
            Some(RpcError::Remote { code: 1003, .. }) => 3,
            Some(RpcError::Remote { code: 1004, .. }) => NOT_FOUND,
            Some(RpcError::Remote { code: 1006, .. } | RpcError::Unauthorised) => NOT_AUTHORISED,
            _ => 1,
        }
    };
    eprintln!("holm: {error:#}");
    ExitCode::from(code)
}
