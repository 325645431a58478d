//! Requests that only read: all answered from the view.

use crate::{Node, apply::to_json, finding::namespace_or_default};
use holm_scheduler::{Context, app_row, explain, holder};
use holm_state::Quarantined;
use holm_types::{
    Digest, DocId, Label, NodeId, Now, Scope, Slot,
    api::{
        ApiError, AppRef, AppStatus, ListParams, MeshStatus, NodeRow, Page, Path, RefusedRow, Request, ResultParams,
        ResultRow,
    },
    manifest::{Amounts, AppType},
    view::{AppView, Liveness, NodeView, TaskState, View},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const MAX_PAGE: usize = 1000;

impl Node {
    pub(crate) fn query(&mut self, now: Now, request: &Request) -> Result<Value, ApiError> {
        match request {
            Request::MeshStatus => to_json(&self.mesh_status()),
            Request::MeshRefused => self.refused(),
            Request::NodeList(params) => {
                let mut rows = self.node_rows();
                rows.retain(|row| params.site.as_ref().is_none_or(|site| row.site == *site));
                page(rows, params, |row| row.id.to_string())
            }
            Request::AppList(params) => {
                self.must_hold(params.site.as_ref())?;
                let rows = self.with_view(|_, view| app_rows(view, params));
                page(rows, params, |row| {
                    format!("{}/{}/{}", row.namespace, row.name, row.site.as_ref().map_or("", Label::as_str))
                })
            }
            Request::TaskList(params) => {
                self.must_hold(params.site.as_ref())?;
                self.task_page(params)
            }
            Request::AppGet(app) => self.app_status(now, app),
            Request::AppResult(params) => self.results(params),
            Request::TaskGet(task) => self.task(&task.id),
            _ => Err(ApiError::Internal("not a query".into())),
        }
    }

    fn mesh_status(&self) -> MeshStatus {
        let mut counters: BTreeMap<String, u64> =
            self.counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        for (name, n) in self.state.counters() {
            counters.insert(format!("state_{name}"), *n);
        }
        let mut heads: BTreeMap<String, Digest> =
            self.state.scopes().into_iter().map(|scope| (scope.to_string(), self.state.digest(&scope))).collect();
        heads.entry("mesh".into()).or_insert_with(|| self.state.digest(&holm_types::Scope::Mesh));
        MeshStatus {
            mesh: self.config.mesh_name.clone(),
            mesh_id: self.config.mesh.to_string(),
            node: self.claims.name.clone(),
            node_id: self.me,
            site: self.claims.site.clone(),
            ready: true,
            peers: u32::try_from(self.peers.len()).unwrap_or(u32::MAX),
            documents: u32::try_from(self.state.document_count()).unwrap_or(u32::MAX),
            heads,
            held: self.held(),
            counters,
            // The network's to say; who asks it fills this in.
            reach: Default::default(),
        }
    }

    fn refused(&self) -> Result<Value, ApiError> {
        let refused = self.state.quarantined().map_err(|e| ApiError::Internal(e.to_string()))?;
        let row = |refused: &Quarantined| RefusedRow {
            at: refused.at,
            author: self.name_of(&refused.author),
            revoked: self.state.members().get(&refused.author).is_some_and(|member| member.revoked),
            document: refused.doc.to_string(),
            why: refused.why.clone(),
        };
        to_json(&refused.iter().rev().map(row).collect::<Vec<_>>())
    }

    fn node_rows(&self) -> Vec<NodeRow> {
        let row = |(id, node): (&NodeId, &holm_types::view::NodeView)| {
            let presence = self.members.presence(id);
            let own = *id == self.me;
            NodeRow {
                id: *id,
                name: node.name.clone(),
                site: node.site.clone(),
                roles: node.roles.clone(),
                state: node.liveness,
                revoked: self.state.members().get(id).is_some_and(|member| member.revoked),
                seen: own || node.described || presence.is_some(),
                path: match self.peers.get(id) {
                    _ if own => Path::Own,
                    // Its connection may not be known to be closed yet.
                    _ if node.liveness == Liveness::Dead => Path::Unknown,
                    Some(peer) if peer.relayed => Path::Relayed,
                    Some(_) => Path::Direct,
                    None => Path::Unknown,
                },
                rtt_ms: None,
                labels: node.info.labels.clone(),
                addresses: match presence {
                    _ if own => self.announced().to_vec(),
                    Some(presence) => presence.addresses.clone().unwrap_or_default(),
                    None => self.healer.addresses(id).to_vec(),
                },
                version: node.info.version.clone(),
                schema: node.info.schema,
                running: if own { self.tasks.running_count() } else { presence.and_then(|p| p.running).unwrap_or(0) },
            }
        };
        // A node of another site speaks here only while it runs what belongs to no site.
        let concerns = |node: &NodeView| node.is_keeper() || node.liveness != Liveness::Dead || self.covers(&node.site);
        self.nodes.iter().filter(|(_, node)| concerns(node)).map(row).collect()
    }

    fn covers(&self, site: &Label) -> bool {
        self.claims.holds(&Scope::Site(site.clone()))
    }

    pub(crate) fn app_status(&mut self, now: Now, app: &AppRef) -> Result<Value, ApiError> {
        let (_, doc) = self.find_app(app)?;
        let facts = self.scheduling_facts(now);
        let status = self.with_view(|node, view| {
            let found = view.apps.get(&doc).filter(|app| app.live)?;
            let cx = facts.context(node.me, 0, None);
            let row = app_row(view, found);
            let mut conflicts = found.conflicts.clone();
            for writer in conflicts.iter_mut().flat_map(|c| c.writers.iter_mut()) {
                if let Ok(id) = writer.parse::<NodeId>() {
                    *writer = node.name_in(view, &id);
                }
            }
            Some(AppStatus {
                app: row.name,
                namespace: row.namespace,
                kind: row.kind,
                revision: row.revision,
                state: row.state,
                slots: explain(view, found, &cx),
                conflicts,
            })
        });
        to_json(&status.ok_or_else(|| self.no_app(&namespace_or_default(app.namespace.as_ref()), &app.name))?)
    }

    fn name_in(&self, view: &View, node: &NodeId) -> String {
        view.nodes.get(node).map_or_else(|| node.to_string(), |n| n.name.to_string())
    }

    fn results(&mut self, params: &ResultParams) -> Result<Value, ApiError> {
        let (_, doc) = self.find_app(&params.app())?;
        let rows = self.with_view(|node, view| {
            let app = view.apps.get(&doc).filter(|app| app.live)?;
            let wanted = |slot: &Slot| params.slot.is_none_or(|only| only == *slot);
            let rows = app.slots.iter().filter(|(slot, _)| wanted(slot)).filter_map(|(slot, slot_view)| {
                let held = holder(app, slot_view)?;
                let status = held.status.as_ref()?;
                matches!(status.state, TaskState::Succeeded | TaskState::Failed).then(|| ResultRow {
                    slot: *slot,
                    attempt: held.placement.attempt,
                    node: label_of(node.name_in(view, &held.placement.node)),
                    exit_code: status.exit_code,
                    output: String::from_utf8_lossy(&status.output).into_owned(),
                    finished_at: status.finished_at,
                })
            });
            Some(rows.collect::<Vec<_>>())
        });
        let namespace = namespace_or_default(params.namespace.as_ref());
        let rows = rows.ok_or_else(|| self.no_app(&namespace, &params.name))?;
        let app = self.state.apps().get(&doc).map(|app| app.manifest.clone());
        let slots = app.as_ref().and_then(|manifest| manifest.desired_slots()).unwrap_or(u32::MAX);
        if app.is_some_and(|manifest| manifest.kind != AppType::Job) {
            return Err(ApiError::Invalid(format!("{} is not a job: only jobs have results", params.name)));
        }
        if let Some(slot) = params.slot.filter(|slot| *slot >= slots) {
            return Err(ApiError::NotFound(format!(
                "{} has no slot {slot}: its {slots} tasks count from 0",
                params.name
            )));
        }
        match (params.slot, rows.first()) {
            (Some(slot), None) => Err(ApiError::NotFound(format!("slot {slot} of {} has no result yet", params.name))),
            _ => to_json(&rows),
        }
    }

    /// What the scheduler needs beside the view.
    pub(crate) fn scheduling_facts(&self, now: Now) -> Facts {
        let mut free: BTreeMap<_, _> =
            self.nodes.keys().filter_map(|id| Some((*id, self.members.presence(id)?.free.clone()?))).collect();
        free.insert(self.me, self.tasks.free(&self.config.info.capacity));
        let mut flaps = self.members.flaps(now.mono);
        // A node by which everybody comes and goes has a bad line itself: it must not draw the tasks of others.
        let others = self.nodes.values().filter(|node| node.id != self.me && node.liveness == Liveness::Alive);
        if let Some(least) = others.map(|node| flaps.get(&node.id).copied().unwrap_or(0)).min() {
            flaps.insert(self.me, least);
        }
        Facts { free, dead_for: self.members.dead_for(now.mono), flaps, held: BTreeSet::new() }
    }
}

/// What a node knows that is in no document.
pub(crate) struct Facts {
    /// Free resources as last heard.
    pub(crate) free: BTreeMap<NodeId, Amounts>,
    /// How long nodes have been dead.
    pub(crate) dead_for: BTreeMap<NodeId, Duration>,
    /// How often nodes were lost and came back lately.
    pub(crate) flaps: BTreeMap<NodeId, u32>,
    /// Apps that nothing is decided for now.
    pub(crate) held: BTreeSet<DocId>,
}

impl Facts {
    pub(crate) fn context<'a>(&'a self, me: NodeId, budget: usize, only: Option<&'a BTreeSet<DocId>>) -> Context<'a> {
        Context { me, free: &self.free, dead_for: &self.dead_for, flaps: &self.flaps, budget, held: &self.held, only }
    }
}

fn app_rows(view: &View, params: &ListParams) -> Vec<holm_types::api::AppRow> {
    view.apps.values().filter(|app| app.live && selected(app, params)).map(|app| app_row(view, app)).collect()
}

pub(crate) fn selected(app: &AppView, params: &ListParams) -> bool {
    params.site.as_ref().is_none_or(|site| app.scope.site() == Some(site))
        && params.app.as_ref().is_none_or(|name| *name == app.manifest.name)
        && params.namespace.as_ref().is_none_or(|ns| *ns == app.manifest.namespace)
}

pub(crate) fn label_of(text: String) -> Label {
    text.parse().unwrap_or_else(|_| namespace_or_default(None))
}

/// One page of rows in the order of their keys; the cursor is the last key of a page.
pub(crate) fn page<T: Serialize>(
    mut rows: Vec<T>,
    params: &ListParams,
    key: impl Fn(&T) -> String,
) -> Result<Value, ApiError> {
    let limit = limit_of(params)?;
    rows.sort_by_cached_key(&key);
    if let Some(cursor) = &params.cursor {
        rows.retain(|row| key(row) > *cursor);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(&key) } else { None };
    to_json(&Page { items: rows, next })
}

/// Rows of one page.
pub(crate) fn limit_of(params: &ListParams) -> Result<usize, ApiError> {
    match params.limit.map_or(MAX_PAGE, |n| n as usize) {
        limit if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        _ => Err(ApiError::Invalid(format!("limit must be 1 to {MAX_PAGE}"))),
    }
}
