//! Fenced apps: nothing is decided without their guards, and a loser makes way before the winner runs.

use crate::world::{World, amounts, id, label};
use holm_scheduler::{LocalAction, LocalTask, acting, explain, guards_for, reconcile};
use holm_types::{
    NodeId, Scope, Wall,
    fence::GuardSet,
    view::{Liveness, StandsIn, TaskState, TaskStatus},
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

fn guards_at(world: &World, scope: &Scope) -> Vec<NodeId> {
    let doc = world.doc("press");
    guards_for(&world.view, &doc, scope, Duration::from_secs(10)).map_or_else(Vec::new, |set| set.members)
}

#[test]
fn an_app_of_no_site_is_guarded_by_keepers_whoever_is_in_sight() {
    let mut world = World::of(7).keeper(2).keeper(4).keeper(5).at(5, "plant");
    assert_eq!(guards_at(&world, &Scope::Mesh), [id(2), id(4), id(5)]);
    world.becomes(4, Liveness::Dead);
    assert_eq!(guards_at(&world, &Scope::Mesh), [id(2), id(4), id(5)]);
    world.node(4).described = false;
    assert_eq!(
        guards_at(&world, &Scope::Mesh).len(),
        1,
        "a bootstrap server is none, and two agree no better than one"
    );
    assert_eq!(guards_at(&World::of(7), &Scope::Mesh), []);
}

#[test]
fn guards_of_a_site_are_the_same_wherever_it_is_submitted() {
    // What a keeper knows, and what a node of the plant does.
    let all = World::of(9).at(2, "plant").at(5, "plant").keeper(6).keeper(7);
    let mut near = World::of(9).at(2, "plant").at(5, "plant").keeper(6).keeper(7);
    near.view.nodes.retain(|_, node| node.site == label("plant") || node.is_keeper());
    let plant = Scope::Site(label("plant"));
    assert_eq!(guards_at(&all, &plant), guards_at(&near, &plant));
    assert_eq!(guards_at(&all, &Scope::Mesh), guards_at(&near, &Scope::Mesh));
}

#[test]
fn an_app_of_a_site_is_guarded_there_and_a_keeper_breaks_the_tie() {
    let plant = Scope::Site(label("plant"));
    let mut world = World::of(6).at(2, "plant").at(5, "plant").keeper(6);
    assert_eq!(guards_at(&world, &plant), [id(2), id(5), id(6)]);
    world.becomes(6, Liveness::Dead);
    assert_eq!(guards_at(&world, &plant), [id(2), id(5), id(6)]);
    let world = world.at(1, "plant");
    assert_eq!(guards_at(&world, &plant), [id(1), id(2), id(5)], "the site needs nobody");
    let alone = World::of(3).at(2, "plant").keeper(1);
    assert_eq!(guards_at(&alone, &plant), [id(2)], "there is nobody else who could run it");
    let nobody = World::of(3).keeper(1);
    assert_eq!(guards_at(&nobody, &plant), [id(1)], "a keeper holds the site, others do not");
    assert_eq!(guards_at(&World::of(3), &plant), []);
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

/// The node of a task that was cut off is heard again before it has said that its lease has ended it.
#[test]
fn a_stand_in_that_has_run_gives_way_to_no_old_words_of_the_run_before() {
    let mut world = press(3);
    let running = |at| TaskStatus { started_at: Some(Wall(at)), ..TaskStatus::new(TaskState::Running) };
    world.assigned("press", 0, 1, 1).status = Some(running(5_000));
    let heir = world.assigned("press", 0, 2, 2);
    heir.placement.stands_in = Some(StandsIn { epoch: 1, node: id(1), started_at: Wall(5_000) });
    let acts = |world: &World| acting(&world.view, world.app("press"), &world.app("press").slots[&0]).map(|a| a.epoch);
    assert_eq!(acts(&world), Some(1), "the heir waits for the lease, which the other may have kept");
    world.slot("press", 0).assignments[1].status = Some(running(30_000));
    assert_eq!(acts(&world), Some(2), "it has had the lease, so the other's is over");
}
