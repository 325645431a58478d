//! Judges: what must hold, one family a file. They see what agents write to their disks, what they
//! publish and acknowledge, what their runners are told, and what they believe; never a log.
//!
//! [`log`]: what was said is kept, and never said differently. [`tasks`]: heals disturb nothing,
//! removed stays removed. [`fence`]: a fenced slot has one runner at most. [`bounds`]: nothing grows without limit. [`rest`]: what must be true of a
//! fleet that has come to rest.

mod bounds;
mod fence;
mod log;
pub(crate) mod rest;
mod tasks;
mod verdicts;

use crate::{
    des::host::Host,
    scenario::{HostNo, Ms, Submission},
};
use holm_node_core::StartTask;
use holm_state::Batch;
use holm_types::{NodeId, TaskId, event::Event};
pub(crate) use verdicts::Verdicts;

type At = u64;

/// All judges of one run.
#[derive(Debug, Default)]
pub(crate) struct Judges {
    pub(crate) verdicts: Verdicts,
    pub(crate) log: log::Log,
    tasks: tasks::Tasks,
    bounds: bounds::Bounds,
    fence: fence::Fence,
}

impl Judges {
    /// Two runners of a fenced slot may overlap for so long.
    pub(crate) fn new(fenced_overlap_max: Ms) -> Judges {
        Judges { fence: fence::Fence::new(fenced_overlap_max), ..Judges::default() }
    }

    pub(crate) fn add_host(&mut self) {
        self.log.add_host();
    }

    /// A batch has reached a host's disk.
    pub(crate) fn written(&mut self, at: At, host: usize, there: &Host, batch: &Batch) {
        self.log.written(&mut self.verdicts, at, host, there, batch);
    }

    /// A node publishes a change.
    pub(crate) fn published(&mut self, at: At, host: usize, there: &Host, bytes: &[u8]) {
        self.log.published(&mut self.verdicts, at, host, there, bytes);
    }

    /// A submission is on its way to a node.
    pub(crate) fn submitted(&mut self, app: &str) {
        self.tasks.submitted(app);
    }

    /// A node acknowledges a submission.
    pub(crate) fn acknowledged(
        &mut self,
        at: At,
        host: usize,
        there: &Host,
        submission: &Submission,
        answer: &serde_json::Value,
    ) {
        // It may have waited for the node to know the mesh, and a heal came meanwhile.
        self.tasks.submitted(&submission.app);
        self.log.acknowledged(&mut self.verdicts, at, host, there, &submission.app, answer);
    }

    /// A host is revoked: what it wrote since may be taken out of the logs of others, and what it acknowledged.
    pub(crate) fn revoked(&mut self, host: usize, id: NodeId) {
        self.log.revoked(host, id);
    }

    /// A liar sends this.
    pub(crate) fn lied(&mut self, bytes: &[u8]) {
        self.log.lied(bytes);
    }

    /// A node tells an event.
    pub(crate) fn emitted(&mut self, at: At, host: usize, event: &Event) {
        self.tasks.emitted(at, host, event);
    }

    /// Something that `author` said comes to a host.
    pub(crate) fn heard(&mut self, at: At, host: usize, author: usize) {
        self.tasks.heard(at, host, author);
    }

    /// An agent was started on its disk.
    pub(crate) fn started(&mut self, at: At, host: usize, there: &Host) {
        self.log.started(&mut self.verdicts, at, host, there);
    }

    /// An agent is gone, or its host.
    pub(crate) fn went_down(&mut self, host: usize) {
        self.tasks.went_down(host);
    }

    /// A host's disk was replaced by an older one, or an empty one.
    pub(crate) fn disk_replaced(&mut self, host: usize) {
        self.log.disk_replaced(host);
    }

    /// A fault begins: what holds between faults cannot be asked for now.
    pub(crate) fn fault_began(&mut self) {
        self.tasks.fault_began();
    }

    /// The last fault is over.
    pub(crate) fn healed(&mut self, at: At, hosts: &[Host]) {
        self.tasks.healed(at, hosts);
    }

    /// A node has its runner start a task.
    pub(crate) fn asked_to_start(&mut self, at: At, host: usize, hosts: &[Host], task: &StartTask) {
        self.tasks.asked_to_start(&mut self.verdicts, at, host, hosts, task);
    }

    /// A node has its runner stop a task.
    pub(crate) fn asked_to_stop(&mut self, at: At, host: usize, no: HostNo, task: &TaskId) {
        self.tasks.asked_to_stop(&mut self.verdicts, at, host, no, task);
    }

    /// A process is there.
    pub(crate) fn process_began(&mut self, at: At, host: usize, hosts: &[Host], task: &TaskId, pid: u32) {
        self.tasks.process_began(host, task, pid);
        self.fence.process_began(at, host, hosts, task, pid);
    }

    /// A process is not there any more.
    pub(crate) fn process_ended(&mut self, at: At, host: usize, task: &TaskId, pid: u32) {
        self.fence.process_ended(&mut self.verdicts, at, host, task, pid);
    }

    /// A second has passed.
    pub(crate) fn sampled(&mut self, at: At, hosts: &[Host], messages_per_s: u64) {
        self.bounds.sampled(&mut self.verdicts, at, hosts, messages_per_s);
        self.tasks.sampled(&mut self.verdicts, at, hosts);
        self.fence.sampled(&mut self.verdicts, at);
        self.log.sampled(&mut self.verdicts, at, hosts);
    }
}
