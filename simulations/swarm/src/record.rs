//! What happened in a run, in order: for the trace hash, the judges and whoever looks into a failure.

use crate::trace::Hash;
use holm_mesh_net::NetEvent;
use holm_simulations::{
    outcome::{Down, EVENTS_KEPT, Happened, Invariant, Sample, Timeline, VIOLATIONS_KEPT, Violation},
    scenario::{FaultKind, HostNo, Ms},
};
use holm_types::event::Event;
use std::collections::{BTreeMap, VecDeque};

/// What one host said since the last sample.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    messages: u64,
    state: u64,
    bytes: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Record {
    hash: Hash,
    happened: VecDeque<Happened>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) fired: BTreeMap<FaultKind, u64>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) timeline: Timeline,
    said: BTreeMap<HostNo, Said>,
}

impl Record {
    fn count(&mut self, what: &str) {
        match self.counters.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.counters.insert(what.to_owned(), 1);
            }
        }
    }

    /// Something worth a line.
    pub(crate) fn note(&mut self, at: Ms, host: Option<HostNo>, what: &str, detail: String) {
        self.hash.add(&[at.0, host.map_or(u64::MAX, |host| u64::from(host.0))]);
        self.hash.bytes(what.as_bytes());
        self.hash.bytes(detail.as_bytes());
        self.count(what);
        if self.happened.len() == EVENTS_KEPT {
            self.happened.pop_front();
        }
        self.happened.push_back(Happened { at, host, what: what.to_owned(), detail });
    }

    /// The network told its owner something. No number of a connection gets in here: libp2p counts
    /// them over the whole process.
    pub(crate) fn heard(&mut self, at: Ms, host: HostNo, event: &NetEvent) {
        let (what, node, bytes) = match event {
            NetEvent::Listening { address } => return self.note(at, Some(host), "listening", address.clone()),
            NetEvent::PeerUp { .. }
            | NetEvent::PeerDown { .. }
            | NetEvent::PathChanged { .. }
            | NetEvent::Announce { .. } => return,
            NetEvent::DialFailed { node, error } => {
                return self.note(at, Some(host), "dial-failed", format!("{}: {error}", node.mark()));
            }
            NetEvent::Gossip { source, bytes, .. } => ("gossip-heard", Some(source), bytes.as_slice()),
            NetEvent::Frame { from, bytes } => ("frame-heard", Some(from), bytes.as_slice()),
            NetEvent::Discovered { node, .. } | NetEvent::PeerAddresses { node, .. } => {
                ("addresses-heard", Some(node), [].as_slice())
            }
            NetEvent::Superseded { by } => ("superseded", Some(by), [].as_slice()),
            NetEvent::Observed { address } => ("address-observed", None, address.as_bytes()),
        };
        self.hash.add(&[at.0, u64::from(host.0)]);
        self.hash.bytes(what.as_bytes());
        self.hash.bytes(node.map_or(&[], |node| node.0.as_slice()));
        self.hash.bytes(bytes);
        self.count(what);
    }

    /// A node's core told an event.
    pub(crate) fn emitted(&mut self, at: Ms, host: HostNo, event: Event) {
        let kind = serde_json::to_value(event.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let task = event.task.map(|task| format!("{task} ")).unwrap_or_default();
        let app = event.app.map(|app| format!("{app} ")).unwrap_or_default();
        self.note(at, Some(host), &kind.unwrap_or_default(), format!("{app}{task}{}", event.detail));
    }

    /// A node handed a message to the network.
    pub(crate) fn said(&mut self, host: HostNo, bytes: usize, heartbeat: bool) {
        let said = self.said.entry(host).or_default();
        said.messages += 1;
        said.state += u64::from(!heartbeat);
        said.bytes += bytes as u64;
    }

    /// Closes a sample: what was said since the last one.
    pub(crate) fn sample(&mut self, at: Ms, up: u32, parts: u32, running: u32) {
        let said = std::mem::take(&mut self.said);
        let sum = |of: fn(&Said) -> u64| said.values().map(of).sum();
        let sample = Sample {
            at,
            up,
            parts,
            running,
            messages: sum(|said| said.messages),
            state_messages: sum(|said| said.state),
            busiest: said.values().map(|said| said.messages).max().unwrap_or(0),
            bytes: sum(|said| said.bytes),
        };
        self.timeline.samples.push(sample);
    }

    /// An agent begins.
    pub(crate) fn up(&mut self, at: Ms, host: HostNo) {
        self.note(at, Some(host), "up", String::new());
        if let Some(down) = self.timeline.down.iter_mut().rev().find(|down| down.host == host) {
            down.until.get_or_insert(at);
        }
    }

    /// An agent is gone.
    pub(crate) fn down(&mut self, at: Ms, host: HostNo) {
        self.note(at, Some(host), "down", String::new());
        self.timeline.down.push(Down { host, from: at, until: None });
    }

    /// An agent does not start: that is a finding.
    pub(crate) fn failed_to_start(&mut self, at: Ms, host: HostNo, why: String) {
        self.note(at, Some(host), "does-not-start", why.clone());
        self.violated(Invariant::NodeStarts, at, [host], why);
    }

    /// An invariant did not hold.
    pub(crate) fn violated(
        &mut self,
        invariant: Invariant,
        at: Ms,
        hosts: impl IntoIterator<Item = HostNo>,
        detail: String,
    ) {
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(Violation { invariant, at, hosts: hosts.into_iter().collect(), detail });
        }
    }

    /// A fault really did something.
    pub(crate) fn fired(&mut self, kind: FaultKind) {
        *self.fired.entry(kind).or_default() += 1;
    }

    /// The hash of all that happened so far, with that of the network.
    pub(crate) fn hash(&self, network: u64) -> u64 {
        let mut hash = self.hash;
        hash.add(&[network]);
        hash.0
    }

    /// The last events.
    pub(crate) fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened).into()
    }
}
