//! What is looked at when judging a run: structured facts, never logs.

use crate::{HostId, World, world::HOSTS_MAX};
use holm_types::{Digest, Scope, api::Request};
use std::collections::{BTreeMap, BTreeSet};

/// A process that runs a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Runner {
    /// The slot.
    pub slot: u32,
    /// The host.
    pub host: HostId,
    /// The process id, which tells a restart.
    pub pid: u32,
}

impl World {
    /// The processes of an app that run, in the order of slots.
    pub fn runners(&self, app: &str) -> Vec<Runner> {
        let mut runners = Vec::new();
        for (host, simulated) in self.hosts.iter().enumerate().take(HOSTS_MAX) {
            for process in simulated.processes.values().filter(|p| p.exit.is_none()) {
                let env = &process.task.env;
                if env.get("HOLM_APP").is_some_and(|name| name == app) {
                    let slot = env.get("HOLM_SLOT").and_then(|s| s.parse().ok()).unwrap_or(u32::MAX);
                    runners.push(Runner { slot, host: HostId(host), pid: process.pid });
                }
            }
        }
        runners.sort();
        runners
    }

    /// Whether every slot of `0..count` has exactly one runner.
    pub fn each_slot_once(&self, app: &str, count: u32) -> bool {
        let slots: Vec<u32> = self.runners(app).iter().map(|r| r.slot).collect();
        slots == (0..count).collect::<Vec<_>>()
    }

    /// How many processes were ever started for each task of an app.
    pub fn starts(&self, app: &str) -> BTreeMap<String, u32> {
        let of_app = |(id, _): &(&String, &u32)| id.starts_with(&format!("{app}-"));
        self.starts.iter().filter(of_app).map(|(id, n)| (id.clone(), *n)).collect()
    }

    /// Whether the replicas of the mesh scope on these hosts are equal.
    pub fn converged(&self, hosts: &[HostId]) -> bool {
        let digests: BTreeSet<Option<Digest>> =
            hosts.iter().map(|h| self.hosts[h.0].node.as_ref().map(|n| n.digest(&Scope::Mesh))).collect();
        digests.len() == 1 && !digests.contains(&None)
    }

    /// What a node answers to a request that reads.
    pub fn ask(&mut self, host: HostId, request: Request) -> Option<serde_json::Value> {
        let (id, effects) = self.request(host, request);
        let answer = effects.into_iter().find_map(|effect| match effect {
            holm_node_core::Effect::Reply { id: of, result } if of == id => Some(result),
            _ => None,
        });
        answer?.ok()
    }
}
