//! A small mesh: nodes with documents of their own, that decide, act and exchange what they know.
//! No network and no clock: a round is one turn of every node.

use crate::world::{World, id};
use holm_scheduler::{Context, Decision, LocalAction, LocalTask, decide, holder, reconcile};
use holm_types::{
    DocId, Epoch, NodeId, Scope, Slot, TaskId,
    manifest::Amounts,
    view::{Assignment, Liveness, Placement, TaskState, TaskStatus, View},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODES: u8 = 5;
const PATIENCE: usize = 120;
const SERVICE: &str = "type = \"service\"\nreplicas = 4\n[resources]\nmemory = \"8Mi\"";
const JOB: &str = "type = \"job\"\ntasks = 5\nparallel = 3";

/// What is replicated: every key has one writer, and the later value of a status counts.
#[derive(Clone, Default, PartialEq)]
struct Docs {
    revision: u32,
    placements: BTreeMap<(DocId, Slot, Epoch, NodeId), Placement>,
    statuses: BTreeMap<(DocId, Slot, Epoch, NodeId), (u32, TaskStatus)>,
}

impl Docs {
    fn merge(&mut self, other: &Docs) {
        self.revision = self.revision.max(other.revision);
        self.placements.extend(other.placements.iter().map(|(key, value)| (*key, value.clone())));
        for (key, value) in &other.statuses {
            if self.statuses.get(key).is_none_or(|own| own.0 < value.0) {
                self.statuses.insert(*key, value.clone());
            }
        }
    }
}

struct Peer {
    id: NodeId,
    docs: Docs,
    running: BTreeMap<TaskId, LocalTask>,
    /// What a task that is being stopped ends as.
    ending: BTreeMap<TaskId, TaskState>,
}

#[derive(Default)]
struct Tally {
    starts: usize,
    decisions: usize,
    stops: usize,
}

impl Tally {
    fn total(&self) -> usize {
        self.starts + self.decisions + self.stops
    }
}

struct Mesh {
    peers: Vec<Peer>,
    /// Peers exchange documents within their group.
    linked: Vec<u8>,
    /// Peers believe those of their group to be alive, and all others dead.
    believed: Vec<u8>,
    round: usize,
    jobs_end: bool,
}

impl Mesh {
    fn new() -> Mesh {
        let peer = |n| Peer { id: id(n), docs: Docs::default(), running: BTreeMap::new(), ending: BTreeMap::new() };
        let zeros = vec![0; usize::from(NODES)];
        Mesh {
            peers: (1..=NODES).map(peer).collect(),
            linked: zeros.clone(),
            believed: zeros,
            round: 0,
            jobs_end: true,
        }
    }

    /// The view of a peer.
    fn view(&self, index: usize) -> View {
        let mut world = World::of(NODES);
        let docs = &self.peers[index].docs;
        world.apply_revision("web", SERVICE, docs.revision);
        world.apply_revision("job", JOB, docs.revision);
        for (other, group) in self.believed.iter().enumerate() {
            if *group != self.believed[index] {
                world.becomes(u8::try_from(other + 1).unwrap(), Liveness::Dead);
            }
        }
        for ((app, slot, epoch, writer), placement) in &docs.placements {
            let status = docs.statuses.get(&(*app, *slot, *epoch, placement.node)).map(|(_, status)| status.clone());
            let slots = &mut world.view.apps.get_mut(app).unwrap().slots;
            let assignment = Assignment {
                epoch: *epoch,
                writer: *writer,
                placement: placement.clone(),
                status,
                told_in: Default::default(),
            };
            slots.get_or_insert_with(*slot, Default::default).assignments.push(assignment);
        }
        world.view
    }

    fn turn(&mut self) -> Tally {
        let mut tally = Tally::default();
        for index in 0..self.peers.len() {
            self.progress(index);
            self.decide(index, &mut tally);
            self.act(index, &mut tally);
        }
        self.exchange();
        self.round += 1;
        tally
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn decide(&mut self, index: usize, tally: &mut Tally) {
        let view = self.view(index);
        let peer = &mut self.peers[index];
        let (free, dead_for, flaps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let held = BTreeSet::new();
        let cx = Context {
            me: peer.id,
            free: &free,
            dead_for: &dead_for,
            flaps: &flaps,
            budget: 3,
            held: &held,
            only: None,
        };
        for Decision::Assign { app, slot, epoch, placement, .. } in decide(&view, &cx) {
            tally.decisions += 1;
            assert!(peer.docs.placements.insert((app, slot, epoch, peer.id), placement).is_none());
        }
    }

    fn act(&mut self, index: usize, tally: &mut Tally) {
        let view = self.view(index);
        let peer = &mut self.peers[index];
        let capacity: &Amounts = &view.nodes[&peer.id].info.capacity;
        for action in reconcile(&view, &peer.id, &peer.running, capacity, 100) {
            match action {
                LocalAction::Start { app, slot, epoch, id } => {
                    tally.starts += 1;
                    let template = view.apps[&app].template;
                    let state = TaskState::Starting;
                    let task = LocalTask { id: id.clone(), app, generation: 1, slot, epoch, template, state };
                    peer.say(&task);
                    peer.running.insert(id, task);
                }
                LocalAction::Stop { id, as_state, .. } => {
                    tally.stops += 1;
                    peer.ending.insert(id.clone(), as_state);
                    peer.turn_into(&id, TaskState::Stopping);
                }
                LocalAction::Refuse { .. } => panic!("there is room for everybody"),
            }
        }
    }

    /// What starts runs, what stops ends, and a job's task that runs is done some time.
    fn progress(&mut self, index: usize) {
        let (round, jobs_end) = (self.round, self.jobs_end);
        let job = DocId::app(&Scope::Mesh, &"default".parse().unwrap(), &"job".parse().unwrap());
        let peer = &mut self.peers[index];
        for task in peer.running.values().cloned().collect::<Vec<_>>() {
            let next = match task.state {
                TaskState::Starting => Some(TaskState::Running),
                TaskState::Running if task.app == job && jobs_end && (round + index).is_multiple_of(3) => {
                    Some(TaskState::Succeeded)
                }
                TaskState::Stopping => Some(peer.ending[&task.id]),
                _ => None,
            };
            if let Some(next) = next {
                peer.turn_into(&task.id, next);
            }
        }
    }

    /// Each peer hears from one other in a round, so that news takes its time.
    fn exchange(&mut self) {
        let count = self.peers.len();
        for index in 0..count {
            let other = (index + 1 + self.round % (count - 1)) % count;
            if self.linked[index] == self.linked[other] {
                let news = self.peers[other].docs.clone();
                self.peers[index].docs.merge(&news);
            }
        }
    }

    /// Goes on until nothing happens any more for a while.
    fn quiet(&mut self) -> Tally {
        let (mut sum, mut silent) = (Tally::default(), 0);
        for _ in 0..PATIENCE {
            let before: Vec<Docs> = self.peers.iter().map(|peer| peer.docs.clone()).collect();
            let tally = self.turn();
            let moved = before.iter().zip(&self.peers).any(|(docs, peer)| *docs != peer.docs);
            silent = if tally.total() > 0 || moved { 0 } else { silent + 1 };
            sum.starts += tally.starts;
            sum.decisions += tally.decisions;
            sum.stops += tally.stops;
            if silent > self.peers.len() {
                return sum;
            }
        }
        panic!("the mesh does not come to rest");
    }

    /// Slots of the service and the nodes that run them.
    fn runners(&self) -> BTreeMap<Slot, BTreeSet<NodeId>> {
        let web = DocId::app(&Scope::Mesh, &"default".parse().unwrap(), &"web".parse().unwrap());
        let mut runners: BTreeMap<Slot, BTreeSet<NodeId>> = BTreeMap::new();
        for peer in &self.peers {
            for task in peer.running.values().filter(|task| task.app == web && task.state == TaskState::Running) {
                runners.entry(task.slot).or_default().insert(peer.id);
            }
        }
        runners
    }

    fn partition(&mut self, groups: &[u8]) {
        self.linked = groups.to_vec();
        self.believed = groups.to_vec();
    }

    /// Both views of the slots of both apps agree, and what they say is what runs.
    fn assert_one_runner_a_slot(&self) {
        let runners = self.runners();
        assert_eq!(runners.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        for index in 0..self.peers.len() {
            let view = self.view(index);
            for app in view.apps.values() {
                let job = app.manifest.name.as_str() == "job";
                for slot in 0..app.manifest.desired_slots().unwrap() {
                    let held = holder(app, &app.slots[&slot]).expect("every slot is held");
                    let expected = if job { TaskState::Succeeded } else { TaskState::Running };
                    assert_eq!(held.state(), expected, "slot {slot} of {}", app.manifest.name);
                    if !job {
                        assert_eq!(runners[&slot], BTreeSet::from([held.placement.node]), "one runner, the holder");
                        assert_eq!(held.placement.template, app.template, "of the latest revision");
                    }
                }
            }
            let mine = self.peers[index].running.values().filter(|task| task.state == TaskState::Running);
            for task in mine {
                assert_eq!(task.template, view.apps[&task.app].template, "what runs is the latest revision");
            }
        }
    }
}

impl Peer {
    fn turn_into(&mut self, id: &TaskId, state: TaskState) {
        let task = self.running.get_mut(id).unwrap();
        task.state = state;
        let task = task.clone();
        self.say(&task);
    }

    fn say(&mut self, task: &LocalTask) {
        let entry = self.docs.statuses.entry((task.app, task.slot, task.epoch, self.id));
        let said = entry.or_insert((0, TaskStatus::new(task.state)));
        *said = (said.0 + 1, TaskStatus::new(task.state));
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Nothing but time.
    Rounds(usize),
    Partition(Vec<u8>),
    /// Documents flow again before members are seen to be alive, or the other way about.
    Reconnect {
        documents_first: bool,
    },
    /// All tasks of a node are gone; it starts again with its documents.
    Crash(usize),
    /// Somebody submits the next revision.
    Revise(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = 0..usize::from(NODES);
    let event = prop_oneof![
        3 => (1..6usize).prop_map(Event::Rounds),
        2 => prop::collection::vec(0..3u8, usize::from(NODES)).prop_map(Event::Partition),
        1 => any::<bool>().prop_map(|documents_first| Event::Reconnect { documents_first }),
        1 => node.clone().prop_map(Event::Crash),
        1 => node.prop_map(Event::Revise),
    ];
    prop::collection::vec(event, 0..12)
}

fn play(mesh: &mut Mesh, event: &Event) {
    match event {
        Event::Rounds(count) => mesh.turns(*count),
        Event::Partition(groups) => mesh.partition(groups),
        Event::Reconnect { documents_first: true } => mesh.linked.fill(0),
        Event::Reconnect { documents_first: false } => mesh.believed.fill(0),
        Event::Crash(index) => mesh.peers[*index].running.clear(),
        Event::Revise(index) => mesh.peers[*index].docs.revision += 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn whatever_happened_a_healed_mesh_converges_to_one_runner_a_slot(events in events()) {
        let mut mesh = Mesh::new();
        events.iter().for_each(|event| play(&mut mesh, event));
        mesh.partition(&[0; NODES as usize]);
        mesh.quiet();
        mesh.assert_one_runner_a_slot();
    }

    #[test]
    fn a_heal_starts_nothing_and_leaves_no_slot_without_a_runner(
        groups in prop::collection::vec(0..3u8, usize::from(NODES)),
        documents_first in any::<bool>(),
        between in 0..8usize,
    ) {
        let mut mesh = Mesh::new();
        mesh.quiet();
        mesh.partition(&groups);
        mesh.quiet();
        let before = mesh.runners();
        play(&mut mesh, &Event::Reconnect { documents_first });
        let mut starts = 0;
        let mut decisions = 0;
        for round in 0..40 {
            if round == between {
                play(&mut mesh, &Event::Reconnect { documents_first: !documents_first });
            }
            let tally = mesh.turn();
            starts += tally.starts;
            decisions += tally.decisions;
            let now = mesh.runners();
            prop_assert_eq!(now.len(), before.len(), "every slot has a runner all the time");
            prop_assert!(now.iter().all(|(slot, nodes)| nodes.is_subset(&before[slot])), "nothing moves");
        }
        prop_assert_eq!((starts, decisions), (0, 0));
        mesh.assert_one_runner_a_slot();
    }
}

#[test]
fn a_job_that_runs_on_both_sides_keeps_one_result() {
    let mut mesh = Mesh::new();
    mesh.jobs_end = false;
    mesh.turns(4);
    mesh.partition(&[0, 0, 0, 1, 1]);
    mesh.jobs_end = true;
    mesh.quiet();
    mesh.partition(&[0; NODES as usize]);
    assert_eq!(mesh.quiet().starts, 0, "what is done is done");
    mesh.assert_one_runner_a_slot();
}
