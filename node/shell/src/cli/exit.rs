//! Exit codes: 0, 1 failed, 2 not placed, 3 usage, 4 not found, 5 timed out, 6 not authorised; and how an
//! error is told.

use super::output::{self, Format};
use holm_mesh_net::NetError;
use holm_rpc::RpcError;
use holm_types::TypeError;
use std::process::ExitCode;

/// Anything else.
pub const FAILED: u8 = 1;
/// A slot found no node.
pub const NOT_PLACED: u8 = 2;
/// The command line, or a manifest, is wrong.
pub const USAGE: u8 = 3;
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

/// An error as users and programs are told it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: u8,
    reason: String,
    message: String,
}

impl Told {
    fn new(error: &anyhow::Error) -> Told {
        let message = format!("{error:#}");
        let (code, reason) = if let Some(failure) = error.downcast_ref::<Failure>() {
            (failure.code, reason_of(failure.code).to_owned())
        } else if let Some(TypeError::Token(_)) = error.downcast_ref() {
            (NOT_AUTHORISED, reason_of(NOT_AUTHORISED).to_owned())
        } else if let Some(NetError::Address { .. }) = error.downcast_ref() {
            (USAGE, reason_of(USAGE).to_owned())
        } else {
            match error.downcast_ref::<RpcError>() {
                Some(RpcError::Remote { code, reason, .. }) => (code_of(*code), reason.clone()),
                Some(RpcError::Unauthorised) => (NOT_AUTHORISED, reason_of(NOT_AUTHORISED).to_owned()),
                Some(RpcError::TimedOut) => (TIMED_OUT, reason_of(TIMED_OUT).to_owned()),
                Some(RpcError::Url { .. } | RpcError::NotLoopback(_)) => (USAGE, reason_of(USAGE).to_owned()),
                Some(RpcError::Unreachable(_)) => (FAILED, "unreachable".to_owned()),
                _ => (FAILED, reason_of(FAILED).to_owned()),
            }
        };
        Told { code, reason, message }
    }

    fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let body = serde_json::json!({ "code": self.code, "reason": self.reason, "message": self.message });
                serde_json::json!({ "error": body }).to_string()
            }
            Format::Table => self.message.lines().map(|line| format!("holm: {line}")).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// The exit code of a JSON-RPC error code.
fn code_of(remote: i32) -> u8 {
    match remote {
        1003 | -32602 => USAGE,
        1004 => NOT_FOUND,
        1006 => NOT_AUTHORISED,
        _ => FAILED,
    }
}

fn reason_of(code: u8) -> &'static str {
    match code {
        NOT_PLACED => "not_placed",
        USAGE => "usage",
        NOT_FOUND => "not_found",
        TIMED_OUT => "timed_out",
        NOT_AUTHORISED => "not_authorised",
        _ => "failed",
    }
}

/// The command line itself is wrong, or help was asked for.
pub fn usage_exit(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nothing better can be done when standard output is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if wants_json(std::env::args()) {
        let message = error.to_string().trim().trim_start_matches("error: ").to_owned();
        let told = Told { code: USAGE, reason: reason_of(USAGE).to_owned(), message };
        output::complain(&told.render(Format::Json));
    } else {
        let _ = error.print();
    }
    ExitCode::from(USAGE)
}

/// Whether JSON was asked for, on a command line that could not be read.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.collect();
    let joined = arguments.iter().any(|a| ["-ojson", "-o=json", "--output=json"].contains(&a.as_str()));
    let apart = |pair: &[String]| ["-o", "--output"].contains(&pair[0].as_str()) && pair[1] == "json";
    joined || arguments.windows(2).any(apart)
}

/// Tells what is wrong and gives its exit code.
pub fn failure_exit(error: &anyhow::Error, format: Format) -> ExitCode {
    let told = Told::new(error);
    output::complain(&told.render(format));
    ExitCode::from(told.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use holm_rpc::ErrorBody;
    use holm_types::api::ApiError;

    fn remote(error: ApiError) -> anyhow::Error {
        RpcError::from(ErrorBody::from(error)).into()
    }

    #[test]
    fn every_error_has_its_code_and_reason() {
        let conflict = ApiError::RevisionConflict { expected: 1, current: 2 };
        let errors = [
            remote(ApiError::Invalid("replicas must be 1".into())),
            remote(ApiError::NotFound("there is no app \"x\"".into())),
            remote(ApiError::NotAuthorised("only an issuer may".into())),
            remote(conflict),
            remote(ApiError::Busy("later".into())),
            failure(NOT_PLACED, "slot 1 finds no node"),
            anyhow::Error::from(RpcError::NotLoopback(([10, 0, 0, 1], 7070).into())).context("cannot serve JSON-RPC"),
            anyhow::Error::from(NetError::Address { address: "here".into(), why: "no protocol".into() }),
            failure(USAGE, "a.toml:1:1: one\na.toml:2:1: two"),
            anyhow::Error::from(RpcError::TimedOut).context("cannot talk to the node"),
            Err::<(), _>(std::io::Error::from(std::io::ErrorKind::NotFound)).context("cannot read it").unwrap_err(),
        ];
        let told: Vec<String> = errors
            .iter()
            .map(|error| {
                format!("{}\n{}", Told::new(error).render(Format::Table), Told::new(error).render(Format::Json))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn json_is_recognised_on_a_wrong_command_line() {
        let wants = |text: &str| wants_json(text.split(' ').map(str::to_owned));
        assert!(wants("holm ps -o json --wrong") && wants("holm --output=json") && wants("holm -ojson x"));
        assert!(!wants("holm ps -o table json"));
    }
}
