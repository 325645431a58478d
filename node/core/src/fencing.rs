//! Submissions of fenced apps: whether one can be fenced at all, and who will guard it.

use crate::Node;
use holm_scheduler::guards_for;
use holm_types::{
    DocId, Now, Scope,
    api::ApiError,
    change::{Value, keys_of},
    fence::{GuardSet, MAX_LEASE, MIN_LEASE},
    manifest::{AppType, Manifest, Period},
    view::AppView,
};
use std::time::Duration;

/// Keys of earlier generations that one change deletes, at most.
const MAX_FORGOTTEN: usize = 8;

/// What cannot be fenced is refused.
pub(crate) fn check_fence(manifest: &Manifest) -> Result<(), ApiError> {
    if !manifest.is_fenced() {
        return Ok(());
    }
    if manifest.kind == AppType::Daemon {
        return Err(ApiError::Invalid(
            "partition.policy = \"fence\" is not for a daemon: each of its slots belongs to one node anyway".into(),
        ));
    }
    if !(MIN_LEASE..=MAX_LEASE).contains(&manifest.lease()) {
        return Err(ApiError::Invalid(format!(
            "partition.after = {:?}: with policy \"fence\" it is how long a lease lasts, {} to {}",
            Period(manifest.lease()).to_string(),
            Period(MIN_LEASE),
            Period(MAX_LEASE)
        )));
    }
    Ok(())
}

impl Node {
    /// The guards of an app that becomes fenced in this generation; none when it is not fenced, or has them.
    ///
    /// # Errors
    /// This node does not know yet who is in the mesh, or nobody can guard the app.
    pub(crate) fn new_guards(
        &mut self,
        now: Now,
        doc: &DocId,
        generation: u64,
        manifest: &Manifest,
    ) -> Result<Option<GuardSet>, ApiError> {
        let known = self.state.apps().get(doc).filter(|app| app.generation == generation);
        if !manifest.is_fenced() || known.is_some_and(|app| !app.guards.is_empty()) {
            return Ok(None);
        }
        // Another node might choose others at this moment, and two sets that know nothing of each other
        // would guard nothing.
        if self.is_settling() || self.merging.holds(now.mono).is_some() || self.is_stranger() {
            return Err(ApiError::Busy(
                "this node is only learning who is in the mesh, and cannot choose the guards of a fenced app yet: \
                 try again in a moment"
                    .into(),
            ));
        }
        let scope = Scope::of_app(manifest.place.site.as_ref());
        match self.with_view(|_, view| guards_for(view, doc, &scope, manifest.lease())) {
            Some(guards) => Ok(Some(guards)),
            None => Err(ApiError::Busy("no keeper is known yet that could guard a fenced app".into())),
        }
    }

    /// What is written of the guards of a new generation. The keys of earlier ones are deleted, but for those of the
    /// last: new guards have to know for how long they may have granted.
    ///
    /// # Errors
    /// They cannot be encoded.
    pub(crate) fn guard_edits(
        &self,
        doc: &DocId,
        generation: u64,
        guards: Option<&GuardSet>,
    ) -> Result<Vec<(String, Option<Value>)>, ApiError> {
        let Some(guards) = guards else { return Ok(Vec::new()) };
        let bytes = guards.encode().map_err(|e| ApiError::Internal(e.to_string()))?;
        let (new, last) = (keys_of::guards(generation), keys_of::guards(last_generation(generation)));
        let keys = self.state.registers(doc).into_iter().flat_map(|registers| registers.keys());
        let old = keys.filter(|key| key.starts_with(keys_of::GUARDS) && **key != *new && **key != *last);
        let mut ops: Vec<_> = old.take(MAX_FORGOTTEN).map(|key| (key.to_string(), None)).collect();
        ops.push((new, Some(Value::Bytes(bytes))));
        Ok(ops)
    }

    /// How long leases of the app's last generation may last, and whether this node was one of its guards.
    pub(crate) fn leases_before(&self, app: &AppView) -> Option<(Duration, bool)> {
        let registers = self.state.registers(&app.doc)?;
        let values = registers.get(&*keys_of::guards(last_generation(app.generation)))?;
        let sets = values.iter().filter_map(|register| match &register.value {
            Value::Bytes(bytes) => GuardSet::decode(bytes).ok(),
            Value::Uint(_) | Value::Text(_) => None,
        });
        let sets: Vec<GuardSet> = sets.collect();
        let guarded = sets.iter().any(|set| set.members.contains(&self.me));
        Some((sets.iter().map(GuardSet::lease).max()?, guarded))
    }

    /// It was told of nodes and has not heard of any.
    fn is_stranger(&self) -> bool {
        let others = self.nodes.values().any(|node| node.id != self.me && node.described);
        !others && !self.healer.known().is_empty()
    }

    /// One guard alone is easily lost, and more are to be had.
    pub(crate) fn about_guards(&self, guards: Option<&GuardSet>, manifest: &Manifest) -> Option<String> {
        let [alone] = guards?.members.as_slice() else { return None };
        let others = self.nodes.values().filter(|node| node.id != *alone && node.described);
        let advice = match &manifest.place.site {
            Some(site) if others.clone().any(|node| node.site == *site) => "a keeper elsewhere would be a third",
            None if others.count() > 0 => {
                "with place.site the nodes of that site guard it, without it three keepers would"
            }
            _ => return None,
        };
        let name = self.name_of(alone);
        Some(format!("{name} alone guards it, and it runs nowhere while {name} is out of reach: {advice}"))
    }

    /// A lease is fixed for as long as its app lives: guards that were restarted must know the longest that they
    /// may have granted.
    pub(crate) fn lease_stays(&self, manifest: &Manifest) -> Option<String> {
        let scope = Scope::of_app(manifest.place.site.as_ref());
        let app = self.state.apps().get(&DocId::app(&scope, &manifest.namespace, &manifest.name))?;
        let lease = app.lease().filter(|_| app.live && manifest.is_fenced())?;
        (lease != manifest.lease()).then(|| {
            format!(
                "its lease lasts {} for as long as the app lives: to change partition.after, remove it and submit it again",
                Period(lease)
            )
        })
    }
}

/// The generation before this one: an app lives in the odd ones. 0, in which none lives, for the first.
fn last_generation(generation: u64) -> u64 {
    generation.saturating_sub(2)
}
