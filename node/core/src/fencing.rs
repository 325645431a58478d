//! Submissions of fenced apps: whether one can be fenced at all, and who will guard it.

use crate::Node;
use holm_scheduler::rank_guards;
use holm_types::{
    DocId, Now,
    api::ApiError,
    change::keys_of,
    fence::{GuardSet, MAX_LEASE, MIN_LEASE},
    manifest::{AppType, Manifest, Period},
};

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
        if self.is_settling(now) || self.merging.holds(now.mono).is_some() || self.is_stranger() {
            return Err(ApiError::Busy(
                "this node is only learning who is in the mesh, and cannot choose the guards of a fenced app yet: \
                 try again in a moment"
                    .into(),
            ));
        }
        let ranked = self.with_view(|_, view| rank_guards(view, doc, &manifest.place));
        match (GuardSet::choose(&ranked, manifest.lease()), &manifest.place.site) {
            (Some(guards), _) => Ok(Some(guards)),
            (None, Some(site)) => Err(ApiError::Invalid(format!(
                "a fenced app of site {site} is guarded there, and no node is known there"
            ))),
            (None, None) => Err(ApiError::Busy("no node is known that could guard a fenced app".into())),
        }
    }

    /// The keys of the guards of earlier generations.
    pub(crate) fn guards_before(&self, doc: &DocId, generation: u64) -> Vec<String> {
        let keys = self.state.registers(doc).into_iter().flat_map(|registers| registers.keys());
        let new = keys_of::guards(generation);
        keys.filter(|key| key.starts_with(keys_of::GUARDS) && **key != new).take(MAX_FORGOTTEN).cloned().collect()
    }

    /// It was told of nodes and has not heard of any.
    fn is_stranger(&self) -> bool {
        let others = self.nodes.values().any(|node| node.id != self.me && node.described);
        !others && !self.healer.known().is_empty()
    }

    /// A lease is fixed for as long as its app lives: guards that were restarted must know the longest that they
    /// may have granted.
    pub(crate) fn lease_stays(&self, manifest: &Manifest) -> Option<String> {
        let app = self.state.apps().get(&DocId::app(&manifest.namespace, &manifest.name))?;
        let lease = app.lease().filter(|_| app.live && manifest.is_fenced())?;
        (lease != manifest.lease()).then(|| {
            format!(
                "its lease lasts {} for as long as the app lives: to change partition.after, remove it and submit it again",
                Period(lease)
            )
        })
    }
}
