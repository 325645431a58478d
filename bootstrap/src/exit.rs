//! Exit codes, those of `holm`: 0, 1 failed, 3 usage, 6 not authorised.

use holm_mesh_net::NetError;
use holm_types::TypeError;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 3;
const NOT_AUTHORISED: u8 = 6;

/// What was typed or written into the configuration file makes no sense.
#[derive(Debug)]
pub struct Misconfigured;

impl std::fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the configuration")
    }
}

/// The exit code of an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    let refused = |error: &NetError| matches!(error, NetError::Refused(_) | NetError::NotTheIssuer { .. });
    let misread = |error: &NetError| matches!(error, NetError::Address { .. });
    if matches!(error.downcast_ref(), Some(TypeError::Token(_))) || error.downcast_ref().is_some_and(refused) {
        NOT_AUTHORISED
    } else if error.is::<Misconfigured>() || error.downcast_ref().is_some_and(misread) {
        USAGE
    } else {
        FAILED
    }
}

/// The command line cannot be read, or help was asked for.
pub fn misread(error: &clap::Error) -> ExitCode {
    // Nothing better can be done when the output is closed.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn an_error_keeps_its_code_below_its_context() {
        let of = |error: anyhow::Error| code_of(&Err::<(), _>(error).context("cannot join").unwrap_err());
        assert_eq!(of(NetError::Refused("the token is used up".into()).into()), NOT_AUTHORISED);
        assert_eq!(of(NetError::Address { address: "x".into(), why: "y".into() }.into()), USAGE);
        assert_eq!(of(anyhow::anyhow!("listen: at least one address").context(Misconfigured)), USAGE);
        assert_eq!(of(NetError::Unreachable("nobody answers".into()).into()), FAILED);
    }
}
