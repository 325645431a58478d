//! Submissions that a node cannot carry out yet, because it is only learning who is in the mesh: it does so in a moment
//! as a rule, so whoever asks waits for that instead of being told to ask again.

use crate::{Effect, Node, RequestId};
use holm_types::{
    Mono, Now,
    api::{ApiError, ApplyParams},
    sometimes,
};
use std::{collections::VecDeque, time::Duration};

/// So many wait at most; others are told to try again.
const MOST: usize = 64;
/// For so long at most: longer than a node holds its decisions while parts of the mesh merge.
const LONGEST: Duration = Duration::from_secs(12);
/// How often they are tried.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Submission {
    id: RequestId,
    params: ApplyParams,
    until: Mono,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Postponed {
    /// In the order in which they came.
    waiting: VecDeque<Submission>,
    next: Mono,
}

impl Postponed {
    /// When they are to be tried again.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        (!self.waiting.is_empty()).then_some(self.next)
    }
}

impl Node {
    /// Carries a submission out, or has it wait where that may help.
    pub(crate) fn apply_or_wait(&mut self, now: Now, id: RequestId, params: ApplyParams, out: &mut Vec<Effect>) {
        match self.apply(now, &params) {
            Err(ApiError::Busy(_)) if self.postponed.waiting.len() < MOST => {
                sometimes!("a submission waits for the node to know the mesh");
                self.postponed.waiting.push_back(Submission { id, params, until: now.mono.after(LONGEST) });
                self.postponed.next = now.mono.after(AGAIN);
            }
            result => self.answer_write(id, result, out),
        }
    }

    /// Tries what waits again. What is still not possible when its time is over is answered so.
    pub(crate) fn retry_postponed(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.postponed.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        self.postponed.next = now.mono.after(AGAIN);
        for submission in std::mem::take(&mut self.postponed.waiting) {
            match self.apply(now, &submission.params) {
                Err(ApiError::Busy(_)) if submission.until > now.mono => self.postponed.waiting.push_back(submission),
                result => self.answer_write(submission.id, result, out),
            }
        }
    }
}
