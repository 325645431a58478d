//! What only a member that breaks the rules would do, done from inside.

use super::*;
use crate::{Net, NetCommand, NetConfig, NetEvent, gossip::Envelope, ground::Ground, ids};
use holm_types::{
    Incarnation, MeshId, NodeId, Wall,
    cert::{CertChain, Certificate, Claims, Role},
};
use libp2p::gossipsub::IdentTopic;

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "presence";
const NOW: u64 = 1_000_000;

fn key(n: u8) -> KeyPair {
    KeyPair::from_secret(&[n; 32])
}

fn mesh() -> MeshId {
    MeshId(key(1).node_id().0)
}

/// A member of the mesh of key 1, on loopback.
async fn member(n: u8) -> (Net, Task, String) {
    let claims = Claims {
        mesh: mesh(),
        mesh_name: "test".parse().unwrap(),
        subject: key(n).node_id(),
        name: "n".parse().unwrap(),
        site: "s".parse().unwrap(),
        roles: vec![Role::Edge],
        not_before: 0,
        not_after: NOW + 3600,
        serial: u64::from(n),
    };
    let config = NetConfig {
        key: key(n),
        chain: CertChain::new(vec![Certificate::sign(claims, &key(1)).unwrap()]),
        mesh: mesh(),
        incarnation: Incarnation(1),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        mdns: false,
        clock: Arc::new(|| Wall(NOW * 1000)),
        reach: crate::ReachConfig::off(),
        limits: Limits::default(),
    };
    let (mut net, task) = open(config, Ground::system().unwrap()).await.unwrap();
    let Some(NetEvent::Listening { address }) = net.events.recv().await else { panic!("it does not listen") };
    (net, task, address)
}

/// Lets the rogue's swarm work until the condition holds; `again` is done now and then.
async fn work(rogue: &mut Task, mut again: impl FnMut(&mut Task), mut done: impl FnMut(&Task) -> bool) {
    let all = async {
        while !done(rogue) {
            match timeout(Duration::from_millis(50), rogue.swarm.select_next_some()).await {
                Ok(event) => rogue.handle_event(event),
                Err(_) => again(rogue),
            }
        }
    };
    timeout(PATIENCE, all).await.expect("it did not happen in time");
}

fn gossip_of(net: &mut Net) -> Vec<(NodeId, Vec<u8>)> {
    let mut heard = Vec::new();
    while let Ok(event) = net.events.try_recv() {
        if let NetEvent::Gossip { source, bytes, .. } = event {
            heard.push((source, bytes));
        }
    }
    heard
}

/// The heartbeat of a member that another one makes up: with a signature of the forger, and with
/// a true signature over other words. It is refused and counted, and does not travel on; the
/// forger is still heard for itself.
#[tokio::test]
async fn a_member_cannot_speak_for_another() {
    let (mut victim, task, address) = member(2).await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task.run());
    assert!(victim.handle.try_send(NetCommand::Subscribe(TOPIC.to_owned())));
    let (_rogue_net, mut rogue, _) = member(3).await;
    rogue.handle_ask(Ask::Command(NetCommand::Subscribe(TOPIC.to_owned())));
    rogue.handle_ask(Ask::Command(NetCommand::Dial { peer: key(2).node_id(), addresses: vec![address] }));

    let say = |rogue: &mut Task, sealed: Vec<u8>| {
        // Nobody has subscribed yet, or the same was just said: it is tried again.
        let _ = rogue.swarm.behaviour_mut().gossip.publish(IdentTopic::new(TOPIC), sealed);
    };
    let mut n = 0u8;
    let forge = |rogue: &mut Task| {
        n += 1;
        let by_the_forger = Envelope::seal(&key(3), &mesh(), TOPIC, &[n]);
        say(rogue, [key(4).node_id().0.as_slice(), &by_the_forger[32..]].concat());
        let stolen = Envelope::seal(&key(4), &mesh(), TOPIC, b"true words");
        say(rogue, [&stolen[..96], &[n]].concat());
        say(rogue, vec![n; 95]);
    };
    let counted = |name: &str| victim.handle.counters()[name];
    work(&mut rogue, forge, |_| counted("gossip_forged") >= 4 && counted("gossip_refused") >= 2).await;
    assert_eq!(gossip_of(&mut victim), [], "nothing of it was believed");

    let own = |rogue: &mut Task| say(rogue, Envelope::seal(&key(3), &mesh(), TOPIC, b"mine"));
    let mut heard = Vec::new();
    work(&mut rogue, own, |_| {
        heard.extend(gossip_of(&mut victim));
        !heard.is_empty()
    })
    .await;
    assert_eq!(heard, [(key(3).node_id(), b"mine".to_vec())]);
    assert!(ids::peer_of(&key(4).node_id()).is_some(), "the one who was spoken for could exist");
}
