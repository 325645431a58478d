//! The journal holds what may only happen after a batch is on disk: replies, publications,
//! enrolments.
//!
//! A batch costs a sync of the disk, a signature, and work of each peer. When several clients write, those that one batch answered
//! ask again within a moment, and the first of them would take the next batch for itself: so it waits a moment for
//! as many as the last one had. (Group commit, as PostgreSQL's `commit_delay` and `commit_siblings`.) A client alone never waits.

use crate::Effect;
use holm_state::State;
use holm_types::{Mono, parcel};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// So long a batch waits for more replies, at most.
const LINGER: Duration = Duration::from_millis(1);

/// Effects that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    gathering: Vec<Effect>,
    /// Changes to be published, by topic: those of a batch travel together.
    changes: BTreeMap<String, Vec<Vec<u8>>>,
    in_flight: VecDeque<Vec<Effect>>,
    company: Company,
}

/// How many clients write at the same time.
#[derive(Debug, Default)]
struct Company {
    /// Replies that are gathered, and since when.
    replies: usize,
    since: Option<Mono>,
    /// Replies of the last batch that had any.
    usual: usize,
}

impl Company {
    fn look(&mut self, now: Mono) {
        if self.replies > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// Until when more are waited for, if they are.
    fn deadline(&self) -> Option<Mono> {
        self.since.filter(|_| self.replies < self.usual).map(|since| since.after(LINGER))
    }

    fn leave(&mut self) {
        if self.since.take().is_some() {
            self.usual = std::mem::take(&mut self.replies);
        }
    }
}

impl Journal {
    /// `effect` happens when everything written so far is durable.
    pub(crate) fn after_persist(&mut self, effect: Effect) {
        self.company.replies += usize::from(matches!(effect, Effect::Reply { .. }));
        self.gathering.push(effect);
    }

    /// An encoded change is published when everything written so far is durable.
    pub(crate) fn publish(&mut self, topic: String, change: Vec<u8>) {
        self.changes.entry(topic).or_default().push(change);
    }

    /// Sends the gathered writes to the disk, unless a batch is in flight: then they wait for
    /// it and share the next one. Or they wait a moment for others.
    pub(crate) fn seal(&mut self, now: Mono, state: &mut State, out: &mut Vec<Effect>) {
        self.company.look(now);
        if !self.in_flight.is_empty() || self.deadline().is_some_and(|at| at > now) {
            return;
        }
        self.company.leave();
        let mut waiting = Vec::new();
        for (topic, changes) in std::mem::take(&mut self.changes) {
            let parcels = parcel::pack(changes).into_iter();
            waiting.extend(parcels.map(|bytes| Effect::Publish { topic: topic.clone(), bytes }));
        }
        waiting.append(&mut self.gathering);
        match state.take_batch() {
            Some(batch) => {
                self.in_flight.push_back(waiting);
                out.push(Effect::Persist(batch));
            }
            None => out.extend(waiting),
        }
    }

    /// Until when a batch waits for more replies, if it does.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.company.deadline().filter(|_| self.in_flight.is_empty())
    }

    /// The batch in flight is on disk.
    pub(crate) fn persisted(&mut self, state: &mut State, out: &mut Vec<Effect>) {
        if let Some(effects) = self.in_flight.pop_front() {
            state.persisted();
            out.extend(effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Mono {
        Mono(Duration::from_micros(us))
    }

    #[test]
    fn a_batch_waits_a_moment_for_as_many_as_the_last_one_had() {
        let mut company = Company::default();
        let come = |company: &mut Company, n, us| {
            company.replies += n;
            company.look(at(us));
        };
        come(&mut company, 1, 0);
        assert_eq!(company.deadline(), None, "a client alone never waits");
        company.leave();
        come(&mut company, 3, 100);
        assert_eq!(company.deadline(), None, "nor do more than there were");
        company.leave();
        company.look(at(150));
        company.leave();
        come(&mut company, 1, 200);
        assert_eq!(company.deadline(), Some(at(1200)), "a batch without replies changes nothing");
        come(&mut company, 1, 300);
        assert_eq!(company.deadline(), Some(at(1200)));
        come(&mut company, 1, 400);
        assert_eq!(company.deadline(), None, "all are there");
        company.leave();
        come(&mut company, 1, 500);
        company.leave();
        come(&mut company, 1, 1600);
        assert_eq!(company.deadline(), None, "the others have left");
    }
}
