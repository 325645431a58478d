//! How a new revision replaces the old one.

use crate::world::World;
use holm_types::{
    Slot,
    view::{Liveness, TaskState},
};

const FOUR: &str = "type = \"service\"\nreplicas = 4";

/// Slots of the last decisions.
fn slots(world: &World) -> Vec<Slot> {
    world.decided().into_iter().map(|(slot, _, _)| slot).collect()
}

#[test]
fn one_slot_at_a_time_in_place_and_the_next_when_it_runs() {
    let mut world = World::of(4).with("web", FOUR).running();
    world.apply_revision("web", FOUR, 2);
    for slot in 0..4 {
        let home = world.holder("web", slot).unwrap();
        assert_eq!(world.decided(), [(slot, 2, home)]);
        world.settle();
        assert_eq!(world.decided(), [], "not before slot {slot} runs");
        world.says("web", slot, TaskState::Starting);
        assert_eq!(world.decided(), []);
        world.says("web", slot, TaskState::Running);
    }
    assert_eq!(world.decided(), []);
}

#[test]
fn as_many_at_once_as_may_be_missing() {
    let update = format!("{FOUR}\n[update]\nmax_unavailable = 3");
    let mut world = World::of(4).with("web", &update).running();
    world.apply_revision("web", &update, 2);
    assert_eq!(slots(&world), [0, 1, 2]);
    world.says("web", 3, TaskState::Starting);
    assert_eq!(slots(&world), [3, 0, 1], "what does not run is replaced first, and is one of the three");
}

#[test]
fn what_a_running_task_does_not_depend_on_replaces_nothing() {
    let mut world = World::of(4).with("web", FOUR).running();
    world.apply("web", &format!("{FOUR}\n[place]\nsite = \"home\"\n[update]\nmax_unavailable = 4"));
    assert_eq!(world.decided(), []);
}

#[test]
fn a_new_revision_that_does_not_come_up_stops_the_update() {
    let mut world = World::of(4).with("web", &format!("{FOUR}\n[restart]\npolicy = \"never\"")).running();
    world.apply_revision("web", &format!("{FOUR}\n[restart]\npolicy = \"never\""), 2);
    world.settle();
    world.says("web", 0, TaskState::Failed);
    // The old task was stopped when the new one was started in its place.
    world.slot("web", 0).assignments[0].status = Some(holm_types::view::TaskStatus::new(TaskState::Superseded));
    assert_eq!(world.decided(), []);
    world.apply_revision("web", &format!("{FOUR}\n[restart]\npolicy = \"never\""), 3);
    assert_eq!(slots(&world), [0], "the revision after it repairs the broken slot first");
}

#[test]
fn an_update_waits_for_slots_that_are_out_of_sight() {
    let mut world = World::of(4).with("web", FOUR).running();
    world.apply_revision("web", FOUR, 2);
    let node = world.holder("web", 3).unwrap();
    world.becomes(node, Liveness::Suspect);
    assert_eq!(slots(&world), [0; 0]);
    world.becomes(node, Liveness::Dead);
    assert_eq!(slots(&world), [3], "the lost one is replaced first, with the new revision");
}

#[test]
fn a_slot_that_no_node_can_take_does_not_hold_up_the_update() {
    let big = "type = \"service\"\nreplicas = 3\n[resources]\nmemory = \"600Mi\"";
    let mut world = World::of(2).with("web", big).running();
    assert_eq!(world.app("web").slots.len(), 2);
    world.apply_revision("web", big, 2);
    assert_eq!(slots(&world), [0]);
}

#[test]
fn surge_moves_to_a_free_node_so_that_nothing_is_missing() {
    let update = "type = \"service\"\nreplicas = 2\n[update]\nmax_surge = 1\nmax_unavailable = 0";
    let mut world = World::of(3).with("web", update).running();
    let spare = (1..=3).find(|n| !world.spread("web").contains_key(n)).unwrap();
    world.apply_revision("web", update, 2);
    assert_eq!(world.decided(), [(0, 2, spare)]);
    world.becomes(spare, Liveness::Dead);
    let home = world.holder("web", 0).unwrap();
    assert_eq!(world.decided(), [(0, 2, home)], "without a free node it is replaced in place");
}

#[test]
fn a_slot_whose_node_no_longer_fits_moves() {
    let mut world = World::of(2).with("web", "type = \"service\"").running();
    let home = world.holder("web", 0).unwrap();
    let other = 3 - home;
    world.node(other).site = crate::world::label("plant");
    world.apply_revision("web", "type = \"service\"\n[place]\nsite = \"plant\"", 2);
    assert_eq!(world.decided(), [(0, 2, other)]);
}

#[test]
fn a_daemon_is_updated_on_its_node_and_a_dead_gateway_holds_up_nobody() {
    let mut world = World::of(3).with("agent", "type = \"daemon\"").running();
    world.becomes(1, Liveness::Dead);
    world.apply_revision("agent", "type = \"daemon\"", 2);
    let first = world.decided();
    assert_eq!(first.len(), 1);
    world.settle();
    world.all_say("agent", TaskState::Running);
    let second = world.decided();
    let mut nodes = [first[0].2, second[0].2];
    nodes.sort_unstable();
    assert_eq!(nodes, [2, 3]);
}

#[test]
fn a_job_starts_over_what_has_not_succeeded_all_at_once() {
    let job = "type = \"job\"\ntasks = 4\nparallel = 3";
    let mut world = World::of(2).with("job", job);
    world.settle();
    world.says("job", 0, TaskState::Succeeded);
    world.says("job", 1, TaskState::Running);
    world.apply_revision("job", job, 2);
    let decided: Vec<_> = world.decided().into_iter().map(|(slot, epoch, _)| (slot, epoch)).collect();
    assert_eq!(decided, [(1, 2), (2, 2), (3, 1)]);
}

#[test]
fn in_place_needs_no_room_for_two() {
    let big = "type = \"service\"\n[resources]\nmemory = \"900Mi\"";
    let mut world = World::of(1).with("web", big).running();
    world.apply_revision("web", big, 2);
    assert_eq!(world.decided(), [(0, 2, 1)]);
    world.apply_revision("web", "type = \"service\"\n[resources]\nmemory = \"2Gi\"", 3);
    assert_eq!(world.decided(), [], "but it needs room for one");
}
