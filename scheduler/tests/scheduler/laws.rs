//! Laws that hold for every view.

use crate::world::{World, amounts, id};
use holm_scheduler::{Decision, acting, coordinator, holder, weight};
use holm_types::{
    Epoch, NodeId, Slot,
    manifest::Amounts,
    view::{Assignment, Liveness, Placement, SlotView, TaskState, TaskStatus},
};
use proptest::{prelude::*, sample::select};
use std::collections::BTreeMap;

const NODES: u8 = 5;

fn states() -> impl Strategy<Value = Option<TaskState>> {
    use TaskState::*;
    let all = [Assigned, Starting, Running, Stopping, Succeeded, Failed, Superseded, Cancelled, Lost];
    prop_oneof![1 => Just(None), 4 => select(all.to_vec()).prop_map(Some)]
}

/// A slot as documents can have it: a writer has one assignment in an epoch, and a node says one
/// thing about each of its tasks.
fn slot_views() -> impl Strategy<Value = SlotView> {
    let key = (1..4u64, 1..=4u8);
    let assignments = prop::collection::btree_map(key, 1..=NODES, 0..7);
    let statuses = prop::collection::btree_map((1..4u64, 1..=NODES), (states(), prop::bool::weighted(0.15)), 0..16);
    (assignments, statuses, any::<bool>()).prop_map(|(assignments, statuses, stale)| {
        let build = |((epoch, writer), node): ((Epoch, u8), u8)| {
            let (state, refused) = statuses.get(&(epoch, node)).copied().unwrap_or((None, false));
            let status = state.map(|state| TaskStatus { refused, ..TaskStatus::new(state) });
            let template = holm_types::Digest([u8::from(stale && epoch == 1); 32]);
            Assignment {
                epoch,
                writer: id(writer),
                placement: Placement { node: id(node), attempt: 1, template, stands_in: None },
                status,
                told_in: Default::default(),
            }
        };
        SlotView { assignments: assignments.into_iter().map(build).collect(), floor: 0 }
    })
}

fn manifests() -> impl Strategy<Value = String> {
    let service = (0..6u32, 0..3u32, 0..2u32).prop_map(|(replicas, unavailable, surge)| {
        format!(
            "type = \"service\"\nreplicas = {replicas}\n[update]\nmax_unavailable = {unavailable}\nmax_surge = {surge}"
        )
    });
    let job = (1..8u32, 1..5u32, 0..3u32).prop_map(|(tasks, parallel, retries)| {
        format!("type = \"job\"\ntasks = {tasks}\nparallel = {parallel}\nretries = {retries}")
    });
    let kinds = prop_oneof![service, job, Just("type = \"daemon\"".to_owned())];
    (kinds, 0..700u64).prop_map(|(kind, memory)| format!("{kind}\n[resources]\nmemory = \"{memory}Mi\""))
}

fn liveness() -> impl Strategy<Value = Liveness> {
    select(vec![Liveness::Alive, Liveness::Alive, Liveness::Alive, Liveness::Suspect, Liveness::Dead, Liveness::Left])
}

/// Any world: two apps with anything in their documents.
fn worlds() -> impl Strategy<Value = World> {
    let slots = prop::collection::vec((0..8u32, slot_views()), 0..8);
    let app = (manifests(), slots, any::<bool>());
    let nodes = prop::collection::vec((liveness(), prop::option::of(0..1500u64)), usize::from(NODES));
    (prop::collection::vec(app, 2), nodes, 0..40usize).prop_map(|(apps, nodes, budget)| {
        let mut world = World::of(NODES);
        for (n, (liveness, free)) in (1..).zip(nodes) {
            world.becomes(n, liveness);
            if let Some(free) = free {
                world.free.insert(id(n), amounts(4000, free));
            }
        }
        for (name, (manifest, slots, current)) in ["one", "two"].into_iter().zip(apps) {
            world.apply(name, &manifest);
            let template = world.app(name).template;
            for (slot, mut seen) in slots {
                let stale = |a: &&mut Assignment| current || a.placement.template.0[0] == 0;
                seen.assignments.iter_mut().filter(stale).for_each(|a| a.placement.template = template);
                *world.slot(name, slot) = seen;
            }
        }
        world.budget = budget;
        world
    })
}

/// Memory of what holders that have not ended are assigned on each node, and their number.
fn assigned(world: &World) -> BTreeMap<NodeId, (u64, u32)> {
    let mut sums: BTreeMap<NodeId, (u64, u32)> = BTreeMap::new();
    for app in world.view.apps.values() {
        for holder in app.slots.values().filter_map(|slot| acting(&world.view, app, slot)) {
            if !holder.state().is_terminal() {
                let sum = sums.entry(holder.placement.node).or_default();
                *sum = (sum.0 + app.manifest.resources.memory.0, sum.1 + 1);
            }
        }
    }
    sums
}

fn active(world: &World, app: &str) -> u32 {
    let app = world.app(app);
    let wanted = app.slots.range(..app.manifest.desired_slots().unwrap_or(Slot::MAX));
    let holders = wanted.filter_map(|(_, slot)| acting(&world.view, app, slot));
    let live = |node: &NodeId| matches!(world.view.nodes[node].liveness, Liveness::Alive | Liveness::Suspect);
    u32::try_from(holders.filter(|a| !a.state().is_terminal() && live(&a.placement.node)).count()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_holder_does_not_depend_on_the_order(slot in slot_views(), seed in any::<u64>(), job in any::<bool>()) {
        let world = World::of(NODES).with("web", if job { "type = \"job\"" } else { "type = \"service\"" });
        let app = world.app("web");
        let mut shuffled = slot.clone();
        shuffled.assignments.sort_by_key(|a| weight(&app.doc, &NodeId(holm_types::Digest::of("shuffle", &[
            &seed.to_be_bytes(), &a.epoch.to_be_bytes(), &a.writer.0,
        ]).0)));
        prop_assert_eq!(holder(app, &slot), holder(app, &shuffled));
        prop_assert_eq!(acting(&world.view, app, &slot), acting(&world.view, app, &shuffled));
    }

    #[test]
    fn what_holds_neither_was_refused_nor_lost(slot in slot_views()) {
        let world = World::of(NODES).with("web", "type = \"service\"");
        let held = holder(world.app("web"), &slot);
        prop_assert!(held.is_none_or(|a| !a.refused()));
        prop_assert!(held.is_none_or(|a| !matches!(a.state(), TaskState::Superseded | TaskState::Cancelled)));
        let ongoing = slot.assignments.iter().any(|a| !a.refused() && !a.state().is_terminal());
        prop_assert_eq!(ongoing, held.is_some_and(|a| !a.state().is_terminal()));
    }

    #[test]
    fn a_slot_of_a_job_that_succeeded_stays_so(before in slot_views(), more in slot_views()) {
        let world = World::of(NODES).with("job", "type = \"job\"");
        let app = world.app("job");
        let Some(first) = holder(app, &before).filter(|a| a.state() == TaskState::Succeeded) else { return Ok(()) };
        let mut after = before.clone();
        let known = |a: &Assignment| before.assignments.iter().any(|b| (a.epoch, a.writer) == (b.epoch, b.writer));
        after.assignments.extend(more.assignments.into_iter().filter(|a| !known(a)));
        let then = holder(app, &after).unwrap();
        prop_assert_eq!(then.state(), TaskState::Succeeded);
        prop_assert!(then.epoch <= first.epoch);
    }

    #[test]
    fn the_same_input_gives_the_same_output(world in worlds()) {
        prop_assert_eq!(world.decide(), world.decide());
    }

    #[test]
    fn decisions_are_within_bounds(mut world in worlds()) {
        let before = assigned(&world);
        let Some(me) = coordinator(&world.view, world.app("one")) else { return Ok(()) };
        let decisions = world.decide_as(me);
        prop_assert!(decisions.len() <= world.budget);
        let mut slots = std::collections::BTreeSet::new();
        let mut given: BTreeMap<NodeId, u64> = BTreeMap::new();
        for Decision::Assign { app, slot, epoch, placement, .. } in &decisions {
            let view = &world.view.apps[app];
            let seen = view.slots.get(slot).cloned().unwrap_or_default();
            prop_assert!(slots.insert((*app, *slot)), "a slot is decided once");
            prop_assert!(seen.assignments.iter().all(|a| a.epoch < *epoch));
            prop_assert_eq!(world.view.nodes[&placement.node].liveness, Liveness::Alive);
            let held = acting(&world.view, view, &seen);
            prop_assert!(held.is_none_or(|a| a.state().is_terminal()
                || world.view.nodes[&a.placement.node].liveness != Liveness::Alive
                || a.placement.template != view.template), "what is fine is left alone");
            if held.is_none_or(|a| a.state().is_terminal() || a.placement.node != placement.node) {
                *given.entry(placement.node).or_default() += view.manifest.resources.memory.0;
            }
        }
        for (node, memory) in given {
            let free = world.free.get(&node).map_or(u64::MAX, |free| free.memory);
            prop_assert!(memory <= free, "no more than it says it has free");
        }
        let jobs: Vec<(&str, u32)> = ["one", "two"].into_iter().map(|app| (app, active(&world, app))).collect();
        decisions.iter().for_each(|decision| world.write(decision));
        let capacity: Amounts = amounts(4000, 1024);
        for (node, (memory, _)) in assigned(&world) {
            let had = before.get(&node).map_or(0, |sum| sum.0);
            prop_assert!(memory <= capacity.memory.max(had), "{memory} on {node:?}, which had {had}");
        }
        for (app, had) in jobs {
            let manifest = &world.app(app).manifest;
            if manifest.kind == holm_types::manifest::AppType::Job {
                prop_assert!(active(&world, app) <= manifest.parallel_limit().max(had));
            }
        }
    }

    #[test]
    fn deciding_comes_to_an_end_and_then_nothing_is_decided(mut world in worlds()) {
        world.budget = 3;
        for _ in 0..200 {
            if world.settle() == 0 {
                break;
            }
            for app in ["one", "two"] {
                world.all_say(app, TaskState::Running);
            }
        }
        prop_assert_eq!(world.decide(), vec![]);
    }

    #[test]
    fn where_all_is_well_nothing_is_decided(manifest in manifests(), me in 1..=NODES) {
        let mut world = World::of(NODES).with("one", &manifest).running();
        world.free = world.view.nodes.keys().map(|node| (*node, amounts(0, 0))).collect();
        prop_assert_eq!(world.decide_as(id(me)), vec![]);
    }
}
