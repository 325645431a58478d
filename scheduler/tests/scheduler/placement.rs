//! Where a task goes.

use crate::world::{World, amounts, id, in_a_container};
use holm_scheduler::{Decision, MAX_TASKS_PER_NODE, coordinator, decide};
use holm_types::{
    manifest::{AppType, PartitionPolicy, Run, WasmRun},
    view::{AppView, Liveness, TaskState},
};
use std::collections::BTreeMap;

const SERVICE: &str = "type = \"service\"";

#[test]
fn replicas_go_to_different_nodes() {
    let mut world = World::of(3).with("web", "type = \"service\"\nreplicas = 3");
    assert_eq!(world.settle(), 3);
    assert_eq!(world.spread("web"), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
    assert_eq!(world.settle(), 0, "what is assigned is not assigned again");
}

#[test]
fn a_first_decision_has_epoch_and_attempt_one_and_the_template() {
    let world = World::of(1).with("web", SERVICE);
    let [Decision::Assign { app, generation, slot, epoch, placement }] = &world.decide()[..] else { panic!() };
    let view = world.app("web");
    assert_eq!((app, *generation, *slot, *epoch), (&view.doc, 1, 0, 1));
    assert_eq!((placement.node, placement.attempt, placement.template), (id(1), 1, view.template));
}

#[test]
fn only_the_coordinator_decides() {
    let world = World::of(5).with("web", SERVICE);
    let chosen = coordinator(&world.view, world.app("web")).unwrap();
    for n in 1..=5 {
        assert_eq!(world.decide_as(id(n)).len(), usize::from(id(n) == chosen));
    }
}

#[test]
fn who_has_not_described_itself_decides_nothing() {
    let mut world = World::of(2).with("web", SERVICE);
    let first = coordinator(&world.view, world.app("web")).unwrap();
    world.node(first.0[0]).described = false;
    let other = coordinator(&world.view, world.app("web")).unwrap();
    assert_ne!(other, first, "a bootstrap server is alive, and holds no documents");
    assert_eq!(world.decide_as(other).len(), 1);
}

#[test]
fn when_the_coordinator_dies_another_goes_on() {
    let mut world = World::of(5).with("web", SERVICE);
    let first = coordinator(&world.view, world.app("web")).unwrap();
    world.becomes(first.0[0], Liveness::Suspect);
    assert_eq!(coordinator(&world.view, world.app("web")), Some(first), "a suspect node still coordinates");
    world.becomes(first.0[0], Liveness::Dead);
    assert_ne!(coordinator(&world.view, world.app("web")), Some(first));
    assert_eq!(world.decide().len(), 1);
}

#[test]
fn place_is_obeyed() {
    let world = || World::of(4).at(2, "plant").labelled(3, "region", "eu").labelled(3, "pool", "gold");
    for (place, node) in [
        ("site = \"plant\"", 2),
        ("region = \"eu\"", 3),
        ("pool = \"gold\"", 3),
        ("labels = { region = \"eu\", pool = \"gold\" }", 3),
        ("arch = \"aarch64\"", 4),
    ] {
        let mut world = world();
        world.info(4).arch = "aarch64".into();
        let world = world.with("web", &format!("{SERVICE}\n[place]\n{place}"));
        assert_eq!(world.decided(), [(0, 1, node)], "{place}");
    }
    let world = world().with("web", &format!("{SERVICE}\n[place]\nlabels = {{ region = \"us\" }}"));
    assert_eq!(world.decided(), []);
}

#[test]
fn preferred_labels_decide_between_equals_and_the_first_counts_most() {
    let world = || World::of(4).labelled(2, "disk", "ssd").labelled(3, "zone", "a").labelled(3, "disk", "ssd");
    let one = world().with("web", &format!("{SERVICE}\n[place]\nprefer = [\"zone=a\", \"disk=ssd\"]"));
    assert_eq!(one.decided(), [(0, 1, 3)]);
    let first = world()
        .labelled(4, "fast", "yes")
        .with("web", &format!("{SERVICE}\n[place]\nprefer = [\"fast=yes\", \"zone=a\", \"disk=ssd\"]"));
    assert_eq!(first.decided(), [(0, 1, 4)]);
}

#[test]
fn spread_over_sites_comes_before_spread_over_nodes() {
    let world = World::of(4).at(4, "plant");
    let mut world = world.with("web", "type = \"service\"\nreplicas = 4\n[place]\nspread = \"site\"");
    world.settle();
    assert_eq!(world.spread("web")[&4], 2, "half of them are at the other site, though it has one node");
}

#[test]
fn a_node_gets_no_more_than_it_has() {
    let asks = "type = \"service\"\nreplicas = 10\n[resources]\nmemory = \"512Mi\"";
    let mut world = World::of(2).with("web", asks);
    assert_eq!(world.settle(), 4, "two tasks of 512 MiB on each node of 1 GiB");
    let mut world = world.with("other", "type = \"service\"\n[resources]\nmemory = \"1Mi\"");
    assert_eq!(world.settle(), 0, "another app finds nothing either");
    world.app_mut("web").live = false;
    assert_eq!(world.settle(), 1, "a removed app needs nothing");
}

#[test]
fn what_nodes_say_they_have_free_counts_when_it_is_less() {
    let asks = "type = \"service\"\nreplicas = 3\n[resources]\nmemory = \"512Mi\"";
    let mut world = World::of(2).with("web", asks);
    world.free.insert(id(1), amounts(4000, 100));
    world.free.insert(id(2), amounts(4000, 600));
    assert_eq!(world.decided(), [(0, 1, 2)]);
    world.free.insert(id(1), amounts(9000, 9000));
    assert_eq!(world.decided().len(), 3, "a node that says it has more than its capacity is not believed");
}

#[test]
fn extended_resources_are_counted_by_name() {
    let mut world = World::of(2).with("ml", "type = \"service\"\nreplicas = 3\n[resources.extended]\ngpu = 1");
    assert_eq!(world.decided(), []);
    world.info(2).capacity.extended.insert("gpu".into(), 2);
    assert_eq!(world.decided(), [(0, 1, 2), (1, 1, 2)]);
}

#[test]
fn the_least_loaded_node_is_taken() {
    let mut world = World::of(2)
        .with("big", "type = \"service\"\n[resources]\ncpu = 3")
        .with("web", "type = \"service\"\n[resources]\ncpu = \"100m\"");
    world.in_state("big", 0, 1, 1, TaskState::Running);
    assert_eq!(world.decided(), [(0, 1, 2)]);
    world.apply("web", SERVICE);
    assert_eq!(world.decided(), [(0, 1, 2)], "without requests, tasks are counted");
}

#[test]
fn nobody_is_given_work_but_live_nodes_that_said_what_they_have() {
    let mut world = World::of(4).with_capacity(4, amounts(0, 0)).with("web", "type = \"service\"\nreplicas = 9");
    world.becomes(1, Liveness::Suspect);
    world.becomes(2, Liveness::Dead);
    world.settle();
    assert_eq!(world.spread("web"), BTreeMap::from([(3, 9)]));
}

#[test]
fn a_node_has_a_thousand_tasks_at_most() {
    let mut world = World::of(1).with("web", "type = \"service\"\nreplicas = 1500");
    assert_eq!(world.settle(), usize::try_from(MAX_TASKS_PER_NODE).unwrap());
    assert_eq!(world.settle(), 0);
}

#[test]
fn a_call_keeps_to_its_budget_and_the_next_one_goes_on() {
    let mut world = World::of(3).with("web", "type = \"service\"\nreplicas = 20");
    world.budget = 7;
    assert_eq!([world.settle(), world.settle(), world.settle(), world.settle()], [7, 7, 6, 0]);
    assert_eq!(world.spread("web").values().sum::<u32>(), 20);
}

#[test]
fn what_is_more_important_is_placed_first() {
    let class = |class: &str| format!("{SERVICE}\n[resources]\nmemory = \"600Mi\"\n[priority]\nclass = \"{class}\"");
    for (high, low) in [("aa", "zz"), ("zz", "aa")] {
        let mut world =
            World::of(1).with(low, &class("best-effort")).with(high, &class("high")).with("mid", &class("normal"));
        assert_eq!(world.settle(), 1);
        assert_eq!(world.holder(high, 0), Some(1));
    }
}

#[test]
fn a_daemon_runs_once_on_every_node_that_fits() {
    let mut world = World::of(4).at(4, "plant").with("agent", "type = \"daemon\"\n[place]\nsite = \"home\"");
    world.becomes(3, Liveness::Suspect);
    world.settle();
    assert_eq!(world.spread("agent"), BTreeMap::from([(1, 1), (2, 1)]));
    assert_eq!(world.holder("agent", AppView::daemon_slot(&id(2))), Some(2));
    world.becomes(3, Liveness::Alive);
    world.add_node(5);
    world.settle();
    assert_eq!(world.spread("agent"), BTreeMap::from([(1, 1), (2, 1), (3, 1), (5, 1)]));
}

#[test]
fn a_job_has_no_more_active_tasks_than_it_may() {
    let mut world = World::of(3).with("job", "type = \"job\"\ntasks = 10\nparallel = 4");
    assert_eq!(world.settle(), 4);
    assert_eq!(world.app("job").slots.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    world.says("job", 1, TaskState::Succeeded);
    world.says("job", 2, TaskState::Running);
    world.settle();
    assert_eq!(world.app("job").slots.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn ten_thousand_slots_are_decided_in_one_call() {
    let mut world = World::of(40).with("job", "type = \"job\"\ntasks = 10000\nparallel = 10000");
    assert_eq!(world.settle(), 10_000);
    assert!(world.spread("job").values().all(|count| *count == 250));
    assert_eq!(world.settle(), 0);
}

#[test]
fn what_this_version_does_not_run_is_left_alone() {
    let mut world = World::of(2);
    world.apply_unknown("box", SERVICE, in_a_container);
    world.apply_unknown("wasm", SERVICE, |m| m.run = Run::Wasm(WasmRun { component: "a.wasm".into() }));
    world.apply_unknown("cron", SERVICE, |m| m.kind = AppType::Cron);
    world.apply_unknown("fence", SERVICE, |m| m.partition.policy = PartitionPolicy::Fence);
    assert_eq!(world.decided(), []);
}

#[test]
fn a_node_that_is_not_a_member_decides_nothing() {
    let world = World::of(2).with("web", SERVICE);
    assert!(decide(&world.view, &world.context(id(99))).is_empty());
}
