//! Agents and processes: starts, deaths, and what a host's runner does.

use super::{
    engine::{Answer, Engine},
    event::{Event, HostIndex},
    runner::{Phase, Process},
};
use crate::{outcome::Invariant, scenario::random::Chance};
use holm_node_core::{Input, RequestId, RunnerInput, StartTask};
use holm_types::{
    NodeId, TaskId,
    api::{ApiError, AppRef, ApplyParams, Request, ScaleParams},
};

/// Launching a process takes so long.
const LAUNCH: u64 = 5_000;
/// Members that a node knows by address before it has heard of anyone.
const PEERS_KNOWN: usize = 8;

impl Engine {
    /// Starts the agent of a host.
    pub(crate) fn start_agent(&mut self, host: HostIndex) {
        if self.hosts[host].is_up() {
            return;
        }
        let peers = self.peers_known(host);
        match self.hosts[host].start(self.now, peers) {
            Ok(effects) => {
                self.record.came_up(self.now, self.no(host));
                self.note(Some(host), "agent-up", "");
                self.judges.started(self.now, host, &self.hosts[host]);
                self.relaunch_waiting(host);
                self.carry_out(host, effects);
                let address = self.address(host);
                self.deliver(host, Input::Listening { address });
            }
            Err(error) => {
                let (at, no) = (self.now, self.no(host));
                self.judges.verdicts.violate(Invariant::NodeStarts, at, vec![no], error.to_string());
            }
        }
    }

    /// The members that an enrolment told it of: the anchors, and some of its site.
    fn peers_known(&self, host: HostIndex) -> Vec<(NodeId, Vec<String>)> {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let (anchors, rest): (Vec<_>, Vec<_>) = others.partition(|other| self.hosts[*other].plan.anchor);
        let near = rest.into_iter().filter(|other| self.links.same_site(host, *other));
        let known = anchors.into_iter().chain(near).take(PEERS_KNOWN);
        known.map(|other| (self.hosts[other].id, vec![self.address(other)])).collect()
    }

    /// The agent dies. The kernel resets its connections; a host that loses power says nothing.
    pub(crate) fn kill_agent(&mut self, host: HostIndex, resets: bool) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.record.went_down(self.now, self.no(host));
        self.note(Some(host), "agent-down", if resets { "killed" } else { "power lost" });
        self.hosts[host].stop_agent();
        self.forget_choices_of_peers(host);
        let peers: Vec<HostIndex> = self.hosts[host].ends.keys().copied().collect();
        for peer in peers {
            self.detach(host, peer, resets);
        }
        self.judges.went_down(host);
    }

    /// A client asks a node; the answer comes when it comes.
    pub(crate) fn request(&mut self, host: HostIndex, request: Request, submission: Option<usize>) -> RequestId {
        self.next_request += 1;
        let id = self.next_request;
        self.asked.insert(id, (host, submission));
        self.deliver(host, Input::Request { id, request });
        id
    }

    pub(super) fn replied(&mut self, host: HostIndex, id: RequestId, result: Answer) {
        let submission = self.asked.remove(&id).and_then(|(_, submission)| submission);
        match submission {
            None => {
                self.answers.insert(id, result);
            }
            Some(n) => {
                let plan = self.plan.clone();
                let submission = &plan.submissions[n];
                let said = match &result {
                    Ok(answer) => {
                        self.record.count("acknowledged", 1);
                        self.judges.acknowledged(self.now, host, &self.hosts[host], submission, answer);
                        "acknowledged"
                    }
                    Err(_) => {
                        self.record.count("declined", 1);
                        "declined"
                    }
                };
                let why = result.err().map(|e: ApiError| e.to_string()).unwrap_or_default();
                self.note(Some(host), said, &format!("{} {why}", submission.app));
            }
        }
    }

    /// A request of the plan comes to its host.
    pub(super) fn submit(&mut self, n: usize) {
        let plan = self.plan.clone();
        let submission = &plan.submissions[n];
        let Some(host) = self.index_of_no(submission.on) else { return };
        self.record.count("submitted", 1);
        if !self.hosts[host].answers() {
            return self.record.count("submitted_to_nobody", 1);
        }
        let Ok(name) = submission.app.parse() else { return };
        let request = match &submission.request {
            crate::scenario::Request::Remove => Request::AppDelete(AppRef { name, namespace: None, site: None }),
            crate::scenario::Request::Scale { count } => Request::AppScale(ScaleParams {
                name,
                namespace: None,
                site: None,
                replicas: *count,
                expected_revision: None,
            }),
            apply => {
                let text = super::manifest::text(&submission.app, apply);
                let (expected_revision, idempotency_key) = (None, None);
                Request::AppApply(ApplyParams { manifest: None, text: Some(text), expected_revision, idempotency_key })
            }
        };
        self.judges.submitted(&submission.app);
        self.note(Some(host), "submitted", &format!("{} {:?}", submission.app, submission.request));
        self.request(host, request, Some(n));
    }

    /// The runner is told to start a task.
    pub(super) fn spawn(&mut self, host: HostIndex, task: StartTask) {
        let id = task.id.clone();
        let there = &self.hosts[host].processes.0;
        if there.get(&id).is_some_and(|p| p.is_up() || p.phase == Phase::Waits) {
            return self.record.count("duplicate_starts", 1);
        }
        let restarts = 0;
        self.judges.asked_to_start(self.now, host, &self.hosts, &task);
        self.launch(host, task, restarts);
    }

    fn launch(&mut self, host: HostIndex, task: StartTask, restarts: u32) {
        self.next_pid += 1;
        let pid = self.next_pid;
        let id = task.id.clone();
        let started_at = self.hosts[host].clocks(self.now).wall;
        let old = self.hosts[host].processes.0.remove(&id);
        let mut process = Process::new(task, pid, started_at, self.now);
        if let Some(old) = old.filter(|_| restarts > 0) {
            process.carry_on(&old);
        }
        process.restarts = restarts;
        let (app, slot, course) = (process.app().to_owned(), process.slot(), process.course());
        self.record.count("starts", 1);
        self.record.run_began(self.now, self.no(host), &id, pid, &app, slot);
        self.hosts[host].processes.0.insert(id.clone(), process);
        self.hosts[host].processes.forget_old();
        self.judges.process_began(host, &id, pid);
        self.push(self.now + LAUNCH, Event::Launched { host, task: id.clone(), pid });
        if let Some((after, code)) = course {
            self.push(self.now + after, Event::Ended { host, task: id, pid, code });
        }
    }

    pub(super) fn launched(&mut self, host: HostIndex, id: &TaskId, pid: u32) {
        let Some(process) = self.hosts[host].processes.0.get(id).filter(|p| p.pid == pid && p.is_up()) else { return };
        let (restarts, started_at) = (process.restarts, process.started_at);
        self.tell_runner(host, RunnerInput::Started { id: id.clone(), pid, restarts, started_at });
    }

    fn tell_runner(&mut self, host: HostIndex, said: RunnerInput) {
        if self.hosts[host].is_up() {
            self.deliver(host, Input::Runner(said));
        }
    }

    pub(super) fn stop(&mut self, host: HostIndex, id: &TaskId) {
        self.judges.asked_to_stop(self.now, host, self.no(host), id);
        let Some(process) = self.hosts[host].processes.0.get_mut(id) else { return };
        let pid = process.pid;
        match process.phase {
            Phase::Runs => {
                process.phase = Phase::Stops;
                let (takes, code) = process.stopping();
                self.push(self.now + takes, Event::Ended { host, task: id.clone(), pid, code });
            }
            Phase::Waits => self.process_ended(host, &id.clone(), pid, 143),
            Phase::Stops | Phase::Ended { .. } | Phase::Gone => {}
        }
    }

    pub(super) fn process_ended(&mut self, host: HostIndex, id: &TaskId, pid: u32, code: i32) {
        let (now, wall) = (self.now, self.hosts[host].clocks(self.now).wall);
        let Some(process) = self.hosts[host].processes.0.get_mut(id) else { return };
        if process.pid != pid || matches!(process.phase, Phase::Ended { .. } | Phase::Gone) {
            return;
        }
        let was_up = process.is_up();
        let wait = if process.phase == Phase::Runs { process.restart_wait(code, now) } else { None };
        process.phase = if wait.is_some() { Phase::Waits } else { Phase::Ended { code, at: wall } };
        let restarts = process.restarts;
        if was_up {
            self.record.run_ended(now, self.no(host), id, pid, Some(code));
        }
        if let Some(wait) = wait {
            self.push(now + wait, Event::Restart { host, task: id.clone(), after_pid: pid });
        }
        let ended = RunnerInput::Ended {
            id: id.clone(),
            exit_code: Some(code),
            finished_at: wall,
            restarts,
            restarting: wait.is_some(),
            output: Vec::new(),
            reason: String::new(),
        };
        self.tell_runner(host, ended);
    }

    /// The wait is over. It is the agent that starts the process again: without one it waits on.
    pub(super) fn restart_in_place(&mut self, host: HostIndex, id: &TaskId, after_pid: u32) {
        if !self.hosts[host].is_up() {
            return;
        }
        let waits = |p: &&Process| p.pid == after_pid && p.phase == Phase::Waits;
        let Some(process) = self.hosts[host].processes.0.get(id).filter(waits) else { return };
        let (task, restarts) = (process.task.clone(), process.restarts + 1);
        self.record.count("restarts_in_place", 1);
        self.launch(host, task, restarts);
    }

    fn relaunch_waiting(&mut self, host: HostIndex) {
        let waits = self.hosts[host].processes.0.values().filter(|p| p.phase == Phase::Waits);
        let waiting: Vec<(TaskId, u32)> = waits.map(|p| (p.task.id.clone(), p.pid)).collect();
        for (task, after_pid) in waiting {
            self.push(self.now + LAUNCH, Event::Restart { host, task, after_pid });
        }
    }

    /// The host goes down, and its disk becomes what the fault says.
    pub(crate) fn lose_power(&mut self, host: HostIndex, torn: Option<Chance>) {
        self.kill_agent(host, false);
        let unsynced = self.hosts[host].disk.unsynced() as u64;
        let survivors = torn.map_or(0, |chance| chance.between(0, unsynced)) as usize;
        self.hosts[host].disk.lose_power(survivors);
        self.hosts[host].disk_free = self.now;
        let up: Vec<(TaskId, u32)> = self.hosts[host].processes.up().map(|p| (p.task.id.clone(), p.pid)).collect();
        for (task, pid) in up {
            self.record.run_ended(self.now, self.no(host), &task, pid, None);
        }
        self.hosts[host].processes.lose_power();
    }
}
