//! The made-up network does to streams what a real one does.

use super::*;
use crate::runtime;
use futures::{AsyncReadExt, AsyncWriteExt, future::poll_fn};
use holm_mesh_net::Sockets;
use sockets::Stream;
use std::{future::Future, io};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test in virtual time, on a network without jitter or loss: 10 ms between sites.
fn simulate<F: Future<Output = ()>>(test: impl FnOnce(Net) -> F + Send + 'static) {
    let run = move || async {
        let link = Link { latency_ms: [10, 10], jitter_ms: 0, loss: 0.0, ..Link::default() };
        let net = Net::new(1, &link, &link);
        let mut pump = JoinSet::new();
        pump.spawn(net.clone().pump());
        test(net).await;
    };
    runtime::run(1, run).unwrap();
}

/// Two hosts at two sites, connected; the streams of the one who dialled and of the other.
async fn pair(net: &Net) -> (Host, Host, Stream, Stream) {
    let (a, b) = (net.add("a", Nat::None, 10_000), net.add("b", Nat::None, 10_000));
    let mut listener = net.sockets(b);
    let at = listener.listen(SocketAddr::from(([0, 0, 0, 0], PORT))).unwrap();
    let near = net.sockets(a).connect(at, None).await.unwrap();
    let far = poll_fn(|cx| listener.poll_accept(cx)).await.stream;
    (a, b, near, far)
}

async fn read(stream: &mut Stream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.map(|()| bytes)
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_is_written_arrives_in_order_and_then_the_end() {
    simulate(async |net| {
        let (_, _, mut near, mut far) = pair(&net).await;
        let bytes: Vec<u8> = (0..600_000u32).map(|n| (n % 251) as u8).collect();
        let sent = bytes.clone();
        let mut writer = JoinSet::new();
        writer.spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.close().await.unwrap();
            near
        });
        let start = Instant::now();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert!(got == bytes, "what arrived differs");
        assert!(start.elapsed() > Duration::from_millis(480), "10 Mbit/s: {:?}", start.elapsed());
    });
}

#[test]
fn a_cut_holds_and_a_heal_delivers_at_the_next_retransmission() {
    simulate(async |net| {
        let (a, b, mut near, mut far) = pair(&net).await;
        net.cut(&[a], &[b]);
        near.write_all(b"held").await.unwrap();
        assert!(timeout(4 * SECOND, read(&mut far, 4)).await.is_err());
        far.write_all(b"back").await.unwrap();
        assert_eq!(read(&mut near, 4).await.unwrap(), b"back", "the other direction is open");
        net.mend(&[a], &[b]);
        let healed = Instant::now();
        assert_eq!(read(&mut far, 4).await.unwrap(), b"held");
        assert!(healed.elapsed() > 2 * SECOND, "sent again after 3 s and after 6.2: {:?}", healed.elapsed());
    });
}

#[test]
fn nobody_connects_over_a_cut_until_it_is_mended() {
    simulate(async |net| {
        let (a, b, near, _far) = pair(&net).await;
        drop(near);
        net.cut(&[b], &[a]);
        let to = net.address(b);
        let mut dial = net.sockets(a).connect(to, None);
        assert!(timeout(2 * SECOND, &mut dial).await.is_err(), "the answer does not come back");
        net.mend(&[b], &[a]);
        assert!(timeout(10 * SECOND, dial).await.unwrap().is_ok());
    });
}

#[test]
fn a_process_that_dies_resets_and_a_host_without_power_is_silent() {
    simulate(async |net| {
        let (_, b, mut near, _far) = pair(&net).await;
        net.crash(b, false);
        assert_eq!(kind(timeout(SECOND, read(&mut near, 1)).await.unwrap()), io::ErrorKind::ConnectionReset);
        let refused = net.sockets(0).connect(net.address(b), None).await;
        assert_eq!(kind(refused.map(drop)), io::ErrorKind::ConnectionRefused, "the host is up, nobody listens");

        let (_, d, mut near, _far) = pair(&net).await;
        net.crash(d, true);
        near.write_all(b"anybody?").await.unwrap();
        assert!(timeout(60 * SECOND, read(&mut near, 1)).await.is_err(), "silence");
        net.restart(d);
        let answer = timeout(300 * SECOND, read(&mut near, 1)).await.unwrap();
        assert_eq!(kind(answer), io::ErrorKind::ConnectionReset, "the new kernel knows no such connection");
    });
}

#[test]
fn a_stalled_sender_gives_up_in_the_end() {
    simulate(async |net| {
        let (a, b, mut near, _far) = pair(&net).await;
        net.cut(&[a], &[b]);
        near.write_all(b"lost").await.unwrap();
        sleep(Duration::from_micros(USER_TIMEOUT) - SECOND).await;
        assert!(timeout(SECOND / 2, read(&mut near, 1)).await.is_err());
        assert_eq!(kind(timeout(SECOND, read(&mut near, 1)).await.unwrap()), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_router_lets_out_and_not_in_and_forgets() {
    simulate(async |net| {
        let (public, hidden) = (net.add("cloud", Nat::None, 10_000), net.add("shop", Nat::Cone, 10_000));
        let neighbour = net.add("shop", Nat::Cone, 10_000);
        for host in [public, hidden] {
            let mut sockets = net.sockets(host);
            sockets.listen(net.address(host)).unwrap();
        }
        let hidden_at = net.address(hidden);
        assert!(timeout(30 * SECOND, net.sockets(public).connect(hidden_at, None)).await.is_err(), "an address inside");
        let outside = SocketAddr::from((public_ip(hidden), PORT));
        assert!(timeout(30 * SECOND, net.sockets(public).connect(outside, None)).await.is_err(), "nothing let out yet");
        assert!(net.sockets(neighbour).connect(hidden_at, None).await.is_ok(), "the same site");
        let mut out = net.sockets(hidden).connect(net.address(public), Some(hidden_at)).await.unwrap();
        sleep(SECOND).await;
        let before = net.counts().segments;
        net.rebind(hidden);
        out.write_all(b"lost").await.unwrap();
        assert!(timeout(60 * SECOND, read(&mut out, 1)).await.is_err());
        assert_eq!((net.counts().forgotten, net.counts().segments), (1, before), "but not the neighbour's");
    });
}
