//! One host: an agent (the node core that ships), its disk, its connections, and processes that
//! outlive the agent.

use super::{
    disk::{Backup, Shelf, SimDisk},
    event::{ConnectionNo, HostIndex, TopicNo},
    gossip::Meshes,
    queue::At,
    runner::{GRACE, Processes},
};
use crate::{
    SimError,
    scenario::{Disk, PlannedHost, random::Chance},
};
use holm_node_core::{Config, Effect, Node, NodeError};
use holm_state::{Batch, StoreRead as _, StoreWrite as _, Table};
use holm_types::{
    Incarnation, MeshId, NodeId, Now, TypeError, Wall,
    cert::{CertChain, Certificate, Claims, Role},
    change::SCHEMA,
    distrust::Distrust,
    keys::KeyPair,
    manifest::Amounts,
    view::NodeInfo,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Virtual 2026-01-01.
pub(crate) const EPOCH_MS: u64 = 1_767_225_600_000;
/// Where the shell counts its starts (`node/shell`, `daemon/disk.rs`).
/// Few, so that histories go on in other volumes while faults last.
const VOLUME: u64 = 40;
/// Short, so that runs of a minute see tasks of removed apps being forgotten.
const KEEP_REMOVED: Duration = Duration::from_secs(15);
const INCARNATION_KEY: &[u8] = b"incarnation";

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) no: ConnectionNo,
    /// The run of the peer's agent that it leads to.
    pub(crate) peer_life: u32,
    pub(crate) relay: Option<HostIndex>,
    /// When the last frame towards this end arrives: a stream keeps its order.
    pub(crate) last_arrival: At,
    /// Frames that wait for a cut link, as they do in a stream.
    pub(crate) held: VecDeque<Arc<[u8]>>,
    /// Since when nothing comes through.
    pub(crate) mute_since: Option<At>,
}

/// See the [module](self).
pub(crate) struct Host {
    pub(crate) plan: PlannedHost,
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) disk: SimDisk,
    pub(crate) node: Option<Node>,
    /// Counts the starts of the agent, whatever the disk says.
    pub(crate) life: u32,
    /// Faults that keep it down.
    pub(crate) down: u32,
    /// Faults that keep it frozen, and what happened meanwhile.
    pub(crate) frozen: u32,
    pub(crate) thawed: VecDeque<super::event::Event>,
    pub(crate) ends: BTreeMap<HostIndex, End>,
    /// Hosts that have an end of a connection with this one.
    pub(crate) ends_here: BTreeSet<HostIndex>,
    pub(crate) meshes: Meshes,
    pub(crate) processes: Processes,
    /// How far its clock is off, in milliseconds.
    pub(crate) clock_ms: i64,
    /// How far its date was moved since an agent was here last.
    unseen_jump_ms: i64,
    pub(crate) slow_disk: At,
    pub(crate) disk_free: At,
    pub(crate) uplink_free: At,
    /// Faults that keep it from relaying for others.
    pub(crate) relay_down: u32,
    /// The earliest deadline that is in the queue.
    pub(crate) wake_at: Option<At>,
    /// Messages sent since the last sample, and of these heartbeats.
    pub(crate) sent: u64,
    /// The last gossip that it heard, for storms.
    pub(crate) overheard: VecDeque<(TopicNo, HostIndex, Arc<[u8]>)>,
    pub(crate) backup: Option<Backup>,
    pub(crate) version: u32,
    /// Whom its gate lets in no more.
    pub(crate) distrust: Arc<Distrust>,
}

impl Host {
    pub(crate) fn new(authority: &KeyPair, plan: PlannedHost, seed: u64, shelf: &Shelf) -> Result<Host, SimError> {
        let name = plan.name.clone();
        let config =
            configure(authority, &plan, seed).map_err(|e| SimError::Host { host: name, why: e.to_string() })?;
        Ok(Host {
            id: config.key.node_id(),
            clock_ms: plan.skew_ms,
            unseen_jump_ms: 0,
            relay_down: 0,
            plan,
            config,
            disk: SimDisk::beside(shelf),
            node: None,
            life: 0,
            down: 0,
            frozen: 0,
            thawed: VecDeque::new(),
            ends: BTreeMap::new(),
            ends_here: BTreeSet::new(),
            meshes: Meshes::default(),
            processes: Processes::default(),
            slow_disk: 0,
            disk_free: 0,
            uplink_free: 0,
            wake_at: None,
            sent: 0,
            overheard: VecDeque::new(),
            backup: None,
            version: 0,
            distrust: Arc::default(),
        })
    }

    /// Both clocks of this host. The monotonic one is the world's; only the date is ever wrong.
    pub(crate) fn clocks(&self, now: At) -> Now {
        let date = EPOCH_MS.saturating_add(now / 1_000).saturating_add_signed(self.clock_ms);
        Now { mono: holm_types::Mono(Duration::from_micros(now)), wall: Wall(date) }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Up, and not frozen.
    pub(crate) fn answers(&self) -> bool {
        self.node.is_some() && self.frozen == 0
    }

    /// Counts a start on the disk, as the shell does before it opens the core.
    fn count_start(&mut self, now: At, random: u32) -> Result<Incarnation, NodeError> {
        let stored = self.disk.get(Table::Local, INCARNATION_KEY).map_err(holm_state::StateError::from)?;
        let last = stored.and_then(|bytes| bytes.try_into().ok()).map(|bytes| Incarnation(u64::from_be_bytes(bytes)));
        // No run has four billion starts.
        let incarnation = Incarnation::begin(last, self.clocks(now).wall, random).unwrap_or_default();
        let row = (Table::Local, INCARNATION_KEY.to_vec(), Some(incarnation.0.to_be_bytes().to_vec()));
        self.disk.write(&Batch { puts: vec![row], sync: true }).map_err(holm_state::StateError::from)?;
        Ok(incarnation)
    }

    /// Whether it relays for others, as long as its agent answers.
    pub(crate) fn relays(&self) -> bool {
        self.plan.relay && self.relay_down == 0
    }

    /// Moves its date; whether an agent is there to see it. One that starts later sees it then.
    pub(crate) fn jump(&mut self, by_ms: i64) -> bool {
        self.clock_ms = self.clock_ms.saturating_add(by_ms);
        if !self.is_up() {
            self.unseen_jump_ms = self.unseen_jump_ms.saturating_add(by_ms);
        }
        self.is_up()
    }

    /// Whether the date was moved since an agent was here last.
    pub(crate) fn takes_unseen_jump(&mut self) -> bool {
        std::mem::take(&mut self.unseen_jump_ms) != 0
    }

    /// Puts in what is found after a crash: an empty disk, or an older state of it; whether it is another one. With the
    /// power goes what is known of the processes.
    pub(crate) fn replace_disk(&mut self, disk: Disk, power_loss: bool) -> bool {
        let old = match disk {
            Disk::Keep | Disk::Torn => None,
            Disk::Wipe => Some(Backup::default()),
            Disk::Stale => self.backup.clone(),
        };
        let Some(old) = old else { return false };
        self.disk.restore(&old);
        if power_loss {
            self.processes.0.clear();
        }
        true
    }

    /// Starts the agent on what the disk and the process table hold.
    pub(crate) fn start(&mut self, now: At, peers: Vec<(NodeId, Vec<String>)>) -> Result<Vec<Effect>, NodeError> {
        self.life += 1;
        // A stream of chance of its own for each life.
        let seed = Chance::new(self.config.seed, "life").of(u64::from(self.life)).bits();
        let incarnation = self.count_start(now, seed as u32)?;
        self.config.incarnation = incarnation;
        let mut config = Config { seed, peers, ..self.config.clone() };
        config.info.version = format!("sim-{}", self.version);
        let mut effects = Vec::new();
        let node =
            Node::open(config, Box::new(self.disk.clone()), self.processes.found(), self.clocks(now), &mut effects)?;
        self.node = Some(node);
        self.wake_at = None;
        Ok(effects)
    }

    /// The agent is gone: what it held in memory is lost.
    pub(crate) fn stop_agent(&mut self) {
        self.node = None;
        self.distrust = Arc::default();
        self.thawed.clear();
    }
}

fn configure(authority: &KeyPair, plan: &PlannedHost, seed: u64) -> Result<Config, TypeError> {
    let mut secret = [0x5a; 32];
    secret[..8].copy_from_slice(&u64::from(plan.no.0).to_be_bytes());
    let key = KeyPair::from_secret(&secret);
    let mesh = MeshId(authority.node_id().0);
    let mesh_name: holm_types::Label = "sim".parse()?;
    let seed = Chance::new(seed, "host").of(u64::from(plan.no.0)).bits();
    let claims = Claims {
        mesh,
        mesh_name: mesh_name.clone(),
        subject: key.node_id(),
        name: plan.name.parse()?,
        site: plan.site.parse()?,
        roles: vec![if plan.keeper { Role::Keeper } else { Role::Edge }],
        not_before: 0,
        not_after: u64::MAX / 2000,
        serial: u64::from(plan.no.0),
    };
    let chain = CertChain::new(vec![Certificate::sign(claims, authority)?]);
    let capacity = Amounts { cpu: 4000, memory: 4 << 30, disk: 32 << 30, extended: BTreeMap::new() };
    let info =
        NodeInfo { labels: BTreeMap::new(), capacity, arch: "x86_64".into(), version: "sim-0".into(), schema: SCHEMA };
    Ok(Config {
        mesh,
        mesh_name,
        key,
        chain,
        incarnation: Incarnation::default(),
        seed,
        info,
        authority: None,
        peers: Vec::new(),
        liveness: Default::default(),
        healer: Default::default(),
        repair_every: Duration::from_secs(10),
        keep_removed: KEEP_REMOVED,
        disk_budget: u64::MAX,
        volume: VOLUME,
        max_tasks: 250,
        grace: GRACE,
    })
}
