//! How a host becomes a member.

mod support;

use holm_mesh_net::NetCommand;
use holm_mesh_net::{NetError, NetEvent, enrol, renew};
use holm_types::{Label, cert::CertChain, distrust::Distrust, keys::KeyPair, revocation::Signer, token::Enrolment};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use support::{Authority, NOW, Node, QUIC, TCP, connect, key, soon};

const TIMEOUT: Duration = Duration::from_secs(20);

fn name() -> Label {
    "gateway-7".parse().unwrap()
}

#[tokio::test]
async fn an_accepted_host_gets_its_certificate_and_connects_with_it() {
    let authority = Authority::new(1);
    for listen in [TCP, QUIC] {
        let mut issuer = authority.node(2, &[listen]).await;
        let token = authority.token(&key(2), issuer.listen.clone());
        let (asked, granted) = (token.clone(), authority.chain(key(3).node_id()));
        let (id, addresses) = (issuer.id, issuer.listen.clone());
        let serve = async {
            let request = issuer.net.enrolments.recv().await.unwrap();
            assert_eq!((&request.token, request.subject, &request.name), (&asked, key(3).node_id(), &name()));
            let enrolment = Enrolment { chain: granted.clone(), peers: vec![(id, addresses)] };
            request.reply.send(Ok(enrolment)).unwrap();
        };
        let joining = key(3);
        let label = name();
        let (enrolment, ()) = tokio::join!(enrol(&joining, &token, &label, TIMEOUT), serve);
        let enrolment = enrolment.unwrap();
        assert_eq!(enrolment.chain, granted);
        assert_eq!(enrolment.peers, [(issuer.id, issuer.listen.clone())]);
        issuer.counted("enrolled", 1).await;
        let came = std::iter::from_fn(|| issuer.net.events.try_recv().ok());
        assert!(came.into_iter().all(|e| !matches!(e, NetEvent::PeerUp { .. })), "an enrolment is no connection");

        let mut config = authority.config(3, &[listen]);
        config.chain = enrolment.chain;
        let mut member = Node::start(config).await.unwrap();
        connect(&mut member, &mut issuer).await;
    }
}

#[tokio::test]
async fn a_refusal_comes_in_the_issuers_words() {
    let authority = Authority::new(1);
    let mut issuer = authority.node(2, &[TCP]).await;
    let token = authority.token(&key(2), issuer.listen.clone());
    let serve = async {
        let request = issuer.net.enrolments.recv().await.unwrap();
        request.reply.send(Err("token refused: it has no uses left".to_owned())).unwrap();
    };
    let (joining, label) = (key(3), name());
    let (refused, ()) = tokio::join!(enrol(&joining, &token, &label, TIMEOUT), serve);
    let error = refused.unwrap_err();
    assert!(matches!(&error, NetError::Refused(why) if why == "token refused: it has no uses left"), "{error}");
    issuer.counted("enrol_refused", 1).await;
}

#[tokio::test]
async fn a_host_that_does_not_enrol_says_so() {
    let authority = Authority::new(1);
    let mut node = authority.node(2, &[TCP]).await;
    node.net.enrolments.close();
    let token = authority.token(&key(2), node.listen.clone());
    let error = enrol(&key(3), &token, &name(), TIMEOUT).await.unwrap_err();
    assert!(matches!(&error, NetError::Refused(why) if why == "this node does not enrol"), "{error}");
}

#[tokio::test]
async fn nothing_is_said_to_a_host_that_is_not_the_issuer() {
    let authority = Authority::new(1);
    for listen in [TCP, QUIC] {
        let mut other = authority.node(4, &[listen]).await;
        let token = authority.token(&key(2), other.listen.clone());
        let error = enrol(&key(3), &token, &name(), TIMEOUT).await.unwrap_err();
        let text = format!("the host at {} is not the issuer that this token names", other.listen[0]);
        assert_eq!(error.to_string(), text);
        other.net.enrolments.close();
        assert!(soon("the end of the queue", other.net.enrolments.recv()).await.is_none(), "no token was shown");
    }
}

#[tokio::test]
async fn dead_addresses_are_passed_over_and_named() {
    let authority = Authority::new(1);
    let mut issuer = authority.node(2, &[TCP]).await;
    let dead = "/ip4/127.0.0.1/tcp/1".to_owned();
    let token = authority.token(&key(2), vec![dead.clone(), issuer.listen[0].clone()]);
    let chain = authority.chain(key(3).node_id());
    let serve = async {
        let request = issuer.net.enrolments.recv().await.unwrap();
        request.reply.send(Ok(Enrolment { chain: chain.clone(), peers: Vec::new() })).unwrap();
    };
    let (joining, label) = (key(3), name());
    let (enrolment, ()) = tokio::join!(enrol(&joining, &token, &label, TIMEOUT), serve);
    assert_eq!(enrolment.unwrap().chain, chain);

    let token = authority.token(&key(2), vec![dead.clone()]);
    let error = enrol(&key(3), &token, &name(), TIMEOUT).await.unwrap_err();
    assert!(matches!(&error, NetError::Unreachable(why) if why.contains(&dead)), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_key_is_not_taken() {
    let authority = Authority::new(1);
    let mut issuer = authority.node(2, &[TCP]).await;
    let token = authority.token(&key(2), issuer.listen.clone());
    let chain = authority.chain(key(5).node_id());
    let serve = async {
        let request = issuer.net.enrolments.recv().await.unwrap();
        request.reply.send(Ok(Enrolment { chain, peers: Vec::new() })).unwrap();
    };
    let (joining, label) = (key(3), name());
    let (answer, ()) = tokio::join!(enrol(&joining, &token, &label, TIMEOUT), serve);
    assert!(matches!(answer, Err(NetError::BadEnrolment(_))));
}

#[tokio::test]
async fn a_member_whose_certificate_has_ended_gets_another_one_and_nothing_else() {
    let authority = Authority::new(1);
    for listen in [TCP, QUIC] {
        let mut issuer = authority.node(2, &[listen]).await;
        let (old, new) = (authority.chain_until(key(3).node_id(), NOW - 3_000), authority.chain(key(3).node_id()));
        let serve = async {
            let request = issuer.net.renewals.recv().await.unwrap();
            assert_eq!((request.node, &request.chain), (key(3).node_id(), &old));
            request.reply.send(Ok(new.clone())).unwrap();
        };
        let member = key(3);
        let asked = renew(&member, &old, &issuer.id, &issuer.listen, TIMEOUT);
        let (renewed, ()) = tokio::join!(asked, serve);
        assert_eq!(renewed.unwrap(), new);
        let came = std::iter::from_fn(|| issuer.net.events.try_recv().ok());
        assert!(came.into_iter().all(|e| !matches!(e, NetEvent::PeerUp { .. })), "a renewal is no connection");
    }
}

#[tokio::test]
async fn nobody_renews_anothers_certificate_or_a_revoked_one() {
    let (authority, other) = (Authority::new(1), Authority::new(8));
    let mut issuer = authority.node(2, &[TCP]).await;
    let chain = authority.chain(key(3).node_id());
    let refused =
        async |key: &KeyPair, chain: &CertChain| match renew(key, chain, &issuer.id, &issuer.listen, TIMEOUT).await {
            Err(NetError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
    assert_eq!(refused(&key(4), &chain).await, "not a member of this mesh", "with another key");
    assert_eq!(refused(&key(3), &other.chain(key(3).node_id())).await, "not a member of this mesh", "another mesh's");
    let mut distrust = Distrust::default();
    distrust.add(key(3).node_id(), Signer::Authority, &BTreeSet::new());
    issuer.send(NetCommand::Distrust(Arc::new(distrust)));
    // The command has been taken once this dial has failed.
    issuer.send(NetCommand::Dial { peer: issuer.id, addresses: Vec::new() });
    let me = issuer.id;
    issuer.until("failed dial", |e| matches!(e, NetEvent::DialFailed { node, .. } if *node == me).then_some(())).await;
    let why = renew(&key(3), &chain, &issuer.id, &issuer.listen, TIMEOUT).await.unwrap_err();
    assert!(why.to_string().contains("revoked"), "{why}");
    assert!(issuer.net.renewals.try_recv().is_err(), "nobody was asked");
}
