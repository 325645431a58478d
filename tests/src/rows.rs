//! What `-o json` prints, as far as the tests read it. The names are the promise that is tested.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A row of `holm ps`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Task {
    /// The app.
    pub app: String,
    /// The slot.
    pub slot: u32,
    /// The node's name.
    pub node: String,
    /// The node's site.
    pub site: String,
    /// The task's id.
    pub id: String,
    /// Its process.
    pub pid: Option<i32>,
    /// Restarts in place.
    pub restarts: u32,
    /// Its attempt.
    pub attempt: u32,
    /// Its state.
    pub state: String,
}

/// A row of `holm node ls`.
#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    /// The name.
    pub name: String,
    /// The site.
    pub site: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// `self`, `direct`, `relayed` or `unknown`.
    pub path: String,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Its id.
    pub id: String,
    /// Where it says that it is.
    pub addresses: Vec<String>,
}

/// A row of `holm ls`.
#[derive(Debug, Clone, Deserialize)]
pub struct App {
    /// The name.
    pub name: String,
    /// The site that it belongs to, if it belongs to one.
    pub site: Option<String>,
    /// Slots that should run or be done.
    pub desired: u32,
    /// Slots that run or are done.
    pub running: u32,
    /// In a word.
    pub state: String,
}

/// `holm status`.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The mesh's name.
    pub mesh: String,
    /// The node's name.
    pub node: String,
    /// The node's site.
    pub site: String,
    /// Whether it serves.
    pub ready: bool,
    /// A digest a scope.
    pub heads: BTreeMap<String, String>,
    /// How the node is reached and reaches others.
    pub reach: Reach,
}

/// The part of `holm status` about reachability.
#[derive(Debug, Clone, Deserialize)]
pub struct Reach {
    /// `unknown`, `none`, `translated`, `cone` or `symmetric`.
    pub nat: String,
    /// Whether UDP passes.
    pub udp: Option<bool>,
    /// What others are told.
    pub announced: Vec<String>,
    /// Relays that forward to it.
    pub relays: Vec<Relay>,
    /// Whether it offers to forward.
    pub relaying: bool,
    /// Connections that it forwards.
    pub circuits: u32,
    /// The router's UPnP, in a word.
    pub upnp: String,
    /// Its connected peers.
    pub peers: Vec<Way>,
}

/// A relay of a node.
#[derive(Debug, Clone, Deserialize)]
pub struct Relay {
    /// Its id.
    pub node: String,
    /// Its address.
    pub address: String,
}

/// How a peer is reached.
#[derive(Debug, Clone, Deserialize)]
pub struct Way {
    /// Its id.
    pub node: String,
    /// `direct` or `relayed`.
    pub path: String,
    /// The address of the connection.
    pub address: String,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// A row of `holm result`.
#[derive(Debug, Clone, Deserialize)]
pub struct Outcome {
    /// The slot.
    pub slot: u32,
    /// The node's name.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
    /// The exit code.
    pub exit_code: Option<i32>,
    /// What it printed.
    pub output: String,
}

/// A line of `holm events`.
#[derive(Debug, Clone, Deserialize)]
pub struct Happened {
    /// When, in milliseconds since 1970.
    pub at: f64,
    /// What kind.
    pub kind: String,
    /// What exactly.
    pub detail: String,
}
