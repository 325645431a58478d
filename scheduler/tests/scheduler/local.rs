//! What a node does about its own tasks. The node is `n1`.

use crate::world::{World, amounts, id, in_a_container};
use holm_scheduler::{LocalAction, LocalTask, reconcile};
use holm_types::{
    Digest, Epoch, Slot, TaskId,
    manifest::Amounts,
    view::{Liveness, TaskState, TaskStatus},
};
use std::collections::BTreeMap;

const TWO: &str = "type = \"service\"\nreplicas = 2\n[resources]\nmemory = \"64Mi\"";

/// What `n1` does, in words.
fn actions(world: &World, running: &[LocalTask]) -> Vec<String> {
    actions_within(world, running, &amounts(4000, 1024), 100)
}

fn actions_within(world: &World, running: &[LocalTask], capacity: &Amounts, max_tasks: u32) -> Vec<String> {
    let running: BTreeMap<TaskId, LocalTask> = running.iter().map(|task| (task.id.clone(), task.clone())).collect();
    let actions = reconcile(&world.view, &id(1), &running, capacity, max_tasks);
    let tell = |action: LocalAction| match action {
        LocalAction::Start { slot, epoch, .. } => format!("start {slot}/{epoch}"),
        LocalAction::Stop { id, as_state, reason } => {
            format!("{as_state} {}/{}: {reason}", running[&id].slot, running[&id].epoch)
        }
        LocalAction::Refuse { slot, epoch, reason, .. } => format!("refuse {slot}/{epoch}: {reason}"),
    };
    actions.into_iter().map(tell).collect()
}

/// A task that runs on `n1`.
fn task(world: &World, app: &str, slot: Slot, epoch: Epoch) -> LocalTask {
    let view = world.app(app);
    let id = TaskId::new(&view.manifest.name, &view.doc, view.generation, slot, epoch, &id(1));
    LocalTask {
        id,
        app: view.doc,
        generation: view.generation,
        slot,
        epoch,
        template: view.template,
        state: TaskState::Running,
    }
}

fn in_state(mut task: LocalTask, state: TaskState) -> LocalTask {
    task.state = state;
    task
}

#[test]
fn what_it_holds_it_starts_once() {
    let mut world = World::of(2).with("web", TWO);
    world.assigned("web", 0, 1, 1);
    world.assigned("web", 1, 1, 2);
    assert_eq!(actions(&world, &[]), ["start 0/1"]);
    for state in [TaskState::Starting, TaskState::Running, TaskState::Stopping, TaskState::Failed] {
        assert_eq!(actions(&world, &[in_state(task(&world, "web", 0, 1), state)]), [""; 0], "{state}");
    }
}

#[test]
fn a_task_that_the_documents_have_as_running_and_that_is_gone_is_started_again() {
    let mut world = World::of(1).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    assert_eq!(actions(&world, &[]), ["start 0/1"]);
    world.apply_revision("web", TWO, 2);
    assert_eq!(actions(&world, &[]), ["start 0/1"], "whatever the revision is by now");
    world.says("web", 0, TaskState::Succeeded);
    assert_eq!(actions(&world, &[]), [""; 0], "what has ended is not");
}

#[test]
fn an_assignment_that_came_before_its_manifest_waits_for_it() {
    let mut world = World::of(1).with("web", TWO);
    world.assigned("web", 0, 1, 1).placement.template = Digest([9; 32]);
    assert_eq!(actions(&world, &[]), [""; 0]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let mut world = World::of(1).with("web", TWO);
    world.assigned("web", 0, 1, 1);
    world.assigned("web", 1, 1, 1);
    let acted = actions_within(&world, &[], &amounts(4000, 100), 100);
    assert_eq!(acted, ["start 0/1", "refuse 1/1: not enough memory: 64Mi wanted, 36Mi left"]);
    let acted = actions_within(&world, &[task(&world, "web", 0, 1)], &amounts(4000, 100), 100);
    assert_eq!(acted, ["refuse 1/1: not enough memory: 64Mi wanted, 36Mi left"]);
    let ended = in_state(task(&world, "web", 0, 1), TaskState::Succeeded);
    assert_eq!(actions_within(&world, &[ended], &amounts(4000, 100), 100), ["start 1/1"]);
    let acted = actions_within(&world, &[], &amounts(4000, 1024), 1);
    assert_eq!(acted, ["start 0/1", "refuse 1/1: no place for another task: 1 of 1 are taken"]);
}

#[test]
fn the_more_important_app_gets_the_room() {
    let class =
        |class: &str| format!("type = \"service\"\n[resources]\nmemory = \"64Mi\"\n[priority]\nclass = \"{class}\"");
    for (high, low) in [("aa", "zz"), ("zz", "aa")] {
        let mut world = World::of(1).with(high, &class("high")).with(low, &class("best-effort"));
        world.assigned(high, 0, 7, 1);
        world.assigned(low, 0, 8, 1);
        let acted = actions_within(&world, &[], &amounts(4000, 100), 100);
        assert!(acted[0].starts_with("start 0/7") && acted[1].starts_with("refuse 0/8"), "{acted:?}");
    }
}

#[test]
fn what_is_not_wanted_any_more_is_cancelled() {
    let mut world = World::of(1).with("web", TWO);
    world.in_state("web", 1, 1, 1, TaskState::Running);
    let running = [task(&world, "web", 1, 1)];
    world.apply("web", "type = \"service\"\nreplicas = 1");
    assert_eq!(actions(&world, &running), ["cancelled 1/1: its app was scaled down to 1"]);
    assert_eq!(actions(&world, &[]), [""; 0], "nor is it started");
    world.app_mut("web").live = false;
    assert_eq!(actions(&world, &running), ["cancelled 1/1: its app was removed"]);
    world.app_mut("web").live = true;
    world.app_mut("web").generation = 3;
    assert_eq!(actions(&world, &running), ["cancelled 1/1: its app was removed and submitted anew"]);
    world.view.apps.clear();
    assert_eq!(actions(&world, &running), ["cancelled 1/1: its app was removed"]);
}

#[test]
fn nothing_is_stopped_twice() {
    let world = World::of(1).with("web", TWO);
    let running = [task(&world, "web", 5, 1)];
    assert_eq!(actions(&world, &running).len(), 1);
    for state in [TaskState::Stopping, TaskState::Cancelled, TaskState::Succeeded] {
        assert_eq!(actions(&world, &[in_state(running[0].clone(), state)]), [""; 0]);
    }
}

#[test]
fn who_lost_the_slot_stops_when_the_winner_runs_and_not_before() {
    let mut world = World::of(2).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    world.assigned("web", 0, 2, 2);
    let running = [task(&world, "web", 0, 1)];
    assert_eq!(actions(&world, &running), [""; 0]);
    world.says("web", 0, TaskState::Starting);
    assert_eq!(actions(&world, &running), [""; 0]);
    world.says("web", 0, TaskState::Running);
    assert_eq!(actions(&world, &running), ["superseded 0/1: epoch 2 on n2 holds its slot"]);
    for gone in [Liveness::Suspect, Liveness::Dead, Liveness::Left] {
        world.becomes(2, gone);
        assert_eq!(actions(&world, &running), [""; 0], "{gone:?}");
    }
}

#[test]
fn in_place_the_old_task_stops_first() {
    let mut world = World::of(1).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    world.assigned("web", 0, 2, 1);
    let old = task(&world, "web", 0, 1);
    let room_for_one = amounts(100, 64);
    let act = |world: &World, running: &[LocalTask]| actions_within(world, running, &room_for_one, 1);
    assert_eq!(act(&world, std::slice::from_ref(&old)), ["superseded 0/1: epoch 2 replaces it here"]);
    assert_eq!(act(&world, &[in_state(old.clone(), TaskState::Stopping)]), [""; 0]);
    assert_eq!(act(&world, &[in_state(old, TaskState::Superseded)]), ["start 0/2"]);
}

#[test]
fn in_place_the_old_task_goes_on_when_the_new_one_cannot_start() {
    let mut world = World::of(1).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    let old = [task(&world, "web", 0, 1)];
    world.assigned("web", 0, 2, 1).placement.template = Digest([9; 32]);
    assert_eq!(actions(&world, &old), [""; 0], "its manifest is not here yet");
    world.slot("web", 0).assignments.pop();
    world.apply("web", "type = \"service\"\nreplicas = 2\n[resources]\nmemory = \"2Gi\"");
    world.assigned("web", 0, 2, 1);
    assert_eq!(actions(&world, &old), ["refuse 0/2: not enough memory: 2Gi wanted, 0 left"]);
}

#[test]
fn a_job_that_was_done_elsewhere_is_cancelled_here() {
    let mut world = World::of(2).with("job", "type = \"job\"");
    world.in_state("job", 0, 2, 1, TaskState::Running);
    world.in_state("job", 0, 1, 2, TaskState::Succeeded);
    world.becomes(2, Liveness::Dead);
    assert_eq!(actions(&world, &[task(&world, "job", 0, 2)]), ["cancelled 0/2: its slot was done by n2"]);
    assert_eq!(actions(&world, &[]), [""; 0]);
}

#[test]
fn of_two_assignments_in_one_epoch_for_one_node_the_right_revision_runs() {
    let mut world = World::of(1).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    let mut wrong = task(&world, "web", 0, 1);
    assert_eq!(actions(&world, std::slice::from_ref(&wrong)), [""; 0]);
    wrong.template = Digest([9; 32]);
    let expected = ["cancelled 0/1: it was started from another revision than the one it was assigned for"];
    assert_eq!(actions(&world, std::slice::from_ref(&wrong)), expected);
}

#[test]
fn a_node_that_leaves_keeps_its_tasks_until_others_run_them() {
    let mut world = World::of(2).with("web", TWO);
    world.in_state("web", 0, 1, 1, TaskState::Running);
    let running = [task(&world, "web", 0, 1)];
    world.becomes(1, Liveness::Left);
    assert_eq!(actions(&world, &running), [""; 0]);
    world.assigned("web", 0, 2, 2);
    assert_eq!(actions(&world, &running), [""; 0]);
    world.says("web", 0, TaskState::Running);
    assert_eq!(actions(&world, &running), ["superseded 0/1: epoch 2 on n2 holds its slot"]);
}

#[test]
fn an_assignment_of_what_this_version_does_not_run_is_refused() {
    let mut world = World::of(1);
    world.apply_unknown("box", "type = \"service\"", in_a_container);
    world.assigned("box", 0, 1, 1);
    assert_eq!(actions(&world, &[]), ["refuse 0/1: this version does not run containers"]);
}

#[test]
fn a_refused_assignment_holds_nothing_here() {
    let mut world = World::of(1).with("web", TWO);
    world.refused("web", 0, 1, 1, "no");
    assert_eq!(actions(&world, &[]), [""; 0]);
    let status = TaskStatus::new(TaskState::Running);
    world.assigned("web", 0, 2, 1).status = Some(status);
    assert_eq!(actions(&world, &[task(&world, "web", 0, 2)]), [""; 0]);
}
