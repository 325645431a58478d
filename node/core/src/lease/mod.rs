//! Fenced apps: at most one runner a slot, without a leader and without consensus.
//!
//! The app's guards ([`holm_types::fence`]) grant leases; [`guard`] is what each of them remembers,
//! [`holder`] what a node that runs a task has been granted. Both are pure and measure on the
//! monotonic clock of their own node alone:
//!
//! - A holder's lease ends one lease after it *sent* the ask.
//! - A guard grants the slot to nobody else until one lease and a bound for drift have passed since it *received* it.
//!
//! So whatever the network does, a guard's memory outlasts what a holder believes. The task is started
//! when the lease is live, and its supervisor (`holm-shim`) is told when it ends: it kills the task then,
//! whether or not there is an agent left to ask it to.

mod guard;
mod holder;
#[cfg(test)]
mod tests;

pub(crate) use guard::{Guard, Unseen};
pub(crate) use holder::Holder;

use crate::{Effect, Node};
use holder::{Asks, MARGIN, Releases};
use holm_mesh_core::lease::{LeaseKey, MAX_LEASES, Message, Verdict};
use holm_types::{
    Mono, NodeId, Now, TaskId, TypeError,
    event::EventKind,
    fence::GuardSet,
    sometimes,
    view::{AppView, TaskState},
};
use std::time::Duration;

/// The clock that leases are measured on.
pub(crate) fn clock(now: Now) -> Mono {
    if holm_types::sabotaged!("a lease is measured on wall time") {
        return Mono(Duration::from_millis(now.wall.0));
    }
    now.mono
}

impl Node {
    /// A task needs a lease. `running`: a process of it may be there.
    pub(crate) fn claim_lease(&mut self, now: Now, id: &TaskId, running: bool) {
        let Some(task) = self.tasks.running.get(id) else { return };
        let key = LeaseKey(task.app, task.generation, task.slot, task.epoch);
        let app = self.guarded(&key);
        let sets = app.map(|app| app.guards.clone()).unwrap_or_default();
        let lease = app.and_then(AppView::lease).unwrap_or(holm_types::fence::DEFAULT_LEASE);
        let me = self.me;
        if running && !sets.is_empty() && sets.iter().all(|set| set.members == [me]) {
            sometimes!("the only guard finds its own task running");
            self.guard.vouch(clock(now), me, key, lease);
        }
        self.holder.claim(clock(now), id.clone(), key, lease, running);
        self.holder.set_guards(id, &sets);
    }

    /// The app that a lease is about, in the generation that it is about.
    fn guarded(&self, key: &LeaseKey) -> Option<&AppView> {
        self.state.apps().get(&key.0).filter(|app| app.generation == key.1)
    }

    /// The documents may name other guards than before.
    pub(crate) fn refresh_guards(&mut self) {
        let leased = self.tasks.locals.iter().filter(|(_, local)| local.leased).map(|(id, _)| id);
        for id in leased {
            let Some(task) = self.tasks.running.get(id) else { continue };
            let app = self.state.apps().get(&task.app).filter(|app| app.generation == task.generation);
            if let Some(app) = app {
                self.holder.set_guards(id, &app.guards);
            }
        }
        self.healer.need(self.holder.guards().into_iter().filter(|guard| *guard != self.me));
    }

    /// Asks for leases and renews them, starts what has got one, and stops what is about to lose its own.
    pub(crate) fn keep_leases(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.holder.is_idle() {
            return;
        }
        let (me, peers) = (self.me, &self.peers);
        let (seq, asks, releases) = self.holder.due(clock(now), |guard| *guard == me || peers.contains_key(guard));
        self.release(releases, out);
        self.ask(now, seq, asks, out);
        let leased = self.tasks.locals.iter().filter(|(_, local)| local.leased);
        for id in leased.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.look_at_lease(now, &id, out);
        }
    }

    fn look_at_lease(&mut self, now: Now, id: &TaskId, out: &mut Vec<Effect>) {
        let Some(lease) = self.holder.lease(id) else { return };
        let Some(local) = self.tasks.locals.get(id) else { return };
        let grace = Holder::grace(lease, self.config.grace);
        if local.waiting && self.holder.may_start(id, clock(now), grace) {
            self.launch(now, id, out);
        } else if local.waiting {
            self.tell_wait(now, id);
        } else if self.holder.must_stop(id, clock(now), grace) && local.stop_as.is_none() {
            self.fence(now, id, out);
        }
    }

    /// The lease of a task that runs ends soon: the task is asked to end before it does.
    fn fence(&mut self, now: Now, id: &TaskId, out: &mut Vec<Effect>) {
        sometimes!("a lease cannot be kept");
        self.holder.set_stopping(id);
        let why = self.wait_reason(clock(now).after(self.grace_of(id) + MARGIN), id);
        let Some(local) = self.tasks.locals.get_mut(id) else { return };
        local.fencing = true;
        local.status.reason = format!("is stopped, since its lease is not renewed: {why}");
        let (app, reason) = (local.app_name.clone(), local.status.reason.clone());
        // It may have to start again: what is told of it does not go beyond that.
        local.status.state = TaskState::Starting;
        if let Some(task) = self.tasks.running.get_mut(id) {
            task.state = TaskState::Stopping;
        }
        self.queue_status(now, id);
        out.push(self.event(now.wall, EventKind::LeaseLost, Some(&app), Some(id), reason));
        out.push(Effect::Stop(id.clone()));
    }

    /// What a task waits for is told when it has changed, and not too often.
    fn tell_wait(&mut self, now: Now, id: &TaskId) {
        let reason = format!("waits for its lease: {}", self.wait_reason(clock(now), id));
        let pause = self.holder.lease(id).unwrap_or_default() / 3;
        let Some(local) = self.tasks.locals.get_mut(id) else { return };
        let told = local.told_at.is_some_and(|at| now.mono.since(at) < pause);
        if local.status.reason == reason || told {
            return;
        }
        local.status.reason = reason;
        local.told_at = Some(now.mono);
        self.queue_status(now, id);
    }

    /// Who has granted it for longer than until `at`, and why others have not.
    fn wait_reason(&self, at: Mono, id: &TaskId) -> String {
        let Some(progress) = self.holder.progress(id, at) else { return "no guards are known".to_owned() };
        let mut reason =
            format!("granted by {} of {} guards, {} needed", progress.granted, progress.guards, progress.needed);
        if let Some(node) = progress.held_by {
            reason += &format!("; {} still has it", self.name_of(&node));
        }
        if progress.young > 0 {
            reason += &format!("; {} of them may have granted it to another lately", progress.young);
        }
        reason
    }

    /// When there is something to do about leases.
    pub(crate) fn lease_deadline(&self) -> Option<Mono> {
        let deadline = self.holder.deadline(self.config.grace)?;
        // Only the deliberate bug has another clock, and then it is looked at often enough.
        let by_mono = !holm_types::sabotaged!("a lease is measured on wall time");
        Some(if by_mono { deadline } else { self.pulse_at })
    }

    /// The time that a task has between TERM and KILL.
    pub(crate) fn grace_of(&self, id: &TaskId) -> Duration {
        let usual = self.config.grace;
        self.holder.lease(id).map_or(usual, |lease| Holder::grace(lease, usual))
    }

    /// The task of a lease has ended for good.
    pub(crate) fn give_up_lease(&mut self, id: &TaskId, out: &mut Vec<Effect>) {
        let releases = self.holder.give_up(id);
        self.release(releases, out);
    }

    fn ask(&mut self, now: Now, seq: u64, asks: Asks, out: &mut Vec<Effect>) {
        for (guard, leases) in asks {
            for leases in leases.chunks(MAX_LEASES) {
                if guard == self.me {
                    let verdicts = self.judge(now, self.me, seq, leases);
                    self.on_verdicts(now, guard, seq, &verdicts, out);
                } else {
                    self.send_lease(guard, Message::Ask { seq, leases: leases.to_vec() }.encode(), out);
                }
            }
        }
    }

    fn release(&mut self, releases: Releases, out: &mut Vec<Effect>) {
        for (guard, key, seq) in releases {
            if guard == self.me {
                self.guard.release(self.me, key, seq);
            } else if self.peers.contains_key(&guard) {
                self.send_lease(guard, Message::Release { leases: vec![(key, seq)] }.encode(), out);
            }
        }
    }

    fn send_lease(&mut self, peer: NodeId, message: Result<Vec<u8>, TypeError>, out: &mut Vec<Effect>) {
        match message {
            Ok(bytes) => out.push(Effect::Send { peer, bytes }),
            Err(_) => self.count("lease_unencodable"),
        }
    }

    /// As a guard: what is said to a node's asks.
    fn judge(&mut self, now: Now, node: NodeId, seq: u64, leases: &[(LeaseKey, u32)]) -> Vec<(LeaseKey, Verdict)> {
        let mut verdicts = Vec::with_capacity(leases.len());
        for (key, lease_ms) in leases {
            let lease = Duration::from_millis(u64::from(*lease_ms));
            let verdict = match self.unseen(&node, key, lease) {
                Some(unseen) => self.guard.ask(clock(now), node, *key, lease, unseen, seq),
                None => Verdict::Unknown,
            };
            verdicts.push((*key, verdict));
        }
        verdicts
    }

    /// How long leases may last that this node does not remember as a guard; none if it guards nothing of the
    /// kind, or `node` has no business with it. No lease is granted that would last longer than the app's do: after a
    /// restart it would not be waited for.
    ///
    /// An app that was removed and submitted again may have other guards, and what ran may still be ending. Who guarded it
    /// before knows whom it granted what; who is new to it does not.
    fn unseen(&self, node: &NodeId, key: &LeaseKey, lease: Duration) -> Option<Unseen> {
        let app = self.guarded(key).filter(|app| app.live)?;
        let claims = if *node == self.me { &self.claims } else { &self.peers.get(node)?.claims };
        let mine = app.guards.iter().filter(|set| set.members.contains(&self.me));
        let own = mine.map(GuardSet::lease).max()?;
        if lease > own || !claims.holds(&app.scope) {
            return None;
        }
        Some(match self.leases_before(app) {
            Some((before, true)) => Unseen { own: own.max(before), of_others: None },
            Some((before, false)) => Unseen { own, of_others: Some(before) },
            None => Unseen { own, of_others: None },
        })
    }

    fn on_verdicts(
        &mut self,
        now: Now,
        guard: NodeId,
        seq: u64,
        verdicts: &[(LeaseKey, Verdict)],
        out: &mut Vec<Effect>,
    ) {
        for id in self.holder.answered(clock(now), guard, seq, verdicts) {
            let Some(until) = self.lease_end(now, &id) else { continue };
            if self.tasks.locals.get(&id).is_some_and(|local| !local.waiting) {
                out.push(Effect::Lease { id, until });
            }
        }
    }

    /// When a task's lease ends, on the monotonic clock.
    pub(crate) fn lease_end(&self, now: Now, id: &TaskId) -> Option<Mono> {
        self.holder.until(id).map(|until| now.mono.after(until.since(clock(now))))
    }

    /// A message about leases, of a connected member.
    pub(crate) fn on_lease_frame(&mut self, now: Now, from: NodeId, bytes: &[u8], out: &mut Vec<Effect>) {
        match Message::decode(bytes) {
            Ok(Message::Ask { seq, leases }) => {
                let verdicts = self.judge(now, from, seq, &leases);
                self.send_lease(from, Message::Answer { seq, verdicts }.encode(), out);
            }
            Ok(Message::Answer { seq, verdicts }) => self.on_verdicts(now, from, seq, &verdicts, out),
            Ok(Message::Release { leases }) => {
                leases.iter().for_each(|(key, seq)| self.guard.release(from, *key, *seq));
            }
            Err(_) => self.count("lease_malformed"),
        }
    }
}
