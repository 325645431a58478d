//! The lab's own tests: before anyone blames Holm, the network must be what it says it is.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    eventually,
    lab::{Host, Lab},
    process,
    suite::{Scene, Suite},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough that a packet between two namespaces would have come many times over.
const SILENCE: Duration = Duration::from_millis(300);

fn main() {
    Suite::new()
        .lab("hosts reach each other within and across sites", hosts_reach_each_other)
        .lab("a cut is silence and a heal brings the same connection back", a_cut_is_silence)
        .lab("a cut between two sites leaves the others alone", a_cut_is_between_two_sites)
        .lab("a child runs on its host and is found there", a_child_is_found_on_its_host)
        .run()
}

/// Answers every byte of every connection with the same byte, until the test's process ends.
fn echo(host: &Host) -> Result<SocketAddr> {
    let at = SocketAddr::new(host.address(), 7);
    let listener = host.run(|| Ok(TcpListener::bind(at)?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(at)
}

fn echoed(stream: &mut TcpStream, byte: u8) -> Result<u8> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[byte])?;
    let mut back = [0];
    stream.read_exact(&mut back)?;
    Ok(back[0])
}

fn hosts_reach_each_other(_: &Scene) -> Result<()> {
    let mut lab = Lab::new()?;
    let (server, neighbour, stranger) = (lab.host("shop")?, lab.host("shop")?, lab.host("cloud")?);
    let at = echo(&server)?;
    for host in [&server, &neighbour, &stranger] {
        let mut stream = host.connect(at, PATIENCE)?;
        ensure!(echoed(&mut stream, 7)? == 7);
        let from = stream.local_addr()?.ip();
        ensure!(from == host.address(), "the connection comes from {from}, not from {}", host.address());
    }
    Ok(())
}

fn a_cut_is_silence(_: &Scene) -> Result<()> {
    let mut lab = Lab::new()?;
    let (server, neighbour, far) = (lab.host("shop")?, lab.host("shop")?, lab.host("cloud")?);
    let at = echo(&server)?;
    let mut stream = far.connect(at, PATIENCE)?;
    ensure!(echoed(&mut stream, 1)? == 1);

    lab.cut_site("cloud")?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(&[2])?;
    let error = stream.read(&mut [0]).err().context("the byte passed the cut")?;
    ensure!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "not silence: {error}");
    ensure!(far.connect(at, SILENCE).is_err(), "a new connection passed the cut");
    ensure!(echoed(&mut neighbour.connect(at, PATIENCE)?, 3)? == 3, "inside the site nothing has changed");

    lab.heal()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut late = [0];
    stream.read_exact(&mut late).context("the byte did not come after the heal")?;
    ensure!(late == [2], "TCP sends again what the cut swallowed");
    Ok(())
}

fn a_cut_is_between_two_sites(_: &Scene) -> Result<()> {
    let mut lab = Lab::new()?;
    let (shop, cloud, plant) = (lab.host("shop")?, lab.host("cloud")?, lab.host("plant")?);
    let at = echo(&shop)?;
    lab.cut("shop", "cloud")?;
    ensure!(cloud.connect(at, SILENCE).is_err(), "a connection passed the cut");
    ensure!(echoed(&mut plant.connect(at, PATIENCE)?, 1)? == 1);
    lab.heal()?;
    ensure!(echoed(&mut cloud.connect(at, PATIENCE)?, 1)? == 1);
    ensure!(lab.cut("shop", "nowhere").is_err(), "a site that is not there cannot be cut");
    Ok(())
}

fn a_child_is_found_on_its_host(_: &Scene) -> Result<()> {
    let mut lab = Lab::new()?;
    let (host, other) = (lab.host("shop")?, lab.host("shop")?);
    let mut command = host.command("sh");
    // The child of the child is there too, and in a session of its own, as a task is.
    command.args(["-c", "setsid sleep 1000 & exec sleep 1000"]);
    let mut child = holm_tests::spawner::spawn(command)?;
    eventually("both processes are there", PATIENCE, || {
        let found = host.processes();
        ensure!(found.len() == 2 && found.contains(&child.id().cast_signed()), "found {found:?}");
        Ok(())
    })?;
    ensure!(other.processes().is_empty());
    process::kill_until_none(|| host.processes())?;
    child.wait()?;
    Ok(())
}
