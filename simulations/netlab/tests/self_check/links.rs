//! Cuts, partitions, and what a provider does.

use crate::{
    Needs, Story,
    stun::{Asker, PATIENCE, SILENCE, Server},
};
use anyhow::{Context as _, Result, ensure};
use holm_netlab::{Host, Lab, LabError, Nat};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![
        ("links: a cut is silence and a heal brings the same connection back", Needs::Lab, a_cut_is_silence),
        ("links: a partition is between two sites", Needs::Lab, a_partition_is_between_two),
        ("links: homes have the same addresses and do not see each other", Needs::Lab, homes_are_apart),
        ("links: a new address takes the old connections with it", Needs::Lab, a_new_address),
        ("links: a silent mapping is forgotten", Needs::Lab, a_silent_mapping),
        ("links: what makes no sense is refused in words", Needs::Lab, refusals),
    ]
}

/// Answers every byte of every connection with the same byte, until the test's process ends.
fn echo(host: &Host) -> Result<SocketAddr> {
    let at = SocketAddr::new(host.address(), 7);
    let listener = host.run(|| TcpListener::bind(at))??;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(at)
}

fn echoed(stream: &mut TcpStream, byte: u8) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[byte])?;
    let mut back = [0];
    stream.read_exact(&mut back)?;
    Ok(back == [byte])
}

fn a_cut_is_silence() -> Result<()> {
    let mut lab = Lab::new()?;
    let cloud = lab.cloud("cloud")?;
    let shop = lab.site("shop", Nat::Home, 2)?;
    let (at, at_home) = (echo(&cloud)?, echo(&shop[1])?);
    let mut stream = shop[0].connect(at, PATIENCE)??;
    ensure!(echoed(&mut stream, 1)?);

    lab.cut("shop")?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(&[2])?;
    let error = stream.read(&mut [0]).err().context("the byte passed the cut")?;
    ensure!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "not silence: {error}");
    ensure!(shop[0].connect(at, SILENCE)?.is_err(), "a new connection passed the cut");
    ensure!(echoed(&mut shop[0].connect(at_home, PATIENCE)??, 3)?, "inside the site nothing has changed");

    lab.heal("shop")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut late = [0];
    stream.read_exact(&mut late).context("the byte did not come after the heal")?;
    ensure!(late == [2], "TCP sends again what the cut swallowed");
    Ok(())
}

fn a_partition_is_between_two() -> Result<()> {
    let mut lab = Lab::new()?;
    let (east, west) = (lab.cloud("east")?, lab.cloud("west")?);
    let shop = lab.site("shop", Nat::Home, 1)?.remove(0);
    let (at_east, at_west) = (echo(&east)?, echo(&west)?);
    lab.partition("shop", "east")?;
    ensure!(shop.connect(at_east, SILENCE)?.is_err(), "a connection passed the partition");
    ensure!(echoed(&mut shop.connect(at_west, PATIENCE)??, 1)?);
    ensure!(echoed(&mut west.connect(at_east, PATIENCE)??, 1)?);
    lab.heal("east")?;
    ensure!(echoed(&mut shop.connect(at_east, PATIENCE)??, 1)?);
    Ok(())
}

fn homes_are_apart() -> Result<()> {
    let mut lab = Lab::new()?;
    let (shop, plant) = (lab.site("shop", Nat::Home, 2)?, lab.site("plant", Nat::Home, 2)?);
    ensure!(shop[1].address() == plant[1].address());
    // Both listen at one address; each home's first host meets its own.
    for (site, byte) in [(&shop, 1), (&plant, 2)] {
        let at = SocketAddr::new(site[1].address(), 7);
        let listener = site[1].run(|| TcpListener::bind(at))??;
        std::thread::spawn(move || listener.incoming().flatten().try_for_each(|mut stream| stream.write_all(&[byte])));
    }
    for (site, byte) in [(&shop, 1), (&plant, 2)] {
        let mut met = [0];
        site[0].connect(SocketAddr::new(site[1].address(), 7), PATIENCE)??.read_exact(&mut met)?;
        ensure!(met == [byte], "a host of the other site answered");
    }
    Ok(())
}

fn a_new_address() -> Result<()> {
    for nat in [Nat::FullCone, Nat::Home, Nat::EimRemap, Nat::Symmetric, Nat::Cgnat] {
        let mut lab = Lab::new()?;
        let servers = [lab.cloud("first")?, lab.cloud("second")?];
        let host = lab.site("shop", nat, 1)?.remove(0);
        let server = Server::start([&servers[0], &servers[1]], |host| host.v4().map(IpAddr::V4))?;
        let asker = Asker::new(&host, 4001)?;
        let before = asker.ask(&server, 0, 1, &[0])?.with_context(|| format!("{nat}: no answer"))?[0].seen;
        ensure!(Some(before.ip()) == lab.public_address("shop")?.map(IpAddr::V4));

        let new = IpAddr::V4(lab.wan_change("shop")?);
        ensure!(new != before.ip() && lab.public_address("shop")?.map(IpAddr::V4) == Some(new));
        server.say(0, before, 9)?;
        let after = asker.ask(&server, 0, 2, &[0])?.with_context(|| format!("{nat}: no answer after the change"))?;
        ensure!(after.len() == 1, "{nat}: what was sent to the old address came: {after:?}");
        ensure!(after[0].seen.ip() == new, "{nat}: the same socket is still seen at {}", after[0].seen);
        lab.wan_change("shop")?;
        ensure!(asker.ask(&server, 2, 3, &[2])?.is_some(), "{nat}: a second change");
    }
    Ok(())
}

fn a_silent_mapping() -> Result<()> {
    let mut lab = Lab::new()?;
    let servers = [lab.cloud("first")?, lab.cloud("second")?];
    let host = lab.site("shop", Nat::Home, 1)?.remove(0);
    let server = Server::start([&servers[0], &servers[1]], |host| host.v4().map(IpAddr::V4))?;
    lab.udp_timeout("shop", Duration::from_secs(1))?;
    let asker = Asker::new(&host, 4001)?;
    let outside = asker.ask(&server, 0, 1, &[0])?.context("no answer")?[0].seen;
    server.say(0, outside, 2)?;
    asker.0.set_read_timeout(Some(PATIENCE))?;
    asker.0.recv_from(&mut [0; 8]).context("the mapping is fresh, and lets the server in")?;
    // Nothing is sent for longer than the timeout; a host that only listens is silent, too.
    let begin = Instant::now();
    asker.0.set_read_timeout(Some(Duration::from_millis(2_100)))?;
    ensure!(asker.0.recv_from(&mut [0; 8]).is_err() && begin.elapsed() > Duration::from_secs(2));
    server.say(0, outside, 3)?;
    asker.0.set_read_timeout(Some(SILENCE))?;
    ensure!(asker.0.recv_from(&mut [0; 8]).is_err(), "a mapping that was silent for two seconds is still there");
    Ok(())
}

fn refusals() -> Result<()> {
    let mut lab = Lab::new()?;
    lab.cloud("cloud")?;
    lab.site("plant", Nat::Routed, 1)?;
    let said = |result: Result<(), LabError>| match result {
        Ok(()) => "nothing".to_owned(),
        Err(why) => why.to_string(),
    };
    for (result, word) in [
        (lab.cut("nowhere"), "nowhere"),
        (lab.partition("cloud", "nowhere"), "nowhere"),
        (lab.wan_change("plant").map(drop), "translates"),
        (lab.wan_change("cloud").map(drop), "translates"),
        (lab.udp_timeout("plant", Duration::from_secs(1)), "remembers"),
        (lab.cloud("cloud").map(drop), "already"),
        (lab.site("cloud", Nat::Home, 0).map(drop), "already"),
        (lab.site("shop", Nat::Home, 0).map(drop).and_then(|()| lab.add_host("shop", "plant-1").map(drop)), "already"),
        (lab.add_host("cloud", "second").map(drop), "LAN"),
    ] {
        let said = said(result);
        ensure!(said.contains(word), "it said {said:?}, not {word:?}");
    }
    Ok(())
}
