//! To whom this node speaks, and how often: seldom while nothing happens, every second where something did.
//!
//! A node of a site speaks to its site, a keeper to all. A keeper also speaks to a single site while something happens there, so
//! that the others are left in peace.

use holm_types::{Label, Mono, NodeId};
use std::{collections::BTreeMap, time::Duration};

/// Where something has happened everybody speaks for so long.
const LOUD: Duration = Duration::from_secs(10);
/// Who calls the roll does so in all heartbeats of this time.
const CALLS: Duration = Duration::from_millis(2500);
/// Sites that are spoken to apart from all others, at most.
const MAX_APART: usize = 16;
/// That it will speak seldom is what a node says in so many heartbeats, since one may be missed.
const LAST_WORDS: u32 = 2;

/// Who hears a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// The whole mesh.
    All,
    /// The nodes of a site, and the keepers.
    Site(Label),
}

#[derive(Debug)]
struct Voice {
    next: Mono,
    last: Option<Mono>,
    loud_until: Mono,
    calls_until: Mono,
    /// Heartbeats to come in which it says that it will be quiet.
    last_words: u32,
    /// The next heartbeat is the first one after a silence.
    opens: bool,
}

/// What to say to an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    /// When the next heartbeat is to be expected.
    pub(crate) every: Duration,
    /// Everybody is asked to speak.
    pub(crate) calls: bool,
    /// It comes after a silence, in which somebody new may have come.
    pub(crate) opens: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Voices {
    base: Audience,
    voices: BTreeMap<Audience, Voice>,
    rolls: BTreeMap<Audience, Mono>,
    seed: NodeId,
}

impl Voices {
    /// This node has just started: it tells its audience, and wants to hear everybody.
    pub(crate) fn new(base: Audience, me: NodeId, now: Mono) -> Voices {
        let mut voices = Voices { base: base.clone(), voices: BTreeMap::new(), rolls: BTreeMap::new(), seed: me };
        voices.call(&base, now);
        voices
    }

    /// Whether something has happened lately among those to whom it speaks at all times.
    pub(crate) fn is_loud(&self, now: Mono) -> bool {
        self.voices.get(&self.base).is_some_and(|voice| voice.loud_until > now)
    }

    /// Whom it speaks to at all times.
    pub(crate) fn base(&self) -> Audience {
        self.base.clone()
    }

    /// Something happens there: it speaks often for a while. Who speaks to all already need not speak to a site.
    pub(crate) fn loud(&mut self, audience: &Audience, now: Mono) {
        let audience = if self.is_loud(now) { self.base.clone() } else { self.apart(audience) };
        self.speak_up(&audience, now);
    }

    /// Where many sites are to be spoken to it is one word to all.
    fn apart(&self, audience: &Audience) -> Audience {
        let many = self.voices.len() > MAX_APART && !self.voices.contains_key(audience);
        if many { self.base.clone() } else { audience.clone() }
    }

    fn speak_up(&mut self, audience: &Audience, now: Mono) {
        let voice = self.voices.entry(audience.clone()).or_insert(Voice {
            next: now,
            last: None,
            loud_until: now,
            calls_until: now,
            last_words: 0,
            opens: true,
        });
        if voice.loud_until <= now && voice.last_words < LAST_WORDS {
            voice.next = now;
        }
        voice.loud_until = now.after(LOUD);
        voice.last_words = LAST_WORDS;
    }

    /// Somebody is missed there, or this node itself may have been: everybody is to speak.
    pub(crate) fn call(&mut self, audience: &Audience, now: Mono) {
        let audience = self.apart(audience);
        self.speak_up(&audience, now);
        if let Some(voice) = self.voices.get_mut(&audience) {
            if voice.calls_until <= now {
                voice.next = now;
            }
            voice.calls_until = now.after(CALLS);
        }
    }

    /// Whether the roll that is called there is a new one, and not the same one in other words.
    pub(crate) fn is_new_roll(&mut self, audience: &Audience, now: Mono) -> bool {
        let last = self.rolls.insert(audience.clone(), now);
        last.is_none_or(|last| now.since(last) > CALLS)
    }

    /// It has news for those to whom it speaks at all times.
    pub(crate) fn hurry(&mut self, at: Mono) {
        if let Some(voice) = self.voices.get_mut(&self.base) {
            voice.next = voice.next.min(at);
        }
    }

    /// When it last spoke to those.
    pub(crate) fn last(&self) -> Option<Mono> {
        self.voices.get(&self.base)?.last
    }

    /// What to say now, and to whom. `often` and `seldom`: how often it speaks, and how often while nothing happens.
    pub(crate) fn due(&mut self, now: Mono, (often, seldom): (Duration, Duration)) -> Vec<(Audience, Word)> {
        let mut words = Vec::new();
        let base = &self.base;
        self.voices.retain(|audience, voice| {
            if voice.next > now {
                return true;
            }
            let loud = voice.loud_until > now;
            let seldom = seldom.max(often);
            words.push((
                audience.clone(),
                Word { every: if loud { often } else { seldom }, calls: voice.calls_until > now, opens: voice.opens },
            ));
            voice.last_words = if loud { LAST_WORDS } else { voice.last_words.saturating_sub(1) };
            let quiet = voice.last_words == 0;
            // A little sooner than was said, and not all at once.
            let spread = 0.75 + f64::from(self.seed.0[0]) / 1024.0;
            voice.next = now.after(if quiet { seldom.mul_f64(spread) } else { often });
            (voice.last, voice.opens) = (Some(now), quiet);
            !quiet || audience == base
        });
        words
    }

    /// When there is something to say.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.voices.values().map(|voice| voice.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFTEN: Duration = Duration::from_secs(1);
    const SELDOM: Duration = Duration::from_secs(120);

    fn at(seconds: f64) -> Mono {
        Mono(Duration::from_secs_f64(seconds))
    }

    fn spoken(voices: &mut Voices, until: f64) -> Vec<(f64, Audience, Word)> {
        let mut said = Vec::new();
        while let Some(next) = voices.deadline().filter(|next| *next <= at(until)) {
            said.extend(
                voices
                    .due(next, (OFTEN, SELDOM))
                    .into_iter()
                    .map(|(audience, word)| (next.0.as_secs_f64(), audience, word)),
            );
        }
        said
    }

    #[test]
    fn it_speaks_often_at_first_and_says_that_it_will_be_quiet() {
        let mut voices = Voices::new(Audience::All, NodeId([0; 32]), at(0.0));
        let said = spoken(&mut voices, 200.0);
        let times: Vec<f64> = said.iter().map(|(time, ..)| *time).collect();
        assert_eq!(times, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 101.0, 191.0]);
        let calls: Vec<bool> = said.iter().take(4).map(|(_, _, word)| word.calls).collect();
        assert_eq!(calls, [true, true, true, false]);
        assert!(said[9].2.every == OFTEN && said[10].2.every == SELDOM && said[11].2.every == SELDOM);
        assert_eq!(said.iter().filter(|(_, _, word)| word.opens).count(), 3);
    }

    #[test]
    fn many_sites_are_spoken_to_as_one() {
        let mut voices = Voices::new(Audience::All, NodeId([0; 32]), at(0.0));
        let site = |n: usize| Audience::Site(format!("shop-{n}").parse().unwrap());
        voices.loud(&site(0), at(1.0));
        assert_eq!(voices.voices.len(), 1, "all are being spoken to");
        spoken(&mut voices, 60.0);
        (0..99).for_each(|n| voices.loud(&site(n), at(60.0)));
        assert_eq!(voices.voices.len(), MAX_APART + 1);
        assert!(voices.is_loud(at(60.0)));
        voices.call(&site(98), at(60.0));
        assert!(voices.due(at(60.0), (OFTEN, SELDOM)).iter().any(|(to, word)| *to == Audience::All && word.calls));
    }

    #[test]
    fn a_call_is_answered_at_once_and_again_only_in_its_time() {
        let mut voices = Voices::new(Audience::All, NodeId([0; 32]), at(0.0));
        spoken(&mut voices, 60.0);
        let site = Audience::Site("plant".parse().unwrap());
        voices.loud(&site, at(60.5));
        assert_eq!(
            voices.due(at(60.5), (OFTEN, SELDOM)),
            [(site.clone(), Word { every: OFTEN, calls: false, opens: true })]
        );
        voices.loud(&site, at(60.6));
        assert_eq!(voices.due(at(60.6), (OFTEN, SELDOM)), []);
        voices.call(&site, at(60.7));
        let word = Word { every: OFTEN, calls: true, opens: false };
        assert_eq!(voices.due(at(60.7), (OFTEN, SELDOM)), [(site.clone(), word)]);
        assert!(voices.is_new_roll(&site, at(60.7)) && !voices.is_new_roll(&site, at(62.0)));
        let later = spoken(&mut voices, 80.0);
        assert!(later.iter().all(|(_, audience, _)| *audience == site), "the others are left in peace");
        assert_eq!(later.len(), 11);
        assert_eq!(voices.voices.len(), 1, "and the site, too, when it is over");
    }
}
