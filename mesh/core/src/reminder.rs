//! What a member tells a connected peer that speaks as an earlier life than the one it was heard as.
//!
//! A node whose disk is an old backup, and whose date was put back, begins below a life that it has forgotten. If that life wrote
//! nothing that is kept, no document tells it so, and who has heard that life takes every word for an echo of its past. So it is told,
//! and goes on beyond that life. (A member of SWIM that is suspected does the same, Das et al. 2002, 4.2.)

use holm_types::{Incarnation, TypeError, cbor};
use serde::{Deserialize, Serialize};

/// An encoded reminder is never longer than this, in bytes.
pub const MAX_REMINDER_BYTES: usize = 32;
/// The first byte of such a frame: no other one begins like this.
const MARK: u8 = 0x52;

/// "I have heard you as this life."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reminder(pub Incarnation);

impl Reminder {
    /// Whether a frame is to be read as one.
    pub fn is_marked(bytes: &[u8]) -> bool {
        bytes.first() == Some(&MARK)
    }

    /// The one encoding.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, TypeError> {
        let mut bytes = vec![MARK];
        bytes.extend(cbor::to_vec("reminder", self)?);
        Ok(bytes)
    }

    /// Reads a peer's reminder.
    ///
    /// # Errors
    /// Malformed, or too long.
    pub fn decode(bytes: &[u8]) -> Result<Reminder, TypeError> {
        cbor::from_canonical("reminder", bytes.get(1..).unwrap_or_default(), MAX_REMINDER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{beat::Beat, lease};

    #[test]
    fn it_is_read_as_it_was_written_and_never_taken_for_another_frame() {
        let reminder = Reminder(Incarnation(u64::MAX));
        let bytes = reminder.encode().unwrap();
        assert!(Reminder::is_marked(&bytes) && !Beat::is_marked(&bytes) && !lease::Message::is_marked(&bytes));
        assert_eq!(Reminder::decode(&bytes), Ok(reminder));
        assert!(Reminder::decode(&[MARK]).is_err() && Reminder::decode(&[]).is_err());
        assert!(Reminder::decode(&[MARK, 0xf6]).is_err());
        assert!(!Reminder::is_marked(&Beat(Incarnation(1), 0, true).encode().unwrap()));
    }
}
