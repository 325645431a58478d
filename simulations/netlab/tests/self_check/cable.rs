//! A cable does what its link says.

use crate::{
    Needs, Story,
    stun::{PATIENCE, SILENCE},
};
use anyhow::{Context as _, Result, ensure};
use holm_netlab::{Host, Lab, Link, Nat};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

const MS: Duration = Duration::from_millis(1);
/// What this machine may add to a time under load.
const SLACK: Duration = Duration::from_millis(40);

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![
        ("cable: delay and jitter, changed under a running socket", Needs::Cables, delay_and_jitter),
        ("cable: every packet that is lost is counted", Needs::Cables, loss_is_counted),
        ("cable: a rate, and a queue that overflows", Needs::Cables, a_rate_and_a_queue),
        ("cable: behind each kind of NAT, and through a cut", Needs::Cables, behind_each_nat),
    ]
}

/// A cloud with a UDP echo, and a host at home.
fn cloud_and_home(nat: Nat) -> Result<(Lab, SocketAddr, Host)> {
    let mut lab = Lab::new()?;
    let cloud = lab.cloud("cloud")?;
    let home = lab.site("home", nat, 1)?.remove(0);
    let address = match nat {
        Nat::V6Only => SocketAddr::new(cloud.v6().context("a cloud has one")?.into(), 7),
        _ => SocketAddr::new(cloud.address(), 7),
    };
    let echo = cloud.run(|| UdpSocket::bind(address))??;
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((size, from)) = echo.recv_from(&mut bytes) {
            // A host that is gone needs no answer.
            let _ = echo.send_to(&bytes[..size], from);
        }
    });
    Ok((lab, address, home))
}

fn socket(host: &Host, to: SocketAddr) -> Result<UdpSocket> {
    let socket = host.run(|| UdpSocket::bind(SocketAddr::new(host.address(), 0)))??;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn round_trips(socket: &UdpSocket, count: u8) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for n in 0..count {
        let begin = Instant::now();
        socket.send(&[n])?;
        let mut back = [0];
        socket.recv(&mut back).context("an echo is lost, though nothing loses packets")?;
        ensure!(back == [n], "echoes out of order");
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times)
}

fn delay_and_jitter() -> Result<()> {
    let (lab, cloud, home) = cloud_and_home(Nat::Home)?;
    let link = |delay, jitter| Link { delay: delay * MS, jitter: jitter * MS, ..Link::default() };
    lab.link("home", link(20, 0))?;
    let socket = socket(&home, cloud)?;
    let times = round_trips(&socket, 30)?;
    let (least, median) = (times[0], times[15]);
    eprintln!("20 ms each way: the least round trip of 30 is {least:.2?}, the median {median:.2?}");
    ensure!(least >= 40 * MS && median < 40 * MS + SLACK, "{times:?}");

    lab.link("home", link(5, 0))?;
    let times = round_trips(&socket, 30)?;
    ensure!(times[0] >= 10 * MS && times[15] < 10 * MS + SLACK, "5 ms each way: {times:?}");

    lab.link("home", link(20, 15))?;
    let times = round_trips(&socket, 30)?;
    ensure!(times[0] >= 10 * MS && times[15] < 70 * MS + SLACK, "20 ms, 15 more or less: {times:?}");
    ensure!(times[0] < 38 * MS && times[29] > 42 * MS, "no jitter in {times:?}");
    Ok(())
}

fn loss_is_counted() -> Result<()> {
    const SENT: u16 = 2000;
    let (lab, cloud, home) = cloud_and_home(Nat::Home)?;
    lab.link("home", Link { loss: 0.1, ..Link::default() })?;
    let socket = socket(&home, cloud)?;
    socket.set_read_timeout(Some(5 * MS))?;
    let mut back = 0;
    for n in 0..SENT {
        socket.send(&n.to_be_bytes())?;
        // Never more under way than the sockets hold.
        while n % 50 == 49 && socket.recv(&mut [0; 2]).is_ok() {
            back += 1;
        }
    }
    socket.set_read_timeout(Some(SILENCE))?;
    while socket.recv(&mut [0; 2]).is_ok() {
        back += 1;
    }
    let [out, inwards] = lab.traffic("home")?.context("there is a cable")?;
    let sent = u64::from(SENT);
    ensure!(out.carried + out.lost == sent && out.overflowed == 0, "{sent} sent: {out:?}");
    ensure!(inwards.carried + inwards.lost == out.carried && inwards.carried == back, "{back} back: {inwards:?}");
    for direction in [out, inwards] {
        ensure!((100..300).contains(&direction.lost), "a tenth of {sent} is lost: {direction:?}");
    }
    Ok(())
}

fn a_rate_and_a_queue() -> Result<()> {
    const BYTES: usize = 400_000;
    let (lab, cloud, home) = cloud_and_home(Nat::Home)?;
    lab.link("home", Link { rate: Some(8_000_000), queue: 64_000, ..Link::default() })?;
    let listener = lab.host("cloud")?.run(|| TcpListener::bind(cloud))??;
    let sink = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)
    });
    let begin = Instant::now();
    home.connect(cloud, PATIENCE)??.write_all(&vec![7; BYTES])?;
    let got = sink.join().map_err(|_| anyhow::anyhow!("the sink panicked"))??;
    let time = begin.elapsed();
    ensure!(got == BYTES, "{got} bytes came");
    eprintln!("400 kB through 8 Mbit/s: {:.1} Mbit/s", BYTES as f64 * 8e-6 / time.as_secs_f64());
    // Alone they take 400 ms; headers and the beginning of TCP come on top.
    ensure!(time > 400 * MS && time < 1000 * MS, "400 kB took {time:?}");

    // More at once than the queue holds.
    let socket = socket(&home, cloud)?;
    for _ in 0..200 {
        socket.send(&[0; 1000])?;
    }
    socket.set_read_timeout(Some(SILENCE))?;
    let mut back = 0_u64;
    while socket.recv(&mut [0; 1000]).is_ok() {
        back += 1;
    }
    let [out, _] = lab.traffic("home")?.context("there is a cable")?;
    ensure!(out.overflowed > 0 && (60..150).contains(&back), "{back} of 200 came back: {out:?}");
    Ok(())
}

fn behind_each_nat() -> Result<()> {
    for nat in Nat::ALL.into_iter().filter(|nat| *nat != Nat::UdpBlocked) {
        let (lab, cloud, home) = cloud_and_home(nat)?;
        lab.link("home", Link { delay: 2 * MS, ..Link::default() })?;
        let socket = socket(&home, cloud)?;
        let times = round_trips(&socket, 3).with_context(|| nat.to_string())?;
        ensure!(times[0] >= 4 * MS, "{nat}: {times:?}");
        lab.cut("home")?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.send(&[1])?;
        ensure!(socket.recv(&mut [0]).is_err(), "{nat}: an echo passed the cut");
        lab.heal("home")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        round_trips(&socket, 3).with_context(|| format!("{nat}, healed"))?;
    }
    Ok(())
}
