//! Counters of everything that was refused, dropped or cut.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Count { $($(#[$doc])* $variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

counters! {
    /// Peers that passed the gate, in either direction.
    GatePassed = "gate_passed",
    /// Peers that the gate refused.
    GateRefused = "gate_refused",
    /// Peers that took too long to prove a key or a certificate.
    GateTimeout = "gate_timeout",
    /// The oldest unfinished incoming connections, cut to admit newer ones.
    GateBusy = "gate_busy",
    /// Enrolments that were answered with a certificate.
    Enrolled = "enrolled",
    /// Enrolments that were refused.
    EnrolRefused = "enrol_refused",
    /// Incoming connections that failed before or beside the gate.
    InboundFailed = "inbound_failed",
    /// Dials that failed.
    DialFailed = "dial_failed",
    /// Commands that found the queue full.
    CommandsDropped = "commands_dropped",
    /// Frames or messages over the size limit, refused when sent.
    OversizeRefused = "oversize_refused",
    /// Frames for a peer without connection.
    FramesUnroutable = "frames_unroutable",
    /// Frames that found the peer's queue full, or that were queued when its last connection closed.
    FramesDropped = "frames_dropped",
    /// Frame streams of peers that broke the protocol or opened too many.
    FramesRefused = "frames_refused",
    /// Streams of peers that had too many open, or that the owner was too slow to take.
    StreamsRefused = "streams_refused",
    /// Gossip that the owner was too slow to take.
    GossipDropped = "gossip_dropped",
    /// Gossip that was refused: unknown topic, too large, no author, this node's own words.
    GossipRefused = "gossip_refused",
    /// Gossip that its author did not sign.
    GossipForged = "gossip_forged",
    /// Messages that gossipsub could not publish.
    GossipUnpublished = "gossip_unpublished",
    /// Peers whose gossip queue overflowed.
    GossipSlowPeers = "gossip_slow_peers",
    /// Hints and addresses that the owner was too slow to take.
    HintsDropped = "hints_dropped",
    /// Hints of mDNS over the rate limit.
    MdnsSuppressed = "mdns_suppressed",
    /// Connections closed because a ping failed.
    PingClosed = "ping_closed",
    /// Connections closed because the peer has more than two.
    SurplusClosed = "surplus_closed",
    /// Relayed connections closed because there is a direct one.
    MovedToDirect = "moved_to_direct",
    /// Attempts to meet a relayed peer half-way.
    MeetTried = "meet_tried",
    /// Attempts that came to nothing before anybody dialled.
    MeetFailed = "meet_failed",
    /// Peers that went from relayed to direct.
    BecameDirect = "became_direct",
    /// Reservations that relays have granted, not counting renewals.
    Reserved = "reserved",
    /// Reservations that were refused or lost.
    ReservationLost = "reservation_lost",
    /// Connections that this node began to forward for others.
    CircuitsOpened = "circuits_opened",
    /// Reservations and connections that this node refused to serve as a relay.
    RelayRefused = "relay_refused",
    /// Dials for peers that wanted an address tested.
    TestsServed = "tests_served",
    /// Tests of addresses that were refused: too many, or of somebody else's address.
    TestsRefused = "tests_refused",
    /// Times that the network was built anew after a long time without peers.
    Rebuilt = "rebuilt",
    /// Peers disconnected because their certificate expired.
    ExpiredClosed = "expired_closed",
    /// Connections closed because the peer's certificate was revoked.
    RevokedClosed = "revoked_closed",
}

/// One counter each, shared by every part of the network.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; NAMES.len()]);

impl Default for Counters {
    fn default() -> Self {
        Counters(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub(crate) fn add(&self, what: Count, n: u64) {
        self.0[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn bump(&self, what: Count) {
        self.add(what, 1);
    }

    /// All counters by name.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        NAMES.iter().zip(&self.0).map(|(name, n)| ((*name).to_owned(), n.load(Ordering::Relaxed))).collect()
    }
}
