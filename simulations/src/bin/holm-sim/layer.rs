//! Which program runs a plan. The layer `des` is in this one. The layer `swarm` needs libp2p with its timers replaced,
//! which no program that ships may have: it is the program `holm-swarm`, one process a run, found beside this one.

use crate::cpu::Stopwatch;
use holm_simulations::{Options, Outcome, Plan, SimError, scenario::Backend};
use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The program that runs the layer `swarm`.
const SWARM: &str = "holm-swarm";
/// Where it is, if not beside this program.
const SWARM_AT: &str = "HOLM_SWARM";
/// Ticks of a second in `/proc/PID/stat`, on every Linux of our time.
const TICKS: u64 = 100;

/// Runs a plan in its layer; what came of it, and the time that it had on a CPU.
///
/// # Errors
/// The plan cannot be run: the text says why, and what to do about it.
pub fn run(plan: &Plan, options: Options) -> Result<(Outcome, Duration), SimError> {
    match plan.backend {
        Backend::Des => {
            let watch = Stopwatch::start();
            let outcome = holm_simulations::run(plan, options)?;
            Ok((outcome, watch.stop()))
        }
        Backend::Swarm => swarm(plan, options),
    }
}

fn swarm(plan: &Plan, options: Options) -> Result<(Outcome, Duration), SimError> {
    let failed = |why: String| SimError::Layer { name: plan.name.clone(), why };
    let program = program().map_err(failed)?;
    let mut command = Command::new(&program);
    command.args(["one", "-"]);
    if let Some(until) = options.until {
        command.args(["--until-ms", &until.0.to_string()]);
    }
    if let Some(events) = options.events {
        command.args(["--events", &events.to_string()]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("cannot start {}: {e}", program.display())))?;
    let done = talk(&mut child, plan);
    let cpu = on_cpu(child.id());
    let status = child.wait().map_err(|e| failed(format!("{}: {e}", program.display())))?;
    let (output, words) = done.map_err(|e| failed(format!("{}: {e}", program.display())))?;
    if !status.success() {
        return Err(failed(format!("{SWARM} ended with {status}: {}", words.trim())));
    }
    let outcome = serde_json::from_slice(&output)
        .map_err(|e| failed(format!("{} gave no outcome ({e}): is it of this version?", program.display())))?;
    Ok((outcome, cpu))
}

/// Gives a child the plan, and takes all that it says on both streams.
fn talk(child: &mut Child, plan: &Plan) -> std::io::Result<(Vec<u8>, String)> {
    let text = serde_json::to_vec(plan)?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let words = scope.spawn(move || {
            let mut words = String::new();
            // Words that are no text are left out.
            let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut words));
            words
        });
        // It reads all before it says anything; one that ended early says why on the other stream.
        let _ = stdin.as_mut().map(|stdin| stdin.write_all(&text));
        drop(stdin);
        let mut output = Vec::new();
        stdout.map(|mut stdout| stdout.read_to_end(&mut output)).transpose()?;
        Ok((output, words.join().unwrap_or_default()))
    })
}

/// Where `holm-swarm` is: where the environment says; beside this program; or where the makefile has it built, below
/// the folder that this program was built into.
fn program() -> Result<PathBuf, String> {
    if let Some(told) = std::env::var_os(SWARM_AT) {
        let told = PathBuf::from(told);
        return if told.is_file() { Ok(told) } else { Err(format!("{SWARM_AT}={}: no such file", told.display())) };
    }
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
    let profile = own.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
    let built = own.ancestors().nth(2).map(|target| target.join("swarm").join(profile).join(SWARM));
    let places: Vec<PathBuf> = [Some(own.with_file_name(SWARM)), built].into_iter().flatten().collect();
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        format!(
            "backend = \"swarm\" is run by the program {SWARM}, which is neither {}: build it with `make swarm`, or \
             say where it is in {SWARM_AT}",
            looked.join(" nor ")
        )
    })
}

/// The time that a process has had on CPUs (`proc_pid_stat(5)`: fields 14 and 15), also when it has ended and was not
/// waited for.
fn on_cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in brackets, which may hold anything.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
