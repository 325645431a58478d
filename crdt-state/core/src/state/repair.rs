//! Anti-entropy: what this node holds, told in ever finer grain, and the changes that a peer
//! lacks, read from the log without loading a document.

use super::State;
use crate::{digest::DocDigest, error::StateError, layout, store::Table};
use holm_types::{
    ActorId, Digest, DocId, Scope,
    branch::{Branch, FAN_OUT},
};
use std::collections::{BTreeMap, VecDeque};

/// Rows read ahead of each actor.
const PAGE: usize = 8;

/// The rest of one actor's changes, in order.
struct Lane {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    rows: VecDeque<(u32, Vec<u8>)>,
}

impl State {
    /// Digest of everything held of a scope: equal on two nodes means converged.
    pub fn digest(&self, scope: &Scope) -> Digest {
        self.digests.root(scope)
    }

    /// The scopes of which something is held.
    pub fn scopes(&self) -> Vec<Scope> {
        self.digests.scopes()
    }

    /// The digests of the branches of a branch; none if it holds too few documents to be divided.
    pub fn branches(&self, scope: &Scope, branch: &Branch) -> Option<[DocDigest; FAN_OUT]> {
        self.digests.branches(scope, branch)
    }

    /// Documents of a branch, `limit` at most, with digests of their heads.
    pub fn documents(&self, scope: &Scope, branch: &Branch, limit: usize) -> Vec<(DocId, DocDigest)> {
        self.digests.documents(scope, branch, limit)
    }

    /// The last sequence number of each actor of a document.
    pub fn vector(&self, doc: &DocId) -> Vec<(ActorId, u64)> {
        let tips = self.docs.get(doc).into_iter().flat_map(|entity| &entity.tips);
        tips.map(|(actor, tip)| (*actor, tip.seq)).collect()
    }

    /// The changes of a document beyond `vector`, encoded and in causal order, up to `max_bytes`
    /// but at least one; and whether more remain.
    ///
    /// # Errors
    /// The store failed.
    pub fn changes_since(
        &self,
        doc: &DocId,
        vector: &[(ActorId, u64)],
        max_bytes: usize,
    ) -> Result<(Vec<Vec<u8>>, bool), StateError> {
        let Some(entity) = self.docs.get(doc) else { return Ok((Vec::new(), false)) };
        let theirs: BTreeMap<&ActorId, u64> = vector.iter().map(|(actor, seq)| (actor, *seq)).collect();
        let mut lanes = BTreeMap::new();
        for (actor, tip) in &entity.tips {
            let have = theirs.get(actor).copied().unwrap_or(0);
            if have < tip.seq {
                let prefix = layout::actor_key(doc, actor);
                let lane = Lane { prefix, after: Some(layout::change_key(doc, actor, have)), rows: VecDeque::new() };
                self.queue_lane(doc, lane, &mut lanes)?;
            }
        }
        // Numbers grow along the graph: whatever a change depends on has a smaller one, and
        // either is below the vector or was taken before.
        let mut found = Vec::new();
        let mut size = 0;
        while let Some((_, mut lane)) = lanes.pop_first() {
            let Some((_, encoded)) = lane.rows.pop_front() else { continue };
            if !found.is_empty() && size + encoded.len() > max_bytes {
                return Ok((found, true));
            }
            size += encoded.len();
            found.push(encoded);
            self.queue_lane(doc, lane, &mut lanes)?;
        }
        Ok((found, false))
    }

    /// Puts a lane in order by its next change, reading on if need be.
    fn queue_lane(
        &self,
        doc: &DocId,
        mut lane: Lane,
        lanes: &mut BTreeMap<(u32, Vec<u8>), Lane>,
    ) -> Result<(), StateError> {
        if lane.rows.is_empty() {
            for (key, row) in self.overlay.scan(Table::Changes, &lane.prefix, lane.after.as_deref(), PAGE)? {
                let (start_op, encoded) = layout::read_change(doc, &row)?;
                lane.rows.push_back((start_op, encoded.to_vec()));
                lane.after = Some(key);
            }
        }
        if let Some((start_op, _)) = lane.rows.front() {
            lanes.insert((*start_op, lane.prefix.clone()), lane);
        }
        Ok(())
    }
}
