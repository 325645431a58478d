//! `apply --wait`: until the app is as wanted, and stays so.

use super::{
    exit::{self, failure},
    inspect, output,
};
use anyhow::Result;
use holm_rpc::Client;
use holm_types::{
    TaskId,
    api::{AppRef, AppState, AppStatus, Applied, ListParams, Page, SlotRow, TaskRow},
    manifest::AppType,
    view::TaskState,
};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

/// How long to wait, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// At most so long.
    pub timeout: Duration,
    /// Tasks must have run for so long without a restart.
    pub settle: Duration,
}

/// Waits until a service's or daemon's tasks run and have settled, or a job is done; and says what
/// is missing when it takes too long.
pub async fn wait(client: &Client, applied: &Applied, patience: Patience) -> Result<()> {
    let mut last: Option<AppStatus> = None;
    let mut settling = Settling::default();
    match tokio::time::timeout(patience.timeout, watch(client, applied, patience.settle, &mut last, &mut settling))
        .await
    {
        Ok(result) => result,
        Err(_) => Err(late(applied, patience.timeout, last.as_ref(), &settling)),
    }
}

async fn watch(
    client: &Client,
    applied: &Applied,
    settle: Duration,
    last: &mut Option<AppStatus>,
    settling: &mut Settling,
) -> Result<()> {
    let app =
        AppRef { name: applied.name.clone(), namespace: Some(applied.namespace.clone()), site: applied.site.clone() };
    loop {
        let status: AppStatus = client.call("app.get", &app).await?;
        match status.state {
            AppState::Succeeded => return Ok(()),
            AppState::Running if status.kind != AppType::Job => {
                let runs = runs_of(client, &app).await?;
                if settling.observe(Instant::now(), runs) >= settle {
                    return Ok(());
                }
            }
            AppState::Failed => {
                let name = output::app_name(&applied.namespace, &applied.name);
                return Err(failure(exit::FAILED, format!("{name} failed: {}", first_reason(&status))));
            }
            AppState::Running | AppState::Pending | AppState::Crashing | AppState::Removing => settling.interrupt(),
        }
        *last = Some(status);
        tokio::time::sleep(POLL).await;
    }
}

async fn runs_of(client: &Client, app: &AppRef) -> Result<Vec<Run>> {
    let mut params = ListParams {
        app: Some(app.name.clone()),
        namespace: app.namespace.clone(),
        site: app.site.clone(),
        ..ListParams::default()
    };
    let mut runs = Vec::new();
    loop {
        let page: Page<TaskRow> = client.call("task.list", &params).await?;
        runs.extend(page.items.into_iter().map(|row| Run { task: row.id, pid: row.pid, restarts: row.restarts }));
        if page.next.is_none() {
            return Ok(runs);
        }
        params.cursor = page.next;
    }
}

/// One life of a task's process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    task: TaskId,
    pid: Option<u32>,
    restarts: u32,
}

/// For how long the same processes run.
#[derive(Debug, Default)]
struct Settling {
    runs: Vec<Run>,
    since: Option<Instant>,
    interruptions: u32,
}

impl Settling {
    /// For how long these have run, as far as it was seen. Another process begins anew.
    fn observe(&mut self, now: Instant, runs: Vec<Run>) -> Duration {
        if self.runs != runs {
            self.interrupt();
            self.runs = runs;
        }
        now.saturating_duration_since(*self.since.get_or_insert(now))
    }

    /// Not everything runs.
    fn interrupt(&mut self) {
        self.interruptions = self.interruptions.saturating_add(u32::from(self.since.take().is_some()));
    }
}

/// Why it took too long.
fn late(applied: &Applied, timeout: Duration, last: Option<&AppStatus>, settling: &Settling) -> anyhow::Error {
    let code = if last.is_some_and(is_unplaced) { exit::NOT_PLACED } else { exit::TIMED_OUT };
    let timeout = humantime::format_duration(timeout);
    let name = output::app_name(&applied.namespace, &applied.name);
    let ask = output::app_arguments(&applied.namespace, &applied.name);
    let why = last.map(first_reason).unwrap_or_default();
    let again = match settling.interruptions {
        0 => String::new(),
        _ => " (its tasks ran, and did not keep running)".to_owned(),
    };
    let why = if why.is_empty() { last.map_or_else(String::new, unfinished) } else { why };
    failure(code, format!("{name} is not there after {timeout}{again}: {why}; `holm status {ask}` says more"))
}

/// What is missed of an app none of whose slots waits.
fn unfinished(status: &AppStatus) -> String {
    if let Some(why) = inspect::nowhere(status) {
        return why.to_owned();
    }
    let done = status.slots.iter().filter(|slot| slot.state == TaskState::Succeeded).count();
    match status.kind {
        AppType::Job => format!("{done} of its {} tasks are done", status.slots.len()),
        _ => "its tasks run, but not for long enough yet".to_owned(),
    }
}

/// A slot has no node, never had one or lost it, though nothing of the app is under way: a job's slots wait for their
/// turn, too. (What has failed and was not given up waits for a node as well.)
fn is_unplaced(status: &AppStatus) -> bool {
    let without = [TaskState::Pending, TaskState::Lost, TaskState::Failed];
    let active = |slot: &SlotRow| matches!(slot.state, TaskState::Assigned | TaskState::Starting | TaskState::Running);
    let under_way = status.kind == AppType::Job && status.slots.iter().any(active);
    !under_way && status.slots.iter().any(|slot| without.contains(&slot.state) && is_missed(status, slot))
}

/// A daemon does not want what is on nodes that are not there.
fn is_missed(status: &AppStatus, slot: &SlotRow) -> bool {
    status.kind != AppType::Daemon || slot.state != TaskState::Lost
}

fn first_reason(status: &AppStatus) -> String {
    let waiting = |state: TaskState| !matches!(state, TaskState::Running | TaskState::Succeeded);
    let slot = status.slots.iter().find(|slot| waiting(slot.state) && is_missed(status, slot));
    slot.map_or_else(String::new, |s| match s.reason.as_str() {
        "" => format!("slot {} is {}", s.slot, s.state),
        reason => format!("slot {} is {}: {reason}", s.slot, s.state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pid: u32, restarts: u32) -> Vec<Run> {
        vec![Run { task: "a-0-0123456789".parse().unwrap(), pid: Some(pid), restarts }]
    }

    #[test]
    fn only_the_same_processes_settle() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut settling = Settling::default();
        assert_eq!(settling.observe(at(0), run(1, 0)), Duration::ZERO);
        assert_eq!(settling.observe(at(1500), run(1, 0)), Duration::from_millis(1500));
        assert_eq!(settling.observe(at(1600), run(2, 1)), Duration::ZERO, "restarted between two looks");
        settling.interrupt();
        assert_eq!(settling.observe(at(3000), run(2, 1)), Duration::ZERO, "seen not running");
        assert_eq!(settling.observe(at(5000), run(2, 1)), Duration::from_secs(2));
        assert_eq!(settling.interruptions, 2);
    }

    fn status(kind: AppType, slots: &[(TaskState, &str)]) -> AppStatus {
        let slot = |(i, (state, reason)): (usize, &(TaskState, &str))| SlotRow {
            slot: i as u32,
            state: *state,
            node: None,
            reason: (*reason).to_owned(),
        };
        AppStatus {
            app: "web".parse().unwrap(),
            namespace: "default".parse().unwrap(),
            kind,
            revision: 1,
            state: AppState::Pending,
            slots: slots.iter().enumerate().map(slot).collect(),
            conflicts: Vec::new(),
        }
    }

    #[test]
    fn what_is_said_when_it_takes_too_long() {
        let applied = Applied {
            name: "web".parse().unwrap(),
            namespace: "shop".parse().unwrap(),
            site: None,
            revision: 1,
            changed: true,
            warnings: Vec::new(),
        };
        let looping = Settling { interruptions: 3, ..Settling::default() };
        let crash = status(AppType::Service, &[(TaskState::Running, ""), (TaskState::Starting, "exit code 1")]);
        let nowhere = status(AppType::Service, &[(TaskState::Pending, "no node fits: 1 node has too little memory")]);
        let job = status(AppType::Job, &[(TaskState::Pending, "waits its turn"), (TaskState::Running, "")]);
        let lost =
            status(AppType::Service, &[(TaskState::Running, ""), (TaskState::Lost, "node gw-1 is dead; no node fits")]);
        let slow = status(AppType::Job, &[(TaskState::Running, ""), (TaskState::Succeeded, "")]);
        let unwanted = status(AppType::Daemon, &[]);
        let told =
            |status: &AppStatus| late(&applied, Duration::from_secs(2), Some(status), &Settling::default()).to_string();
        assert!(told(&slow).contains(": 1 of its 2 tasks are done;"), "{}", told(&slow));
        assert!(told(&unwanted).contains("no node that is known here"), "{}", told(&unwanted));
        let gone = status(AppType::Daemon, &[(TaskState::Lost, "node gw-1 is dead"), (TaskState::Starting, "")]);
        let calm = Settling::default();
        let told: Vec<String> = [(&crash, &looping), (&nowhere, &calm), (&job, &calm), (&lost, &calm), (&gone, &calm)]
            .into_iter()
            .map(|(status, settling)| {
                let error = late(&applied, Duration::from_secs(60), Some(status), settling);
                format!("{}: {error}", error.downcast_ref::<exit::Failure>().unwrap().code)
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
