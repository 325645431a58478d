//! `app.plan` says what `app.apply` then does, and does nothing itself.

use holm_simulations::{HostId, World};
use holm_types::api::{AppRef, ApplyParams, Plan, PlanAction, Request};
use std::time::Duration;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn plan(world: &mut World, host: HostId, manifest: &str) -> Plan {
    let params =
        ApplyParams { manifest: None, text: Some(manifest.into()), expected_revision: None, idempotency_key: None };
    serde_json::from_value(world.ask(host, Request::AppPlan(params)).expect("a plan")).expect("in its shape")
}

fn service(replicas: u32, env: &str, place: &str) -> String {
    format!(
        "name = \"web\"\ntype = \"service\"\nreplicas = {replicas}\nenv = {{ V = \"{env}\" }}\n\
         [run.process]\ncommand = [\"serve\"]\n[place]\n{place}"
    )
}

fn node_of(hosts: &[HostId], host: HostId) -> String {
    format!("n-{}", hosts.iter().position(|other| *other == host).expect("one of them"))
}

fn actions(plan: &Plan) -> Vec<PlanAction> {
    plan.slots.iter().map(|slot| slot.action).collect()
}

#[test]
fn a_plan_of_a_new_app_names_the_nodes_that_then_run_it() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let hosts: Vec<_> = (0..4).map(|i| world.add(&format!("n-{i}"), "here")).collect();
        world.run(seconds(10));
        let told = plan(&mut world, hosts[1], &service(3, "1", ""));
        assert!(told.changed && !told.exists && told.changes.is_empty(), "{told:?}");
        assert_eq!(actions(&told), [PlanAction::Start; 3]);
        world.run(seconds(5));
        assert!(world.runners("web").is_empty(), "a plan does nothing");
        assert!(
            world
                .ask(hosts[1], Request::AppGet(AppRef { name: "web".parse().unwrap(), namespace: None, site: None }))
                .is_none()
        );
        world.apply(hosts[2], &service(3, "1", "")).unwrap();
        world.run(seconds(5));
        let mut planned: Vec<_> =
            told.slots.iter().map(|slot| slot.node.clone().expect("a node").to_string()).collect();
        let mut running: Vec<_> = world.runners("web").iter().map(|r| node_of(&hosts, r.host)).collect();
        planned.sort();
        running.sort();
        assert_eq!(planned, running, "seed {seed}");
    }
}

#[test]
fn a_plan_of_a_change_tells_what_stays_goes_and_finds_no_node() {
    let mut world = World::new(7);
    let hosts: Vec<_> = (0..3).map(|i| world.add(&format!("n-{i}"), "here")).collect();
    world.run(seconds(10));
    world.apply(hosts[0], &service(3, "1", "")).unwrap();
    world.run(seconds(5));
    let before = world.runners("web");

    let same = plan(&mut world, hosts[0], &service(3, "1", ""));
    assert!(!same.changed && same.exists && same.changes.is_empty(), "{same:?}");
    assert_eq!(actions(&same), [PlanAction::Keep; 3]);

    let fewer = plan(&mut world, hosts[0], &service(1, "1", ""));
    assert_eq!(actions(&fewer), [PlanAction::Keep, PlanAction::Stop, PlanAction::Stop]);

    let newer = plan(&mut world, hosts[0], &service(4, "2", ""));
    let changes: Vec<_> = newer.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(changes, ["env.V", "replicas"]);
    assert_eq!(actions(&newer)[..3], [PlanAction::Replace; 3]);
    assert_eq!(newer.slots[3].action, PlanAction::Start);

    let nowhere = plan(&mut world, hosts[0], &service(4, "1", "labels = { on = \"moon\" }"));
    assert_eq!(nowhere.slots[3].action, PlanAction::Unplaced, "{nowhere:?}");
    assert!(nowhere.slots[3].reason.contains("no node fits"), "{}", nowhere.slots[3].reason);

    world.run(seconds(5));
    assert_eq!(world.runners("web"), before, "plans do nothing");
}

#[test]
fn the_tasks_of_a_job_that_wait_their_turn_are_no_trouble() {
    let mut world = World::new(3);
    let host = world.add("n-0", "here");
    world.run(seconds(10));
    let job = "name = \"j\"\ntype = \"job\"\ntasks = 5000\nparallel = 2\n[run.process]\ncommand = [\"work\"]";
    let told = plan(&mut world, host, job);
    let of = |action| told.slots.iter().filter(|slot| slot.action == action).count();
    assert_eq!((of(PlanAction::Start), of(PlanAction::Wait), of(PlanAction::Unplaced)), (2, 998, 0));
    assert_eq!(told.more_slots, 4000);
}
