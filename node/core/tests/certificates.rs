//! Certificates over years of virtual time: who renews, who only reads, who is let in no more.

use holm_node_core::{Config, Effect, Input, Node};
use holm_state::{MemStore, StoreWrite as _, verify_batch};
use holm_types::{
    Incarnation, Label, MeshId, Mono, NodeId, Now, Wall,
    api::{ApiError, ApplyParams, ListParams, Request, RevokeParams, TokenParams},
    cert::{CertChain, Certificate, Claims, Role, term},
    change::SCHEMA,
    distrust::Distrust,
    keys::KeyPair,
    manifest::Amounts,
    token::{Enrolment, Token},
    view::NodeInfo,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

const DAY: u64 = 86_400;
const START: u64 = 1_790_000_000;
const APP: &str = "name = 'web'\ntype = 'service'\n[run.process]\ncommand = ['/bin/sleep', '9']\n";

fn key(n: u8) -> KeyPair {
    KeyPair::from_secret(&[n; 32])
}

fn authority() -> KeyPair {
    key(200)
}

fn mesh() -> MeshId {
    MeshId(authority().node_id().0)
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn claims(n: u8, site: &str, roles: &[Role], validity: u64) -> Claims {
    let (not_before, not_after) = term(START, validity);
    Claims {
        mesh: mesh(),
        mesh_name: label("m"),
        subject: key(n).node_id(),
        name: label(&format!("n{n}")),
        site: label(site),
        roles: roles.to_vec(),
        not_before,
        not_after,
        serial: u64::from(n),
    }
}

fn by_authority(claims: Claims) -> CertChain {
    CertChain::new(vec![Certificate::sign(claims, &authority()).unwrap()])
}

struct Peer {
    node: Node,
    disk: MemStore,
    chain: CertChain,
    holds_authority: bool,
    distrust: Arc<Distrust>,
    starts: u64,
    shown: CertChain,
}

/// Nodes, the connections between them, and one clock.
struct World {
    peers: BTreeMap<u8, Peer>,
    links: BTreeSet<(u8, u8)>,
    /// Nodes that a gate can be reached at.
    gates: BTreeSet<u8>,
    now: Now,
    replies: VecDeque<Result<Value, ApiError>>,
    enrolled: VecDeque<Result<Enrolment, String>>,
    events: Vec<String>,
}

impl World {
    fn new() -> World {
        World {
            peers: BTreeMap::new(),
            links: BTreeSet::new(),
            gates: BTreeSet::new(),
            now: Now { mono: Mono(Duration::from_secs(1)), wall: Wall(START * 1000) },
            replies: VecDeque::new(),
            enrolled: VecDeque::new(),
            events: Vec::new(),
        }
    }

    fn add(&mut self, n: u8, chain: CertChain, holds_authority: bool) {
        self.open(n, MemStore::new(), chain, holds_authority, 1);
    }

    fn open(&mut self, n: u8, disk: MemStore, chain: CertChain, holds_authority: bool, starts: u64) {
        let info = NodeInfo {
            labels: BTreeMap::new(),
            capacity: Amounts { cpu: 4000, memory: 4 << 30, disk: 32 << 30, extended: BTreeMap::new() },
            arch: "x86_64".into(),
            version: "1".into(),
            schema: SCHEMA,
        };
        let address = |other: u8| (key(other).node_id(), vec![format!("/gate/{other}")]);
        let config = Config {
            mesh: mesh(),
            mesh_name: label("m"),
            key: key(n),
            chain: chain.clone(),
            incarnation: Incarnation(starts),
            seed: u64::from(n),
            info,
            authority: holds_authority.then(authority),
            peers: self.peers.keys().map(|other| address(*other)).collect(),
            liveness: Default::default(),
            healer: Default::default(),
            repair_every: Duration::from_secs(10),
            keep_removed: Duration::from_secs(600),
            disk_budget: u64::MAX,
            volume: 1_000,
            max_tasks: 10,
            grace: Duration::from_secs(1),
        };
        let mut effects = Vec::new();
        let mut node = Node::open(config, Box::new(disk.clone()), Vec::new(), self.now, &mut effects).unwrap();
        node.handle(self.now, Input::Listening { address: format!("/gate/{n}") }, &mut effects);
        let shown = chain.clone();
        self.peers.insert(n, Peer { node, disk, chain, holds_authority, distrust: Arc::default(), starts, shown });
        self.gates.insert(n);
        self.carry_out(n, effects);
    }

    fn restart(&mut self, n: u8) {
        let old = self.peers.remove(&n).unwrap();
        let links: Vec<(u8, u8)> = self.links.iter().copied().filter(|(a, b)| *a == n || *b == n).collect();
        links.iter().for_each(|(a, b)| self.disconnect(*a, *b));
        self.open(n, old.disk, old.chain, old.holds_authority, old.starts + 1);
    }

    fn give(&mut self, n: u8, input: Input) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&n) else { return };
        let mut effects = Vec::new();
        peer.node.handle(now, input, &mut effects);
        peer.node.settle(now, &mut effects);
        self.carry_out(n, effects);
    }

    fn number(&self, id: &NodeId) -> Option<u8> {
        self.peers.keys().copied().find(|n| key(*n).node_id() == *id)
    }

    fn linked(&self, a: u8, b: u8) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    /// As the gate does.
    fn lets_in(&self, host: u8, guest: u8) -> bool {
        let shown = &self.peers[&guest].shown;
        let in_time = shown.verify_at(&mesh(), self.now.wall, Duration::from_secs(600)).is_ok();
        in_time && !self.peers[&host].distrust.voids(shown)
    }

    fn connect(&mut self, a: u8, b: u8) -> bool {
        if !self.lets_in(a, b) || !self.lets_in(b, a) {
            return false;
        }
        self.links.insert((a.min(b), a.max(b)));
        for (host, guest) in [(a, b), (b, a)] {
            let chain = self.peers[&guest].shown.clone();
            let node = key(guest).node_id();
            self.give(host, Input::PeerUp { node, chain, address: "/x".into(), relayed: false });
        }
        true
    }

    fn disconnect(&mut self, a: u8, b: u8) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.give(a, Input::PeerDown { node: key(b).node_id() });
            self.give(b, Input::PeerDown { node: key(a).node_id() });
        }
    }

    fn carry_out(&mut self, n: u8, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(batch) => {
                    self.peers.get_mut(&n).unwrap().disk.write(&batch).unwrap();
                    self.give(n, Input::Persisted);
                }
                Effect::Verify(changes) => self.give(n, Input::Verified { verdicts: verify_batch(&mesh(), &changes) }),
                Effect::Publish { topic, bytes } => {
                    let hearers: Vec<u8> = self.peers.keys().copied().filter(|other| self.linked(n, *other)).collect();
                    for other in hearers {
                        let (topic, bytes) = (topic.clone(), bytes.clone());
                        self.give(other, Input::Gossip { source: key(n).node_id(), topic, bytes });
                    }
                }
                Effect::Send { peer, bytes } => {
                    if let Some(to) = self.number(&peer).filter(|to| self.linked(n, *to)) {
                        self.give(to, Input::Frame { from: key(n).node_id(), bytes });
                    }
                }
                Effect::Distrust(distrust) => {
                    self.peers.get_mut(&n).unwrap().distrust = distrust;
                    let cut: Vec<u8> =
                        self.peers.keys().copied().filter(|o| self.linked(n, *o) && !self.lets_in(n, *o)).collect();
                    cut.into_iter().for_each(|other| self.disconnect(n, other));
                }
                Effect::Present(chain) => self.peers.get_mut(&n).unwrap().shown = chain,
                Effect::Renew { issuer, chain, .. } => self.ask_at_gate(n, &issuer, chain),
                Effect::Reply { result, .. } => self.replies.push_back(result),
                Effect::Enrolled { result, .. } => self.enrolled.push_back(result),
                Effect::Emit(event) => self.events.push(format!("{n} {:?} {}", event.kind, event.detail)),
                _ => {}
            }
        }
    }

    fn ask_at_gate(&mut self, n: u8, issuer: &NodeId, chain: CertChain) {
        let Some(at) = self.number(issuer).filter(|at| self.gates.contains(at)) else { return };
        if self.peers[&at].distrust.voids(&chain) {
            return;
        }
        self.give(at, Input::Renew { id: 1, node: key(n).node_id(), chain });
        if let Some(Ok(enrolment)) = self.enrolled.pop_back() {
            self.give(n, Input::Renewed { chain: enrolment.chain });
        }
    }

    /// Lets time pass in strides, and everybody look at the clock; connections end as the network ends them.
    fn pass(&mut self, seconds: u64, stride: u64) {
        for _ in 0..seconds / stride {
            let stride = Duration::from_secs(stride);
            self.now = Now { mono: self.now.mono.after(stride), wall: self.now.wall.after(stride) };
            for n in self.peers.keys().copied().collect::<Vec<_>>() {
                let now = self.now;
                let mut effects = Vec::new();
                self.peers.get_mut(&n).unwrap().node.settle(now, &mut effects);
                self.carry_out(n, effects);
            }
            for (a, b) in self.links.clone() {
                if !self.lets_in(a, b) || !self.lets_in(b, a) {
                    self.disconnect(a, b);
                }
            }
        }
    }

    fn ask(&mut self, n: u8, request: Request) -> Result<Value, ApiError> {
        self.replies.clear();
        self.give(n, Input::Request { id: 7, request });
        self.replies.pop_front().expect("an answer")
    }

    fn apply(&mut self, n: u8) -> Result<Value, ApiError> {
        let params =
            ApplyParams { manifest: None, text: Some(APP.into()), expected_revision: None, idempotency_key: None };
        self.ask(n, Request::AppApply(params))
    }

    fn token(&mut self, n: u8, role: Role, site: &str, uses: u32) -> Result<Token, ApiError> {
        let params =
            TokenParams { role, site: Some(label(site)), ttl_s: None, uses: Some(uses), validity_s: Some(10 * DAY) };
        let text = self.ask(n, Request::TokenCreate(params))?;
        Ok(Token::from_text(text.as_str().unwrap()).unwrap())
    }

    fn enrol(&mut self, at: u8, token: &Token, n: u8, name: &str) -> Result<CertChain, String> {
        let name = name.to_owned();
        self.give(at, Input::Enrol { id: 9, token: token.clone(), subject: key(n).node_id(), name });
        self.enrolled.pop_back().expect("an answer").map(|enrolment| enrolment.chain)
    }

    fn revoke(&mut self, at: u8, node: &str) -> Result<Value, ApiError> {
        self.ask(at, Request::CertRevoke(RevokeParams { node: node.into(), reason: Some("stolen".into()) }))
    }

    fn certificate(&mut self, at: u8, n: u8) -> Value {
        let list = self.ask(at, Request::CertList(ListParams::default())).unwrap();
        let id = key(n).node_id().to_string();
        let rows = list["items"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).cloned().unwrap_or(Value::Null)
    }
}

/// An issuer (1) that is a keeper, with a certificate for ten years, and two edge nodes of one site.
fn fleet() -> World {
    let mut world = World::new();
    world.add(1, by_authority(claims(1, "cloud", &[Role::Keeper, Role::Issuer], 3650 * DAY)), false);
    for n in [2, 3] {
        world.add(n, by_authority(claims(n, "shop", &[Role::Edge], 90 * DAY)), false);
    }
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        assert!(world.connect(a, b));
    }
    world
}

#[test]
fn certificates_are_renewed_in_time_for_years_over_the_connections_that_are_there() {
    let mut world = fleet();
    let first = world.certificate(2, 2)["not_after"].as_u64().unwrap();
    world.pass(59 * DAY, DAY / 4);
    assert_eq!(world.certificate(2, 2)["not_after"], first, "not before a third is left");
    world.pass(3 * DAY, DAY / 4);
    let renewed = world.certificate(2, 2);
    assert!(renewed["not_after"].as_u64().unwrap() > first + 50 * DAY && renewed["issuer"] == "n1", "{renewed}");
    world.pass(3 * 365 * DAY, DAY / 2);
    for n in [2, 3] {
        assert_eq!(world.certificate(n, n)["state"], "valid");
        assert_eq!(world.certificate(1, n)["state"], "valid", "the issuer knows");
    }
    assert_eq!(world.links.len(), 3, "no connection ended for it: {:?}", world.events);
    assert!(world.apply(2).is_ok());
    // It is kept: a start shows the new one.
    let shown = world.peers[&2].shown.clone();
    world.restart(2);
    assert_eq!(world.peers[&2].shown, shown);
}

#[test]
fn an_issuer_renews_nothing_beyond_its_own_end() {
    let mut world = World::new();
    world.add(1, by_authority(claims(1, "shop", &[Role::Issuer], 120 * DAY)), false);
    world.add(2, by_authority(claims(2, "shop", &[Role::Edge], 90 * DAY)), false);
    assert!(world.connect(1, 2));
    world.pass(70 * DAY, DAY / 4);
    let own = world.certificate(1, 1)["not_after"].as_u64().unwrap();
    assert_eq!(world.certificate(2, 2)["not_after"], own);
    world.pass(45 * DAY, DAY / 4);
    assert_eq!(world.certificate(2, 2)["not_after"], own, "nothing more is to be had");
}

#[test]
fn a_node_past_its_end_only_reads_until_a_gate_renews_its_certificate() {
    let mut world = fleet();
    assert!(world.apply(2).is_ok());
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        world.disconnect(a, b);
    }
    world.gates.clear();
    world.pass(100 * DAY, DAY / 2);
    assert_eq!(world.certificate(2, 2)["state"], "grace");
    assert!(world.connect(2, 3) && world.apply(2).is_ok(), "peers bear with it for a while");
    world.pass(25 * DAY, DAY / 2);
    assert_eq!(world.certificate(2, 2)["state"], "ended");
    assert!(world.links.is_empty() && !world.connect(2, 3), "nobody lets it in");
    let refused = world.apply(2);
    assert!(matches!(&refused, Err(ApiError::NotAuthorised(why)) if why.contains("has ended")), "{refused:?}");
    assert!(world.ask(2, Request::AppList(ListParams::default())).is_ok(), "it reads");
    world.restart(2);
    assert!(world.apply(2).is_err());

    world.gates.insert(1);
    world.pass(DAY, DAY / 2);
    assert_eq!(world.certificate(2, 2)["state"], "valid");
    assert!(world.connect(1, 2) && world.apply(2).is_ok());
}

#[test]
fn a_wrong_clock_makes_a_node_read_only_and_no_verdict_depends_on_it() {
    let mut world = fleet();
    let behind = world.now;
    assert!(world.apply(3).is_ok());
    // Node 2 thinks that it is ten years later; nobody else does. It says nothing, and hears all the same.
    let later = Now { wall: behind.wall.after(Duration::from_secs(3650 * DAY)), ..behind };
    world.now = later;
    assert!(world.apply(2).is_err());
    world.now = behind;
    assert!(world.apply(2).is_ok());
}

#[test]
fn an_issuer_enrols_within_its_limits_and_its_tokens_are_counted_over_restarts() {
    let mut world = World::new();
    world.add(1, by_authority(claims(1, "shop", &[Role::Issuer], 365 * DAY)), false);
    for (role, site) in [(Role::Edge, "plant"), (Role::Keeper, "shop"), (Role::Issuer, "shop")] {
        let refused = world.token(1, role, site, 1);
        assert!(matches!(refused, Err(ApiError::NotAuthorised(_))), "{role} of {site}: {refused:?}");
    }
    let token = world.token(1, Role::Edge, "shop", 2).unwrap();
    let chain = world.enrol(1, &token, 2, "n2").unwrap();
    let enrolled = chain.verify(&mesh()).unwrap();
    assert_eq!((enrolled.roles.as_slice(), enrolled.site.as_str()), (&[Role::Edge][..], "shop"));
    assert_eq!(chain.issuer().map(|issuer| issuer.subject), Some(key(1).node_id()));
    world.restart(1);
    assert!(world.enrol(1, &token, 2, "n2").is_ok(), "the answer may have been lost");
    assert!(world.enrol(1, &token, 3, "n3").is_ok());
    world.restart(1);
    assert!(world.enrol(1, &token, 4, "n4").is_err_and(|why| why.contains("used up")));
    // An edge node enrols nobody, and the authority makes issuers.
    world.add(5, by_authority(claims(5, "shop", &[Role::Edge], DAY)), false);
    assert!(world.token(5, Role::Edge, "shop", 1).is_err());
    world.add(6, by_authority(claims(6, "cloud", &[Role::Keeper, Role::Issuer], 3650 * DAY)), true);
    let issuers = world.token(6, Role::Issuer, "plant", 1).unwrap();
    let chain = world.enrol(6, &issuers, 7, "n7").unwrap();
    assert!(chain.verify(&mesh()).unwrap().is_issuer() && chain.issuer().is_none());
}

#[test]
fn a_revoked_node_is_cut_off_by_all_and_its_name_is_free() {
    let mut world = fleet();
    assert!(matches!(world.revoke(2, "n3"), Err(ApiError::NotAuthorised(_))), "an edge node revokes nobody");
    assert!(matches!(world.revoke(1, "n1"), Err(ApiError::Invalid(_))), "not itself");
    assert!(matches!(world.revoke(1, "n9"), Err(ApiError::NotFound(_))));
    assert!(world.apply(3).is_ok());
    world.pass(20, 1);
    assert!(world.revoke(1, "n3").is_ok());
    world.pass(3, 1);
    assert_eq!(world.links, BTreeSet::from([(1, 2)]), "{:?}", world.events);
    assert!(!world.connect(2, 3) && !world.connect(1, 3));
    for n in [1, 2] {
        let row = world.certificate(n, 3);
        assert!(row["state"] == "revoked" && row["reason"] == "stolen", "{row}");
        let nodes = world.ask(n, Request::NodeList(ListParams::default())).unwrap();
        let id = key(3).node_id().to_string();
        let row = nodes["items"].as_array().unwrap().iter().find(|row| row["id"] == id).cloned().unwrap();
        assert!(row["revoked"] == true && row["state"] == "left", "{row}");
    }
    assert!(world.revoke(1, "n3").is_err_and(|e| e.to_string().contains("already")));
    world.restart(2);
    assert!(!world.connect(2, 3), "after a restart, too");

    let token = world.token(1, Role::Edge, "shop", 3).unwrap();
    assert!(world.enrol(1, &token, 3, "n8").is_err_and(|why| why.contains("revoked")), "not with the old key");
    assert!(world.enrol(1, &token, 4, "n3").is_ok(), "the name is free");
    assert!(world.enrol(1, &token, 5, "n3").is_err(), "and taken again");
    // Nor does a gate renew it.
    let chain = world.peers[&3].shown.clone();
    world.give(1, Input::Renew { id: 3, node: key(3).node_id(), chain });
    assert!(world.enrolled.pop_back().unwrap().is_err());
}

#[test]
fn an_issuer_falls_by_the_authority_alone_and_whom_it_enrolled_stays() {
    let mut world = World::new();
    world.add(1, by_authority(claims(1, "cloud", &[Role::Keeper, Role::Issuer], 3650 * DAY)), false);
    world.add(2, by_authority(claims(2, "shop", &[Role::Issuer], 365 * DAY)), false);
    world.add(3, by_authority(claims(3, "cloud", &[Role::Keeper], 365 * DAY)), true);
    for (a, b) in [(1, 2), (2, 3), (1, 3)] {
        assert!(world.connect(a, b));
    }
    let token = world.token(2, Role::Edge, "shop", 3).unwrap();
    let chain = world.enrol(2, &token, 4, "n4").unwrap();
    world.add(4, chain, false);
    for other in [1, 3] {
        assert!(world.connect(4, other));
    }
    world.pass(20, 1);
    assert!(matches!(world.revoke(1, "n2"), Err(ApiError::NotAuthorised(_))), "an issuer does not revoke issuers");
    // What the thief of its key signs after that is worth nothing.
    let minted = world.enrol(2, &token, 5, "n5").unwrap();
    for (a, b) in [(1, 2), (2, 3)] {
        world.disconnect(a, b);
    }
    assert!(world.revoke(3, "n2").is_ok());
    world.pass(20, 1);
    assert!(world.linked(1, 4) && world.linked(3, 4) && world.apply(4).is_ok());
    assert_eq!(world.certificate(1, 4)["state"], "valid");
    assert!(world.peers[&1].distrust.voids(&minted) || world.certificate(3, 5)["state"] == "valid");
    let never_seen = Claims { subject: key(6).node_id(), ..(**minted.verify(&mesh()).unwrap()).clone() };
    let by = Certificate::sign(claims(2, "shop", &[Role::Issuer], 365 * DAY), &authority()).unwrap();
    let never_seen = CertChain::new(vec![Certificate::sign(never_seen, &key(2)).unwrap(), by]);
    assert!(never_seen.verify(&mesh()).is_ok() && world.peers[&1].distrust.voids(&never_seen));
    // Whom it had certified is renewed by another issuer when the time comes.
    world.pass(20 * DAY, DAY / 4);
    assert_eq!(world.certificate(4, 4)["issuer"], "n1");
}
