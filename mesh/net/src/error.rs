//! What can go wrong before the network runs, or while a host joins.

use holm_types::TypeError;

/// Why the network did not start, or why a host could not join. The text is meant for people.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// TLS libraries would write session keys to a file.
    #[error(
        "SSLKEYLOGFILE is set: it would write the keys of every QUIC connection to a file; unset it and start again"
    )]
    KeyLog,
    /// A bound that contradicts another one.
    #[error("the limit {name} does not work: {why}")]
    Limit {
        /// The field of [`crate::Limits`].
        name: &'static str,
        /// What it must satisfy.
        why: String,
    },
    /// The node's own key or certificate is not usable in this mesh.
    #[error("this node cannot present itself: {0}")]
    Identity(#[from] TypeError),
    /// The certificate that this node was given is another node's.
    #[error("this node's certificate was made for {certified}, its key is {key}")]
    Subject {
        /// The subject of the certificate.
        certified: holm_types::NodeId,
        /// The key at hand.
        key: holm_types::NodeId,
    },
    /// A text that is no multiaddress.
    #[error("{address:?} is not a multiaddress such as /ip4/0.0.0.0/tcp/4001: {why}")]
    Address {
        /// The text.
        address: String,
        /// What the parser said.
        why: String,
    },
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// What was asked for.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// A part of the network stack could not be built.
    #[error("cannot set up {what}: {why}")]
    Setup {
        /// The part.
        what: &'static str,
        /// Its reason.
        why: String,
    },
    /// The host that answered has another key than the one that the token names.
    #[error("the host at {address} is not the issuer that this token names")]
    NotTheIssuer {
        /// Where it answered.
        address: String,
    },
    /// The issuer said no.
    #[error("the issuer refused: {0}")]
    Refused(String),
    /// No address of the token led to the issuer.
    #[error("cannot reach the issuer: {0}")]
    Unreachable(String),
    /// The issuer's answer is not what an issuer of this mesh answers.
    #[error("the issuer's answer is not usable: {0}")]
    BadEnrolment(String),
}
