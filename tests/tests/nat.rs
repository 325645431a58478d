//! Gateways behind NATs of their own: who is met directly, who over a relay, and what becomes of both when relays,
//! bootstrap servers and addresses go.

use anyhow::{Context, Result, bail, ensure};
use holm_tests::{
    bootstrap::Bootstrap,
    cluster::{Builder, Cluster, join},
    eventually, holds,
    lab::Ground,
    netlab::{Nat, upnp_unavailable},
    node::{Node, SOON},
    rows::Way,
    suite::{Scene, Suite},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// What is lost with a relay is made good within this time.
const MOVED_WITHIN: Duration = Duration::from_secs(10);
/// From a revocation to disconnected everywhere.
const CUT_WITHIN: Duration = Duration::from_secs(5);

fn main() {
    Suite::new()
        .lab("gateways behind home routers join by dialling out, and are placed on", home_gateways)
        .lab("two home gateways of one site meet directly, and tell nobody their private addresses", home_meets_home)
        .lab("where physics forbids a direct way there is a relay, and logs are read over it", symmetric_is_relayed)
        .lab("a revoked gateway is cut off over a relay, too, and nothing is forwarded for it", revoked)
        .lab("a relay dies: the reservation and the streams move", a_relay_dies)
        .lab("all bootstrap servers die: what runs does not notice, and who restarts finds its site", no_bootstrap_left)
        .lab("a gateway whose provider gives it another address comes back by itself, directly", a_new_address)
        .lab("two gateways behind one router use their LAN", one_router)
        .lab("a site that has IPv6 alone is met, cut off, and healed", ipv6_only)
        .lab("without internet a gateway is found on the LAN", |s| found_on_the_lan(s, Ground::Public, Nat::Home))
        .lab("the same over IPv6 alone", |s| found_on_the_lan(s, Ground::PublicDual, Nat::V6Only))
        .lab_with("a router that maps a port makes a gateway reachable", upnp_unavailable, a_mapped_port)
        .run()
}

/// The node's view of another, by `holm status`.
fn way(node: &Node, other: &str) -> Result<Way> {
    let members = node.members()?;
    let id = &members.iter().find(|m| m.name == other).with_context(|| format!("no {other} in {members:?}"))?.id;
    let reach = node.status()?.reach;
    reach.peers.iter().find(|way| way.node == *id).cloned().with_context(|| format!("no way to {other}: {reach:?}"))
}

/// Waits until both reach each other so.
fn wait_path(mesh: &Cluster, [a, b]: [&str; 2], path: &str) -> Result<Way> {
    let mut way_of_a = None;
    for [from, to] in [[a, b], [b, a]] {
        let way = eventually(&format!("{from} reaches {to} {path}"), SOON, || {
            let way = way(mesh.node(from), to)?;
            ensure!(way.path == path, "{way:?}");
            Ok(way)
        })?;
        way_of_a.get_or_insert(way);
    }
    way_of_a.context("a way")
}

/// Two gateways of one site, each behind a router of its own, and a public keeper.
fn field(scene: &Scene, a: Nat, b: Nat) -> Builder<'_> {
    Cluster::of(scene)
        .ground("cloud", Ground::Public)
        .ground("meet", Ground::Public)
        .ground("road-a", Ground::Behind(a))
        .ground("road-b", Ground::Behind(b))
        .node("cloud-1", "cloud")
        .placed("gw-a", "field", "road-a")
        .placed("gw-b", "field", "road-b")
}

/// A public node, and two gateways that have the same private address.
fn start(scene: &Scene) -> Result<Cluster> {
    Cluster::of(scene)
        .ground("cloud", Ground::Public)
        .ground("shop-a", Ground::Behind(Nat::Home))
        .ground("shop-b", Ground::Behind(Nat::Home))
        .node("cloud-1", "cloud")
        .node("gw-a", "shop-a")
        .node("gw-b", "shop-b")
        .start()
}

fn home_gateways(scene: &Scene) -> Result<()> {
    let mesh = start(scene)?;
    let (a, b) = (mesh.node("gw-a"), mesh.node("gw-b"));
    ensure!(a.host().address() == b.host().address(), "homes have the same addresses");
    // Submitted at one gateway, runs on all three: neither gateway can dial the other.
    a.apply(&spread("wide"))?;
    let running = a.wait_running("wide", 3)?;
    let hosts: BTreeSet<&str> = running.iter().map(|task| task.node.as_str()).collect();
    ensure!(hosts == BTreeSet::from(["cloud-1", "gw-a", "gw-b"]), "{running:?}");
    mesh.wait_converged()?;
    eventually("all nodes agree on what runs, and it is true", SOON, || mesh.running_everywhere("wide").map(drop))?;

    let elsewhere = spread("far") + "[place]\nsite = 'shop-b'\n";
    let refused = a.holm_with(&["apply", "-f", "-"], &elsewhere)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("shop-b") && said.contains("cloud-1"), "whom to ask: {said}");
    mesh.node("cloud-1").apply(&elsewhere)?;
    let running = b.wait_running("far", 3)?;
    ensure!(running.iter().all(|task| task.node == "gw-b"), "{running:?}");
    ensure!(a.apps()?.iter().all(|app| app.name != "far"), "an app of shop-b has reached shop-a");
    Ok(())
}

/// A service of three.
fn spread(name: &str) -> String {
    format!("name = '{name}'\ntype = 'service'\nreplicas = 3\n[run.process]\ncommand = ['/bin/sleep', '100000']\n")
}

/// A daemon: one task on each node of the site.
const EVERYWHERE: &str = "name = 'everywhere'\ntype = 'daemon'\n[place]\nsite = 'field'\n[run.process]\n\
                          command = ['/bin/sh', '-c', 'echo here; exec sleep 100000']\n";

fn home_meets_home(scene: &Scene) -> Result<()> {
    let mesh = field(scene, Nat::Home, Nat::Home).start()?;
    let way = wait_path(&mesh, ["gw-a", "gw-b"], "direct")?;
    let public = mesh.lab()?.net().public_address("road-b")?.context("a home has one")?;
    ensure!(way.address.starts_with(&format!("/ip4/{public}/")), "{way:?}");
    // What others are told of a gateway are relays and nothing else.
    for observer in ["cloud-1", "gw-b"] {
        eventually(&format!("{observer} is told nothing private"), SOON, || {
            let members = mesh.node(observer).members()?;
            let told = &members.iter().find(|m| m.name == "gw-a").context("no gw-a")?.addresses;
            ensure!(!told.is_empty() && told.iter().all(|address| address.contains("p2p-circuit")), "{told:?}");
            Ok(())
        })?;
    }
    let reach = mesh.node("gw-a").status()?.reach;
    ensure!(reach.nat == "cone" && !reach.relaying && reach.relays.len() == 1, "{reach:?}");
    ensure!(mesh.node("cloud-1").status()?.reach.relaying, "the public keeper relays");
    // The relay has done its part.
    eventually("no connection is relayed any more", SOON, || {
        let circuits = mesh.node("cloud-1").status()?.reach.circuits;
        ensure!(circuits == 0, "{circuits}");
        Ok(())
    })?;
    // And is not needed for what the two have with each other.
    mesh.lab()?.cut_site("cloud")?;
    mesh.node("gw-a").apply(EVERYWHERE)?;
    mesh.node("gw-b").wait_running("everywhere", 2)?;
    wait_path(&mesh, ["gw-a", "gw-b"], "direct").map(drop)
}

fn symmetric_is_relayed(scene: &Scene) -> Result<()> {
    let mesh = field(scene, Nat::Symmetric, Nat::Home).start()?;
    let way = wait_path(&mesh, ["gw-a", "gw-b"], "relayed")?;
    ensure!(way.address.contains("p2p-circuit"), "{way:?}");
    let (a, b) = (mesh.node("gw-a"), mesh.node("gw-b"));
    a.apply(EVERYWHERE)?;
    let running = b.wait_running("everywhere", 2)?;
    let far = running.iter().find(|task| task.node == "gw-b").context("a task on gw-b")?;
    eventually("the log is read over the relay", SOON, || {
        let log = a.ok(&["logs", &far.id])?;
        ensure!(log.contains("here"), "{log:?}");
        Ok(())
    })?;
    let reach = a.status()?.reach;
    ensure!(reach.relays.len() == 1, "{reach:?}");
    Ok(())
}

fn revoked(scene: &Scene) -> Result<()> {
    let mesh = field(scene, Nat::Symmetric, Nat::Symmetric).start()?;
    wait_path(&mesh, ["gw-a", "gw-b"], "relayed")?;
    let cloud = mesh.node("cloud-1");
    let members = cloud.members()?;
    let stolen = &members.iter().find(|m| m.name == "gw-b").context("no gw-b")?.id;
    let begin = Instant::now();
    cloud.ok(&["cert", "revoke", "gw-b", "--reason", "stolen"])?;
    eventually("nobody is connected with it", CUT_WITHIN, || {
        for observer in ["cloud-1", "gw-a"] {
            let peers = mesh.node(observer).status()?.reach.peers;
            ensure!(peers.iter().all(|way| way.node != *stolen), "{observer}: {peers:?}");
        }
        Ok(())
    })?;
    eprintln!("cut off after {:.1} s", begin.elapsed().as_secs_f64());
    eventually("it is alone, without a relay", SOON, || {
        let reach = mesh.node("gw-b").status()?.reach;
        ensure!(reach.peers.is_empty() && reach.relays.is_empty(), "{reach:?}");
        Ok(())
    })?;
    // The others go on over the relay.
    mesh.node("gw-a").apply(EVERYWHERE)?;
    let running = cloud.wait_running("everywhere", 1)?;
    ensure!(running[0].node == "gw-a", "{running:?}");
    Ok(())
}

/// The member that relays the way from `node` to `other`.
fn relay_of(node: &Node, other: &str) -> Result<String> {
    let way = way(node, other)?;
    ensure!(way.path == "relayed", "{way:?}");
    let peer = way.address.split("/p2p/").nth(1).and_then(|rest| rest.split('/').next()).context("no relay in it")?;
    Ok(peer.to_owned())
}

fn a_relay_dies(scene: &Scene) -> Result<()> {
    // The keeper does not relay: the servers have to.
    let mut mesh = field(scene, Nat::Symmetric, Nat::Symmetric).with_first(&["--relay", "off"]).start()?;
    let mut servers = Vec::new();
    for name in ["meet-1", "meet-2", "meet-3"] {
        servers.push(Bootstrap::start(&mut mesh, name, "meet")?);
    }
    wait_path(&mesh, ["gw-a", "gw-b"], "relayed")?;
    let two_relays = |gateway: &str, but: Option<&str>| {
        eventually(&format!("{gateway} has two relays"), SOON, || {
            let relays = mesh.node(gateway).status()?.reach.relays;
            let good = relays.iter().filter(|relay| but.is_none_or(|gone| !relay.address.contains(gone))).count();
            ensure!(good == 2, "{relays:?}");
            Ok(())
        })
    };
    two_relays("gw-a", None)?;
    two_relays("gw-b", None)?;
    let (a, b) = (mesh.node("gw-a"), mesh.node("gw-b"));
    a.apply(EVERYWHERE)?;
    let before = b.wait_running("everywhere", 2)?;
    let far = before.iter().find(|task| task.node == "gw-b").context("a task on gw-b")?;
    let used = relay_of(a, "gw-b")?;
    let address = way(a, "gw-b")?.address;
    let at = |server: &&Bootstrap| address.contains(&format!("/{}/", server.place().host().address()));
    let victim = servers.iter().find(at).with_context(|| format!("none of the servers is at {address}"))?;
    victim.kill9();
    let begin = Instant::now();
    let log = eventually("the log is read over the other relay", SOON, || {
        let now = relay_of(a, "gw-b")?;
        ensure!(now != used, "still over {now}");
        a.ok(&["logs", &far.id])
    })?;
    let moved = begin.elapsed();
    eprintln!("streams have moved after {:.1} s", moved.as_secs_f64());
    ensure!(log.contains("here") && moved <= MOVED_WITHIN, "after {moved:.1?}: {log:?}");
    let gone = format!("/{}/", victim.place().host().address());
    two_relays("gw-a", Some(&gone))?;
    two_relays("gw-b", Some(&gone))?;
    let moved = begin.elapsed();
    eprintln!("reservations have moved after {:.1} s", moved.as_secs_f64());
    ensure!(moved <= MOVED_WITHIN, "the reservations took {moved:.1?}");
    ensure!(mesh.running_everywhere("everywhere")? == before, "something was restarted");
    Ok(())
}

fn no_bootstrap_left(scene: &Scene) -> Result<()> {
    let mut mesh = field(scene, Nat::Home, Nat::Home).start()?;
    let servers = [Bootstrap::start(&mut mesh, "meet-1", "meet")?, Bootstrap::start(&mut mesh, "meet-2", "meet")?];
    wait_path(&mesh, ["gw-a", "gw-b"], "direct")?;
    mesh.node("gw-a").apply(EVERYWHERE)?;
    let before = mesh.node("gw-b").wait_running("everywhere", 2)?;
    servers.iter().for_each(Bootstrap::kill9);
    holds("nothing that runs notices", Duration::from_secs(15), || {
        ensure!(mesh.running_everywhere("everywhere")? == before, "something was restarted");
        ensure!(way(mesh.node("gw-a"), "gw-b")?.path == "direct");
        Ok(())
    })?;
    // Who restarts finds the keeper by its peer store, and its site through it.
    let gateway = mesh.node("gw-a");
    gateway.kill9()?;
    gateway.up()?;
    wait_path(&mesh, ["gw-a", "gw-b"], "direct")?;
    eventually("the same tasks run", SOON, || {
        let now = mesh.running_everywhere("everywhere")?;
        let pids = |tasks: &[holm_tests::rows::Task]| tasks.iter().map(|task| task.pid).collect::<BTreeSet<_>>();
        ensure!(pids(&now) == pids(&before), "{now:?}");
        Ok(())
    })
}

fn a_new_address(scene: &Scene) -> Result<()> {
    let mesh = field(scene, Nat::Home, Nat::Home).start()?;
    wait_path(&mesh, ["gw-a", "gw-b"], "direct")?;
    let net = mesh.lab()?.net();
    let old = net.public_address("road-a")?.context("a home has one")?;
    let new = net.wan_change("road-a")?;
    ensure!(new != old);
    // The gateway itself is told nothing. What is submitted behind it afterwards has to get out.
    mesh.node("gw-a").apply(&spread("after"))?;
    mesh.node("cloud-1").wait_running("after", 3)?;
    mesh.wait_acquainted()?;
    let begin = Instant::now();
    let back = eventually("gw-b reaches gw-a at its new address", SOON, || {
        let way = way(mesh.node("gw-b"), "gw-a")?;
        ensure!(way.path == "direct" && way.address.contains(&new.to_string()), "{way:?}");
        Ok(begin.elapsed())
    })?;
    eprintln!("direct again {:.1} s after all were acquainted", back.as_secs_f64());
    // It hears and is heard as before.
    mesh.node("cloud-1").apply(&spread("later"))?;
    let running = mesh.node("gw-b").wait_running("later", 3)?;
    ensure!(running.iter().any(|task| task.node == "gw-a"), "{running:?}");
    Ok(())
}

/// Without multicast: the two learn over a relay that they are neighbours.
fn one_router(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene)
        .ground("cloud", Ground::Public)
        .ground("shop", Ground::Behind(Nat::Symmetric))
        .node("cloud-1", "cloud")
        .node("till-1", "shop")
        .with(&["--no-mdns"])
        .node("till-2", "shop")
        .with(&["--no-mdns"])
        .start()?;
    let way = wait_path(&mesh, ["till-1", "till-2"], "direct")?;
    if !way.address.starts_with("/ip4/192.168.1.") {
        bail!("{way:?}");
    }
    Ok(())
}

/// Two gateways of a site that has IPv6 alone.
fn ipv6_only(scene: &Scene) -> Result<()> {
    let mesh = Cluster::of(scene)
        .ground("cloud", Ground::PublicDual)
        .ground("plant", Ground::Behind(Nat::V6Only))
        .node("cloud-1", "cloud")
        .node("gw-a", "plant")
        .node("gw-b", "plant")
        .start()?;
    for [from, to] in [["gw-a", "gw-b"], ["gw-a", "cloud-1"]] {
        let way = wait_path(&mesh, [from, to], "direct")?;
        ensure!(way.address.starts_with("/ip6/"), "{way:?}");
    }
    mesh.node("cloud-1").apply(&(spread("plant-app") + "[place]\nsite = 'plant'\n"))?;
    let before = mesh.node("gw-b").wait_running("plant-app", 3)?;
    mesh.wait_converged()?;
    mesh.lab()?.cut_site("plant")?;
    mesh.wait_missed("cloud-1", "gw-a")?;
    mesh.node("gw-a").apply(&EVERYWHERE.replace("field", "plant"))?;
    mesh.node("gw-b").wait_running("everywhere", 2)?;
    mesh.lab()?.heal()?;
    mesh.wait_acquainted()?;
    mesh.wait_converged()?;
    ensure!(mesh.running_everywhere("plant-app")? == before, "something was restarted");
    Ok(())
}

/// A gateway that was enrolled and knows nobody but the cloud is started when the cloud is gone.
fn found_on_the_lan(scene: &Scene, cloud: Ground, site: Nat) -> Result<()> {
    let mut mesh = Cluster::of(scene)
        .ground("cloud", cloud)
        .ground("plant", Ground::Behind(site))
        .node("cloud-1", "cloud")
        .node("gw-a", "plant")
        .start()?;
    let late = mesh.new_node("gw-b", "plant")?;
    let token = mesh.token("plant", &[])?;
    join(&late, &token)?;
    mesh.lab()?.cut_site("plant")?;
    mesh.wait_missed("cloud-1", "gw-a")?;
    late.up()?;
    eventually("the two find each other", SOON, || {
        let members = late.members()?;
        ensure!(members.iter().any(|m| m.name == "gw-a" && m.state == "alive" && m.path == "direct"), "{members:?}");
        Ok(())
    })?;
    late.apply(&EVERYWHERE.replace("field", "plant"))?;
    late.wait_running("everywhere", 2).map(drop)
}

/// The router of `road-b` maps a port when it is asked. `gw-a`, of which nobody but itself knows from where it will come, gets in by it.
fn a_mapped_port(scene: &Scene) -> Result<()> {
    let mut mesh = Cluster::of(scene)
        .ground("cloud", Ground::Public)
        .ground("road-a", Ground::Behind(Nat::Symmetric))
        .ground("road-b", Ground::Behind(Nat::Home))
        .node("cloud-1", "cloud")
        .placed("gw-a", "field", "road-a")
        .start()?;
    mesh.lab()?.net().upnp("road-b")?;
    let mut mapped = mesh.new_node_at("gw-b", "field", "road-b")?;
    mapped.ask_the_router();
    let token = mesh.token("field", &[])?;
    join(&mapped, &token)?;
    mapped.up()?;
    let public = mesh.lab()?.net().public_address("road-b")?.context("a home has one")?;
    let ours = format!("/ip4/{public}/");
    eventually("its public address is told", SOON, || {
        let reach = mapped.status()?.reach;
        ensure!(
            reach.upnp == "the router has mapped a port" && reach.announced.iter().any(|at| at.starts_with(&ours)),
            "{reach:?}"
        );
        Ok(())
    })?;
    let way = eventually("gw-a reaches it there", SOON, || {
        let way = way(mesh.node("gw-a"), "gw-b")?;
        ensure!(way.path == "direct", "{way:?}");
        Ok(way)
    })?;
    ensure!(way.address.starts_with(&ours), "{way:?}");
    Ok(())
}
