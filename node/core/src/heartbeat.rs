//! Heartbeats: what this node says of itself, and how little of it.

use crate::{
    Effect, Node,
    voices::{Audience, Word},
};
use holm_types::{
    Mono, Now, Scope,
    presence::{INTRODUCE_EVERY, MAX_ADDRESSES, Presence},
};
use std::time::Duration;

/// What is new is said in so many heartbeats, since one may be missed.
const SAID_AGAIN: u32 = 2;

/// Who begins to speak to all does so at its usual pace so often.
const FIRST_WORDS: u32 = 3;

/// How a node speaks to all that runs what belongs to no site.
#[derive(Debug, Default)]
pub(crate) struct Far {
    /// When it does so again.
    pub(crate) at: Option<Mono>,
    /// How often it has.
    said: u32,
}

/// Leaves out of a heartbeat what the others have heard.
#[derive(Debug, Default)]
pub(crate) struct Brief {
    last: Option<Presence>,
    /// Heartbeats that leave nothing out.
    full: u32,
}

impl Brief {
    /// There is somebody who has heard nothing yet.
    pub(crate) fn news(&mut self) {
        self.full = SAID_AGAIN;
    }

    /// Whether it was not said before.
    fn is_news(&self, presence: &Presence) -> bool {
        let same = |last: &Presence| {
            (last.incarnation, &last.free, last.running, &last.addresses)
                == (presence.incarnation, &presence.free, presence.running, &presence.addresses)
        };
        !self.last.as_ref().is_some_and(same)
    }

    /// Whether there are news that are to be said again.
    fn goes_on(&self) -> bool {
        self.full > 0
    }

    fn shorten(&mut self, mut presence: Presence) -> Presence {
        if self.is_news(&presence) {
            self.news();
        }
        self.last = Some(presence.clone());
        if self.full == 0 && presence.chain.is_none() {
            (presence.free, presence.running, presence.addresses) = (None, None, None);
        }
        self.full = self.full.saturating_sub(1);
        presence
    }
}

impl Node {
    /// Says that this node is here, where and when it is time.
    pub(crate) fn heartbeat(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.pulse_at <= now.mono {
            self.pulse_at = now.mono.after(self.config.liveness.heartbeat);
            self.look_again(now.mono);
            self.keep_partners(now.mono, out);
            if self.brief.is_news(&self.presence(self.members.interval())) {
                self.voices.hurry(now.mono);
            }
        }
        let pace = (self.members.interval(), self.config.liveness.quiet);
        for (audience, word) in self.voices.due(now.mono, pace) {
            self.speak(now, &audience, word, out);
        }
        self.speak_far(now, out);
    }

    /// Resources come and go and `reschedule` waits for time to pass: look again now and then.
    fn look_again(&mut self, now: Mono) {
        if self.look_at <= now {
            self.look_at = now.after(self.members.interval());
            self.look_at_all(now);
        }
    }

    fn presence(&self, every: Duration) -> Presence {
        Presence {
            node: self.me,
            incarnation: self.state.incarnation(),
            seq: self.presence_seq,
            every_ms: u32::try_from(every.as_millis()).unwrap_or(u32::MAX),
            free: Some(self.tasks.free(&self.config.info.capacity)),
            running: Some(self.tasks.running_count()),
            addresses: Some(self.announced().iter().take(MAX_ADDRESSES).cloned().collect()),
            leaving: false,
            calls: false,
            chain: None,
        }
    }

    fn speak(&mut self, now: Now, audience: &Audience, word: Word, out: &mut Vec<Effect>) {
        self.presence_seq += 1;
        let mut presence = self.presence(word.every);
        presence.calls = word.calls;
        if word.opens || self.presence_seq % INTRODUCE_EVERY == 1 {
            presence.chain = Some(self.config.chain.clone());
        }
        if *audience == self.voices.base() {
            presence = self.brief.shorten(presence);
            if self.brief.goes_on() {
                self.voices.hurry(now.mono.after(self.members.interval()));
            }
        }
        let topic = match audience {
            Audience::All => self.topics.presence(),
            Audience::Site(site) => self.topics.presence_at(site),
        };
        self.say(topic, &presence, out);
    }

    /// While this node runs what belongs to no site, the nodes of other sites wait for that to run: then it speaks to all, too.
    /// Seldom, and to those who hear nothing else of this node: so it leaves nothing out.
    fn speak_far(&mut self, now: Now, out: &mut Vec<Effect>) {
        let for_all = self.tasks.any_in(&Scope::Mesh);
        let begins = for_all && !self.spoke_to_all;
        self.spoke_to_all = for_all;
        if !for_all || self.claims.is_keeper() {
            self.far = Far::default();
            return;
        }
        if begins {
            self.far = Far { at: Some(now.mono), said: 0 };
        }
        // While a keeper is in sight it decides for all, and nobody else waits.
        let busy = self.far.said < FIRST_WORDS || self.voices.is_loud(now.mono) || !self.watched.sees_keeper();
        let every = if busy { self.members.interval() * self.members.far_share() } else { self.members.far_quiet() };
        let at = self.far.at.map_or(now.mono, |at| at.min(now.mono.after(every)));
        self.far.at = Some(at);
        if at > now.mono {
            return;
        }
        self.far = Far { at: Some(now.mono.after(every)), said: self.far.said.saturating_add(1) };
        self.presence_seq += 1;
        let introduces = begins || every > self.members.interval() || self.presence_seq % INTRODUCE_EVERY == 1;
        let chain = introduces.then(|| self.config.chain.clone());
        let presence = Presence { chain, ..self.presence(every) };
        self.say(self.topics.presence(), &presence, out);
    }

    fn say(&mut self, topic: String, presence: &Presence, out: &mut Vec<Effect>) {
        match presence.encode() {
            Ok(bytes) => out.push(Effect::Publish { topic, bytes }),
            Err(_) => self.count("presence_too_large"),
        }
    }

    /// When there is something to say.
    pub(crate) fn heartbeat_deadline(&self) -> Option<Mono> {
        [Some(self.pulse_at), self.voices.deadline(), self.far.at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holm_types::{Incarnation, NodeId};

    #[test]
    fn what_is_new_is_said_twice_and_what_is_known_not_at_all() {
        let mut brief = Brief::default();
        let beat = |seq, running| Presence {
            node: NodeId([1; 32]),
            incarnation: Incarnation(1),
            seq,
            every_ms: 1_000,
            free: Some(Default::default()),
            running: Some(running),
            addresses: Some(vec!["/ip4/127.0.0.1/tcp/1".to_owned()]),
            leaving: false,
            calls: false,
            chain: None,
        };
        let mut full = |running| brief.shorten(beat(1, running)).is_full();
        assert_eq!([0, 0, 0, 0, 1, 1, 1].map(&mut full), [true, true, false, false, true, true, false]);
        brief.news();
        assert!(brief.shorten(beat(1, 1)).is_full());
        let (long, short) = (beat(1, 1).encode().unwrap().len(), brief_length(&beat(1, 1)));
        assert!(short * 2 < long, "{short} bytes of {long}");
    }

    fn brief_length(beat: &Presence) -> usize {
        let mut brief = Brief { last: Some(beat.clone()), full: 0 };
        brief.shorten(beat.clone()).encode().unwrap().len()
    }
}
