//! Versions of one mesh: what a later one writes, in kinds and keys that this one does not know, is kept, passed on and
//! left as it is; and nothing is written because of a version.

mod common;

use common::*;
use holm_state::Outcome;
use holm_types::{
    DocId, Scope,
    branch::Branch,
    change::{SignedChange, Value, keys_of},
    view::{NodeInfo, TaskState},
};

/// A document of a kind of a later version.
fn later_kind() -> DocId {
    let mut doc = app_doc();
    doc.0[0] = 77;
    doc
}

/// Writes what a later version might: a kind, and keys in all the kinds of this one.
fn write_as_a_later_version(peer: &mut Peer) {
    peer.write(later_kind(), &[("rule", text("temperature > 80")), ("as/not/a/slot", uint(7))]);
    let mut app = apply_ops(1, 1, 3);
    app.push((keys_of::spec("colour"), text("\"red\"")));
    app.push(("windows/0".into(), text("sunday")));
    peer.state.write(&Scope::Mesh, app_doc(), app, NOW).unwrap();
    let of = tasks_of(1, 0);
    let mut tasks = vec![names_app(&of), assign(0, 1, peer.n, peer.n), status(0, 1, peer.n, TaskState::Running)];
    tasks.push((format!("health/0/1/{}", id(peer.n).mark()), uint(99)));
    peer.state.write(&of.scope, of.doc(), tasks, NOW).unwrap();
    let cert = Value::Bytes(chain(peer.n).encode().unwrap());
    let info = serde_json::json!({
        "labels": {}, "capacity": { "cpu": 1, "memory": 1, "disk": 1, "extended": {} }, "arch": "riscv64",
        "version": "9.0.0", "schema": 2, "gpus": [1, 2],
    });
    let node = [(keys_of::CERT, Some(cert)), (keys_of::INFO, text(&info.to_string())), ("attestation", uint(1))];
    peer.write(DocId::node(&id(peer.n)), &node);
}

/// Everything that `from` holds and `to` does not, as repair brings it.
fn give(from: &Peer, to: &mut Peer) {
    for (doc, _) in from.state.documents(&Scope::Mesh, &Branch::ROOT, usize::MAX) {
        for bytes in from.state.changes_since(&doc, &to.state.vector(&doc), usize::MAX).unwrap().0 {
            let outcome = to.receive(&SignedChange::decode(&bytes).unwrap());
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }
}

#[test]
fn what_a_later_version_writes_passes_through_this_one_unchanged() {
    let (mut later, mut this, mut far) = (Peer::new(0), Peer::new(1), Peer::new(2));
    write_as_a_later_version(&mut later);
    give(&later, &mut this);
    assert_eq!(this.believes(), later.believes(), "and wrote nothing of its own");

    // What it does know, it acts upon.
    let app = &this.state.apps()[&app_doc()];
    assert_eq!((app.manifest.replicas, app.conflicts.len()), (Some(3), 0));
    assert!(app.slots[&0].assignments[0].status.as_ref().is_some_and(|status| status.state == TaskState::Running));
    let info: &NodeInfo = this.state.members()[&id(0)].info.as_ref().unwrap();
    assert_eq!((info.arch.as_str(), info.schema), ("riscv64", 2));

    this.persist();
    let this = this.reopen();
    assert_eq!(this.state.counters().get("bad_views").copied().unwrap_or(0), 0);
    give(&this, &mut far);
    assert_eq!(far.believes(), later.believes());
    let kept = far.state.registers(&later_kind()).unwrap();
    assert_eq!(kept.get("rule").unwrap()[0].value, Value::Text("temperature > 80".into()));
}

#[test]
fn an_edit_by_this_version_leaves_what_it_does_not_know() {
    let (mut later, mut this) = (Peer::new(0), Peer::new(1));
    write_as_a_later_version(&mut later);
    give(&later, &mut this);
    let edit = this.state.write(&Scope::Mesh, app_doc(), apply_ops(1, 2, 5), NOW).unwrap();
    assert_eq!(later.receive(&edit), Outcome::Applied { released: 0 });
    let registers = later.state.registers(&app_doc()).unwrap();
    assert_eq!(registers[&*keys_of::spec("colour")][0].value, Value::Text("\"red\"".into()));
    assert_eq!(registers.get("windows/0").unwrap()[0].value, Value::Text("sunday".into()));
    assert_eq!(later.state.apps()[&app_doc()].manifest.replicas, Some(5));
}
