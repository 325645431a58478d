//! What members do with each other.

mod support;

use holm_mesh_net::{Limits, NetCommand, NetConfig, NetError, NetEvent};
use holm_types::{Incarnation, NodeId, distrust::Distrust, revocation::Signer};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use support::{Authority, NOW, Node, QUIC, TCP, connect, key};

/// Publishes numbered messages until one arrives: who is connected may not know our topics yet.
async fn gossip_arrives(from: &Node, to: &mut Node, topic: &str) {
    for n in 0u32..200 {
        from.send(NetCommand::Publish { topic: topic.to_owned(), bytes: n.to_be_bytes().to_vec() });
        let heard = to
            .within(Duration::from_millis(100), |e| match e {
                NetEvent::Gossip { source, topic, bytes } => Some((*source, topic.clone(), bytes.len())),
                _ => None,
            })
            .await;
        if let Some(heard) = heard {
            assert_eq!(heard, (from.id, topic.to_owned(), 4));
            return;
        }
    }
    panic!("no gossip in 20 s: {:?} {:?}", from.net.handle.counters(), to.net.handle.counters());
}

async fn two_members_talk(listen: &str) {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[listen]).await;
    let mut b = authority.node(3, &[listen]).await;
    for node in [&a, &b] {
        node.send(NetCommand::Subscribe("mesh".to_owned()));
    }
    a.dial(&b);
    assert_eq!(a.up(b.id).await, authority.chain(b.id));
    assert_eq!(b.up(a.id).await, authority.chain(a.id));

    for n in 0..50u8 {
        a.frame(b.id, vec![n; 100]);
        b.frame(a.id, vec![n; 10]);
    }
    for n in 0..50u8 {
        assert_eq!(b.next_frame().await, vec![n; 100]);
        assert_eq!(a.next_frame().await, vec![n; 10]);
    }
    gossip_arrives(&a, &mut b, "mesh").await;
    gossip_arrives(&b, &mut a, "mesh").await;

    // Seen at the very address that it has, a node tells others of it; before, it tells of nothing.
    let announced = b
        .until("what to announce", |e| match e {
            NetEvent::Announce { addresses } => Some(addresses.clone()).filter(|list| !list.is_empty()),
            _ => None,
        })
        .await;
    assert_eq!(announced, b.listen);
    b.until("an observed address", |e| matches!(e, NetEvent::Observed { .. }).then_some(())).await;
}

#[tokio::test]
async fn two_members_talk_over_tcp() {
    two_members_talk(TCP).await;
}

#[tokio::test]
async fn two_members_talk_over_quic() {
    two_members_talk(QUIC).await;
}

#[tokio::test]
async fn gossip_reaches_a_member_that_is_not_connected_to_the_author() {
    let authority = Authority::new(1);
    let mut middle = authority.node(2, &[TCP]).await;
    let mut left = authority.node(3, &[TCP]).await;
    let mut right = authority.node(4, &[TCP]).await;
    for node in [&left, &middle, &right] {
        node.send(NetCommand::Subscribe("mesh".to_owned()));
    }
    connect(&mut left, &mut middle).await;
    connect(&mut right, &mut middle).await;
    gossip_arrives(&left, &mut right, "mesh").await;
}

#[tokio::test]
async fn a_keeper_of_two_thousand_sites_hears_the_last_of_them() {
    let authority = Authority::new(1);
    let mut keeper = authority.node(2, &[TCP]).await;
    let mut before = authority.node(3, &[TCP]).await;
    let mut after = authority.node(4, &[TCP]).await;
    let topic = |n: u32| format!("holm/0123456789abcdef/presence/a-site-with-a-long-name-{n}");
    connect(&mut before, &mut keeper).await;
    for n in 0..4_000 {
        keeper.send(NetCommand::Subscribe(topic(n)));
    }
    before.send(NetCommand::Subscribe(topic(3_998)));
    gossip_arrives(&before, &mut keeper, &topic(3_998)).await;
    // Who comes later is told of all of them in one message.
    connect(&mut after, &mut keeper).await;
    after.send(NetCommand::Subscribe(topic(3_999)));
    gossip_arrives(&after, &mut keeper, &topic(3_999)).await;
}

#[tokio::test]
async fn a_topic_that_is_subscribed_to_after_connecting_works_too() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut b = authority.node(3, &[TCP]).await;
    connect(&mut a, &mut b).await;
    a.send(NetCommand::Subscribe("late".to_owned()));
    b.send(NetCommand::Subscribe("late".to_owned()));
    gossip_arrives(&a, &mut b, "late").await;
}

#[tokio::test]
async fn a_frame_of_a_mebibyte_arrives_and_a_larger_one_is_refused_at_once() {
    let authority = Authority::new(1);
    for listen in [TCP, QUIC] {
        let mut a = authority.node(2, &[listen]).await;
        let mut b = authority.node(3, &[listen]).await;
        connect(&mut a, &mut b).await;
        let frame: Vec<u8> = (0..1 << 20).map(|i| (i % 253) as u8).collect();
        a.frame(b.id, frame.clone());
        assert!(b.next_frame().await == frame, "it arrived changed over {listen}");

        let too_large = NetCommand::Send { peer: b.id, bytes: vec![0; (1 << 20) + 1] };
        assert!(!a.net.handle.try_send(too_large));
        let too_loud = NetCommand::Publish { topic: "t".to_owned(), bytes: vec![0; (24 << 10) + 1] };
        assert!(!a.net.handle.try_send(too_loud));
        assert_eq!(a.net.handle.counters()["oversize_refused"], 2);
    }
}

/// The owner reads nothing for a while: frames wait at the sender, and none is lost.
#[tokio::test]
async fn a_slow_owner_slows_its_peer_and_loses_no_frame() {
    let authority = Authority::new(1);
    let mut slow = authority.config(3, &[TCP]);
    slow.limits = Limits {
        events: 4,
        intake_bytes: 512 << 10,
        frame_bytes: 256 << 10,
        event_bytes: 256 << 10,
        ..Limits::default()
    };
    let mut a = authority.node(2, &[TCP]).await;
    let mut b = Node::start(slow).await.unwrap();
    connect(&mut a, &mut b).await;
    for n in 0..64u8 {
        a.frame(b.id, vec![n; 60 << 10]);
    }
    for n in 64..128u8 {
        a.frame(b.id, vec![n; 10]);
    }
    for n in 0..128u8 {
        assert_eq!(b.next_frame().await[0], n);
    }
    assert_eq!(a.net.handle.counters()["frames_dropped"], 0);
}

#[tokio::test]
async fn frames_beyond_the_outbox_are_dropped_and_counted() {
    let authority = Authority::new(1);
    let mut config = authority.config(2, &[TCP]);
    config.limits.outbox_frames = 1;
    let mut a = Node::start(config).await.unwrap();
    let mut b = authority.node(3, &[TCP]).await;
    a.frame(b.id, vec![1]);
    a.counted("frames_unroutable", 1).await;
    connect(&mut a, &mut b).await;
    for _ in 0..200 {
        a.frame(b.id, vec![0; 64 << 10]);
    }
    a.counted("frames_dropped", 1).await;
    assert_eq!(b.next_frame().await.len(), 64 << 10);
}

#[tokio::test]
async fn both_dial_at_once_and_each_sees_the_other_once() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP, QUIC]).await;
    let mut b = authority.node(3, &[TCP, QUIC]).await;
    a.dial(&b);
    b.dial(&a);
    a.up(b.id).await;
    b.up(a.id).await;
    a.frame(b.id, b"one".to_vec());
    b.frame(a.id, b"two".to_vec());
    assert_eq!(b.next_frame().await, b"one");
    assert_eq!(a.next_frame().await, b"two");
    a.send(NetCommand::Disconnect { peer: b.id });
    a.down(b.id).await;
    b.down(a.id).await;
}

#[tokio::test]
async fn whoever_leaves_says_so() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut b = authority.node(3, &[TCP]).await;
    connect(&mut a, &mut b).await;
    let gone = a.id;
    drop(a);
    b.down(gone).await;
}

#[tokio::test]
async fn a_denied_member_is_disconnected_and_kept_out_until_it_is_allowed() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut b = authority.node(3, &[TCP]).await;
    connect(&mut a, &mut b).await;
    a.send(NetCommand::Deny { peer: b.id });
    a.down(b.id).await;
    b.down(a.id).await;
    b.dial(&a);
    assert!(b.dial_error(a.id).await.contains("revoked"));
    a.send(NetCommand::Allow { peer: b.id });
    connect(&mut a, &mut b).await;
}

#[tokio::test]
async fn a_member_whose_certificate_expires_is_disconnected() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut short = authority.config(3, &[TCP]);
    short.chain = authority.chain_until(key(3).node_id(), NOW + 60);
    let mut b = Node::start(short).await.unwrap();
    connect(&mut a, &mut b).await;
    // Its life is 3,660 seconds, and a third of that is the time that peers bear with it.
    authority.clock.store((NOW + 60 + 1_222) * 1000, Ordering::Relaxed);
    a.down(b.id).await;
    a.counted("expired_closed", 1).await;
    b.down(a.id).await;
    b.dial(&a);
    assert!(b.dial_error(a.id).await.contains("expired"));

    b.send(NetCommand::Present(authority.chain(b.id)));
    connect(&mut b, &mut a).await;
}

#[tokio::test]
async fn a_connection_outlives_a_certificate_that_was_renewed() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut short = authority.config(3, &[TCP]);
    short.chain = authority.chain_until(key(3).node_id(), NOW + 60);
    let mut b = Node::start(short).await.unwrap();
    let mut c = Node::start(NetConfig {
        chain: authority.chain_until(key(4).node_id(), NOW + 60),
        ..authority.config(4, &[TCP])
    })
    .await
    .unwrap();
    connect(&mut a, &mut b).await;
    connect(&mut a, &mut c).await;
    a.send(NetCommand::Renewed(authority.chain(b.id)));
    authority.clock.store((NOW + 60 + 1_300) * 1000, Ordering::Relaxed);
    a.down(c.id).await;
    b.frame(a.id, b"still there?".to_vec());
    assert_eq!(a.next_frame().await, b"still there?");
}

#[tokio::test]
async fn who_is_distrusted_is_cut_off_and_whoever_its_issuer_certified() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let mut b = authority.node(3, &[TCP]).await;
    let issued = |n| NetConfig { chain: authority.chain_by(&key(9), key(n).node_id()), ..authority.config(n, &[TCP]) };
    let mut kept = Node::start(issued(4)).await.unwrap();
    let mut fallen = Node::start(issued(5)).await.unwrap();
    for peer in [&mut b, &mut kept, &mut fallen] {
        connect(&mut a, peer).await;
    }
    let mut distrust = Distrust::default();
    distrust.add(b.id, Signer::Authority, &BTreeSet::new());
    distrust.add(key(9).node_id(), Signer::Authority, &BTreeSet::from([kept.id]));
    a.send(NetCommand::Distrust(Arc::new(distrust)));
    a.down(b.id).await;
    a.down(fallen.id).await;
    a.counted("revoked_closed", 2).await;
    for gone in [&mut b, &mut fallen] {
        gone.down(a.id).await;
        gone.dial(&a);
        assert!(gone.dial_error(a.id).await.contains("revoked"));
    }
    kept.frame(a.id, b"still there?".to_vec());
    assert_eq!(a.next_frame().await, b"still there?");
    // A key that nobody ever saw, certified with the stolen one of the issuer.
    let minted = Node::start(issued(6)).await.unwrap();
    a.dial(&minted);
    assert!(a.dial_error(minted.id).await.contains("revoked"));
}

#[tokio::test]
async fn dials_that_cannot_work_say_why() {
    let authority = Authority::new(1);
    let mut a = authority.node(2, &[TCP]).await;
    let b = authority.node(3, &[TCP]).await;
    let nobody = key(9).node_id();
    a.send(NetCommand::Dial { peer: nobody, addresses: b.listen.clone() });
    assert!(a.dial_error(nobody).await.contains("another node answers there"));
    a.send(NetCommand::Dial { peer: nobody, addresses: vec!["nonsense".to_owned()] });
    assert_eq!(a.dial_error(nobody).await, "no usable address");
    a.send(NetCommand::Dial { peer: nobody, addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()] });
    let error = a.dial_error(nobody).await;
    assert!(error.contains("/ip4/127.0.0.1/tcp/1") && error.contains("refused"), "{error}");
    let me: NodeId = a.id;
    a.send(NetCommand::Dial { peer: me, addresses: a.listen.clone() });
    assert!(a.dial_error(me).await.contains("this one"));
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    let authority = Authority::new(1);
    let a = authority.node(2, &[TCP, QUIC]).await;
    for taken in &a.listen {
        let error = Node::start(authority.config(3, &[taken])).await.err().unwrap();
        assert!(matches!(&error, NetError::Listen { address, .. } if address == taken), "{error}");
        assert!(error.to_string().to_lowercase().contains("in use"), "{error}");
    }
    let error = Node::start(authority.config(3, &["nonsense"])).await.err().unwrap();
    assert!(matches!(error, NetError::Address { .. }), "{error}");
    let error = Node::start(authority.config(3, &["/ip4/127.0.0.1/tcp/0/ws"])).await.err().unwrap();
    assert!(matches!(error, NetError::Listen { .. }), "{error}");

    let mut config = authority.config(3, &[TCP]);
    config.chain = authority.chain(key(4).node_id());
    assert!(matches!(Node::start(config).await.err().unwrap(), NetError::Subject { .. }));
    let mut config = authority.config(3, &[TCP]);
    config.chain = Authority::new(5).chain(key(3).node_id());
    assert!(matches!(Node::start(config).await.err().unwrap(), NetError::Identity(_)));
}

/// Whether the host has multicast is not ours to say; a node works either way.
#[tokio::test]
async fn a_node_that_looks_for_peers_on_the_lan_works() {
    let authority = Authority::new(1);
    let (mut first, mut second) = (authority.config(2, &[TCP]), authority.config(3, &[TCP]));
    (first.mdns, second.mdns) = (true, true);
    let mut a = Node::start(first).await.unwrap();
    let mut b = Node::start(second).await.unwrap();
    connect(&mut a, &mut b).await;
}

#[tokio::test]
async fn an_earlier_life_of_a_connected_node_is_told_that_it_was_superseded() {
    let authority = Authority::new(1);
    let mut hub = authority.node(2, &[TCP]).await;
    let life = |n: u64| NetConfig { incarnation: Incarnation(n), ..authority.config(3, &[TCP]) };
    let mut later = Node::start(life(9)).await.unwrap();
    connect(&mut later, &mut hub).await;
    let mut earlier = Node::start(life(8)).await.unwrap();
    earlier.dial(&hub);
    let by = earlier
        .until("a word that it was superseded", |e| match e {
            NetEvent::Superseded { by } => Some(*by),
            _ => None,
        })
        .await;
    assert_eq!(by, hub.id);
    let error = earlier.dial_error(hub.id).await;
    assert!(error.contains("started later"), "{error}");
    // The later one is not disturbed.
    later.frame(hub.id, b"still here".to_vec());
    assert_eq!(hub.next_frame().await, b"still here");
}
