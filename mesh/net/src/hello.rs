//! The first words on a connection: a hello of the side that dialled, an answer, and an
//! acknowledgement (an empty frame). Each is a canonical CBOR value behind its length (`u16`).
//!
//! The names of the variants carry the version of this exchange.

use holm_types::{Incarnation, Label, TypeError, cbor, cert::MAX_CHAIN_BYTES, token::Enrolment};
use serde::{Deserialize, Serialize};

/// A hello is never longer than this: a token of 4 KiB and a name fit.
pub(crate) const MAX_HELLO: usize = 6 << 10;
/// The answer to a member is never longer than this: a certificate chain fits.
pub(crate) const MAX_WELCOME: usize = MAX_CHAIN_BYTES + 256;
/// The answer to an enrolment is never longer than this: a chain and some peers fit.
pub(crate) const MAX_ENROLLED: usize = 16 << 10;
/// A refusal's text is cut to this.
pub(crate) const MAX_REASON: usize = 512;

/// What a stranger is told, and nothing else.
pub(crate) const NOT_A_MEMBER: &str = "not a member of this mesh";

/// How often one side of a bond began anew: what was made at a lower count is gone for that side, whatever it looks like to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Bond {
    /// Which life of the sender's process speaks.
    pub(crate) incarnation: Incarnation,
    /// Grows whenever this life of the sender loses its last connection to the receiver.
    pub(crate) losses: u64,
}

/// What the dialling side says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// I am a member: my certificate chain.
    #[serde(rename = "member/2")]
    Member {
        #[serde(with = "serde_bytes")]
        chain: Vec<u8>,
        /// What the sender knows of its connections to the receiver.
        bond: Bond,
    },
    /// I want to become one.
    #[serde(rename = "enrol/1")]
    Enrol { token: String, name: Label },
    /// My certificate has ended: I want another one.
    #[serde(rename = "renew/1")]
    Renew {
        #[serde(with = "serde_bytes")]
        chain: Vec<u8>,
    },
}

/// What the listening side answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// So am I: my chain.
    #[serde(rename = "welcome/2")]
    Welcome {
        #[serde(with = "serde_bytes")]
        chain: Vec<u8>,
        /// What the sender knows of its connections to the receiver.
        bond: Bond,
    },
    /// You are one now.
    #[serde(rename = "enrolled/1")]
    Enrolled { enrolment: Enrolment },
    /// A later life of you is connected here.
    #[serde(rename = "superseded/1")]
    Superseded,
    /// No.
    #[serde(rename = "refused/1")]
    Refused { reason: String },
}

impl Hello {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, TypeError> {
        cbor::to_vec("hello", self)
    }

    /// Reads a hello. A member's is short, whatever the frame's bound says.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Hello, TypeError> {
        let hello = cbor::from_canonical("hello", bytes, MAX_HELLO)?;
        match &hello {
            Hello::Member { chain, .. } | Hello::Renew { chain } if chain.len() > MAX_CHAIN_BYTES => {
                Err(TypeError::TooLarge { what: "certificate chain", got: chain.len(), max: MAX_CHAIN_BYTES })
            }
            _ => Ok(hello),
        }
    }
}

impl Answer {
    /// A refusal, its text cut to the bound.
    pub(crate) fn refused(reason: &str) -> Answer {
        Answer::Refused { reason: clip(reason) }
    }

    /// The encoding. An enrolment that is too long loses the last of its peers: they are hints.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let mut answer = self.clone();
        loop {
            let bytes = cbor::to_vec("answer", &answer)?;
            let shortened = match &mut answer {
                Answer::Enrolled { enrolment } if bytes.len() > MAX_ENROLLED => enrolment.peers.pop().is_some(),
                _ => false,
            };
            if !shortened {
                return Ok(bytes);
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Answer, TypeError> {
        cbor::from_canonical("answer", bytes, MAX_ENROLLED)
    }
}

/// The beginning of a text that came from elsewhere, fit for a log line.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > MAX_REASON {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{NodeId, cert::CertChain};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hello_survives_its_encoding(chain in prop::collection::vec(any::<u8>(), 0..MAX_CHAIN_BYTES)) {
            let hello = Hello::Member { chain, bond: Bond { incarnation: Incarnation(7), losses: 1 } };
            prop_assert_eq!(Hello::decode(&hello.encode().unwrap()).unwrap(), hello);
        }

        #[test]
        fn garbage_is_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn clipped_text_is_short_and_printable(text: String) {
            let clipped = clip(&text.repeat(20));
            prop_assert!(clipped.len() <= MAX_REASON && !clipped.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_chain_over_its_bound_is_refused() {
        let hello = Hello::Member { chain: vec![0; MAX_CHAIN_BYTES + 1], bond: Bond::default() };
        assert!(Hello::decode(&hello.encode().unwrap()).is_err());
    }

    #[test]
    fn an_enrolment_that_is_too_long_loses_peers() {
        let peers = (0..200).map(|n| (NodeId([n; 32]), vec!["/ip4/10.0.0.1/udp/4001/quic-v1".to_owned(); 8])).collect();
        let enrolment = Enrolment { chain: CertChain::new(Vec::new()), peers };
        let bytes = Answer::Enrolled { enrolment }.encode().unwrap();
        assert!(bytes.len() <= MAX_ENROLLED);
        let Answer::Enrolled { enrolment } = Answer::decode(&bytes).unwrap() else { panic!("an enrolment") };
        assert!(!enrolment.peers.is_empty());
    }
}
