//! What can go wrong: [`RpcError`] for those who use this crate, [`ErrorBody`] on the wire.

use holm_types::api::ApiError;
use jsonrpsee_types::{ErrorObject, ErrorObjectOwned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// Why the server could not start, or why a client got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The server was told to listen where other hosts could reach it.
    #[error("{0} is not a loopback address; the interface is not encrypted, so it listens on 127.0.0.1 or ::1 alone")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The credential's file.
    #[error("credential {}: {why}", path.display())]
    Credential {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The address of a node makes no sense.
    #[error("{url}: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// No node answers there, or the connection to it was lost.
    #[error("cannot reach the node: {0}")]
    Unreachable(String),
    /// The node refuses the credential.
    #[error("the node refuses the credential")]
    Unauthorised,
    /// The node took too long.
    #[error("the node did not answer in time")]
    TimedOut,
    /// The node answered with an error.
    #[error("{message}")]
    Remote {
        /// JSON-RPC error code, see [`ApiError::code`].
        code: i32,
        /// For programs, see [`ApiError::reason`].
        reason: String,
        /// Whether the same request may succeed later.
        retryable: bool,
        /// For people.
        message: String,
    },
    /// This side read a subscription too slowly, and some of it was lost.
    #[error("the subscription was not read fast enough, and the rest of it was lost")]
    Lagged,
    /// The other side does not speak this protocol, or this crate breaks its own rules.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl RpcError {
    /// The error code, if the node answered with one. A refused credential counts as 1006.
    pub fn code(&self) -> Option<i32> {
        match self {
            RpcError::Remote { code, .. } => Some(*code),
            RpcError::Unauthorised => Some(ApiError::NotAuthorised(String::new()).code()),
            _ => None,
        }
    }
}

impl From<ErrorBody> for RpcError {
    fn from(body: ErrorBody) -> RpcError {
        let (reason, retryable) = body.data.map_or_else(Default::default, |data| (data.reason, data.retryable));
        RpcError::Remote { code: body.code, reason, retryable, message: body.message }
    }
}

/// The error object of a JSON-RPC answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The code: of the specification (-32768 to -32000) or of [`ApiError::code`].
    pub code: i32,
    /// For people.
    pub message: String,
    /// For programs. The errors of the specification itself carry none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ErrorData>,
}

/// `data` of an error object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorData {
    /// Stable name of the cause.
    pub reason: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// Codes of the specification.
pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
pub(crate) const INVALID_PARAMS: i32 = -32602;
pub(crate) const INTERNAL_ERROR: i32 = -32603;

/// A message for people is not much longer than this, in bytes.
const MAX_MESSAGE: usize = 2048;

impl ErrorBody {
    fn plain(code: i32, message: &str) -> ErrorBody {
        ErrorBody { code, message: message.to_owned(), data: None }
    }

    fn because(code: i32, mut message: String, reason: &str, retryable: bool) -> ErrorBody {
        // It may name what was sent, which may be long.
        if message.len() > MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            message.push('…');
        }
        ErrorBody { code, message, data: Some(ErrorData { reason: reason.to_owned(), retryable }) }
    }

    pub(crate) fn parse_error() -> ErrorBody {
        ErrorBody::plain(PARSE_ERROR, "Parse error")
    }

    pub(crate) fn invalid_request() -> ErrorBody {
        ErrorBody::plain(INVALID_REQUEST, "Invalid Request")
    }

    pub(crate) fn method_not_found() -> ErrorBody {
        ErrorBody::plain(METHOD_NOT_FOUND, "Method not found")
    }

    pub(crate) fn internal() -> ErrorBody {
        ErrorBody::plain(INTERNAL_ERROR, "Internal error")
    }

    pub(crate) fn invalid_params(why: impl std::fmt::Display) -> ErrorBody {
        ErrorBody::because(INVALID_PARAMS, format!("Invalid params: {why}"), "invalid_params", false)
    }

    pub(crate) fn needs_websocket(method: &str) -> ErrorBody {
        let message = format!("{method} is a subscription: call it over a WebSocket, with an id");
        ErrorBody::because(METHOD_NOT_FOUND, message, "needs_websocket", false)
    }

    pub(crate) fn too_large(max: usize) -> ErrorBody {
        let message = format!("Invalid Request: more than {max} bytes");
        ErrorBody::because(INVALID_REQUEST, message, "too_large", false)
    }

    pub(crate) fn too_many(max: usize) -> ErrorBody {
        let message = format!("Invalid Request: more than {max} requests in a batch");
        ErrorBody::because(INVALID_REQUEST, message, "batch_too_long", false)
    }

    pub(crate) fn share_is_full(bytes: usize) -> ErrorBody {
        let message = format!("the answers to this batch fill {bytes} bytes already: ask for the rest by itself");
        ApiError::Busy(message).into()
    }

    pub(crate) fn full() -> ErrorBody {
        ApiError::Busy("too many clients are connected; try again".into()).into()
    }

    pub(crate) fn too_slow() -> ErrorBody {
        ErrorBody::because(INVALID_REQUEST, "Invalid Request: its body took too long".into(), "too_slow", true)
    }
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> ErrorBody {
        let retryable = matches!(error, ApiError::Busy(_));
        ErrorBody::because(error.code(), error.to_string(), error.reason(), retryable)
    }
}

impl From<ErrorBody> for ErrorObjectOwned {
    fn from(body: ErrorBody) -> ErrorObjectOwned {
        ErrorObject::owned(body.code, body.message, body.data)
    }
}

impl From<&ErrorObjectOwned> for ErrorBody {
    fn from(object: &ErrorObjectOwned) -> ErrorBody {
        let data = object.data().and_then(|raw| serde_json::from_str(raw.get()).ok());
        ErrorBody { code: object.code(), message: object.message().to_owned(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_sent_back_at_any_length() {
        let body = ErrorBody::from(ApiError::NotFound("ä".repeat(100_000)));
        assert!(body.message.len() < MAX_MESSAGE + 4 && body.message.ends_with("ä…"));
    }

    #[test]
    fn an_error_survives_the_wire() {
        let busy = ErrorBody::from(ApiError::Busy("later".into()));
        let object = ErrorObjectOwned::from(busy.clone());
        assert_eq!(ErrorBody::from(&object), busy);
        let RpcError::Remote { code, reason, retryable, message } = RpcError::from(busy) else { panic!("remote") };
        assert_eq!((code, reason.as_str(), retryable, message.as_str()), (1029, "busy", true, "later"));
    }
}
