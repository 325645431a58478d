//! How a host becomes a member.

mod support;

use holm_mesh_net::{NetError, NetEvent, enrol};
use holm_types::{Label, token::Enrolment};
use std::time::Duration;
use support::{Authority, Node, QUIC, TCP, connect, key, soon};

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
