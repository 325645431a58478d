//! Gossip, as libp2p makes it: it goes from neighbour to neighbour, is late, and sometimes does not come at all.
//!
//! Each host chooses, for each topic that it takes part in, a few of its peers that do so, too: those that a hash of the pair
//! ranks first. It passes on to those, and to those that chose it. A choice follows from who is connected and who takes part in
//! what; it is kept up to date as these change, since a keeper is connected with the whole mesh.

use super::{
    engine::Engine,
    event::{Event, HostIndex, TopicNo},
    queue::At,
};
use crate::scenario::random::mix;
use holm_node_core::Input;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

/// Neighbours that a host chooses in a gossip mesh (`mesh/net`'s `mesh_n`); others may choose it too.
const GOSSIP_DEGREE: usize = 3;
/// Gossip that would wait longer than this for an uplink is dropped, as from gossipsub's full queues.
const GOSSIP_QUEUE: At = 2_000_000;
/// Gossip that a host remembers for storms.
const OVERHEARD_MAX: usize = 64;

/// The gossip meshes that a host takes part in.
#[derive(Debug, Default)]
pub(crate) struct Meshes(BTreeMap<TopicNo, Mesh>);

/// One of them, as the host sees it.
#[derive(Debug, Default)]
struct Mesh {
    /// Those that it chose, by rank; at most [`GOSSIP_DEGREE`].
    chosen: Vec<(u64, HostIndex)>,
    chosen_by: BTreeSet<HostIndex>,
    /// Both together, as far as they are connected; none when that has to be looked up again.
    neighbours: Option<Vec<HostIndex>>,
}

impl Meshes {
    /// Whether the host takes part in a topic.
    pub(crate) fn takes_part(&self, topic: TopicNo) -> bool {
        self.0.contains_key(&topic)
    }

    fn shared(&self, other: &Meshes) -> Vec<TopicNo> {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.keys().copied().filter(|topic| many.takes_part(*topic)).collect()
    }
}

impl Engine {
    fn mesh(&mut self, host: HostIndex, topic: TopicNo) -> Option<&mut Mesh> {
        self.hosts[host].meshes.0.get_mut(&topic)
    }

    fn look_again(&mut self, host: HostIndex, topic: TopicNo) {
        if let Some(mesh) = self.mesh(host, topic) {
            mesh.neighbours = None;
        }
    }

    /// A host takes part in a topic from now on.
    pub(super) fn joins(&mut self, host: HostIndex, topic: TopicNo) {
        self.hosts[host].meshes.0.entry(topic).or_default();
        self.choose(host, topic);
        // Also those to whom this host does not know that it is connected.
        let peers: Vec<HostIndex> = self.hosts[host].ends_here.iter().copied().collect();
        for peer in peers {
            if self.hosts[peer].meshes.takes_part(topic) {
                self.consider(peer, topic, host);
            }
        }
    }

    /// A host that stops takes part in nothing any more.
    pub(super) fn leaves_all(&mut self, host: HostIndex) {
        for (topic, mesh) in std::mem::take(&mut self.hosts[host].meshes).0 {
            for (_, peer) in mesh.chosen {
                self.chosen_by(peer, topic, host, false);
            }
            for peer in mesh.chosen_by {
                self.choose(peer, topic);
            }
        }
    }

    /// A host has got an end of a connection with another one.
    pub(super) fn meets(&mut self, host: HostIndex, peer: HostIndex) {
        for topic in self.hosts[host].meshes.shared(&self.hosts[peer].meshes) {
            self.look_again(host, topic);
            self.consider(host, topic, peer);
        }
    }

    /// A host has lost its end of a connection with another one.
    pub(super) fn parts(&mut self, host: HostIndex, peer: HostIndex) {
        for topic in self.hosts[host].meshes.shared(&self.hosts[peer].meshes) {
            self.look_again(host, topic);
            let chosen =
                self.mesh(host, topic).is_some_and(|mesh| mesh.chosen.iter().any(|(_, chosen)| *chosen == peer));
            if chosen {
                self.choose(host, topic);
            }
        }
    }

    fn rank(&self, a: HostIndex, b: HostIndex) -> u64 {
        let [a, b] = [a, b].map(|host| self.hosts[host].plan.no.0);
        mix(u64::from(a.min(b)) << 32 | u64::from(a.max(b)))
    }

    /// Those of a host's peers that are ranked first in a topic.
    fn ranked_first(&self, of: HostIndex, topic: TopicNo) -> Vec<(u64, HostIndex)> {
        let joined = self.hosts[of].ends.keys().filter(|peer| self.hosts[**peer].meshes.takes_part(topic));
        let mut ranked: Vec<(u64, HostIndex)> = joined.map(|peer| (self.rank(of, *peer), *peer)).collect();
        if ranked.len() > GOSSIP_DEGREE {
            ranked.select_nth_unstable(GOSSIP_DEGREE);
            ranked.truncate(GOSSIP_DEGREE);
        }
        ranked.sort_unstable();
        ranked
    }

    /// A host chooses anew among all its peers.
    fn choose(&mut self, of: HostIndex, topic: TopicNo) {
        let now = self.ranked_first(of, topic);
        let Some(mesh) = self.mesh(of, topic) else { return };
        mesh.neighbours = None;
        let before = std::mem::replace(&mut mesh.chosen, now.clone());
        for (_, peer) in before.iter().filter(|chosen| !now.contains(chosen)) {
            self.chosen_by(*peer, topic, of, false);
        }
        for (_, peer) in now.iter().filter(|chosen| !before.contains(chosen)) {
            self.chosen_by(*peer, topic, of, true);
        }
    }

    /// One more of a host's peers takes part in a topic: it may be ranked before those that were chosen.
    fn consider(&mut self, of: HostIndex, topic: TopicNo, peer: HostIndex) {
        let ranked = (self.rank(of, peer), peer);
        let Some(mesh) = self.mesh(of, topic) else { return };
        if mesh.chosen.contains(&ranked) {
            return;
        }
        let place = mesh.chosen.partition_point(|chosen| *chosen < ranked);
        if place == GOSSIP_DEGREE {
            return;
        }
        mesh.chosen.insert(place, ranked);
        mesh.neighbours = None;
        let left_out = if mesh.chosen.len() > GOSSIP_DEGREE { mesh.chosen.pop() } else { None };
        self.chosen_by(peer, topic, of, true);
        if let Some((_, left_out)) = left_out {
            self.chosen_by(left_out, topic, of, false);
        }
    }

    fn chosen_by(&mut self, host: HostIndex, topic: TopicNo, by: HostIndex, chosen: bool) {
        if let Some(mesh) = self.mesh(host, topic) {
            mesh.neighbours = None;
            if chosen {
                mesh.chosen_by.insert(by);
            } else {
                mesh.chosen_by.remove(&by);
            }
        }
    }

    /// The neighbours of a host in the gossip mesh of a topic, in the order of their numbers. They are lent: see
    /// [`Engine::put_neighbours`].
    fn take_neighbours(&mut self, host: HostIndex, topic: TopicNo) -> Vec<HostIndex> {
        let Some(mesh) = self.mesh(host, topic) else {
            // It speaks where it does not listen.
            let mut few: Vec<HostIndex> = self.ranked_first(host, topic).into_iter().map(|(_, peer)| peer).collect();
            few.sort_unstable();
            return few;
        };
        if let Some(known) = mesh.neighbours.take() {
            return known;
        }
        let mut all: Vec<HostIndex> =
            mesh.chosen.iter().map(|(_, peer)| *peer).chain(mesh.chosen_by.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|peer| self.hosts[host].ends.contains_key(peer));
        all
    }

    fn put_neighbours(&mut self, host: HostIndex, topic: TopicNo, neighbours: Vec<HostIndex>) {
        if let Some(mesh) = self.mesh(host, topic) {
            mesh.neighbours = Some(neighbours);
        }
    }

    /// Publishes to a topic: the message goes from neighbour to neighbour, each host passes it on
    /// once, and all copies are counted as messages. `author` signed it; `origin` says it, now.
    pub(super) fn publish(&mut self, origin: HostIndex, author: HostIndex, topic: TopicNo, bytes: Arc<[u8]>) {
        let state = self.carries_state(topic);
        self.round += 1;
        let round = self.round;
        let mut front = BinaryHeap::from([Reverse((self.now, origin, origin))]);
        while let Some(Reverse((at, host, from))) = front.pop() {
            if std::mem::replace(&mut self.visited[host], round) == round {
                continue;
            }
            if host != origin && !self.hear(host, author, from, at, topic, &bytes) {
                continue;
            }
            let next = self.take_neighbours(host, topic);
            for peer in next.iter().copied().filter(|peer| *peer != from) {
                if !self.passes(host, peer, topic) {
                    continue;
                }
                if self.hosts[host].uplink_free.saturating_sub(self.now) > GOSSIP_QUEUE {
                    self.record.count("gossip_dropped", 1);
                    continue;
                }
                self.hosts[host].sent += 1;
                self.record.message(1, bytes.len() as u64, state);
                if self.visited[peer] != round {
                    let arrives = self.travel(host, peer, bytes.len(), at, 4);
                    front.push(Reverse((arrives, peer, host)));
                }
            }
            self.put_neighbours(host, topic, next);
        }
    }

    fn passes(&self, from: HostIndex, to: HostIndex, topic: TopicNo) -> bool {
        let Some(end) = self.hosts[from].ends.get(&to) else { return false };
        let other = self.hosts[to].ends.get(&from).is_some_and(|other| other.no == end.no);
        other && self.hosts[to].meshes.takes_part(topic) && self.carries(from, to, end.relay)
    }

    /// A message gets to a host's door; answers whether the host passes it on.
    fn hear(
        &mut self,
        to: HostIndex,
        author: HostIndex,
        from: HostIndex,
        at: At,
        topic: TopicNo,
        bytes: &Arc<[u8]>,
    ) -> bool {
        if to == author {
            // A node knows its own words.
            return true;
        }
        let copies = self.links.gossip_copies(from, to, at);
        let life = self.hosts[to].life;
        for n in 0..copies {
            let late = u64::from(n) * 40_000;
            self.push(at + late, Event::Gossip { to, life, author, topic, bytes: bytes.clone() });
        }
        if copies == 0 {
            self.record.count("gossip_missed", 1);
        }
        copies > 0 && self.hosts[to].frozen == 0
    }

    pub(super) fn gossip(&mut self, to: HostIndex, author: HostIndex, topic: TopicNo, bytes: &Arc<[u8]>) {
        // Other words may have been said long ago, or come from somebody who repeats them.
        if self.topics[topic as usize].contains("/presence") {
            self.judges.heard(self.now, to, author);
        }
        let overheard = &mut self.hosts[to].overheard;
        if self.storms > 0 {
            overheard.push_back((topic, author, bytes.clone()));
            if overheard.len() > OVERHEARD_MAX {
                overheard.pop_front();
            }
        }
        let (source, topic) = (self.hosts[author].id, self.topics[topic as usize].clone());
        self.deliver(to, Input::Gossip { source, topic, bytes: bytes.to_vec() });
    }
}
