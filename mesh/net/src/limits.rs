//! Every bound of the network, in one place.

use crate::NetError;
use std::{num::NonZeroU32, time::Duration};

/// What yamux grants every stream from the start; its connection window must cover that for all.
pub(crate) const YAMUX_STREAM_WINDOW: usize = 256 * 1024;
/// More streams than this are not needed.
const MAX_STREAMS: usize = 32;
/// Fewer streams than this cannot carry the protocols of one connection.
const MIN_STREAMS: usize = 16;
/// What one waiting frame costs at least of [`Limits::intake_bytes`], so that bytes bound the count too.
pub(crate) const MIN_FRAME_COST: usize = 128 * 1024;

/// The bounds of the network. The defaults suit an edge node of 512 MB.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections that are being set up towards us. Above [`Limits::handshakes`] plus
    /// [`Limits::greetings`], since those two evict the oldest instead of refusing the newest.
    pub pending_incoming: u32,
    /// Connections that we are setting up.
    pub pending_outgoing: u32,
    /// Connections in all.
    pub established: u32,
    /// Connections with one peer; at least 4, since address tests dial back.
    pub established_per_peer: u32,
    /// Incoming connections that have not proved a key yet.
    pub handshakes: usize,
    /// Incoming connections that proved a key and have not shown a certificate yet.
    pub greetings: usize,
    /// Time to connect and to prove a key.
    pub handshake_timeout: Duration,
    /// Time to exchange certificates, or to enrol.
    pub greeting_timeout: Duration,
    /// Bytes that one connection may have us hold unread, yamux and QUIC alike.
    pub connection_window: usize,
    /// A connection on which nothing is kept alive is closed after this time.
    pub idle_timeout: Duration,
    /// Time between two pings on a connection over a relay, or with one that this node is reached through.
    pub ping_interval: Duration,
    /// The same on other connections: whoever is missed there is missed by others, too.
    pub quiet_interval: Duration,
    /// When a ping takes twice as long as this the connection is closed.
    pub ping_timeout: Duration,
    /// Where there is another way the connection is closed after this time: if a relay carries it, or is at its end, or if there
    /// is another one with the peer.
    pub relay_timeout: Duration,
    /// Gossip messages that may wait for one peer.
    pub gossip_queue: usize,
    /// Payload bytes of a gossip message.
    pub gossip_bytes: usize,
    /// Topics that this node subscribes to, and that one peer may announce: a keeper has two for each site.
    pub topics: usize,
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Frames that may wait for one peer.
    pub outbox_frames: usize,
    /// Bytes that may wait for one peer.
    pub outbox_bytes: usize,
    /// Bytes of received frames, of all peers, that may wait to be handed over. A frame counts
    /// as 128 KiB at least, so the default is also a bound of 64 frames. Beyond it, reading stops.
    pub intake_bytes: usize,
    /// Streams that a peer may have open to us on one connection.
    pub streams_per_connection: usize,
    /// Streams of peers that may wait for the owner.
    pub streams_waiting: usize,
    /// Events that may wait for the owner.
    pub events: usize,
    /// Bytes in those events.
    pub event_bytes: usize,
    /// Commands that may wait for the network.
    pub commands: usize,
    /// Requests to enrol that may wait for the owner.
    pub enrolments: usize,
    /// More than two connections with a peer are reduced to two after this time.
    pub surplus_grace: Duration,
    /// A relayed connection is closed when a direct one has stood this long and no stream is open on it.
    pub moved_grace: Duration,
    /// The same, whatever is open on it.
    pub moved_at_last: Duration,
    /// A node that dials and has no peer for this long builds its network anew.
    pub lonely: Duration,
    /// What this node forwards for others, where it does.
    pub relay: RelayLimits,
}

/// What a relay forwards. Forwarding has to suit connections that carry work for hours where no direct
/// way exists, and to leave something for everybody.
#[derive(Debug, Clone)]
pub struct RelayLimits {
    /// Members that may be reached through it. A relay that is full refuses renewals too.
    pub reservations: usize,
    /// A reservation is to be renewed within this time.
    pub reservation_time: Duration,
    /// Connections forwarded at once.
    pub circuits: usize,
    /// Of these, those that one member has opened.
    pub circuits_per_peer: usize,
    /// A connection is closed after this time; its ends open another one.
    pub circuit_time: Duration,
    /// Bytes of a connection, both directions together; then it is closed and its ends open another one.
    pub circuit_bytes: u64,
    /// Connections that one member may open a minute.
    pub circuits_per_minute: NonZeroU32,
}

impl Default for RelayLimits {
    fn default() -> RelayLimits {
        RelayLimits {
            reservations: 1024,
            reservation_time: Duration::from_secs(3600),
            circuits: 2048,
            circuits_per_peer: 256,
            circuit_time: Duration::from_secs(12 * 3600),
            circuit_bytes: 64 << 30,
            circuits_per_minute: NonZeroU32::MIN.saturating_add(239),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pending_incoming: 512,
            pending_outgoing: 64,
            established: 256,
            established_per_peer: 4,
            handshakes: 256,
            greetings: 64,
            handshake_timeout: Duration::from_secs(10),
            greeting_timeout: Duration::from_secs(5),
            connection_window: 12 << 20,
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(4),
            quiet_interval: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(5),
            relay_timeout: Duration::from_secs(3),
            gossip_queue: 256,
            gossip_bytes: 24 << 10,
            topics: 4096,
            frame_bytes: 1 << 20,
            outbox_frames: 256,
            outbox_bytes: 4 << 20,
            intake_bytes: 8 << 20,
            streams_per_connection: 8,
            streams_waiting: 16,
            events: 1024,
            event_bytes: 16 << 20,
            // A keeper that starts takes part in all its topics at once.
            commands: 2 * 4096,
            enrolments: 16,
            surplus_grace: Duration::from_secs(3),
            moved_grace: Duration::from_secs(2),
            moved_at_last: Duration::from_secs(60),
            lonely: Duration::from_secs(300),
            relay: RelayLimits::default(),
        }
    }
}

impl Limits {
    /// Streams that one connection may have, so that its window covers each one's first credit. What the window has beyond that
    /// goes to streams that are read as fast as they come: with the first credit alone a link of 40 ms carries 50 Mbit/s.
    pub(crate) fn streams(&self) -> usize {
        (self.connection_window / YAMUX_STREAM_WINDOW).min(MAX_STREAMS)
    }

    /// Refuses bounds that cannot work together, before anything panics or stalls on them.
    pub(crate) fn check(&self) -> Result<(), NetError> {
        let rules = [
            (
                "connection_window",
                (MIN_STREAMS * YAMUX_STREAM_WINDOW..=1 << 30).contains(&self.connection_window),
                "between 4 MiB and 1 GiB",
            ),
            (
                "pending_incoming",
                self.pending_incoming as usize > self.handshakes + self.greetings,
                "more than handshakes and greetings together",
            ),
            ("handshakes", self.handshakes > 0, "at least 1"),
            ("greetings", self.greetings > 0, "at least 1"),
            ("established_per_peer", self.established_per_peer >= 4, "at least 4"),
            ("gossip_bytes", (1..=60 << 10).contains(&self.gossip_bytes), "between 1 byte and 60 KiB"),
            ("gossip_queue", self.gossip_queue > 0, "at least 1"),
            ("frame_bytes", (1..=16 << 20).contains(&self.frame_bytes), "between 1 byte and 16 MiB"),
            ("outbox_frames", self.outbox_frames > 0, "at least 1"),
            ("outbox_bytes", self.outbox_bytes >= self.frame_bytes, "at least one frame"),
            (
                "intake_bytes",
                (self.frame_bytes.max(MIN_FRAME_COST)..=1 << 30).contains(&self.intake_bytes),
                "between one frame and 1 GiB",
            ),
            (
                "streams_per_connection",
                (1..=self.streams() / 2).contains(&self.streams_per_connection),
                "at least 1, and half of what connection_window can carry",
            ),
            ("streams_waiting", self.streams_waiting > 0, "at least 1"),
            ("event_bytes", self.event_bytes >= self.frame_bytes, "at least one frame"),
            ("events", self.events >= 2, "at least 2"),
            ("commands", self.commands > 0, "at least 1"),
            ("enrolments", self.enrolments > 0, "at least 1"),
            // libp2p's relay panics on more, and takes none for no time at all.
            (
                "relay.circuit_time",
                (1..=u64::from(u32::MAX)).contains(&self.relay.circuit_time.as_secs()),
                "between a second and 136 years",
            ),
            ("relay.reservation_time", self.relay.reservation_time.as_secs() >= 60, "at least a minute"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, rule)) => Err(NetError::Limit { name, why: format!("it must be {rule}") }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_contradictions_are_named() {
        Limits::default().check().unwrap();
        let error = Limits { connection_window: 1 << 20, ..Limits::default() }.check().unwrap_err();
        assert!(error.to_string().contains("connection_window"), "{error}");
        let error = Limits { pending_incoming: 300, ..Limits::default() }.check().unwrap_err();
        assert!(error.to_string().contains("pending_incoming"), "{error}");
    }
}
