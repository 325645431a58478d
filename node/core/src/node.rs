//! The state machine itself: what it holds, and which handler each input goes to.

use crate::{
    Config, Effect, Found, Input,
    apply::Asked,
    collecting::Collecting,
    conflicts::Told,
    heartbeat::{Brief, Far},
    journal::Journal,
    lease::{self, Guard, Holder},
    merging::Merging,
    pace::Pace,
    placing::DECIDE_GAP,
    postponed::Postponed,
    tasks::Tasks,
    voices::{Audience, Voices},
    volumes::Volumes,
    watching::Watched,
};
use holm_mesh_core::{beat::Partners, healer::Healer, liveness::Members, topics::Topics};
use holm_state::{State, StateError, StoreRead};
use holm_types::{
    DocId, Incarnation, Label, Mono, NodeId, Now, Scope, Sorted, TaskId, TypeError, Wall,
    api::Room,
    branch::Branch,
    cert::{CertChain, Claims},
    change::SignedChange,
    event::{Event, EventKind},
    sometimes,
    view::{Liveness, NodeView, View},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Shortest time between two batches of status writes.
const STATUS_GAP: Duration = Duration::from_millis(40);
/// Shortest time between two writes of the peer store: hundreds of peers may tell where they are at once.
const SAVE_PEERS_GAP: Duration = Duration::from_secs(2);
/// A node that was held for dead is back: those that were cut off with it will follow.
const NODE_BACK: Duration = Duration::from_millis(2500);
/// Answers remembered for idempotency keys.
const MAX_IDEMPOTENCY_KEYS: usize = 1024;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its documents cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its certificate is not one of its mesh.
    #[error("this node's own certificate: {0}")]
    Certificate(#[from] TypeError),
}

/// A connected peer.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) relayed: bool,
    /// What its certificate says: it decides what the peer may be given.
    pub(crate) claims: Arc<Claims>,
    /// Rounds that were opened with it and that it has not answered: about a scope, or about all.
    pub(crate) opened: Sorted<Option<Scope>, Mono>,
    /// Since when it has been asked for changes of a scope.
    pub(crate) asked: Sorted<Scope, Mono>,
    /// The life as which it spoke when it was last told of a later one.
    pub(crate) reminded: Option<Incarnation>,
}

/// A change of a peer on its way to be verified.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) change: SignedChange,
    /// The peer that repaired us with it; none for gossip.
    pub(crate) repair_from: Option<NodeId>,
}

/// A node. See the [crate](crate) documentation.
pub struct Node {
    pub(crate) config: Config,
    pub(crate) me: NodeId,
    pub(crate) claims: Arc<Claims>,
    pub(crate) state: State,
    pub(crate) members: Members,
    pub(crate) healer: Healer,
    pub(crate) journal: Journal,
    pub(crate) tasks: Tasks,
    pub(crate) topics: Topics,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) nodes: BTreeMap<NodeId, NodeView>,
    /// Where it can be dialled as far as it knows: what its network found out, then where it listens.
    pub(crate) listening: Vec<String>,
    /// Where its network says that it listens.
    pub(crate) listeners: Vec<String>,
    /// Where others are told to look; where it listens, until its network knows better.
    pub(crate) announced: Option<Vec<String>>,
    pub(crate) unverified: VecDeque<Incoming>,
    pub(crate) verifying: VecDeque<Vec<Incoming>>,
    /// Rounds that go on, and when.
    pub(crate) resume: BTreeMap<(NodeId, Scope), Mono>,
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) idempotent: VecDeque<(Asked, serde_json::Value)>,
    pub(crate) presence_seq: u64,
    pub(crate) brief: Brief,
    pub(crate) voices: Voices,
    pub(crate) partners: Partners,
    pub(crate) watched: Watched,
    /// When its partners hear of this node again.
    pub(crate) pulse_at: Mono,
    /// When it looks again at what only time has changed.
    pub(crate) look_at: Mono,
    /// This node runs what belongs to no site, and has told those of other sites.
    pub(crate) spoke_to_all: bool,
    pub(crate) far: Far,
    pub(crate) repair_at: Mono,
    pub(crate) saving_peers: Pace,
    pub(crate) started: Mono,
    pub(crate) deciding: Pace,
    /// The apps that alone have changed since decisions were made; none if all are to be looked at.
    pub(crate) undecided: Option<BTreeSet<DocId>>,
    pub(crate) status_flush: Pace,
    pub(crate) reconciling: Pace,
    pub(crate) merging: Merging,
    pub(crate) guard: Guard,
    pub(crate) holder: Holder,
    pub(crate) postponed: Postponed,
    /// When this node last did anything.
    pub(crate) last_turn: Mono,
    /// Nodes that hold a slot and of which nothing is known or heard, and since when.
    pub(crate) unknown_since: BTreeMap<NodeId, Mono>,
    /// Topics of sites that this keeper has learnt of.
    pub(crate) new_topics: Vec<String>,
    /// The own certificate ends, and a new one is asked for.
    pub(crate) awaits_renewal: bool,
    /// When it is asked for again.
    pub(crate) renew_at: Mono,
    /// This node writes nothing: its certificate has ended, or was revoked.
    pub(crate) reads_only: bool,
    /// Newer certificates of connected peers.
    pub(crate) renewed_peers: Vec<CertChain>,
    pub(crate) told_conflicts: Told,
    pub(crate) collecting: Collecting,
    /// What the disk budget of each scope left when that was last looked at.
    pub(crate) rooms: BTreeMap<Scope, Room>,
    pub(crate) volumes: Volumes,
}

impl Node {
    /// Opens the node on what its disk holds and what its runner found.
    ///
    /// # Errors
    /// The store cannot be read, or the certificate is not one of this mesh.
    pub fn open(
        config: Config,
        store: Box<dyn StoreRead>,
        found: Vec<Found>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Node, NodeError> {
        let claims = config.chain.verify(&config.mesh)?.clone();
        let mut state = State::open(config.mesh, config.key.clone(), config.incarnation, store)?;
        state.set_budget(config.disk_budget);
        let base = if claims.is_keeper() { Audience::All } else { Audience::Site(claims.site.clone()) };
        let mut node = Node {
            me: config.key.node_id(),
            members: Members::new(config.liveness.clone()),
            healer: Healer::new(config.healer.clone(), config.seed),
            journal: Journal::default(),
            tasks: Tasks::default(),
            topics: Topics::new(&config.mesh, &claims.site),
            rng: ChaCha8Rng::seed_from_u64(config.seed ^ 0x686f_6c6d),
            peers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            listening: Vec::new(),
            listeners: Vec::new(),
            announced: None,
            unverified: VecDeque::new(),
            verifying: VecDeque::new(),
            resume: BTreeMap::new(),
            counters: BTreeMap::new(),
            idempotent: VecDeque::new(),
            presence_seq: 0,
            brief: Brief::default(),
            voices: Voices::new(base, config.key.node_id(), now.mono),
            partners: Partners::default(),
            watched: Watched::default(),
            pulse_at: now.mono,
            look_at: now.mono,
            spoke_to_all: false,
            far: Far::default(),
            repair_at: now.mono.after(config.repair_every),
            saving_peers: Pace::new(SAVE_PEERS_GAP),
            started: now.mono,
            deciding: Pace::new(DECIDE_GAP),
            undecided: None,
            status_flush: Pace::new(STATUS_GAP),
            reconciling: Pace::new(Duration::ZERO),
            merging: Merging::default(),
            guard: Guard::new(lease::clock(now)),
            holder: Holder::new(config.seed ^ 0x6c65_6173),
            postponed: Postponed::default(),
            last_turn: now.mono,
            unknown_since: BTreeMap::new(),
            new_topics: Vec::new(),
            awaits_renewal: false,
            renew_at: now.mono,
            reads_only: false,
            renewed_peers: Vec::new(),
            told_conflicts: Told::new(),
            collecting: Collecting::default(),
            rooms: BTreeMap::new(),
            volumes: Volumes::default(),
            claims,
            state,
            config,
        };
        node.recall_chain(out);
        node.recall_conflicts();
        node.recall_volumes();
        node.reads_only = node.may_write(now).is_err();
        node.describe_self(now)?;
        node.recall_peers(now.mono);
        node.note_all_members(now.mono);
        node.adopt(found, now, out);
        out.extend(node.topics.all().into_iter().map(Effect::Subscribe));
        node.deciding.request(now.mono);
        node.reconciling.request(now.mono);
        node.settle(now, out);
        Ok(node)
    }

    /// Takes one input. Call [`Node::settle`] when there is no more for now.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        self.notice_stall(now);
        self.notice_return(now, &input);
        match input {
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Enrol { id, token, subject, name } => self.on_enrol(now, id, &token, subject, &name, out),
            Input::Renew { id, node, chain } => self.on_renew(now, id, node, &chain, out),
            Input::Renewed { chain } => self.adopt_chain(now, chain, out),
            Input::PeerUp { node, chain, address, relayed } => {
                self.on_peer_up(now, node, chain, &address, relayed, out)
            }
            Input::PeerDown { node } => self.on_peer_down(now, node, out),
            Input::PathChanged { node, address, relayed } => self.on_path_changed(now, node, &address, relayed, out),
            Input::Announce { addresses } => self.on_announce(now, addresses),
            Input::Gossip { source, topic, bytes } => self.on_gossip(now, source, &topic, &bytes, out),
            Input::Frame { from, bytes } => self.on_frame(now, from, &bytes, out),
            Input::Discovered { node, addresses } => self.on_discovered(now, node, addresses, out),
            Input::Listening { address } => self.on_listening(now, address),
            Input::Runner(event) => self.on_runner(now, event, out),
            Input::Verified { verdicts } => self.on_verified(now, &verdicts, out),
            Input::Persisted => self.journal.persisted(&mut self.state, out),
        }
    }

    /// Words of a node that is held for dead, or that was, mean that the links are mended: what
    /// it wrote meanwhile may come before its heartbeat does.
    fn notice_return(&mut self, now: Now, input: &Input) {
        let (node, direct) = match input {
            Input::Gossip { source, .. } => (source, false),
            Input::Frame { from: node, .. } | Input::PeerUp { node, .. } => (node, true),
            _ => return,
        };
        self.members.spoke(node, direct, now.mono);
        if self.members.liveness(node) == Some(Liveness::Dead) {
            sometimes!("a node that is held for dead speaks");
            self.merging.hold(now.mono, NODE_BACK);
            let node = *node;
            self.call_about(&node, now.mono);
        }
    }

    /// A node that is not stopped does something every heartbeat. After a gap it knows nothing of the
    /// others, and would hold them all for dead in its first moment.
    fn notice_stall(&mut self, now: Now) {
        let gap = now.mono.since(self.last_turn);
        self.last_turn = now.mono;
        if gap > self.members.interval() * 2 {
            sometimes!("a node stood still");
            self.count("stalls");
            self.members.overslept(gap);
            self.merging.hold(now.mono, NODE_BACK);
            self.call_roll(&self.voices.base(), now.mono);
        }
    }

    /// Does what is due: timers, decisions, reconciliation with the runner, status writes, the
    /// next batches to verify and persist.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.notice_stall(now);
        self.note_changes(now, out);
        self.follow_revocations(now, out);
        out.extend(self.new_topics.drain(..).map(Effect::Subscribe));
        out.extend(self.renewed_peers.drain(..).map(Effect::PeerRenewed));
        self.watch_certificate(now, out);
        self.watch_members(now, out);
        self.heartbeat(now, out);
        self.heal(now, out);
        self.repair_round(now, out);
        self.resume_rounds(now.mono, out);
        self.retry_postponed(now, out);
        self.decide(now, out);
        self.keep_volumes(now);
        self.note_steady(now);
        self.note_changes(now, out);
        self.move_on(now);
        self.reconcile(now, out);
        self.keep_leases(now, out);
        self.flush_statuses(now);
        self.collect_ended(now);
        self.note_changes(now, out);
        self.verify_next(out);
        self.journal.seal(now.mono, &mut self.state, out);
    }

    /// Digest of a scope: equal on two nodes means that they hold the same.
    pub fn digest(&self, scope: &Scope) -> holm_types::Digest {
        self.state.digest(scope)
    }

    /// Compares each document with automerge's replica of its log, for the simulator ([`State::audit`]).
    ///
    /// # Errors
    /// The store failed, or one of them differs.
    pub fn audit(&self) -> Result<(), StateError> {
        let scopes = self.state.scopes();
        let mut documents = scopes.iter().flat_map(|scope| self.state.documents(scope, &Branch::ROOT, usize::MAX));
        documents.try_for_each(|(doc, _)| self.state.audit(&doc))
    }

    /// Where this node listens, as far as it was told.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// When to call [`Node::settle`] again at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        [
            self.members.deadline(),
            self.healer.deadline(),
            self.heartbeat_deadline(),
            Some(self.repair_at),
            self.deciding.deadline(),
            self.status_flush.deadline(),
            self.saving_peers.deadline(),
            self.tasks.deadline(),
            self.lease_deadline(),
            self.postponed.deadline(),
            self.collecting.deadline(),
            self.volumes.deadline(),
            self.resume_deadline(),
            self.renewal_deadline(),
            self.reconciling.deadline(),
            self.journal.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Documents that changed make the views that depend on them stale.
    fn note_changes(&mut self, now: Now, out: &mut Vec<Effect>) {
        let changed = self.state.drain_changed();
        if changed.is_empty() {
            return;
        }
        self.note_members(now.mono);
        self.tell_conflicts(now.wall, &changed, out);
        self.watch_budget(now.wall, &changed, out);
        self.note_volumes(&changed);
        self.look_at_changed(&changed, now.mono);
    }

    fn watch_members(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.members.tick(now.mono);
        let changes = self.members.drain_changes();
        if changes.is_empty() {
            return;
        }
        self.reconciling.request(now.mono);
        self.watched.stale = true;
        self.look_at_all(now.mono);
        for (node, liveness) in changes {
            let mut returns = false;
            if let Some(view) = self.nodes.get_mut(&node) {
                returns = view.liveness == Liveness::Dead && liveness == Liveness::Alive;
                view.liveness = self.members.liveness(&node).unwrap_or(liveness);
            }
            // One that was never heard is missed by nobody, and one of another site speaks here only now
            // and then.
            let concerns = self.state.members().get(&node).is_some_and(|member| self.concerns(&member.claims));
            if self.members.presence(&node).is_none() || !concerns {
                continue;
            }
            let missed = matches!(liveness, Liveness::Suspect | Liveness::Dead);
            if missed && self.peers.contains_key(&node) {
                out.push(Effect::Check(node));
            }
            if returns || missed {
                self.call_about(&node, now.mono);
            }
            let kind = match liveness {
                Liveness::Alive => EventKind::NodeAlive,
                Liveness::Suspect => EventKind::NodeSuspect,
                Liveness::Dead | Liveness::Left => EventKind::NodeDead,
            };
            let name = self.name_of(&node);
            out.push(self.event(now.wall, kind, None, None, name));
        }
    }

    /// What this node believes. [`Node::with_view`] gives it back.
    pub(crate) fn lend_view(&mut self) -> View {
        View {
            nodes: std::mem::take(&mut self.nodes),
            apps: self.state.lend_apps(),
            site: Some(self.claims.site.clone()),
            keeper: self.claims.is_keeper(),
        }
    }

    /// Lends the apps out of the state for the time of `read`: a view without a copy.
    pub(crate) fn with_view<T>(&mut self, read: impl FnOnce(&Node, &View) -> T) -> T {
        let view = self.lend_view();
        let result = read(self, &view);
        self.nodes = view.nodes;
        self.state.return_apps(view.apps);
        result
    }

    /// A member's name, or its id when it is unknown.
    pub(crate) fn name_of(&self, node: &NodeId) -> String {
        self.state.members().get(node).map_or_else(|| node.to_string(), |m| m.claims.name.to_string())
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    pub(crate) fn event(
        &self,
        at: Wall,
        kind: EventKind,
        app: Option<&Label>,
        task: Option<&TaskId>,
        detail: impl Into<String>,
    ) -> Effect {
        let app = app.map(ToString::to_string);
        Effect::Emit(Event {
            at,
            node: self.claims.name.clone(),
            kind,
            app,
            task: task.cloned(),
            detail: detail.into(),
        })
    }

    pub(crate) fn remember(&mut self, asked: Asked, answer: serde_json::Value) {
        if self.idempotent.len() >= MAX_IDEMPOTENCY_KEYS {
            self.idempotent.pop_front();
        }
        self.idempotent.push_back((asked, answer));
    }
}
