//! A mesh under test.

use crate::{
    eventually,
    lab::{Ground, Host, Lab},
    netlab::Link,
    node::{Node, SOON, Transports},
    rows::Task,
    suite::{Place, Scene},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::RangeInclusive,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// Where nodes listen on hosts of their own.
const LAB_PORT: u16 = 4001;
/// The name of the mesh.
pub const MESH: &str = "orchard";

/// A mesh of real nodes. Dropping it takes everything away.
#[derive(Debug)]
pub struct Cluster {
    // Nodes before the lab: they are stopped while their hosts are still there.
    nodes: BTreeMap<String, Node>,
    lab: Option<Lab>,
    folder: PathBuf,
    logs: PathBuf,
    first: String,
    keepers: BTreeSet<String>,
    listen: Transports,
}

/// Collects what the mesh shall be.
#[must_use]
#[derive(Debug)]
pub struct Builder<'a> {
    scene: &'a Scene,
    nodes: Vec<Wanted>,
    keepers: BTreeSet<String>,
    grounds: Vec<(String, Ground)>,
    listen: Transports,
    link: Option<Link>,
}

/// A node to be.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    site: String,
    /// Where in the lab: a site of it, or a host in public.
    place: String,
    more: Vec<String>,
}

impl Builder<'_> {
    /// What a site stands on; a routed network when nothing is said.
    pub fn ground(mut self, site: &str, ground: Ground) -> Self {
        self.grounds.push((site.to_owned(), ground));
        self
    }

    /// One more node at `site`. The first one holds the authority, enrols the others and is a keeper.
    pub fn node(self, name: &str, site: &str) -> Self {
        self.placed(name, site, site)
    }

    /// One more node of `site` on other ground than the rest of it: vehicles are one site, and each has a router.
    pub fn placed(mut self, name: &str, site: &str, place: &str) -> Self {
        if self.nodes.is_empty() {
            self.keepers.insert(name.to_owned());
        }
        let [name, site, place] = [name, site, place].map(ToOwned::to_owned);
        self.nodes.push(Wanted { name, site, place, more: Vec::new() });
        self
    }

    /// Further arguments of `holm up` for the node named last.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        if let Some(node) = self.nodes.last_mut() {
            node.more.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        }
        self
    }

    /// The same for the first node.
    pub fn with_first(mut self, arguments: &[&str]) -> Self {
        if let Some(node) = self.nodes.first_mut() {
            node.more.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        }
        self
    }

    /// What the uplink of every site that has a ground does to packets.
    pub fn linked(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }

    /// What the nodes listen on.
    pub fn listen(mut self, listen: Transports) -> Self {
        self.listen = listen;
        self
    }

    /// One more node at `site`, which holds the documents of all sites.
    pub fn keeper(mut self, name: &str, site: &str) -> Self {
        self.keepers.insert(name.to_owned());
        self.node(name, site)
    }

    /// Makes the mesh, enrols and starts every node, and waits until each sees those alive that it is to know.
    ///
    /// # Errors
    /// Any of that fails.
    pub fn start(self) -> Result<Cluster> {
        let first = self.nodes.first().context("a mesh needs a node")?;
        let (name, site) = (&first.name, &first.site);
        let mut lab = if *self.scene.place() == Place::Lab { Some(Lab::new()?) } else { None };
        for (site, ground) in &self.grounds {
            lab.as_mut().context("there is no NAT without the lab")?.ground(site, *ground)?;
        }
        if let (Some(link), Some(lab)) = (self.link, lab.as_ref()) {
            for (site, ground) in &self.grounds {
                if matches!(ground, Ground::Behind(_)) {
                    lab.net().link(site, link)?;
                }
            }
        }
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            lab,
            folder: self.scene.folder("data")?,
            logs: self.scene.folder("logs")?,
            first: name.clone(),
            keepers: self.keepers,
            listen: self.listen,
        };
        let first = cluster.make(first)?;
        let data = first.data().to_string_lossy().into_owned();
        first.ok(&["init", "--mesh", MESH, "--site", site, "--name", name, "--data-dir", &data])?;
        first.up()?;
        cluster.nodes.insert(name.clone(), first);
        cluster.enrol(&self.nodes[1..])?;
        cluster.wait_acquainted()?;
        Ok(cluster)
    }
}

impl Cluster {
    /// Begins to describe a mesh in a scene.
    pub fn of(scene: &Scene) -> Builder<'_> {
        let (nodes, keepers, grounds) = (Vec::new(), BTreeSet::new(), Vec::new());
        Builder { scene, nodes, keepers, grounds, listen: Transports::Both, link: None }
    }

    /// Enrols and starts more nodes.
    fn enrol(&mut self, nodes: &[Wanted]) -> Result<()> {
        let mut groups: BTreeMap<(&str, &str), Vec<&Wanted>> = BTreeMap::new();
        for node in nodes {
            let role = if self.keepers.contains(&node.name) { "keeper" } else { "edge" };
            groups.entry((role, &node.site)).or_default().push(node);
        }
        for ((role, site), wanted) in groups {
            let token = self.token_for(role, site, &["--uses", &wanted.len().to_string()])?;
            for wanted in wanted {
                let node = self.make(wanted)?;
                join(&node, &token)?;
                node.launch()?;
                self.nodes.insert(wanted.name.clone(), node);
            }
        }
        self.nodes.values().try_for_each(Node::wait_ready)
    }

    /// A token for an edge node of a site, made at the first node.
    ///
    /// # Errors
    /// The command fails.
    pub fn token(&self, site: &str, more: &[&str]) -> Result<String> {
        self.token_for("edge", site, more)
    }

    /// The same for any role.
    ///
    /// # Errors
    /// The command fails.
    pub fn token_for(&self, role: &str, site: &str, more: &[&str]) -> Result<String> {
        let command = ["token", "create", "--role", role, "--site", site];
        Ok(self.node(&self.first).ok(&[&command, more].concat())?.trim().to_owned())
    }

    /// A node on a host of its own that belongs to nothing yet and was not started.
    ///
    /// # Errors
    /// There can be no more hosts.
    pub fn new_node(&mut self, name: &str, site: &str) -> Result<Node> {
        self.new_node_at(name, site, site)
    }

    fn make(&mut self, wanted: &Wanted) -> Result<Node> {
        let mut node = self.new_node_at(&wanted.name, &wanted.site, &wanted.place)?;
        node.set(self.listen, &wanted.more);
        Ok(node)
    }

    /// The same, on other ground than the rest of its site.
    ///
    /// # Errors
    /// There can be no more hosts.
    pub fn new_node_at(&mut self, name: &str, site: &str, place: &str) -> Result<Node> {
        let host = self.new_host(place)?;
        let port = if host.is_in_lab() { LAB_PORT } else { free_port()? };
        let data = self.folder.join(name);
        std::fs::create_dir_all(&data)?;
        Ok(Node::new(name, site, host, port, data, self.logs.clone()))
    }

    /// A host at `site` without a node.
    ///
    /// # Errors
    /// There can be no more hosts.
    pub fn new_host(&mut self, site: &str) -> Result<Host> {
        match &mut self.lab {
            Some(lab) => lab.host(site),
            None => Ok(Host::this_machine()),
        }
    }

    /// The node of that name.
    ///
    /// # Panics
    /// There is none.
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or_else(|| panic!("the test names a node that is not in the mesh: {name}"))
    }

    /// The folder for logs.
    pub fn logs(&self) -> &std::path::Path {
        &self.logs
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The nodes that were not killed.
    pub fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.pid().is_some())
    }

    /// The lab that it stands in.
    ///
    /// # Errors
    /// It stands on 127.0.0.1.
    pub fn lab(&self) -> Result<&Lab> {
        self.lab.as_ref().context("links cannot be cut without the lab")
    }

    /// Whether `node` holds the documents of `site`, or of no site in particular.
    fn holds(&self, node: &Node, site: Option<&str>) -> bool {
        site.is_none_or(|site| node.site() == site) || self.keepers.contains(node.name())
    }

    /// Waits until every node that is up sees those alive that it is to know: its site and the keepers, or all if it
    /// is a keeper.
    ///
    /// # Errors
    /// Not soon.
    pub fn wait_acquainted(&self) -> Result<()> {
        for node in self.up() {
            let known = |other: &&Node| self.holds(node, Some(other.site())) || self.keepers.contains(other.name());
            let names: BTreeSet<&str> = self.up().filter(known).map(Node::name).collect();
            eventually(&format!("{} sees {names:?} alive", node.name()), SOON, || {
                let members = node.members()?;
                let alive: BTreeSet<&str> =
                    members.iter().filter(|m| m.state == "alive").map(|m| m.name.as_str()).collect();
                ensure!(alive.is_superset(&names), "only {alive:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until `observer` no longer takes `name` for alive.
    ///
    /// # Errors
    /// Not soon.
    pub fn wait_missed(&self, name: &str, observer: &str) -> Result<()> {
        eventually(&format!("{observer} misses {name}"), SOON, || {
            let members = self.node(observer).members()?;
            let state = members.iter().find(|m| m.name == name).map(|m| m.state.as_str());
            ensure!(state == Some("dead"), "it says {state:?}");
            Ok(())
        })
    }

    /// Waits until all nodes that are up hold the same documents in the scopes they share.
    ///
    /// # Errors
    /// Not soon.
    pub fn wait_converged(&self) -> Result<()> {
        eventually("the heads are equal on all nodes", SOON, || {
            let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
            for node in self.up() {
                let status = node.status()?;
                ensure!(!status.heads.is_empty(), "{} holds nothing", node.name());
                for (scope, head) in status.heads {
                    match seen.get(&scope) {
                        Some((first, other)) if *other != head => {
                            bail!("{first} and {} differ in {scope}", node.name())
                        }
                        Some(_) => {}
                        None => drop(seen.insert(scope, (node.name().to_owned(), head))),
                    }
                }
            }
            Ok(())
        })
    }

    /// What the mesh says runs of `app`, after checking that all nodes that are up and hold the app say the same, and
    /// that it is true: every process is there, and there is no other.
    ///
    /// # Errors
    /// They differ, or it is not true.
    pub fn running_everywhere(&self, app: &str) -> Result<Vec<Task>> {
        let site = self.site_of(app)?;
        let mut agreed: Option<Vec<Task>> = None;
        for node in self.up().filter(|node| self.holds(node, site.as_deref())) {
            let running = node.running(app)?;
            match &agreed {
                Some(first) => ensure!(*first == running, "{} says {running:?}, others {first:?}", node.name()),
                None => agreed = Some(running),
            }
        }
        let running = agreed.with_context(|| format!("no node is up that holds {app}"))?;
        for node in self.up() {
            let said: BTreeSet<i32> =
                running.iter().filter(|t| t.node == node.name()).filter_map(|task| task.pid).collect();
            let found: BTreeSet<i32> = node.processes_of(app).into_iter().collect();
            ensure!(said.is_subset(&found), "on {} should run {said:?}, there are {found:?}", node.name());
            ensure!(!said.is_empty() || found.is_empty(), "on {} something runs that nobody knows", node.name());
        }
        Ok(running)
    }

    /// The site that an app belongs to, if it belongs to one, by the first node that knows the app.
    fn site_of(&self, app: &str) -> Result<Option<String>> {
        for node in self.up() {
            if let Some(row) = node.apps()?.into_iter().find(|row| row.name == app) {
                return Ok(row.site);
            }
        }
        bail!("no node that is up knows {app}")
    }
}

/// Enrols a node with a token.
///
/// # Errors
/// It is refused.
pub fn join(node: &Node, token: &str) -> Result<()> {
    let data = node.data().to_string_lossy().into_owned();
    node.ok(&["join", token, "--name", node.name(), "--data-dir", &data]).map(drop)
}

/// Where free ports are looked for: below those that the system gives to outgoing connections, one of which could take a port between
/// this look and the start of a node.
const PORTS: RangeInclusive<u16> = 11_000..=30_999;

/// A port that is free now for TCP and for UDP.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::try_from(PORTS.len())?;
    // Other processes look, too.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..count {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start() + u16::try_from(at)?;
        let at = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free for TCP and UDP")
}
