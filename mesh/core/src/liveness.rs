//! Liveness by heartbeat: a node that is overdue becomes suspect, then dead. Each heartbeat says when to expect the next: in a
//! second from a [partner](crate::beat), or from everybody where something has happened lately; else in two minutes.
//!
//! When somebody misses a partner the roll is called ([`Members::roll_call`]): who speaks seldom is to speak at once, and who
//! does not is dead as soon as if it had spoken every second. The rate that a node hears then stays bounded: the interval grows
//! with the number of members ([`Config::max_heard_per_second`]).

mod member;
#[cfg(test)]
mod tests;

use holm_types::{Incarnation, Mono, NodeId, presence::Presence, sometimes, view::Liveness};
use member::Member;
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
    /// Time between heartbeats to everybody while nothing happens.
    pub quiet: Duration,
    /// A node is suspect when this many tenths of its interval have passed in silence.
    pub suspect_tenths: u32,
    /// The same for a partner: what comes over a connection is not lost, and the others are asked before it is held for dead.
    pub partner_tenths: u32,
    /// Who does not answer a roll call is dead after so many tenths of an interval, and suspect after half of that.
    pub answer_tenths: u32,
    /// A node is held for dead when this many tenths of its interval have passed in silence.
    pub dead_tenths: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat: Duration::from_secs(1),
            max_heard_per_second: 20,
            max_far_per_second: 10,
            quiet: MAX_INTERVAL,
            suspect_tenths: 25,
            partner_tenths: 20,
            answer_tenths: 25,
            dead_tenths: 45,
        }
    }
}

/// Shortest time between two heartbeats to other sites while nothing happens.
const FAR_QUIET: Duration = Duration::from_secs(30);
/// Longest interval that a peer's heartbeat may announce.
const MAX_INTERVAL: Duration = Duration::from_secs(120);
/// A return from the dead counts as a flap for so long.
pub const FLAP_MEMORY: Duration = Duration::from_secs(600);
/// Returns that are remembered of one member.
const MAX_FLAPS: usize = 8;

fn interval_of(every_ms: u32, config: &Config) -> Duration {
    Duration::from_millis(u64::from(every_ms)).clamp(config.heartbeat.min(MAX_INTERVAL), MAX_INTERVAL)
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
            beats: None,
            asked: None,
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
        if self.stays_dead(&presence.node) {
            return false;
        }
        let state = if presence.leaving { Liveness::Left } else { Liveness::Alive };
        let node = presence.node;
        self.alter(&node, |member, config| {
            member.was_heard(now);
            member.put_off = false;
            member.interval = interval_of(presence.every_ms, config);
            // One that was never heard has only begun late.
            match &mut member.presence {
                Some(before) => {
                    **before = presence;
                    if member.state == Liveness::Dead {
                        member.returned(now);
                    }
                }
                nothing => *nothing = Some(Box::new(presence)),
            }
        });
        self.set(node, state, now);
        true
    }

    /// A connected member sends a beat, and the next one in `every_ms`; in 0 if it sends none any more. It may be back from the
    /// dead with it, but in no other life than that which was heard: of another one nothing is known yet.
    pub fn beat(&mut self, node: &NodeId, life: Incarnation, every_ms: u32, now: Mono) {
        let known = self.presence(node).is_some_and(|presence| presence.incarnation == life && !presence.leaving);
        if !known || self.stays_dead(node) {
            return;
        }
        self.alter(node, |member, config| {
            member.was_heard(now);
            member.put_off = false;
            member.beats = (every_ms > 0).then(|| interval_of(every_ms, config));
            if member.state == Liveness::Dead {
                member.returned(now);
            }
        });
        self.set(*node, Liveness::Alive, now);
    }

    fn stays_dead(&self, node: &NodeId) -> bool {
        self.liveness(node) == Some(Liveness::Dead) && holm_types::sabotaged!("a dead peer stays dead")
    }

    /// Those of `whom` that speak more seldom than they would now are to speak at once: somebody has called the roll.
    pub fn roll_call(&mut self, now: Mono, whom: impl Fn(&NodeId) -> bool) {
        let interval = self.interval();
        let seldom = |member: &Member| {
            member.speaks() && member.asked.is_none() && member.beats.unwrap_or(member.interval) > interval
        };
        let asked = self.members.iter().filter(|(node, member)| seldom(member) && whom(node)).map(|(node, _)| *node);
        for node in asked.collect::<Vec<_>>() {
            self.alter(&node, |member, _| member.asked = Some((now, interval)));
        }
    }

    /// A member said something that is no heartbeat. Over a connection of its own (`direct`) that is
    /// a sign of life like any other. Gossip may be old, or repeated by somebody else: it puts off the
    /// death of a member that is overdue once and no more. When a link is mended, other words often come before the next
    /// heartbeat, and a node must not be held for dead while it is being heard.
    pub fn spoke(&mut self, node: &NodeId, direct: bool, now: Mono) {
        self.alter(node, |member, _| {
            let overdue = member.state == Liveness::Suspect || member.asked.is_some();
            if !member.speaks() || (!direct && (member.put_off || !overdue)) {
                return;
            }
            if member.state == Liveness::Suspect {
                sometimes!("an overdue node speaks before it is held for dead");
            }
            member.put_off |= !direct;
            member.was_heard(now);
        });
    }

    /// This node itself stood still for `gap`: it was suspended, or starved. What it did not hear in
    /// that time says nothing about the others, so they get the time again.
    pub fn overslept(&mut self, gap: Duration) {
        for member in self.members.values_mut() {
            member.heard_at = member.heard_at.after(gap);
            member.asked = member.asked.map(|(at, interval)| (at.after(gap), interval));
        }
        let due = |(node, member): (&NodeId, &Member)| Some((member.due(&self.config)?, *node));
        self.due = self.members.iter().filter_map(due).collect();
    }

    /// The last connection to a member is gone: it is suspect at once, and to be heard as if the roll had been called. Only silence
    /// makes it dead, since others may still hear it.
    pub fn disconnected(&mut self, node: &NodeId, now: Mono) {
        let interval = self.interval();
        self.alter(node, |member, _| {
            member.beats = None;
            if member.speaks() {
                member.asked.get_or_insert((now, interval));
            }
        });
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
            if !member.speaks() {
                (member.beats, member.asked) = (None, None);
            }
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
        self.members.get(node)?.presence.as_deref()
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

    /// How often this node should speak now, where it speaks to everybody.
    pub fn interval(&self) -> Duration {
        let bounded = Duration::from_secs(1) * self.speakers[0] / self.config.max_heard_per_second.max(1);
        bounded.clamp(self.config.heartbeat, MAX_INTERVAL)
    }

    /// How often such a node speaks to all while nothing happens and a keeper decides for all: together they are heard once a second
    /// or less.
    pub fn far_quiet(&self) -> Duration {
        (Duration::from_secs(1) * (self.speakers[1] + 1)).clamp(FAR_QUIET, MAX_INTERVAL)
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
