//! The scenarios that come with the program: what a fleet owner fears, one file each.

use super::Scenario;
use crate::SimError;

/// Name and text of each, in the order of names.
pub const LIBRARY: &[(&str, &str)] = &[
    ("agents_die_while_tasks_stop", include_str!("../../scenarios/agents_die_while_tasks_stop.toml")),
    ("clock_ahead_then_wiped", include_str!("../../scenarios/clock_ahead_then_wiped.toml")),
    ("clock_a_year_off", include_str!("../../scenarios/clock_a_year_off.toml")),
    ("cloud_lost_for_a_day", include_str!("../../scenarios/cloud_lost_for_a_day.toml")),
    ("crash_loop", include_str!("../../scenarios/crash_loop.toml")),
    ("damaged_database", include_str!("../../scenarios/damaged_database.toml")),
    ("flapping_uplink", include_str!("../../scenarios/flapping_uplink.toml")),
    ("gossip_storm", include_str!("../../scenarios/gossip_storm.toml")),
    ("half_open_link", include_str!("../../scenarios/half_open_link.toml")),
    ("job_during_faults", include_str!("../../scenarios/job_during_faults.toml")),
    ("stolen_and_revoked", include_str!("../../scenarios/stolen_and_revoked.toml")),
    ("liar_node", include_str!("../../scenarios/liar_node.toml")),
    ("life_heard_and_lost", include_str!("../../scenarios/life_heard_and_lost.toml")),
    ("majority_healed", include_str!("../../scenarios/majority_healed.toml")),
    ("mass_reconnect", include_str!("../../scenarios/mass_reconnect.toml")),
    ("old_backup", include_str!("../../scenarios/old_backup.toml")),
    ("old_backup_far_away", include_str!("../../scenarios/old_backup_far_away.toml")),
    ("one_printer_two_drivers", include_str!("../../scenarios/one_printer_two_drivers.toml")),
    ("paused_holder", include_str!("../../scenarios/paused_holder.toml")),
    ("random_faults", include_str!("../../scenarios/random_faults.toml")),
    ("rebooted_offline", include_str!("../../scenarios/rebooted_offline.toml")),
    ("restarts_for_years", include_str!("../../scenarios/restarts_for_years.toml")),
    ("rolling_agent_upgrade", include_str!("../../scenarios/rolling_agent_upgrade.toml")),
    ("site_power_loss", include_str!("../../scenarios/site_power_loss.toml")),
    ("slow_disk", include_str!("../../scenarios/slow_disk.toml")),
    ("split_plant", include_str!("../../scenarios/split_plant.toml")),
    ("two_nodes_lose_each_other", include_str!("../../scenarios/two_nodes_lose_each_other.toml")),
    ("wiped_disk", include_str!("../../scenarios/wiped_disk.toml")),
];

/// All scenarios of the library.
///
/// # Errors
/// One of them cannot be read: a mistake in this repository.
pub fn library() -> Result<Vec<Scenario>, SimError> {
    LIBRARY.iter().map(|(name, text)| Scenario::parse(name, text)).collect()
}
