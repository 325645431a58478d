//! # holm-scheduler: where tasks run, decided without a leader
//!
//! Pure functions over [`View`](holm_types::view::View), what a node believes about the mesh.
//! Every node runs the same ones; time, seeds and effects are none of this crate's business. The
//! functions answer four questions.
//!
//! **Who decides?** [`coordinator`]: for each app the live node of the highest rendezvous weight, of those of
//! its site, or of the keepers for an app of no site.
//! Nobody is elected. When the view changes, so may the coordinator, and the next one goes on from
//! the documents. While nodes see different members, several may decide for one app.
//!
//! **What is decided?** [`decide`]: assignments of slots to nodes. A *slot* is a place in an app
//! (replica 2 of a service, item 17 of a job, a node of a daemon); an *assignment* gives it to a
//! node, in an *epoch* above any that the slot has seen. Nodes that may take a task are filtered
//! (liveness, place, room, refusals), then ranked: fewest failures and refusals of this slot, steadiness, spread,
//! preferred labels, least load, and a hash to break ties. A slot that a live node holds with the right
//! *template* (the part of the manifest that a running task depends on) is never touched.
//!
//! **What holds?** [`holder`]: of all assignments of a slot, the one that every node with the same
//! documents agrees on. Duplicates that a partition left are settled by this rule and nothing else.
//! [`acting`] is the holder, or who stands in for it while it is out of sight.
//!
//! **What do I do?** [`reconcile`]: a node starts what it holds, refuses what does not fit its own
//! true capacity, and stops what lost its slot, once the winner runs. So a slot has at least one
//! runner while nodes disagree, and one when they agree again.
//!
//! Of a *fenced* app nothing is decided where most of its guards are out of sight, and a task that lost its
//! slot makes way before the winner runs: the winner waits for its lease.
//!
//! [`explain`] and [`app_row`] say the same in words, from the same reading of the view.
//!
//! ```
//! use holm_scheduler::{Context, decide};
//! use holm_types::{NodeId, view::View};
//! use std::collections::{BTreeMap, BTreeSet};
//!
//! let (free, dead_for, flaps, held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
//! let me = NodeId([1; 32]);
//! let cx = Context { me, free: &free, dead_for: &dead_for, flaps: &flaps, budget: 64, held: &held, only: None };
//! assert!(decide(&View::default(), &cx).is_empty(), "where there is nothing, nothing is decided");
//! ```

mod decide;
mod explain;
mod fence;
mod filter;
mod flaps;
mod local;
mod reduce;
mod rendezvous;
mod score;
mod standing;
mod survey;
mod usage;

pub use decide::{Context, Decision, among, decide, decide_app};
pub use explain::{app_row, explain};
pub use fence::guards_for;
pub use filter::{MAX_REFUSALS, MAX_TASKS_PER_NODE};
pub use local::{LocalAction, LocalTask, reconcile};
pub use reduce::{acting, holder};
pub use rendezvous::{coordinator, weight};
pub use standing::{DEFAULT_RESCHEDULE_AFTER, DEFAULT_RETRIES};
pub use usage::Usage;
