//! Where this node can be reached, through whom, and how a relayed peer becomes a direct one.
//! Pure: events and time come in, decisions are asked for; the swarm's task (`swarm/reach.rs`)
//! carries them out.
//!
//! * [`Book`]: own addresses, how peers see them, what tests said. From it follow the kind of NAT,
//!   what this node announces, and what it offers to a peer that wants to meet it half-way.
//! * [`Relays`]: which members forward, and where to keep reservations.
//! * [`Schedule`]: when to try to leave a relay for a direct connection.

mod book;
mod ip;
mod relays;
mod schedule;

pub(crate) use book::{Book, Seen};
pub(crate) use ip::{Carrier, carrier, dialable, is_near, socket};
pub(crate) use relays::Relays;
pub(crate) use schedule::Schedule;
