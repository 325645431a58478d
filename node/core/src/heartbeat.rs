//! Heartbeats: what this node says of itself, and how little of it.

use crate::{Effect, Node};
use holm_types::{
    Now, Scope,
    presence::{INTRODUCE_EVERY, MAX_ADDRESSES, Presence},
};

/// What is new is said in so many heartbeats, since one may be missed.
const SAID_AGAIN: u32 = 2;

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

    fn shorten(&mut self, mut presence: Presence) -> Presence {
        let same = |last: &Presence| {
            (&last.free, last.running, &last.addresses) == (&presence.free, presence.running, &presence.addresses)
        };
        if !self.last.as_ref().is_some_and(same) {
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
    /// Says that this node is here, when it is time.
    pub(crate) fn heartbeat(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.presence_at > now.mono {
            return;
        }
        let every = self.members.interval();
        self.presence_at = now.mono.after(every);
        self.presence_last = now.mono;
        // Resources come and go and `reschedule` waits for time to pass: look again now and then.
        self.deciding.request(now.mono);
        self.presence_seq += 1;
        let keeper = self.claims.is_keeper();
        let far = self.far_share();
        let introduces = self.presence_seq % INTRODUCE_EVERY == 1 || (keeper && far.is_some_and(|far| far.begins));
        let all = Presence {
            node: self.me,
            incarnation: self.state.incarnation(),
            seq: self.presence_seq,
            every_ms: u32::try_from(every.as_millis()).unwrap_or(u32::MAX),
            free: Some(self.tasks.free(&self.config.info.capacity)),
            running: Some(self.tasks.running_count()),
            addresses: Some(self.announced().iter().take(MAX_ADDRESSES).cloned().collect()),
            leaving: false,
            chain: introduces.then(|| self.config.chain.clone()),
        };
        let brief = self.brief.shorten(all.clone());
        if keeper {
            return self.say(self.topics.presence(), &brief, out);
        }
        self.say(self.topics.presence_at(&self.claims.site), &brief, out);
        if let Some(far) = far.filter(|far| far.begins || self.presence_seq.is_multiple_of(u64::from(far.share))) {
            // Seldom, and to those who hear nothing else of this node: so it leaves nothing out.
            let every_ms = all.every_ms.saturating_mul(far.share);
            let chain = Some(self.config.chain.clone()).filter(|_| introduces || far.begins || far.share > 1);
            self.say(self.topics.presence(), &Presence { every_ms, chain, ..all }, out);
        }
    }

    fn say(&mut self, topic: String, presence: &Presence, out: &mut Vec<Effect>) {
        match presence.encode() {
            Ok(bytes) => out.push(Effect::Publish { topic, bytes }),
            Err(_) => self.count("presence_too_large"),
        }
    }

    /// While this node runs what belongs to no site, the nodes of other sites wait for that to run: then it speaks to all, too.
    fn far_share(&mut self) -> Option<Far> {
        let for_all = self.tasks.any_in(&Scope::Mesh);
        let begins = for_all && !self.spoke_to_all;
        self.spoke_to_all = for_all;
        for_all.then(|| Far { begins, share: self.members.far_share() })
    }
}

/// How a node speaks to all.
#[derive(Debug, Clone, Copy)]
struct Far {
    /// This is the first time.
    begins: bool,
    /// One of so many heartbeats.
    share: u32,
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
