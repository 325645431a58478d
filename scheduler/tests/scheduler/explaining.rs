//! What a user is told.

use crate::world::{World, amounts, id, in_a_container};
use holm_scheduler::{app_row, coordinator, explain};
use holm_types::{
    api::AppState,
    manifest::AppType,
    view::{Liveness, TaskState, TaskStatus},
};
use std::{sync::Arc, time::Duration};

/// (state, node, reason) of each slot.
fn told(world: &World, app: &str) -> Vec<(TaskState, Option<String>, String)> {
    let rows = explain(&world.view, world.app(app), &world.context(id(1)));
    rows.into_iter().map(|row| (row.state, row.node.map(|node| node.to_string()), row.reason)).collect()
}

fn reason(world: &World, app: &str) -> String {
    told(world, app).remove(0).2
}

#[test]
fn why_no_node_fits() {
    let mut world = World::of(5).at(4, "plant");
    for n in 1..=3 {
        world.info(n).capacity = amounts(1000, 32);
    }
    world.becomes(5, Liveness::Dead);
    let asks = "type = \"service\"\n[resources]\nmemory = \"64Mi\"\n[place]\nsite = \"home\"";
    let world = world.with("web", asks);
    let expected = "no node fits: 3 nodes lack memory (want 64Mi), 1 is at another site, 1 is dead";
    assert_eq!(told(&world, "web"), [(TaskState::Pending, None, expected.to_owned())]);
}

#[test]
fn every_obstacle_has_its_words() {
    let place = "type = \"service\"\n[place]\nregion = \"eu\"\npool = \"gold\"\narch = \"aarch64\"\n[place.labels]\ntier = \"a\"";
    let world = World::of(1).with("web", place);
    assert_eq!(reason(&world, "web"), "no node fits: 1 node is in another region");
    let world = world.labelled(1, "region", "eu");
    assert_eq!(reason(&world, "web"), "no node fits: 1 node is in another pool");
    let mut world = world.labelled(1, "pool", "gold");
    assert_eq!(reason(&world, "web"), "no node fits: 1 node has another architecture");
    world.info(1).arch = "aarch64".into();
    assert_eq!(reason(&world, "web"), "no node fits: 1 node lacks the label tier=a");
    let mut world = world.labelled(1, "tier", "a").with_capacity(1, amounts(0, 0));
    assert_eq!(reason(&world, "web"), "no node fits: 1 node has not said what it has");
    for (liveness, says) in
        [(Liveness::Suspect, "is suspect"), (Liveness::Dead, "is dead"), (Liveness::Left, "has left")]
    {
        world.becomes(1, liveness);
        assert_eq!(reason(&world, "web"), format!("no node fits: 1 node {says}"));
    }
    assert_eq!(reason(&World::of(0).with("web", "type = \"service\""), "web"), "no node is known");
}

#[test]
fn what_is_lacking_is_named_with_the_amount() {
    for (resource, says) in [
        ("cpu = 8", "lack cpu (want 8000m)"),
        ("memory = \"2Gi\"", "lack memory (want 2Gi)"),
        ("disk = \"1Mi\"", "lack disk (want 1Mi)"),
        ("extended = { gpu = 2 }", "lack gpu (want 2)"),
    ] {
        let world = World::of(2).with("web", &format!("type = \"service\"\n[resources]\n{resource}"));
        assert_eq!(reason(&world, "web"), format!("no node fits: 2 nodes {says}"));
    }
}

#[test]
fn refusals_are_quoted() {
    let mut world = World::of(2).with("web", "type = \"service\"");
    world.refused("web", 0, 1, 1, "not enough memory: 64Mi wanted, 0 left");
    world.refused("web", 0, 2, 2, "");
    let expected = "no node fits: 1 node refused, 1 refused (not enough memory: 64Mi wanted, 0 left)";
    assert_eq!(reason(&world, "web"), expected);
}

#[test]
fn a_long_list_of_obstacles_is_cut() {
    let mut world = World::of(9).with("web", "type = \"service\"");
    for n in 1..=9 {
        world.refused("web", 0, u64::from(n), n, &format!("reason {n}"));
    }
    assert!(reason(&world, "web").ends_with("1 refused (reason 6), and 3 more"), "{}", reason(&world, "web"));
}

#[test]
fn who_has_not_decided_yet() {
    let mut world = World::of(3).with("web", "type = \"service\"");
    let chosen = coordinator(&world.view, world.app("web")).unwrap();
    assert_eq!(reason(&world, "web"), format!("not decided yet by node n{}", chosen.0[0]));
    world.settle();
    let (state, node, reason) = told(&world, "web").remove(0);
    assert_eq!((state, reason.as_str()), (TaskState::Assigned, "its node has not answered yet"));
    assert!(node.is_some());
}

#[test]
fn what_became_of_the_node() {
    let mut world = World::of(1).with("web", "type = \"service\"").running();
    assert_eq!(told(&world, "web"), [(TaskState::Running, Some("n1".into()), String::new())]);
    world.becomes(1, Liveness::Suspect);
    assert_eq!(reason(&world, "web"), "its node is suspect: not heard from in time");
    world.becomes(1, Liveness::Dead);
    let expected = "node n1 is dead; no node fits: 1 node is dead";
    assert_eq!(told(&world, "web"), [(TaskState::Lost, Some("n1".into()), expected.into())]);
    world.apply("web", "type = \"service\"\n[partition]\npolicy = \"reschedule\"\nafter = \"2m\"");
    world.dead_for.insert(id(1), Duration::from_secs(12));
    assert_eq!(reason(&world, "web"), "node n1 is dead for 12s; placed again after 2m");
    world.apply("web", "type = \"service\"");
    world.flaps.insert(id(1), 3);
    let expected = "node n1 is dead for 12s, as 3 times lately before it came back; placed again after 30s";
    assert_eq!(reason(&world, "web"), expected);
    world.view.nodes.clear();
    assert_eq!(reason(&world, "web"), "node 0101010101010101 is not known here; no node is known");
}

#[test]
fn a_job_says_what_it_waits_for() {
    let mut world = World::of(1).with("job", "type = \"job\"\ntasks = 3\nparallel = 1");
    world.settle();
    let rows = told(&world, "job");
    assert_eq!(rows[1], (TaskState::Pending, None, "waits its turn: 1 of at most 1 tasks are active".into()));
    let exit = TaskStatus { exit_code: Some(3), ..TaskStatus::new(TaskState::Failed) };
    world.slot("job", 0).assignments[0].status = Some(exit);
    assert_eq!(told(&world, "job")[0].2, "exit code 3; tried again: not decided yet by node n1");
    world.apply("job", "type = \"job\"\ntasks = 3\nretries = 0");
    assert_eq!(told(&world, "job")[0], (TaskState::Failed, Some("n1".into()), "exit code 3".into()));
}

#[test]
fn an_old_revision_and_an_unsupported_app_are_named() {
    let mut world = World::of(1).with("web", "type = \"service\"").running();
    world.apply_revision("web", "type = \"service\"", 2);
    assert_eq!(reason(&world, "web"), "it has an older revision and is replaced when its turn comes");
    world.apply_unknown("box", "type = \"service\"", in_a_container);
    assert_eq!(reason(&world, "box"), "this version does not run containers");
    let view = world.app_mut("web");
    Arc::make_mut(&mut view.manifest).kind = AppType::Cron;
    view.slots.clear();
    assert_eq!(reason(&world, "web"), "this version does not run apps of type \"cron\"");
}

#[test]
fn a_daemon_speaks_of_its_node() {
    let mut world = World::of(2).with("agent", "type = \"daemon\"\n[resources]\ncpu = 1").running();
    world.becomes(2, Liveness::Dead);
    assert_eq!(told(&world, "agent")[1], (TaskState::Lost, Some("n2".into()), "node n2 is dead".into()));
    world.add_node(3);
    world.info(3).capacity = amounts(100, 1);
    assert_eq!(told(&world, "agent")[2].2, "node n3 lacks cpu (want 1000m)");
    let row = app_row(&world.view, world.app("agent"));
    assert_eq!((row.desired, row.running, row.state), (2, 1, AppState::Pending));
}

#[test]
fn an_app_in_one_row() {
    let row = |world: &World, app: &str| {
        let row = app_row(&world.view, world.app(app));
        (row.desired, row.running, row.state)
    };
    let mut world = World::of(2).with("web", "type = \"service\"\nreplicas = 2");
    assert_eq!(row(&world, "web"), (2, 0, AppState::Pending));
    world.settle();
    world.says("web", 0, TaskState::Running);
    assert_eq!(row(&world, "web"), (2, 1, AppState::Pending));
    world.says("web", 1, TaskState::Running);
    assert_eq!(row(&world, "web"), (2, 2, AppState::Running));
    world.apply("none", "type = \"service\"\nreplicas = 0");
    assert_eq!(row(&world, "none"), (0, 0, AppState::Running));
    world.app_mut("web").live = false;
    assert_eq!(row(&world, "web").2, AppState::Removing);
    assert_eq!(told(&world, "web")[0].2, "the app was removed");
    world.all_say("web", TaskState::Cancelled);
    assert_eq!(told(&world, "web"), []);

    world.apply("job", "type = \"job\"\ntasks = 2\nretries = 0");
    world.settle();
    assert_eq!(row(&world, "job"), (2, 0, AppState::Pending));
    world.says("job", 0, TaskState::Running);
    assert_eq!(row(&world, "job"), (2, 0, AppState::Running));
    world.says("job", 0, TaskState::Succeeded);
    assert_eq!(row(&world, "job"), (2, 1, AppState::Pending));
    let unfinished = world.slot("job", 1).clone();
    world.says("job", 1, TaskState::Failed);
    assert_eq!(row(&world, "job"), (2, 1, AppState::Failed));
    *world.slot("job", 1) = unfinished;
    world.says("job", 1, TaskState::Succeeded);
    assert_eq!(row(&world, "job"), (2, 2, AppState::Succeeded));
}
