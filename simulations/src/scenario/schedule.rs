//! What a plan has happen when: one schedule for every layer.

use super::{Disk, Ms, Plan, PlannedFault, Trouble};

/// Something that a plan has happen. The numbers are places in the plan's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A fault begins.
    Begin(usize),
    /// A fault ends.
    End(usize),
    /// The disks that a fault will restore are backed up.
    Backup(usize),
    /// A request comes.
    Submit(usize),
}

impl Plan {
    /// Whether a fault befalls only hosts that nothing is asked of at the end: then it goes on to the end.
    pub fn lingers(&self, fault: &PlannedFault) -> bool {
        // A revocation is over once it was said: what follows from it is how the fleet is now.
        !matches!(fault.trouble, Trouble::Revoke { .. }) && fault.trouble.hosts().is_disjoint(&self.core)
    }

    /// All steps, in the order of the plan's lists; those of one time happen in this order. No fault ends later
    /// than the plan, but those that linger: they do not end.
    pub fn schedule(&self) -> Vec<(Ms, Step)> {
        let mut steps = Vec::new();
        for (n, fault) in self.faults.iter().enumerate() {
            steps.push((fault.at, Step::Begin(n)));
            if let Trouble::Crash { disk: Disk::Stale, age, .. } = &fault.trouble {
                steps.push((Ms(fault.at.0.saturating_sub(age.0)), Step::Backup(n)));
            }
            if !self.lingers(fault) {
                steps.push((fault.end().min(self.duration).max(fault.at), Step::End(n)));
            }
        }
        steps.extend(self.submissions.iter().enumerate().map(|(n, submission)| (submission.at, Step::Submit(n))));
        steps
    }
}
