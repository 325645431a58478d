//! Agents and processes: starts, deaths, and what a host's runner does.

use super::{
    engine::{Answer, Engine},
    event::{Event, HostIndex},
    launch::{Bench, Due},
};
use crate::{
    outcome::Invariant,
    scenario::{FaultKind, random::Chance},
};
use holm_node_core::{Input, RequestId, RunnerInput, StartTask};
use holm_types::{
    Mono, NodeId, TaskId,
    api::{ApiError, Request},
};

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
                if self.hosts[host].takes_unseen_jump() {
                    self.record.fired(FaultKind::ClockJump);
                }
                self.judges.started(self.now, host, &self.hosts[host]);
                self.at_the_bench(host, |bench| bench.relaunch_waiting());
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
        let near = self.neighbourhood(host).filter(|other| !self.hosts[*other].plan.anchor);
        let known = self.anchors.iter().copied().chain(near).filter(|other| *other != host).take(PEERS_KNOWN);
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
        self.leaves_all(host);
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
        let Some(request) = super::manifest::request(submission) else { return };
        self.judges.submitted(&submission.app);
        self.note(Some(host), "submitted", &format!("{} {:?}", submission.app, submission.request));
        self.request(host, request, Some(n));
    }

    /// Does something to the processes of a host, and queues what comes of it.
    fn at_the_bench<T>(&mut self, host: HostIndex, act: impl FnOnce(&mut Bench<'_>) -> T) -> T {
        let mut later = Vec::new();
        let done = act(&mut Bench {
            now: self.now,
            host,
            hosts: &mut self.hosts,
            judges: &mut self.judges,
            record: &mut self.record,
            next_pid: &mut self.next_pid,
            later: &mut later,
        });
        for (at, due) in later {
            self.push(at, Event::Process { host, due: Box::new(due) });
        }
        done
    }

    /// The runner is told to start a task.
    pub(super) fn spawn(&mut self, host: HostIndex, task: StartTask) {
        let said = self.at_the_bench(host, |bench| bench.spawn(task));
        self.tell_agent(host, said);
    }

    /// The runner is told that the lease of a task lasts longer.
    pub(super) fn extend(&mut self, host: HostIndex, id: &TaskId, until: Mono) {
        self.at_the_bench(host, |bench| bench.extend(id, until));
    }

    /// The runner is told to stop a task.
    pub(super) fn stop(&mut self, host: HostIndex, id: &TaskId) {
        let said = self.at_the_bench(host, |bench| bench.stop(id));
        self.tell_agent(host, said);
    }

    /// Something is due with a process.
    pub(super) fn process(&mut self, host: HostIndex, due: &Due) {
        let said = self.at_the_bench(host, |bench| bench.happen(due));
        self.tell_agent(host, said);
    }

    fn tell_agent(&mut self, host: HostIndex, said: Option<RunnerInput>) {
        if let Some(said) = said.filter(|_| self.hosts[host].is_up()) {
            self.deliver(host, Input::Runner(said));
        }
    }

    /// The host goes down, and its disk becomes what the fault says.
    pub(crate) fn lose_power(&mut self, host: HostIndex, torn: Option<Chance>) {
        self.kill_agent(host, false);
        let survivors = |unsynced| torn.map_or(0, |chance| chance.between(0, unsynced));
        self.at_the_bench(host, |bench| bench.lose_power(survivors));
    }
}
