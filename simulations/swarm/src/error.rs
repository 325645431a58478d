//! Why there is no outcome.

/// Why a run did not come to a verdict.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The operating system did not play along.
    #[error("the simulation cannot start: {0}")]
    Start(String),
    /// Timers, clocks or entropy are not under control: nothing that runs here proves anything.
    #[error("not under control: {0}; no result of this build counts")]
    Control(String),
    /// The plan asks for what this layer does not do.
    #[error("the layer swarm does not run this: {0}; run it on the layer des")]
    Refused(String),
    /// The plan makes no sense.
    #[error("{0}")]
    Plan(String),
    /// Something in the run panicked: that is a finding.
    #[error("the run panicked: {0}")]
    Panicked(String),
}
