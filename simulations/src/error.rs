//! What can be wrong with a scenario or a plan, in words for whoever wrote it.

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The text is not TOML, or names what does not exist. The message holds line and column.
    #[error("{name}: {why}")]
    Parse {
        /// The scenario.
        name: String,
        /// What is wrong, with the line.
        why: String,
    },
    /// It can be read, but it asks for something that makes no sense.
    #[error("{name}: {at}: {why}")]
    Invalid {
        /// The scenario.
        name: String,
        /// Which part of it: `group "edge"`, `fault 3`.
        at: String,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// The engine could not set up a host.
    #[error("host {host} cannot be set up: {why}")]
    Host {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The layer that the plan asks for cannot run it.
    #[error("{name}: {why}")]
    Layer {
        /// The scenario.
        name: String,
        /// Why, and what to do about it.
        why: String,
    },
}
