//! Liveness by heartbeat: each node says every second that it is there; a node that is overdue
//! becomes suspect, then dead. The rate that a node hears stays bounded: the interval grows with
//! the number of members ([`Config::max_heard_per_second`]), and each heartbeat says when to
//! expect the next, so nodes of different opinion about it still agree.

use holm_types::{Mono, NodeId, presence::Presence, sometimes, view::Liveness};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// How patient a node is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Time between heartbeats in a small mesh.
    pub heartbeat: Duration,
    /// Heartbeats that a node hears in a second, at most: with more members each speaks less often.
    pub max_heard_per_second: u32,
    /// Of those of other sites, which speak to all while they run what belongs to no site, so many at most.
    pub max_far_per_second: u32,
    /// A node is suspect when this many tenths of its interval have passed in silence.
    pub suspect_tenths: u32,
    /// A node is held for dead when this many tenths of its interval have passed in silence.
    pub dead_tenths: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat: Duration::from_secs(1),
            max_heard_per_second: 20,
            max_far_per_second: 10,
            suspect_tenths: 25,
            dead_tenths: 45,
        }
    }
}

/// Longest interval that a peer's heartbeat may announce.
const MAX_INTERVAL: Duration = Duration::from_secs(120);
/// A return from the dead counts as a flap for so long.
pub const FLAP_MEMORY: Duration = Duration::from_secs(600);
/// Returns that are remembered of one member.
const MAX_FLAPS: usize = 8;

#[derive(Debug)]
struct Member {
    state: Liveness,
    presence: Option<Presence>,
    heard_at: Mono,
    interval: Duration,
    dead_since: Option<Mono>,
    near: bool,
    /// Gossip of it has put off its death once since its last heartbeat.
    put_off: bool,
    /// When it was heard again after it had been held for dead, oldest first.
    returns: VecDeque<Mono>,
}

impl Member {
    fn returned(&mut self, now: Mono) {
        if self.returns.len() == MAX_FLAPS {
            self.returns.pop_front();
        }
        self.returns.push_back(now);
    }

    /// When its silence means something more than it does now.
    fn due(&self, config: &Config) -> Option<Mono> {
        let tenths = match self.state {
            Liveness::Alive => config.suspect_tenths,
            Liveness::Suspect => config.dead_tenths,
            Liveness::Dead | Liveness::Left => return None,
        };
        Some(self.heard_at.after(self.patience(tenths)))
    }

    fn patience(&self, tenths: u32) -> Duration {
        self.interval * tenths / 10
    }

    fn overdue(&self, config: &Config, now: Mono) -> Option<Liveness> {
        let silent = now.since(self.heard_at);
        match self.state {
            Liveness::Alive | Liveness::Suspect if silent >= self.patience(config.dead_tenths) => Some(Liveness::Dead),
            Liveness::Alive if silent >= self.patience(config.suspect_tenths) => Some(Liveness::Suspect),
            _ => None,
        }
    }

    fn speaks(&self) -> bool {
        matches!(self.state, Liveness::Alive | Liveness::Suspect)
    }

    /// Whether it takes a share of the time to speak: `[of those nearby, of those that speak to all from far]`.
    fn shares_time(&self) -> [bool; 2] {
        [self.near && self.speaks(), !self.near && self.speaks()]
    }
}

/// What this node believes about the others.
#[derive(Debug)]
pub struct Members {
    config: Config,
    members: BTreeMap<NodeId, Member>,
    /// When each member is due, soonest first: a keeper of ten thousand is not to look at all of them at every turn.
    due: BTreeSet<(Mono, NodeId)>,
    /// Members that share the time to speak, nearby and far.
    speakers: [u32; 2],
    changes: Vec<(NodeId, Liveness)>,
}

impl Members {
    /// Nobody is known yet.
    pub fn new(config: Config) -> Members {
        Members { config, members: BTreeMap::new(), due: BTreeSet::new(), speakers: [0; 2], changes: Vec::new() }
    }

    /// Changes a member, and keeps what is counted and ordered of all members in step.
    fn alter<T>(&mut self, node: &NodeId, change: impl FnOnce(&mut Member, &Config) -> T) -> Option<T> {
        let member = self.members.get_mut(node)?;
        let (due, shared) = (member.due(&self.config), member.shares_time());
        let result = change(member, &self.config);
        let (now_due, shares) = (member.due(&self.config), member.shares_time());
        if due != now_due {
            due.map(|at| self.due.remove(&(at, *node)));
            self.due.extend(now_due.map(|at| (at, *node)));
        }
        self.count(shares, shared);
        Some(result)
    }

    fn count(&mut self, more: [bool; 2], less: [bool; 2]) {
        for (speakers, (more, less)) in self.speakers.iter_mut().zip(more.into_iter().zip(less)) {
            *speakers = *speakers + u32::from(more) - u32::from(less);
        }
    }

    /// A member is known to exist, from its certificate. It is suspect until it is heard, and
    /// dead when it stays silent: a node that starts alone gives the others time to speak first.
    /// It is `near` if it hears the same heartbeats as this node: of the same site, or speaking to all.
    pub fn expect(&mut self, node: NodeId, near: bool, now: Mono) {
        if self.alter(&node, |member, _| member.near = near).is_some() {
            return;
        }
        let member = Member {
            state: Liveness::Suspect,
            presence: None,
            heard_at: now,
            interval: self.interval(),
            dead_since: None,
            near,
            put_off: false,
            returns: VecDeque::new(),
        };
        self.due.extend(member.due(&self.config).map(|at| (at, node)));
        self.count(member.shares_time(), [false; 2]);
        self.members.insert(node, member);
    }

    /// A node is no member any more: nothing is expected of it.
    pub fn forget(&mut self, node: &NodeId) {
        if let Some(member) = self.members.remove(node) {
            member.due(&self.config).map(|at| self.due.remove(&(at, *node)));
            self.count([false; 2], member.shares_time());
        }
        self.changes.retain(|(changed, _)| changed != node);
    }

    /// A heartbeat of a member. Answers whether it says something new: an older incarnation or
    /// sequence is ignored, so a late or repeated message never brings a node back.
    pub fn heard(&mut self, mut presence: Presence, now: Mono) -> bool {
        let Some(member) = self.members.get(&presence.node) else { return false };
        if let Some(last) = &member.presence {
            if (presence.incarnation, presence.seq) <= (last.incarnation, last.seq) {
                sometimes!("an old heartbeat is ignored");
                return false;
            }
            presence.complete(last);
        }
        if member.state == Liveness::Dead && holm_types::sabotaged!("a dead peer stays dead") {
            return false;
        }
        let state = if presence.leaving { Liveness::Left } else { Liveness::Alive };
        let node = presence.node;
        self.alter(&node, |member, config| {
            member.heard_at = now;
            member.put_off = false;
            member.interval = Duration::from_millis(u64::from(presence.every_ms))
                .clamp(config.heartbeat.min(MAX_INTERVAL), MAX_INTERVAL);
            // One that was never heard has only begun late.
            if member.presence.replace(presence).is_some() && member.state == Liveness::Dead {
                member.returned(now);
            }
        });
        self.set(node, state, now);
        true
    }

    /// A member said something that is no heartbeat. Over a connection of its own (`direct`) that is
    /// a sign of life like any other. Gossip may be old, or repeated by somebody else: it puts off the
    /// member's death once and no more. When a link is mended, other words often come before the next
    /// heartbeat, and a node must not be held for dead while it is being heard.
    pub fn spoke(&mut self, node: &NodeId, direct: bool, now: Mono) {
        self.alter(node, |member, _| {
            if !matches!(member.state, Liveness::Alive | Liveness::Suspect) || (member.put_off && !direct) {
                return;
            }
            if member.state == Liveness::Suspect {
                sometimes!("an overdue node speaks before it is held for dead");
            }
            member.put_off |= !direct;
            member.heard_at = now;
        });
    }

    /// This node itself stood still for `gap`: it was suspended, or starved. What it did not hear in
    /// that time says nothing about the others, so they get the time again.
    pub fn overslept(&mut self, gap: Duration) {
        for member in self.members.values_mut() {
            member.heard_at = member.heard_at.after(gap);
        }
        let due = |(node, member): (&NodeId, &Member)| Some((member.due(&self.config)?, *node));
        self.due = self.members.iter().filter_map(due).collect();
    }

    /// The last connection to a member is gone: it is suspect at once. Only silence makes it
    /// dead, since others may still hear it.
    pub fn disconnected(&mut self, node: &NodeId, now: Mono) {
        if self.liveness(node) == Some(Liveness::Alive) {
            self.set(*node, Liveness::Suspect, now);
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Mono) {
        while let Some((at, node)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            match self.members.get(&node).and_then(|member| member.overdue(&self.config, now)) {
                Some(state) => self.set(node, state, now),
                // Not reached: who is due is overdue.
                None => drop(self.due.remove(&(at, node))),
            }
        }
    }

    fn set(&mut self, node: NodeId, state: Liveness, now: Mono) {
        let changed = self.alter(&node, |member, _| {
            if member.state == state {
                return false;
            }
            if member.state == Liveness::Dead && state == Liveness::Alive {
                sometimes!("a dead node is alive again");
            }
            member.state = state;
            member.dead_since = matches!(state, Liveness::Dead | Liveness::Left).then_some(now);
            true
        });
        if changed == Some(true) {
            self.changes.push((node, state));
        }
    }

    /// When [`Members::tick`] has something to do.
    pub fn deadline(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Who changed since the last call, oldest first.
    pub fn drain_changes(&mut self) -> Vec<(NodeId, Liveness)> {
        std::mem::take(&mut self.changes)
    }

    /// What is believed of a node; `None` when it is not a known member.
    pub fn liveness(&self, node: &NodeId) -> Option<Liveness> {
        self.members.get(node).map(|member| member.state)
    }

    /// The last heartbeat of a node.
    pub fn presence(&self, node: &NodeId) -> Option<&Presence> {
        self.members.get(node)?.presence.as_ref()
    }

    /// How long a node has been dead or gone.
    pub fn dead_for(&self, now: Mono) -> BTreeMap<NodeId, Duration> {
        let dead = |(node, member): (&NodeId, &Member)| Some((*node, now.since(member.dead_since?)));
        self.members.iter().filter_map(dead).collect()
    }

    /// How often each node was held for dead and came back within [`FLAP_MEMORY`], at most 8 times; those that did
    /// not are left out.
    pub fn flaps(&self, now: Mono) -> BTreeMap<NodeId, u32> {
        let flaps = |(node, member): (&NodeId, &Member)| {
            let recent = member.returns.iter().filter(|at| now.since(**at) < FLAP_MEMORY).count();
            u32::try_from(recent).ok().filter(|count| *count > 0).map(|count| (*node, count))
        };
        self.members.iter().filter_map(flaps).collect()
    }

    /// How often this node should speak now.
    pub fn interval(&self) -> Duration {
        let bounded = Duration::from_secs(1) * self.speakers[0] / self.config.max_heard_per_second.max(1);
        bounded.clamp(self.config.heartbeat, MAX_INTERVAL)
    }

    /// Of how many heartbeats at its site a node speaks one to all, while it runs what belongs to no site. The nodes of other sites
    /// know each other there and nowhere else, so they share that time among them.
    pub fn far_share(&self) -> u32 {
        let second = Duration::from_secs(1);
        let bounded = second * (self.speakers[1] + 1) / self.config.max_far_per_second.max(1);
        let shares = bounded.min(MAX_INTERVAL).as_millis().div_ceil(self.interval().as_millis().max(1));
        u32::try_from(shares).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::Incarnation;
    use holm_types::manifest::Amounts;

    const NODE: NodeId = NodeId([7; 32]);

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn beat(incarnation: u64, seq: u64) -> Presence {
        Presence {
            node: NODE,
            incarnation: Incarnation::new(incarnation, 0),
            seq,
            every_ms: 1000,
            free: Some(Amounts::default()),
            running: Some(0),
            addresses: Some(vec![]),
            leaving: false,
            chain: None,
        }
    }

    fn expecting() -> Members {
        let mut members = Members::new(Config::default());
        members.expect(NODE, true, at(0));
        members
    }

    #[test]
    fn words_that_are_no_heartbeat_put_off_a_death_and_gossip_only_once() {
        let mut members = Members::new(Config::default());
        let node = NodeId([7; 32]);
        let at = |ms: u64| Mono(Duration::from_millis(ms));
        members.expect(node, true, at(0));
        members.tick(at(4_000));
        members.spoke(&node, false, at(4_000));
        members.tick(at(8_000));
        assert_eq!(members.liveness(&node), Some(Liveness::Suspect), "put off");
        members.spoke(&node, false, at(8_000));
        members.spoke(&node, true, at(8_100));
        members.tick(at(12_000));
        assert_eq!(members.liveness(&node), Some(Liveness::Suspect), "heard directly");
        members.spoke(&node, false, at(12_000));
        members.tick(at(12_700));
        assert_eq!(members.liveness(&node), Some(Liveness::Dead), "gossip puts off no second time");
        members.spoke(&node, true, at(12_800));
        assert_eq!(members.liveness(&node), Some(Liveness::Dead), "only a heartbeat brings it back");
    }

    #[test]
    fn silence_makes_suspect_then_dead_and_a_heartbeat_brings_it_back() {
        let mut members = expecting();
        assert!(members.heard(beat(1, 1), at(100)));
        assert_eq!(members.drain_changes(), [(NODE, Liveness::Alive)]);
        let suspect_at = members.deadline().unwrap();
        assert_eq!(suspect_at, at(2600));
        members.tick(at(2599));
        assert_eq!(members.drain_changes(), []);
        members.tick(suspect_at);
        assert_eq!(members.drain_changes(), [(NODE, Liveness::Suspect)]);
        members.tick(members.deadline().unwrap());
        assert_eq!(members.drain_changes(), [(NODE, Liveness::Dead)]);
        assert_eq!(members.deadline(), None);
        assert_eq!(members.dead_for(at(5600))[&NODE], Duration::from_secs(1));
        assert!(members.heard(beat(1, 2), at(9000)), "a dead peer that speaks again is alive");
        assert_eq!(members.drain_changes(), [(NODE, Liveness::Alive)]);
        assert!(members.dead_for(at(9000)).is_empty());
    }

    #[test]
    fn returns_from_the_dead_are_counted_for_ten_minutes() {
        let mut members = expecting();
        members.tick(at(5_000));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
        assert!(members.heard(beat(1, 1), at(5_000)));
        assert!(members.flaps(at(5_000)).is_empty(), "it was never heard before: it has only begun late");
        for n in 1..=20 {
            let now = at(n * 10_000);
            members.tick(now);
            assert!(members.heard(beat(1, 1 + n), now));
            assert_eq!(members.flaps(now)[&NODE], u32::try_from(n.min(8)).unwrap());
        }
        assert!(members.heard(beat(1, 22), at(201_000)));
        assert_eq!(members.flaps(at(201_000))[&NODE], 8, "a node that is alive does not return");
        let last = at(200_000).after(FLAP_MEMORY);
        assert_eq!(members.flaps(at(799_999))[&NODE], 1);
        assert!(members.flaps(last).is_empty());
    }

    #[test]
    fn an_old_or_repeated_heartbeat_changes_nothing() {
        let mut members = expecting();
        assert!(members.heard(beat(2, 5), at(0)));
        members.tick(at(60_000));
        for (incarnation, seq) in [(2, 5), (2, 4), (1, 900)] {
            assert!(!members.heard(beat(incarnation, seq), at(60_000)));
        }
        assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
        assert!(members.heard(beat(3, 1), at(60_001)), "a restart begins again at 1");
    }

    #[test]
    fn what_a_heartbeat_leaves_out_is_as_it_was_in_this_life() {
        let mut members = expecting();
        let brief =
            |incarnation, seq| Presence { running: None, addresses: None, free: None, ..beat(incarnation, seq) };
        assert!(members.heard(Presence { running: Some(3), ..beat(1, 1) }, at(0)));
        assert!(members.heard(Presence { free: Some(Amounts { cpu: 7, ..Amounts::default() }), ..brief(1, 2) }, at(1)));
        assert!(members.heard(brief(1, 3), at(2)));
        let known = members.presence(&NODE).unwrap();
        assert_eq!((known.running, known.free.as_ref().unwrap().cpu, known.seq), (Some(3), 7, 3));
        assert!(members.heard(brief(2, 1), at(3)));
        assert!(!members.presence(&NODE).unwrap().is_full(), "another life has said nothing yet");
    }

    #[test]
    fn a_member_that_never_speaks_is_suspect_first_and_dead_later() {
        let mut members = expecting();
        assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
        members.tick(at(4499));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
        members.tick(at(4500));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    }

    #[test]
    fn a_lost_connection_alone_kills_nobody() {
        let mut members = expecting();
        members.heard(beat(1, 1), at(0));
        members.disconnected(&NODE, at(10));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
        members.heard(beat(1, 2), at(900));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Alive));
    }

    #[test]
    fn the_rate_heard_stays_bounded_as_the_mesh_grows() {
        let mut members = Members::new(Config::default());
        for n in 0..200u8 {
            members.expect(NodeId([n; 32]), true, at(0));
        }
        assert_eq!(members.interval(), Duration::from_secs(10));
        for n in 200..250u8 {
            members.expect(NodeId([n; 32]), false, at(0));
        }
        assert_eq!(members.interval(), Duration::from_secs(10), "who hears other heartbeats does not count");
        assert_eq!(members.far_share(), 1, "51 of them speak every 5.1 s");
        for n in 0..=255u8 {
            members.expect(
                NodeId([
                    n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1,
                ]),
                false,
                at(0),
            );
        }
        assert_eq!(members.far_share(), 4, "307 speak every 30.7 s, each fourth of their heartbeats");
        let mut slow = beat(1, 1);
        slow.every_ms = 10_000;
        members.heard(slow, at(0));
        members.tick(at(20_000));
        assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "judged by the interval that it announced");
    }
}
