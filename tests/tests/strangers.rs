//! Who is not enrolled gets nowhere, learns nothing, and is told clearly what to do.

use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::{Cluster, MESH, join},
    eventually,
    node::Node,
    suite::{Scene, Suite},
};
use std::{
    process::Output,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn main() {
    Suite::new()
        .test("a node that is not enrolled does not start", not_enrolled)
        .test("a token is good for its uses and no more", used_up)
        .test("an expired token is refused", expired)
        .test("garbage and damaged tokens are refused", damaged)
        .test("a token opens no other mesh at the same address", another_mesh)
        .test("a member cannot be enrolled over", already_a_member)
        .run()
}

/// A mesh of two, and a stranger on a host at the second site.
fn mesh_and_stranger(scene: &Scene) -> Result<(Cluster, Node)> {
    let mut mesh = Cluster::of(scene).node("cloud-1", "cloud").node("till-1", "shop").start()?;
    let stranger = mesh.new_node("stranger", "shop")?;
    Ok((mesh, stranger))
}

/// Runs `holm join TOKEN` on the stranger's host.
fn try_join(stranger: &Node, token: &str) -> Result<Output> {
    let data = stranger.data().to_string_lossy().into_owned();
    stranger.holm(&["join", token, "--name", stranger.name(), "--data-dir", &data])
}

/// It failed in an orderly way, said why in words that hold one of `because`, and told nothing about the mesh.
fn refused(output: &Output, because: &[&str]) -> Result<()> {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().with_context(|| format!("{}: {said}", output.status))?;
    ensure!([1, 3, 6].contains(&code), "exit code {code}: {said}");
    let lower = said.to_lowercase();
    ensure!(because.iter().any(|word| lower.contains(word)), "none of {because:?} is in: {said}");
    for secret in [MESH, "cloud", "shop", "till-1"] {
        ensure!(!lower.contains(secret), "it tells {secret:?}: {said}");
    }
    ensure!(!lower.contains("panicked") && !lower.contains("backtrace"), "{said}");
    Ok(())
}

/// Nothing was left behind that would let the stranger start, and the mesh does not list it.
fn stays_out(mesh: &Cluster, stranger: &Node) -> Result<()> {
    refused(&up(stranger)?, &["join", "enrol"])?;
    let members = mesh.node("cloud-1").members()?;
    ensure!(members.iter().all(|member| member.name != stranger.name()), "{members:?}");
    Ok(())
}

fn up(stranger: &Node) -> Result<Output> {
    let data = stranger.data().to_string_lossy().into_owned();
    stranger.holm(&["up", "--data-dir", &data, "--rpc", "127.0.0.1:0"])
}

fn not_enrolled(scene: &Scene) -> Result<()> {
    let (mesh, stranger) = mesh_and_stranger(scene)?;
    stays_out(&mesh, &stranger)
}

fn used_up(scene: &Scene) -> Result<()> {
    let (mut mesh, stranger) = mesh_and_stranger(scene)?;
    let token = mesh.token("shop", &["--uses", "1"])?;
    let welcome = mesh.new_node("till-2", "shop")?;
    join(&welcome, &token)?;
    refused(&try_join(&stranger, &token)?, &["used"])?;
    stays_out(&mesh, &stranger)?;

    // The count survives the issuer.
    let issuer = mesh.node("cloud-1");
    issuer.kill9()?;
    issuer.up()?;
    refused(&try_join(&stranger, &token)?, &["used"])?;
    welcome.up()?;
    eventually("the welcome one is a member", Duration::from_secs(60), || {
        let members = issuer.members()?;
        ensure!(members.iter().any(|m| m.name == "till-2" && m.state == "alive"), "{members:?}");
        Ok(())
    })
}

fn expired(scene: &Scene) -> Result<()> {
    let (mesh, stranger) = mesh_and_stranger(scene)?;
    let token = mesh.token("shop", &["--ttl", "1s"])?;
    let made = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    eventually("the token's second is over", Duration::from_secs(10), || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        ensure!(now > made + 1, "not yet");
        Ok(())
    })?;
    refused(&try_join(&stranger, &token)?, &["expired"])?;
    stays_out(&mesh, &stranger)
}

fn damaged(scene: &Scene) -> Result<()> {
    let (mesh, stranger) = mesh_and_stranger(scene)?;
    let token = mesh.token("shop", &[])?;
    let middle = token.len() / 2;
    // The signature comes last.
    let digit = if token.ends_with('0') { "1" } else { "0" };
    let altered = format!("{}{digit}", &token[..token.len() - 1]);
    let nonsense = ["", "x", "holm1.", "holm1.zz", "holm1.00", "holm2.00", &"holm1.ff".repeat(2000)];
    let cut: Vec<&str> = [1, 2, 10, middle, token.len() - 10].iter().map(|less| &token[..token.len() - less]).collect();
    for bad in nonsense.iter().copied().chain(cut).chain([altered.as_str()]) {
        refused(&try_join(&stranger, bad)?, &["token", "signature"])
            .with_context(|| format!("with {:?}", &bad[..bad.len().min(40)]))?;
    }
    stays_out(&mesh, &stranger)?;
    join(&stranger, &token).context("the token itself is still good")
}

fn another_mesh(scene: &Scene) -> Result<()> {
    let (mesh, stranger) = mesh_and_stranger(scene)?;
    let token = mesh.token("shop", &[])?;
    let issuer = mesh.node("cloud-1");
    issuer.power_off()?;

    // Another mesh now stands where the token points to.
    let impostor = Node::new(
        "impostor",
        "elsewhere",
        issuer.host().clone(),
        issuer.port(),
        scene.folder("impostor")?,
        scene.folder("logs")?,
    );
    let data = impostor.data().to_string_lossy().into_owned();
    impostor.ok(&["init", "--mesh", "vineyard", "--site", "elsewhere", "--name", "impostor", "--data-dir", &data])?;
    impostor.up()?;
    let output = try_join(&stranger, &token)?;
    refused(&output, &["issuer", "reach", "answer", "identity", "connect"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!said.contains("vineyard") && !said.contains("impostor") && !said.contains("elsewhere"), "{said}");
    refused(&up(&stranger)?, &["join", "enrol"])?;
    let members = impostor.members()?;
    ensure!(members.len() == 1, "the other mesh let someone in: {members:?}");
    Ok(())
}

fn already_a_member(scene: &Scene) -> Result<()> {
    let (mesh, stranger) = mesh_and_stranger(scene)?;
    let token = mesh.token("shop", &["--uses", "2"])?;
    join(&stranger, &token)?;
    let again = try_join(&stranger, &token)?;
    ensure!(!again.status.success(), "it was enrolled twice");
    let said = String::from_utf8_lossy(&again.stderr).to_lowercase();
    ensure!(said.contains("already") && !said.contains("panicked"), "{said}");
    stranger.up()
}
