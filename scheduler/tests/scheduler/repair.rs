//! What happens when nodes go, tasks fail and nodes refuse.

use crate::world::{World, amounts, id};
use holm_scheduler::{Decision, MAX_REFUSALS, acting};
use holm_types::{
    Incarnation,
    view::{Liveness, StandsIn, TaskState, TaskStatus},
};
use std::time::Duration;

const THREE: &str = "type = \"service\"\nreplicas = 3";

#[test]
fn a_dead_nodes_tasks_go_elsewhere_at_once() {
    for gone in [Liveness::Dead, Liveness::Left] {
        let mut world = World::of(4).with("web", THREE).running();
        let lost = world.holder("web", 1).unwrap();
        world.becomes(lost, gone);
        let decided = world.decide();
        let [Decision::Assign { slot, epoch, placement, .. }] = &decided[..] else { panic!("{decided:?}") };
        assert_eq!((*slot, *epoch, placement.attempt), (1, 2, 2));
        assert!(!world.spread("web").contains_key(&placement.node.0[0]), "it goes to the node that has none yet");
    }
}

#[test]
fn a_node_that_no_view_knows_is_gone_too() {
    let mut world = World::of(2).with("web", "type = \"service\"");
    world.in_state("web", 0, 5, 77, TaskState::Running);
    assert_eq!(world.decided().iter().map(|(slot, epoch, _)| (*slot, *epoch)).collect::<Vec<_>>(), [(0, 6)]);
}

#[test]
fn nothing_is_done_about_a_suspect_node() {
    let mut world = World::of(3).with("web", THREE).running();
    world.becomes(1, Liveness::Suspect);
    assert_eq!(world.decided(), []);
}

#[test]
fn reschedule_waits_as_long_as_it_says() {
    let policy = |after: &str| format!("{THREE}\n[partition]\npolicy = \"reschedule\"\n{after}");
    for (after, short, enough) in [("", 29, 30), ("after = \"2m\"", 119, 120)] {
        let mut world = World::of(3).with("web", &policy(after)).running();
        world.becomes(2, Liveness::Dead);
        assert_eq!(world.decided(), [], "nobody said how long");
        world.dead_for.insert(id(2), Duration::from_secs(short));
        assert_eq!(world.decided(), []);
        world.dead_for.insert(id(2), Duration::from_secs(enough));
        assert_eq!(world.decided().len(), 1);
        world.dead_for.clear();
        world.becomes(2, Liveness::Left);
        assert_eq!(world.decided().len(), 1, "a node that left does not come back");
    }
}

#[test]
fn a_daemon_is_never_moved() {
    let mut world = World::of(3).with("agent", "type = \"daemon\"").running();
    world.becomes(2, Liveness::Dead);
    assert_eq!(world.decided(), []);
    world.becomes(2, Liveness::Left);
    assert_eq!(world.decided(), []);
    world.becomes(2, Liveness::Alive);
    assert_eq!(world.decided(), []);
}

#[test]
fn a_lost_holder_is_not_replaced_while_another_runner_stands_in() {
    let mut world = World::of(3).with("web", "type = \"service\"");
    world.in_state("web", 0, 1, 2, TaskState::Running);
    world.in_state("web", 0, 2, 3, TaskState::Running);
    world.becomes(3, Liveness::Dead);
    assert_eq!(world.decided(), [], "news from behind the broken link starts nothing");
    world.becomes(2, Liveness::Dead);
    assert_eq!(world.decided(), [(0, 3, 1)]);
}

#[test]
fn a_stand_in_gives_way_to_a_run_that_goes_on_and_not_to_old_words_of_it() {
    let mut world = World::of(3).with("web", "type = \"service\"");
    let started_at = holm_types::Wall(5_000);
    let running = |started_at| TaskStatus { started_at: Some(started_at), ..TaskStatus::new(TaskState::Running) };
    let first = world.assigned("web", 0, 1, 2);
    (first.status, first.told_in) = (Some(running(started_at)), Incarnation(7));
    let second = world.assigned("web", 0, 2, 3);
    second.status = Some(running(holm_types::Wall(60_000)));
    second.placement.stands_in = Some(StandsIn { epoch: 1, node: id(2), started_at });
    let acts = |world: &World| acting(&world.view, world.app("web"), &world.app("web").slots[&0]).map(|a| a.epoch);

    world.node(2).life = Some(Incarnation(7));
    assert_eq!(acts(&world), Some(1), "it was only out of sight");
    world.node(2).life = Some(Incarnation(8));
    assert_eq!(acts(&world), Some(2), "it was started again, and has not said yet what became of its task");
    world.slot("web", 0).assignments[0].told_in = Incarnation(8);
    assert_eq!(acts(&world), Some(1), "the task was adopted");
    world.slot("web", 0).assignments[0].status = Some(running(holm_types::Wall(70_000)));
    assert_eq!(acts(&world), Some(2), "it is another run");
}

#[test]
fn a_failed_task_of_a_job_is_tried_again_on_other_nodes_as_often_as_it_says() {
    for (retries, tries) in [("", 3), ("retries = 0", 1), ("retries = 1", 2)] {
        let mut world = World::of(3).with("job", &format!("type = \"job\"\n{retries}"));
        let mut nodes = Vec::new();
        for attempt in 1..=tries {
            let decided = world.decide();
            let [Decision::Assign { placement, .. }] = &decided[..] else { panic!("attempt {attempt}: {decided:?}") };
            assert_eq!(placement.attempt, attempt);
            nodes.push(placement.node);
            world.settle();
            world.says("job", 0, TaskState::Failed);
        }
        assert_eq!(world.decided(), [], "then it stays failed");
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), usize::try_from(tries).unwrap(), "each time on another node");
    }
}

#[test]
fn a_failing_task_is_not_tried_for_ever_because_its_first_node_was_lost() {
    let mut world = World::of(3).with("job", "type = \"job\"");
    world.in_state("job", 0, 1, 3, TaskState::Running);
    world.becomes(3, Liveness::Dead);
    let mut tries = 0;
    while world.settle() > 0 {
        tries += 1;
        assert!(tries < 10, "it never stops");
        let last = world.slot("job", 0).assignments.last_mut().unwrap();
        last.status = Some(holm_types::view::TaskStatus::new(TaskState::Failed));
    }
    assert_eq!(tries, 3, "a lost attempt is no failure");
}

#[test]
fn a_new_revision_of_a_failed_job_is_tried_afresh_and_what_succeeded_stays() {
    let mut world = World::of(2).with("job", "type = \"job\"\ntasks = 2\nretries = 0");
    world.settle();
    world.says("job", 0, TaskState::Failed);
    world.says("job", 1, TaskState::Succeeded);
    assert_eq!(world.decided(), []);
    world.apply_revision("job", "type = \"job\"\ntasks = 2\nretries = 0", 2);
    assert_eq!(world.decided().iter().map(|(slot, epoch, _)| (*slot, *epoch)).collect::<Vec<_>>(), [(0, 2)]);
}

#[test]
fn a_services_task_that_ended_under_its_restart_policy_is_left_alone() {
    for policy in ["never", "on-failure"] {
        for end in [TaskState::Failed, TaskState::Succeeded] {
            let mut world = World::of(2).with("web", &format!("type = \"service\"\n[restart]\npolicy = \"{policy}\""));
            world.settle();
            world.says("web", 0, end);
            assert_eq!(world.decided(), [], "{policy}, {end}");
        }
    }
}

#[test]
fn a_service_that_a_node_cannot_run_is_tried_elsewhere_but_not_for_ever() {
    let mut world = World::of(2).with("web", "type = \"service\"");
    let mut tries = 0;
    while world.settle() > 0 {
        tries += 1;
        world.says("web", 0, TaskState::Failed);
        assert!(tries < 10, "it never stops");
    }
    assert_eq!(tries, 3);
}

#[test]
fn who_refused_is_not_asked_again_until_it_has_room() {
    let mut world = World::of(2).with("web", "type = \"service\"\n[resources]\nmemory = \"64Mi\"");
    world.refused("web", 0, 1, 1, "not enough memory");
    assert_eq!(world.decided(), [(0, 2, 2)]);
    world.refused("web", 0, 2, 2, "not enough memory");
    assert_eq!(world.decided(), []);
    world.free.insert(id(1), amounts(100, 63));
    assert_eq!(world.decided(), []);
    world.free.insert(id(1), amounts(100, 64));
    let decided = world.decide();
    let [Decision::Assign { epoch: 3, placement, .. }] = &decided[..] else { panic!("{decided:?}") };
    assert_eq!((placement.node, placement.attempt), (id(1), 1), "a refusal is no attempt");
}

#[test]
fn a_node_that_always_refuses_is_left_in_peace() {
    let mut world = World::of(1).with("web", "type = \"service\"");
    world.free.insert(id(1), amounts(1000, 1000));
    let mut asked = 0;
    while let [(slot, epoch, node)] = world.decided()[..] {
        world.refused("web", slot, epoch, node, "no");
        asked += 1;
        assert!(asked < 100, "it never stops");
    }
    assert_eq!(asked, MAX_REFUSALS);
    world.apply_revision("web", "type = \"service\"", 2);
    assert_eq!(world.decided().len(), 1, "another template is another question");
}

#[test]
fn one_slots_refusal_does_not_keep_other_slots_from_a_node() {
    let mut world = World::of(1).with("web", "type = \"service\"\nreplicas = 2");
    world.refused("web", 0, 1, 1, "no");
    assert_eq!(world.decided(), [(1, 1, 1)]);
}

#[test]
fn what_was_scaled_down_and_up_again_is_placed_anew() {
    let mut world = World::of(3).with("web", THREE).running();
    world.says("web", 2, TaskState::Cancelled);
    world.apply("web", "type = \"service\"\nreplicas = 2");
    assert_eq!(world.decided(), []);
    world.apply("web", THREE);
    let decided = world.decided();
    assert_eq!(decided.iter().map(|(slot, epoch, _)| (*slot, *epoch)).collect::<Vec<_>>(), [(2, 2)]);
}

#[test]
fn a_node_that_comes_and_goes_gets_more_and_more_time_to_come_back() {
    // Returns lately, and the patience in seconds.
    for (flaps, patience) in [(1, 0), (2, 15), (3, 30), (4, 60), (5, 120), (8, 120)] {
        let mut world = World::of(3).with("web", THREE).running();
        world.becomes(2, Liveness::Dead);
        world.flaps.insert(id(2), flaps);
        if patience > 0 {
            world.dead_for.insert(id(2), Duration::from_secs(patience - 1));
            assert_eq!(world.decided(), [], "after {flaps} flaps");
        }
        world.dead_for.insert(id(2), Duration::from_secs(patience));
        assert_eq!(world.decided().len(), 1, "after {flaps} flaps it is not waited for for ever");
        world.dead_for.clear();
        world.becomes(2, Liveness::Left);
        assert_eq!(world.decided().len(), 1, "a node that left does not come back");
    }
}

#[test]
fn the_longer_of_two_patiences_counts() {
    let policy = format!("{THREE}\n[partition]\npolicy = \"reschedule\"\nafter = \"20s\"");
    for (flaps, patience) in [(0, 20), (2, 20), (3, 30)] {
        let mut world = World::of(3).with("web", &policy).running();
        world.becomes(2, Liveness::Dead);
        world.flaps.insert(id(2), flaps);
        world.dead_for.insert(id(2), Duration::from_secs(patience - 1));
        assert_eq!(world.decided(), []);
        world.dead_for.insert(id(2), Duration::from_secs(patience));
        assert_eq!(world.decided().len(), 1);
    }
}

#[test]
fn a_node_that_comes_and_goes_is_placed_on_last() {
    let mut world = World::of(3).with("web", THREE);
    // One loss says nothing about a node.
    world.flaps.insert(id(1), 1);
    assert_eq!(world.placed_on().len(), 3);
    world.flaps.insert(id(2), 2);
    let nodes = world.placed_on();
    assert!(!nodes.contains(&2), "{nodes:?}");
    world.flaps.insert(id(1), 3);
    world.flaps.insert(id(3), 4);
    assert_eq!(world.placed_on(), [2].into(), "where nobody is steady, the steadiest");
}

#[test]
fn a_node_that_refused_is_asked_after_the_others() {
    let mut world = World::of(3).with("web", "type = \"service\"");
    let first = world.placed_on().into_iter().next().unwrap();
    world.refused("web", 0, 1, first, "its disk is full");
    assert!(!world.placed_on().contains(&first));
}
