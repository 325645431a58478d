//! Whose documents are where: a site's stay at the site, and who writes for all introduces itself.

mod common;

use common::*;
use holm_state::{Outcome, State, StateError};
use holm_types::{
    DocId, Incarnation, Scope,
    cert::{CertChain, Certificate, Claims, Role},
    change::{SignedChange, Value, keys_of},
    view::TaskState,
};

/// The certificate of node `n`, at `site`.
fn chain_at(n: u8, site: &str, roles: &[Role]) -> CertChain {
    let claims = Claims { site: site.parse().unwrap(), ..(**chain_with(n, roles, 0).claims().unwrap()).clone() };
    CertChain::new(vec![Certificate::sign(claims, &authority()).unwrap()])
}

/// Node `n`, which knows itself and nobody else.
fn peer_at(n: u8, site: &str, roles: &[Role]) -> Peer {
    let mut peer = Peer::stranger(n);
    peer.state.add_member(chain_at(n, site, roles), NOW).unwrap();
    peer
}

fn edge(n: u8, site: &str) -> Peer {
    peer_at(n, site, &[Role::Edge])
}

fn site(name: &str) -> Scope {
    Scope::Site(name.parse().unwrap())
}

fn app_at(scope: &Scope) -> DocId {
    DocId::app(scope, &"default".parse().unwrap(), &"hello".parse().unwrap())
}

fn cert_of(n: u8, chain: &CertChain) -> (String, Option<Value>) {
    (keys_of::introduction(&id(n)), Some(Value::Bytes(chain.encode().unwrap())))
}

fn refusal(result: Result<SignedChange, StateError>) -> String {
    match result {
        Err(StateError::Invalid { why, .. }) => why,
        other => panic!("{other:?} instead of a refusal"),
    }
}

/// Somebody whose own program checks nothing: it believes to belong to `claimed`, with a certificate of an authority of its own
/// making, and signs what that lets it write as a change of our mesh.
fn forced(n: u8, scope: &Scope, doc: DocId, ops: Vec<(String, Option<Value>)>) -> SignedChange {
    let mut free = State::open(mesh(), key(n), Incarnation(0), Box::new(holm_state::MemStore::new())).unwrap();
    free.add_member(chain_at(n, scope.site().map_or("s", |site| site.as_str()), &[Role::Keeper]), NOW).unwrap();
    free.write(scope, doc, ops, NOW).unwrap()
}

#[test]
fn an_edge_node_writes_at_its_site_and_for_all_and_nowhere_else() {
    let mut node = edge(0, "shop");
    for scope in [site("shop"), Scope::Mesh] {
        node.state.write(&scope, app_at(&scope), apply_ops(1, 1, 1), NOW).unwrap();
    }
    let plant = site("plant");
    let why = refusal(node.state.write(&plant, app_at(&plant), apply_ops(1, 1, 1), NOW));
    assert!(why.contains("another site"), "{why}");
    let mut keeper = peer_at(1, "cloud", &[Role::Keeper]);
    keeper.state.write(&plant, app_at(&plant), apply_ops(1, 1, 1), NOW).unwrap();
}

#[test]
fn what_a_liar_writes_at_another_site_is_refused_by_everyone() {
    let plant = site("plant");
    let lie = forced(0, &plant, app_at(&plant), apply_ops(1, 1, 9));
    let mut victim = edge(1, "plant");
    victim.state.add_member(chain_at(0, "shop", &[Role::Edge]), NOW).unwrap();
    let mut keeper = peer_at(2, "cloud", &[Role::Keeper]);
    keeper.state.add_member(chain_at(0, "shop", &[Role::Edge]), NOW).unwrap();
    for peer in [&mut victim, &mut keeper] {
        assert!(matches!(peer.receive(&lie), Outcome::Refused(why) if why.contains("another site")));
        assert_eq!(peer.state.document_count(), 0);
    }
}

#[test]
fn a_nodes_document_is_at_its_site_and_a_keepers_is_for_all() {
    let hello = |n: u8, chain: &CertChain| {
        (DocId::node(&id(n)), vec![(keys_of::CERT.to_owned(), Some(Value::Bytes(chain.encode().unwrap())))])
    };
    for (roles, home, other) in
        [(&[Role::Edge], site("shop"), Scope::Mesh), (&[Role::Keeper], Scope::Mesh, site("shop"))]
    {
        let chain = chain_at(0, "shop", roles);
        let mut node = peer_at(0, "shop", roles);
        let (doc, ops) = hello(0, &chain);
        let why = refusal(node.state.write(&other, doc, ops.clone(), NOW));
        assert!(why.contains("a node's document is at its site"), "{why}");
        node.state.write(&home, doc, ops, NOW).unwrap();
    }
}

#[test]
fn who_writes_for_all_brings_its_certificate_once() {
    let mut writer = edge(0, "shop");
    let doc = app_at(&Scope::Mesh);
    let first = writer.state.write(&Scope::Mesh, doc, apply_ops(1, 1, 1), NOW).unwrap();
    let second = writer.state.write(&Scope::Mesh, doc, apply_ops(1, 2, 3), NOW).unwrap();
    let introduces = |change: &SignedChange| change.change.ops.iter().any(|op| op.key.starts_with("cert/"));
    assert!(introduces(&first) && !introduces(&second), "once is enough");

    let mut far = edge(1, "plant");
    assert_eq!(far.receive(&second), Outcome::Orphan, "nobody knows who that is");
    assert_eq!(far.receive(&first), Outcome::Applied { released: 1 });
    assert_eq!(far.state.members()[&id(0)].chain, chain_at(0, "shop", &[Role::Edge]));
    far.persist();
    assert_eq!(far.reopen().believes(), far.believes());

    // At its own site everybody has its node document.
    let at_home = writer.state.write(&site("shop"), app_at(&site("shop")), apply_ops(1, 1, 1), NOW).unwrap();
    assert!(!introduces(&at_home));
    // A keeper's node document is everywhere.
    let mut keeper = peer_at(2, "cloud", &[Role::Keeper]);
    let of = tasks_of(1, 0);
    let tasks = keeper.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), assign(0, 1, 2, 1)], NOW).unwrap();
    assert!(!introduces(&tasks));
}

#[test]
fn statuses_of_two_strangers_introduce_both() {
    let of = tasks_of(1, 0);
    let (mut a, mut b, mut far) = (edge(0, "shop"), edge(1, "plant"), edge(2, "depot"));
    let by_a =
        a.state.write(&Scope::Mesh, of.doc(), vec![names_app(&of), status(0, 1, 0, TaskState::Running)], NOW).unwrap();
    assert_eq!(b.receive(&by_a), Outcome::Applied { released: 0 });
    let by_b = b.state.write(&Scope::Mesh, of.doc(), vec![status(1, 1, 1, TaskState::Running)], NOW).unwrap();
    assert_eq!(far.receive(&by_b), Outcome::Orphan, "it follows from what is not here yet");
    assert_eq!(far.receive(&by_a), Outcome::Applied { released: 1 });
    assert_eq!(far.state.members().len(), 3);
    assert_eq!(far.believes(), b.believes());
}

#[test]
fn nobody_introduces_anybody_else() {
    let doc = app_at(&Scope::Mesh);
    // A keeper's program adds nothing by itself to what it is told to write.
    let own = chain_at(0, "cloud", &[Role::Keeper]);
    let mut node = peer_at(0, "cloud", &[Role::Keeper]);
    let other = chain_at(1, "shop", &[Role::Edge]);
    let why = refusal(node.state.write(&Scope::Mesh, doc, vec![cert_of(1, &other)], NOW));
    assert!(why.contains("each its own"), "{why}");

    let under_its_own_name = vec![(keys_of::introduction(&id(0)), Some(Value::Bytes(other.encode().unwrap())))];
    let why = refusal(node.state.write(&Scope::Mesh, doc, under_its_own_name, NOW));
    assert!(why.contains("another node's"), "{why}");

    node.state.write(&Scope::Mesh, doc, vec![cert_of(0, &own)], NOW).unwrap();
    let why = refusal(node.state.write(&Scope::Mesh, doc, vec![(keys_of::introduction(&id(0)), None)], NOW));
    assert!(why.contains("each its own"), "a certificate stays: {why}");
}

#[test]
fn a_certificate_of_another_mesh_introduces_nobody() {
    let claims = chain_at(0, "cloud", &[Role::Keeper]).claims().unwrap().clone();
    let forged = CertChain::new(vec![Certificate::sign(claims, &key(77)).unwrap()]);
    let mut node = peer_at(0, "cloud", &[Role::Keeper]);
    let why = refusal(node.state.write(&Scope::Mesh, app_at(&Scope::Mesh), vec![cert_of(0, &forged)], NOW));
    assert!(why.contains("signature"), "{why}");
}
