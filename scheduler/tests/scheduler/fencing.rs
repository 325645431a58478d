//! Fenced apps: nothing is decided without their guards, and a loser makes way before the winner runs.

use crate::world::{World, amounts, id, label};
use holm_scheduler::{LocalAction, LocalTask, explain, rank_guards, reconcile};
use holm_types::{
    fence::GuardSet,
    manifest::Place,
    view::{Liveness, TaskState},
};
use std::{collections::BTreeMap, time::Duration};

const PRESS: &str = "type = \"service\"\n[partition]\npolicy = \"fence\"";

/// A world with a fenced app, guarded by the first three nodes.
fn press(nodes: u8) -> World {
    let mut world = World::of(nodes).with("press", PRESS);
    let guards = GuardSet::choose(&[id(1), id(2), id(3)], Duration::from_secs(10)).unwrap();
    world.app_mut("press").guards = vec![guards];
    world
}

fn reason(world: &World) -> String {
    let rows = explain(&world.view, world.app("press"), &world.context(id(1)));
    rows[0].reason.clone()
}

#[test]
fn nothing_is_decided_where_most_guards_are_out_of_sight() {
    let mut world = press(5);
    world.becomes(1, Liveness::Dead);
    world.becomes(2, Liveness::Dead);
    assert_eq!(world.settle(), 0);
    assert_eq!(reason(&world), "fence: 1 of 3 guards in sight, 2 needed");
    world.becomes(2, Liveness::Suspect);
    assert_eq!(world.settle(), 1);
}

#[test]
fn of_two_sets_of_guards_both_have_to_be_in_sight() {
    let mut world = press(5);
    let other = GuardSet::choose(&[id(5)], Duration::from_secs(10)).unwrap();
    world.app_mut("press").guards.push(other);
    world.becomes(5, Liveness::Dead);
    assert_eq!(world.settle(), 0);
    assert_eq!(reason(&world), "fence: 0 of 1 guards in sight, 1 needed");
}

#[test]
fn an_app_without_guards_is_not_placed() {
    let mut world = World::of(3).with("press", PRESS);
    assert_eq!(world.settle(), 0);
    assert_eq!(reason(&world), "it is fenced and has no guards: remove it and submit it again");
}

#[test]
fn guards_are_the_same_whoever_is_in_sight_and_those_of_its_site_for_an_app_of_a_site() {
    let mut world = World::of(6).at(2, "plant").at(5, "plant");
    let doc = world.doc("press");
    let all = rank_guards(&world.view, &doc, &Place::default());
    world.becomes(1, Liveness::Dead);
    assert_eq!(rank_guards(&world.view, &doc, &Place::default()), all);
    assert_eq!(all.len(), 6);
    world.node(3).described = false;
    assert_eq!(rank_guards(&world.view, &doc, &Place::default()).len(), 5, "a bootstrap server is none");
    let place = Place { site: Some(label("plant")), ..Place::default() };
    let mut there = rank_guards(&world.view, &doc, &place);
    there.sort_unstable();
    assert_eq!(there, [id(2), id(5)]);
}

#[test]
fn who_lost_a_fenced_slot_makes_way_before_the_winner_runs() {
    let mut world = press(3);
    world.in_state("press", 0, 1, 1, TaskState::Running);
    world.assigned("press", 0, 2, 2);
    let app = world.app("press");
    let loser = &app.slots[&0].assignments[0];
    let task = LocalTask {
        id: app.task_id(0, loser),
        app: app.doc,
        generation: 1,
        slot: 0,
        epoch: 1,
        template: app.template,
        state: TaskState::Running,
    };
    let running = BTreeMap::from([(task.id.clone(), task.clone())]);
    let actions = reconcile(&world.view, &id(1), &running, &amounts(4000, 1024), 10);
    let stopped = |action: &LocalAction| matches!(action, LocalAction::Stop { id, as_state: TaskState::Superseded, .. } if *id == task.id);
    assert!(actions.iter().any(stopped), "{actions:?}");
    // Not for a node that may not be there at all.
    world.becomes(2, Liveness::Suspect);
    let actions = reconcile(&world.view, &id(1), &running, &amounts(4000, 1024), 10);
    assert!(!actions.iter().any(stopped), "{actions:?}");
}
