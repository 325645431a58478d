//! `app.plan`: what a submission would change, tried on the view with the scheduler that would
//! decide it, and then forgotten.

use crate::{
    Node,
    apply::{Current, check_revision, edits, read_manifest, to_json, unsupported},
};
use holm_scheduler::{Decision, Usage, acting, coordinator, decide_app, explain};
use holm_types::{
    DocId, Label, NodeId, Now, Scope, Slot, Sorted,
    api::{ApiError, ApplyParams, Plan, PlanAction, PlannedSlot, SlotRow},
    manifest::{AppType, Manifest, PartitionPolicy},
    view::{AppView, Assignment, SlotView, TaskState, View},
};
use std::{collections::BTreeSet, sync::Arc};

/// Slots that a plan tells about, and decisions that are tried for it, at most.
const MAX_PLANNED: usize = 1000;

impl Node {
    pub(crate) fn plan(&mut self, now: Now, params: &ApplyParams) -> Result<serde_json::Value, ApiError> {
        let manifest = read_manifest(params)?;
        let mut warnings = unsupported(&manifest)?;
        warnings.extend(self.lease_stays(&manifest));
        let (scope, doc) = self.place_of(&manifest)?;
        warnings.extend(self.about_namesakes(&manifest, doc));
        warnings.extend(self.about_site(&manifest));
        let current = self.current(&doc);
        check_revision(params.expected_revision, &current)?;
        let changed = !edits(&current, &manifest)?.is_empty() || current.wants_a_word();
        let before = self.state.apps().get(&doc).filter(|app| app.live).cloned();
        let changes = before.as_ref().map_or_else(Vec::new, |app| app.manifest.changes_to(&manifest));
        let (name, namespace) = (manifest.name.clone(), manifest.namespace.clone());
        let mut planned = planned_app((scope, doc), &current, before.as_ref(), manifest);
        let guards = self.new_guards(now, &doc, planned.generation, &planned.manifest)?;
        warnings.extend(self.about_guards(guards.as_ref(), &planned.manifest));
        planned.guards.extend(guards);
        let (mut slots, exists) = (self.try_out(now, planned, before.as_ref()), before.is_some());
        let more_slots = u32::try_from(slots.len().saturating_sub(MAX_PLANNED)).unwrap_or(u32::MAX);
        slots.truncate(MAX_PLANNED);
        let revision = current.revision + u64::from(changed);
        to_json(&Plan { name, namespace, revision, changed, warnings, exists, changes, slots, more_slots })
    }

    /// What would become of every slot, were `planned` the app.
    fn try_out(&mut self, now: Now, planned: AppView, before: Option<&AppView>) -> Vec<PlannedSlot> {
        let facts = self.scheduling_facts(now);
        let mut view = self.lend_view();
        let doc = planned.doc;
        let kept = view.apps.insert(doc, planned.clone());
        let site = view.site.clone();
        let cx = facts.context(self.me, MAX_PLANNED, None);
        let mut decisions = Vec::new();
        for site in deciding_sites(&view, &planned) {
            // Whoever would decide: the same function gives the same answer everywhere.
            view.site = site;
            let cx = facts.context(coordinator(&view, &planned).unwrap_or(self.me), MAX_PLANNED, None);
            decide_app(&view, &planned, &cx, &mut Usage::new(&view, &facts.free), &mut decisions);
        }
        view.site = site;
        let decided = record(&mut view, self.me, &decisions);
        let rows = view.apps.get(&doc).map_or_else(Vec::new, |app| explain(&view, app, &cx));
        let told = Trial { view: &view, planned: &planned, before, decided: &decided }.tell(rows);
        match kept {
            Some(kept) => view.apps.insert(doc, kept),
            None => view.apps.remove(&doc),
        };
        self.nodes = view.nodes;
        self.state.return_apps(view.apps);
        told
    }
}

/// As of which sites decisions are made for an app: each site decides for the slots of a daemon.
fn deciding_sites(view: &View, app: &AppView) -> BTreeSet<Option<Label>> {
    match app.manifest.kind {
        AppType::Daemon => {
            let sites = view.nodes.values().map(|node| &node.site).filter(|site| view.covers(site));
            sites.cloned().map(Some).collect()
        }
        _ => BTreeSet::from([view.site.clone()]),
    }
}

/// The app as it would be.
fn planned_app(
    (scope, doc): (Scope, DocId),
    current: &Current,
    before: Option<&AppView>,
    manifest: Manifest,
) -> AppView {
    AppView {
        doc,
        scope,
        generation: before.map_or(current.life + 1, |app| app.generation),
        live: true,
        revision: current.revision + 1,
        template: manifest.template(),
        manifest: Arc::new(manifest),
        guards: before.map_or_else(Vec::new, |app| app.guards.clone()),
        conflicts: Vec::new(),
        slots: before.map_or_else(Sorted::new, |app| app.slots.clone()),
    }
}

/// Writes the decisions into the view, as they would be written into the documents.
fn record(view: &mut View, writer: NodeId, decisions: &[Decision]) -> BTreeSet<Slot> {
    let mut decided = BTreeSet::new();
    for Decision::Assign { app, slot, epoch, placement, .. } in decisions {
        let Some(app) = view.apps.get_mut(app) else { continue };
        let assignment = Assignment {
            epoch: *epoch,
            writer,
            placement: placement.clone(),
            status: None,
            told_in: Default::default(),
        };
        app.slots.get_or_insert_with(*slot, SlotView::default).assignments.push(assignment);
        decided.insert(*slot);
    }
    decided
}

/// What the scheduler made of the planned app.
struct Trial<'a> {
    view: &'a View,
    planned: &'a AppView,
    before: Option<&'a AppView>,
    decided: &'a BTreeSet<Slot>,
}

impl Trial<'_> {
    fn tell(&self, rows: Vec<SlotRow>) -> Vec<PlannedSlot> {
        let active = rows.iter().filter(|row| is_active(row.state)).count();
        let full = active >= usize::try_from(self.planned.manifest.parallel_limit()).unwrap_or(usize::MAX);
        let wanted: BTreeSet<Slot> = rows.iter().map(|row| row.slot).collect();
        let mut slots: Vec<PlannedSlot> = rows.into_iter().map(|row| self.slot(row, full)).collect();
        let surplus = self.before.into_iter().flat_map(|app| app.slots.keys()).filter(|slot| !wanted.contains(slot));
        slots.extend(surplus.filter_map(|slot| {
            let node = self.name(&self.held(*slot)?.placement.node);
            Some(PlannedSlot { slot: *slot, action: PlanAction::Stop, node, reason: "not wanted any more".into() })
        }));
        slots
    }

    fn slot(&self, row: SlotRow, full: bool) -> PlannedSlot {
        let holder = self.held(row.slot);
        let stale = holder.is_some_and(|holder| holder.placement.template != self.planned.template);
        let job = self.planned.manifest.kind == AppType::Job;
        let action = match row.state {
            _ if self.decided.contains(&row.slot) && holder.is_some() => PlanAction::Replace,
            _ if self.decided.contains(&row.slot) => PlanAction::Start,
            TaskState::Pending if job && full => PlanAction::Wait,
            TaskState::Lost if self.waits_for_node() => PlanAction::Wait,
            TaskState::Pending | TaskState::Lost => PlanAction::Unplaced,
            state if is_active(state) && stale => PlanAction::Replace,
            _ => PlanAction::Keep,
        };
        // What is said of a task that does not exist yet says nothing.
        let reason = if self.decided.contains(&row.slot) { String::new() } else { row.reason };
        PlannedSlot { slot: row.slot, action, node: row.node, reason }
    }

    /// The task that holds a slot now, and has not ended.
    fn held(&self, slot: Slot) -> Option<&Assignment> {
        let app = self.before?;
        acting(self.view, app, app.slots.get(&slot)?).filter(|holder| !holder.state().is_terminal())
    }

    fn waits_for_node(&self) -> bool {
        let manifest = &self.planned.manifest;
        manifest.kind == AppType::Daemon || manifest.partition.policy == PartitionPolicy::Reschedule
    }

    fn name(&self, node: &NodeId) -> Option<Label> {
        self.view.nodes.get(node).map(|node| node.name.clone())
    }
}

fn is_active(state: TaskState) -> bool {
    matches!(state, TaskState::Assigned | TaskState::Starting | TaskState::Running | TaskState::Stopping)
}
