//! One member: when it was heard, how it speaks, and when its silence means something.

use super::{Config, MAX_FLAPS};
use holm_types::{Mono, presence::Presence, view::Liveness};
use std::{collections::VecDeque, time::Duration};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: Liveness,
    pub(super) presence: Option<Box<Presence>>,
    pub(super) heard_at: Mono,
    /// Between its heartbeats to everybody.
    pub(super) interval: Duration,
    /// Between its beats, while it is a partner.
    pub(super) beats: Option<Duration>,
    /// It is to answer a roll call: since when, and how often who answers speaks.
    pub(super) asked: Option<(Mono, Duration)>,
    pub(super) dead_since: Option<Mono>,
    pub(super) near: bool,
    /// Gossip of it has put off its death once since its last heartbeat.
    pub(super) put_off: bool,
    /// When it was heard again after it had been held for dead, oldest first.
    pub(super) returns: VecDeque<Mono>,
}

impl Member {
    pub(super) fn returned(&mut self, now: Mono) {
        if self.returns.len() == MAX_FLAPS {
            self.returns.pop_front();
        }
        self.returns.push_back(now);
    }

    /// When its silence means something more than it does now.
    pub(super) fn due(&self, config: &Config) -> Option<Mono> {
        match self.state {
            Liveness::Alive => Some(self.suspect_at(config).min(self.dead_at(config))),
            Liveness::Suspect => Some(self.dead_at(config)),
            Liveness::Dead | Liveness::Left => None,
        }
    }

    fn suspect_at(&self, config: &Config) -> Mono {
        let silent = match self.beats {
            Some(beats) => beats * config.partner_tenths / 10,
            None => self.interval * config.suspect_tenths / 10,
        };
        self.unless_asked(self.heard_at.after(silent), config.answer_tenths / 2)
    }

    fn dead_at(&self, config: &Config) -> Mono {
        let interval = self.beats.unwrap_or(self.interval);
        self.unless_asked(self.heard_at.after(interval * config.dead_tenths / 10), config.answer_tenths)
    }

    fn unless_asked(&self, at: Mono, tenths: u32) -> Mono {
        self.asked.map_or(at, |(asked, interval)| at.min(asked.after(interval * tenths / 10)))
    }

    pub(super) fn overdue(&self, config: &Config, now: Mono) -> Option<Liveness> {
        match self.state {
            Liveness::Alive | Liveness::Suspect if self.dead_at(config) <= now => Some(Liveness::Dead),
            Liveness::Alive if self.suspect_at(config) <= now => Some(Liveness::Suspect),
            _ => None,
        }
    }

    pub(super) fn was_heard(&mut self, now: Mono) {
        self.heard_at = now;
        self.asked = None;
    }

    pub(super) fn speaks(&self) -> bool {
        matches!(self.state, Liveness::Alive | Liveness::Suspect)
    }

    /// Whether it takes a share of the time to speak: `[of those nearby, of those that speak to all from far]`.
    pub(super) fn shares_time(&self) -> [bool; 2] {
        [self.near && self.speaks(), !self.near && self.speaks()]
    }
}
