//! Never two live leases of one slot: guards and holders whose clocks run at different rates, over a network
//! that delays, loses, repeats and reorders, with nodes that restart at any moment.

use super::*;
use holm_types::{DocId, fence::DEFAULT_LEASE};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NODES: usize = 5;
/// The fastest clock runs 5 % faster than the slowest.
const RATES: std::ops::RangeInclusive<f64> = 0.9765..=1.0245;
const SEEDS: u64 = 400;
const STEPS: usize = 1500;

/// A message, from whom to whom.
#[derive(Clone)]
struct Letter {
    from: usize,
    to: usize,
    what: Message,
}

/// A node that guards the slot, and wants it for itself.
struct Member {
    rate: f64,
    guard: Guard,
    holder: Holder,
    /// Until when its supervisor lets its task run, by its own clock; none while it has none.
    runs_until: Option<Mono>,
    /// The agent is away.
    down: bool,
}

struct Mesh {
    rng: ChaCha8Rng,
    /// Real time.
    now: Duration,
    members: Vec<Member>,
    post: Vec<Letter>,
    sets: Vec<GuardSet>,
    /// Who ran the slot last, and how often that changed.
    last: Option<usize>,
    handovers: u64,
}

fn node(n: usize) -> NodeId {
    NodeId([n as u8; 32])
}

fn key(n: usize) -> LeaseKey {
    LeaseKey(DocId([2; 16]), 1, 0, n as u64 + 1)
}

fn task() -> TaskId {
    "task-0".parse().unwrap()
}

impl Mesh {
    fn new(seed: u64) -> Mesh {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let guards = [1, 3, 5][rng.random_range(0..3)];
        let set = |first: usize| {
            let ranked: Vec<NodeId> = (0..guards).map(|n| node((n + first) % NODES)).collect();
            GuardSet::choose(&ranked, DEFAULT_LEASE).unwrap()
        };
        // Now and then an app was created on two sides of a cut, with other guards on each.
        let mut sets = vec![set(0)];
        if seed.is_multiple_of(5) {
            sets.push(set(1));
        }
        let mut mesh = Mesh {
            now: Duration::from_secs(100),
            members: Vec::new(),
            post: Vec::new(),
            sets,
            last: None,
            handovers: 0,
            rng,
        };
        for n in 0..NODES {
            let rate = mesh.rng.random_range(RATES);
            let guard = Guard::new(Mono(mesh.now.mul_f64(rate)));
            mesh.members.push(Member {
                rate,
                guard,
                holder: Holder::new(seed * 100 + n as u64),
                runs_until: None,
                down: false,
            });
            mesh.claim(n);
        }
        mesh
    }

    fn clock(&self, n: usize) -> Mono {
        Mono(self.now.mul_f64(self.members[n].rate))
    }

    fn claim(&mut self, n: usize) {
        let (now, sets) = (self.clock(n), self.sets.clone());
        let running = self.members[n].runs_until.is_some();
        let member = &mut self.members[n];
        member.holder.claim(now, task(), key(n), DEFAULT_LEASE, running);
        member.holder.set_guards(&task(), &sets);
    }

    fn step(&mut self) {
        let n = self.rng.random_range(0..NODES);
        match self.rng.random_range(0..100) {
            0..30 => self.now += Duration::from_millis(self.rng.random_range(1..900)),
            30..55 => self.ask(n),
            55..90 => self.deliver(),
            90..92 => self.post.truncate(self.post.len() / 2),
            92..94 => self.give_up(n),
            94..96 => self.restart(n),
            96..98 => self.members[n].down = !self.members[n].down,
            // The host was suspended, or the network was away.
            _ => self.now += Duration::from_millis(self.rng.random_range(3_000..12_000)),
        }
        self.supervise();
    }

    fn ask(&mut self, n: usize) {
        let now = self.clock(n);
        if self.members[n].down {
            return;
        }
        let (seq, asks, releases) = self.members[n].holder.due(now, |_| true);
        for (guard, leases) in asks {
            self.send(n, guard, Message::Ask { seq, leases });
        }
        self.send_releases(n, releases);
    }

    fn send(&mut self, from: usize, to: NodeId, what: Message) {
        let letter = Letter { from, to: usize::from(to.0[0]), what };
        if self.rng.random_range(0..10) == 0 {
            self.post.push(letter.clone());
        }
        self.post.push(letter);
    }

    fn send_releases(&mut self, n: usize, releases: Releases) {
        for (guard, key, seq) in releases {
            self.send(n, guard, Message::Release { leases: vec![(key, seq)] });
        }
    }

    /// Any of the letters under way arrives.
    fn deliver(&mut self) {
        if self.post.is_empty() {
            return;
        }
        let any = self.rng.random_range(0..self.post.len());
        let Letter { from, to, what } = self.post.swap_remove(any);
        let now = self.clock(to);
        if self.members[to].down {
            return;
        }
        match what {
            Message::Ask { seq, leases } => {
                let guard = &mut self.members[to].guard;
                let unseen = Unseen { own: DEFAULT_LEASE, of_others: None };
                let judged = |(key, ms): &(LeaseKey, u32)| {
                    (*key, guard.ask(now, node(from), *key, Duration::from_millis(u64::from(*ms)), unseen, seq))
                };
                let verdicts = leases.iter().map(judged).collect();
                self.send(to, node(from), Message::Answer { seq, verdicts });
            }
            Message::Answer { seq, verdicts } => {
                let member = &mut self.members[to];
                member.holder.answered(now, node(from), seq, &verdicts);
                let until = member.holder.until(&task()).filter(|until| *until > now);
                // It is started, or its supervisor is told that the lease lasts longer.
                if until > member.runs_until {
                    member.runs_until = until;
                    member.holder.set_running(&task(), true);
                    self.handovers += u64::from(self.last.replace(to) != Some(to));
                }
            }
            Message::Release { leases } => {
                leases.iter().for_each(|(key, seq)| self.members[to].guard.release(node(from), *key, *seq));
            }
        }
    }

    /// The task ends by itself, and starts again later.
    fn give_up(&mut self, n: usize) {
        if !self.members[n].down {
            self.members[n].runs_until = None;
            let releases = self.members[n].holder.give_up(&task());
            self.send_releases(n, releases);
            self.claim(n);
        }
    }

    /// The agent is another process now. Its task goes on, as far as its supervisor lets it.
    fn restart(&mut self, n: usize) {
        let (now, seed) = (self.clock(n), self.rng.random());
        self.members[n].guard = Guard::new(now);
        self.members[n].holder = Holder::new(seed);
        self.claim(n);
        if self.members[n].runs_until.is_some() && self.sets.iter().all(|set| set.members == [node(n)]) {
            self.members[n].guard.vouch(now, node(n), key(n), DEFAULT_LEASE);
        }
    }

    /// Supervisors end what has no lease any more, agents or no agents.
    fn supervise(&mut self) {
        for n in 0..NODES {
            let now = self.clock(n);
            if self.members[n].runs_until.is_some_and(|until| until <= now) {
                self.members[n].runs_until = None;
                self.members[n].holder.set_running(&task(), false);
            }
        }
    }

    fn runners(&self) -> Vec<usize> {
        (0..NODES).filter(|n| self.members[*n].runs_until.is_some()).collect()
    }
}

#[test]
fn no_two_nodes_ever_hold_a_lease() {
    let (mut handovers, mut joint, mut running) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut mesh = Mesh::new(seed);
        for step in 0..STEPS {
            mesh.step();
            let runners = mesh.runners();
            assert!(runners.len() <= 1, "seed {seed}, step {step}: {runners:?} all run");
            running += runners.len();
        }
        handovers += mesh.handovers;
        joint += u64::from(mesh.sets.len() > 1) * mesh.handovers;
    }
    // The network is bad and all want the slot all the time: but the leases are of use.
    assert!(handovers > SEEDS && joint > 20, "{handovers} and {joint} changes of hands show little");
    assert!(running > SEEDS as usize * STEPS / 20, "it ran in {running} of {} steps", SEEDS as usize * STEPS);
}

#[test]
fn a_lease_lasts_from_the_ask_and_is_renewed_after_a_third() {
    let at = |ms| Mono(Duration::from_millis(ms));
    let grace = Holder::grace(DEFAULT_LEASE, Duration::from_secs(10));
    assert_eq!(grace, Duration::from_millis(2500));
    let mut holder = Holder::new(1);
    let set = GuardSet::choose(&[node(1), node(2), node(3)], DEFAULT_LEASE).unwrap();
    holder.claim(at(0), task(), key(0), DEFAULT_LEASE, false);
    holder.set_guards(&task(), &[set]);
    let (seq, asks, _) = holder.due(at(0), |guard| *guard != node(3));
    assert_eq!(asks.keys().copied().collect::<Vec<_>>(), [node(1), node(2)]);
    let granted = [(key(0), Verdict::Granted)];
    assert!(holder.answered(at(400), node(1), seq, &granted).is_empty(), "one of three is no majority");
    assert!(holder.answered(at(400), node(9), seq, &granted).is_empty(), "it is no guard");
    assert!(holder.answered(at(400), node(2), seq + 7, &granted).is_empty(), "nothing like that was asked");
    assert!(!holder.may_start(&task(), at(500), grace));
    assert_eq!(holder.answered(at(500), node(2), seq, &granted), [task()]);
    assert_eq!(holder.until(&task()), Some(at(10_000)));
    assert!(holder.may_start(&task(), at(500), grace));
    holder.set_running(&task(), true);
    let renewal = holder.deadline(Duration::from_secs(10)).unwrap();
    assert!(at(3_300) < renewal && renewal < at(3_400), "{renewal:?}");
    assert!(!holder.must_stop(&task(), at(7_249), grace));
    assert!(holder.must_stop(&task(), at(7_250), grace), "so that it is dead in time");
    holder.set_stopping(&task());
    assert!(!holder.must_stop(&task(), at(7_251), grace), "once is enough");
}

#[test]
fn two_that_got_half_of_the_guards_each_both_let_go() {
    let at = |ms| Mono(Duration::from_millis(ms));
    let set = GuardSet::choose(&[node(1), node(2), node(3)], DEFAULT_LEASE).unwrap();
    let mut holder = Holder::new(1);
    holder.claim(at(0), task(), key(0), DEFAULT_LEASE, false);
    holder.set_guards(&task(), &[set]);
    let (seq, ..) = holder.due(at(0), |_| true);
    holder.answered(at(1), node(1), seq, &[(key(0), Verdict::Granted)]);
    holder.answered(at(1), node(2), seq, &[(key(0), Verdict::Held(node(9)))]);
    let (_, asks, releases) = holder.due(at(1_000), |_| true);
    assert_eq!((asks.len(), releases), (0, vec![(node(1), key(0), seq)]));
    let late = holder.answered(at(1_001), node(3), seq, &[(key(0), Verdict::Granted)]);
    assert!(late.is_empty() && holder.until(&task()).is_none(), "what was given back does not count");
}
