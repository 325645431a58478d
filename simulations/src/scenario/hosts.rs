//! Which hosts are meant: `edge/3`, `edge/0-9`, `edge`, `site:plant-1`, `all`.

use super::{HostNo, PlannedHost};
use std::collections::BTreeSet;

/// The hosts that a selection means.
///
/// # Errors
/// A part of it means nobody, in words.
pub(super) fn select(hosts: &[PlannedHost], selection: &[String]) -> Result<BTreeSet<HostNo>, String> {
    let mut all = BTreeSet::new();
    for part in selection {
        let found = select_one(hosts, part)?;
        if found.is_empty() {
            return Err(format!("{part:?} means no host: write GROUP, GROUP/3, GROUP/0-9, site:SITE or all"));
        }
        all.extend(found);
    }
    Ok(all)
}

fn select_one(hosts: &[PlannedHost], part: &str) -> Result<BTreeSet<HostNo>, String> {
    let where_ = |is: &dyn Fn(&PlannedHost) -> bool| hosts.iter().filter(|h| is(h)).map(|h| h.no).collect();
    if part == "all" {
        return Ok(where_(&|_| true));
    }
    if let Some(site) = part.strip_prefix("site:") {
        return Ok(where_(&|host| host.site == site));
    }
    let (group, range) = match part.split_once('/') {
        Some((group, range)) => (group, Some(range)),
        None => (part, None),
    };
    let number = |host: &PlannedHost| host.name.strip_prefix(group)?.strip_prefix('-')?.parse::<u32>().ok();
    let Some(range) = range else {
        return Ok(where_(&|host| number(host).is_some()));
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bound = |text: &str| text.parse::<u32>().map_err(|_| format!("{part:?}: {text:?} is not a host's number"));
    let range = bound(first)?..=bound(last)?;
    Ok(where_(&|host| number(host).is_some_and(|n| range.contains(&n))))
}
