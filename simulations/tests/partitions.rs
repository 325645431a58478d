//! What a fleet owner fears, over the cores that ship, in virtual time, over many seeds.

use holm_simulations::{Crash, HostId, World};
use holm_types::api::{ListParams, Request};
use std::{collections::BTreeSet, time::Duration};

const SEEDS: u64 = 20;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn service(name: &str, replicas: u32) -> String {
    format!("name = \"{name}\"\ntype = \"service\"\nreplicas = {replicas}\n[run.process]\ncommand = [\"serve\"]\n")
}

fn job(name: &str, tasks: u32) -> String {
    format!(
        "name = \"{name}\"\ntype = \"job\"\ntasks = {tasks}\nparallel = 10\n[run.process]\ncommand = [\"work\"]\n[env]\nSIM_RUN_MS = \"300\"\n"
    )
}

/// Two cloud hosts and three at a shop, settled.
fn fleet(seed: u64) -> (World, Vec<HostId>, Vec<HostId>) {
    let mut world = World::new(seed);
    let cloud = vec![world.add("cloud-1", "cloud"), world.add("cloud-2", "cloud")];
    let shop = vec![world.add("shop-1", "shop"), world.add("shop-2", "shop"), world.add("shop-3", "shop")];
    world.run(seconds(10));
    (world, cloud, shop)
}

fn names(world: &mut World, host: HostId) -> Vec<String> {
    let answer = world.ask(host, Request::AppList(ListParams::default())).expect("a list");
    let items = answer["items"].as_array().expect("items").clone();
    items.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_dead_host_is_replaced_and_its_return_restarts_nothing() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 3)).unwrap();
        world.run(seconds(5));
        let before = world.runners("web");
        assert!(world.each_slot_once("web", 3), "seed {seed}: {before:?}");
        let victim = before[0].host;
        world.crash(victim, Crash::PowerLoss);
        world.run(seconds(7));
        assert!(world.each_slot_once("web", 3), "seed {seed}: {:?}", world.runners("web"));
        world.start(victim);
        world.run(seconds(30));
        let after = world.runners("web");
        assert!(world.each_slot_once("web", 3), "seed {seed}: {after:?}");
        for runner in before.iter().filter(|r| r.host != victim) {
            assert!(after.contains(runner), "seed {seed}: {runner:?} was healthy, now {after:?}");
        }
        let all: Vec<_> = cloud.iter().chain(&shop).copied().collect();
        assert!(world.converged(&all), "seed {seed}");
    }
}

#[test]
fn both_sides_of_a_cut_take_deployments_and_merge_without_a_restart() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("base", 3)).unwrap();
        world.run(seconds(5));
        world.cut(&shop);
        world.run(seconds(15));
        world.apply(cloud[1], &service("in-cloud", 2)).unwrap();
        world.apply(shop[1], &service("in-shop", 3)).unwrap();
        world.run(seconds(10));
        assert!(world.each_slot_once("in-cloud", 2), "seed {seed}");
        assert!(world.each_slot_once("in-shop", 3), "seed {seed}");
        let (in_cloud, in_shop) = (world.runners("in-cloud"), world.runners("in-shop"));
        world.heal();
        world.run(seconds(60));
        assert_eq!(world.runners("in-cloud"), in_cloud, "seed {seed}: restarted or moved by the heal");
        assert_eq!(world.runners("in-shop"), in_shop, "seed {seed}: restarted or moved by the heal");
        assert!(world.each_slot_once("base", 3), "seed {seed}: {:?}", world.runners("base"));
        let all: Vec<_> = cloud.iter().chain(&shop).copied().collect();
        assert!(world.converged(&all), "seed {seed}");
        for host in all {
            assert_eq!(names(&mut world, host).len(), 3, "seed {seed}: every app is known everywhere");
        }
    }
}

#[test]
fn a_lone_host_runs_its_tasks_again_from_its_own_disk() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 5)).unwrap();
        world.run(seconds(5));
        let lone = shop[0];
        let own = world.runners("web").into_iter().filter(|r| r.host == lone).count();
        assert_eq!(own, 1, "seed {seed}: spread over the nodes");
        for host in cloud.iter().chain(&shop) {
            world.crash(*host, Crash::PowerLoss);
        }
        world.run(seconds(5));
        world.start(lone);
        world.run(seconds(1));
        assert_eq!(world.runners("web").len(), 1, "seed {seed}: it starts its own at once");
        world.run(seconds(15));
        assert!(world.each_slot_once("web", 5), "seed {seed}: then takes over those of the missing");
    }
}

#[test]
fn tasks_outlive_the_agent_and_are_adopted() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 5)).unwrap();
        world.run(seconds(5));
        let before = world.runners("web");
        for host in &shop {
            world.crash(*host, Crash::Agent);
        }
        world.run(seconds(2));
        for host in &shop {
            world.start(*host);
        }
        world.run(seconds(30));
        assert_eq!(world.runners("web"), before, "seed {seed}");
    }
}

#[test]
fn a_job_is_done_once_each_slot_though_a_host_dies_midway() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(shop[0], &job("count", 120)).unwrap();
        world.run(seconds(1));
        world.crash(shop[2], Crash::PowerLoss);
        world.run(seconds(40));
        let name = "count".parse().unwrap();
        let params = holm_types::api::ResultParams { name, namespace: None, site: None, slot: None };
        let results = world.ask(cloud[0], Request::AppResult(params)).unwrap();
        let rows = results.as_array().unwrap();
        let slots: Vec<u64> = rows.iter().map(|r| r["slot"].as_u64().unwrap()).collect();
        assert_eq!(slots, (0..120).collect::<Vec<_>>(), "seed {seed}");
        assert!(rows.iter().all(|r| r["exit_code"] == 0), "seed {seed}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_loss_right_after() {
    for seed in 0..SEEDS {
        let (mut world, cloud, _) = fleet(seed);
        world.apply(cloud[0], &service("kept", 1)).unwrap();
        world.crash(cloud[0], Crash::PowerLoss);
        world.cut(&[cloud[0]]);
        world.start(cloud[0]);
        assert_eq!(names(&mut world, cloud[0]), ["kept"], "seed {seed}");
    }
}

#[test]
fn removal_and_scaling_stop_tasks_and_a_new_life_starts_afresh() {
    let (mut world, cloud, shop) = fleet(1);
    world.apply(cloud[0], &service("web", 4)).unwrap();
    world.run(seconds(5));
    world.apply(shop[0], &service("web", 2)).unwrap();
    world.run(seconds(5));
    assert!(world.each_slot_once("web", 2), "{:?}", world.runners("web"));
    world.delete(shop[1], "web").unwrap();
    world.run(seconds(5));
    assert!(world.runners("web").is_empty());
    world.apply(cloud[1], &service("web", 3)).unwrap();
    world.run(seconds(5));
    assert!(world.each_slot_once("web", 3), "{:?}", world.runners("web"));
}

#[test]
fn a_node_that_joins_a_busy_mesh_disturbs_nothing() {
    for seed in 0..SEEDS {
        let (mut world, cloud, _) = fleet(seed);
        for n in 0..6 {
            world.apply(cloud[0], &service(&format!("web-{n}"), 4)).unwrap();
        }
        world.run(seconds(5));
        let before: Vec<_> = (0..6).map(|n| world.runners(&format!("web-{n}"))).collect();
        world.add("late", "shop");
        world.run(seconds(30));
        let after: Vec<_> = (0..6).map(|n| world.runners(&format!("web-{n}"))).collect();
        assert_eq!(after, before, "seed {seed}");
        assert!((0..6).all(|n| world.starts(&format!("web-{n}-")).values().all(|starts| *starts == 1)), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 3)).unwrap();
        world.cut(&shop);
        world.run(seconds(20));
        world.heal();
        world.run(seconds(20));
        (world.runners("web"), world.starts("web"))
    };
    assert_eq!(run(3), run(3));
}

#[test]
fn what_ran_through_a_cut_keeps_its_slot_and_who_stood_in_gives_way() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 10)).unwrap();
        world.run(seconds(5));
        let before = world.runners("web");
        assert!(world.each_slot_once("web", 10), "seed {seed}: {before:?}");
        // One host is cut off for longer than it takes to be held for dead: it takes over what all the others run,
        // and they what it runs.
        world.cut(&[shop[0]]);
        world.run(seconds(9));
        assert!(world.runners("web").len() > 10, "seed {seed}: both sides stand in");
        world.heal();
        world.run(seconds(40));
        assert_eq!(world.runners("web"), before, "seed {seed}: it was healthy all the time");
    }
}

#[test]
fn a_line_that_comes_and_goes_does_not_move_tasks_for_ever() {
    for seed in 0..SEEDS {
        let (mut world, cloud, shop) = fleet(seed);
        world.apply(cloud[0], &service("web", 3)).unwrap();
        world.run(seconds(5));
        let before = world.runners("web");
        let mut stand_ins = Vec::new();
        for _ in 0..8 {
            world.cut(&shop);
            let mut started = BTreeSet::new();
            for _ in 0..8 {
                world.run(seconds(1));
                started.extend(world.runners("web").into_iter().filter(|runner| !before.contains(runner)));
            }
            stand_ins.push(started.len());
            world.heal();
            world.run(seconds(12));
        }
        assert!(stand_ins[..2].iter().all(|n| *n > 0), "seed {seed}: a first loss is made good: {stand_ins:?}");
        assert!(stand_ins[2..].iter().all(|n| *n == 0), "seed {seed}: and then it is no loss: {stand_ins:?}");
        assert_eq!(world.runners("web"), before, "seed {seed}: what ran all the time still does");
        // One that stays away is replaced in the end.
        let victim = before[0].host;
        world.crash(victim, Crash::PowerLoss);
        world.run(seconds(135));
        let after = world.runners("web");
        assert!(world.each_slot_once("web", 3) && after.iter().all(|r| r.host != victim), "seed {seed}: {after:?}");
    }
}
