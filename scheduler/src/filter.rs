//! Which nodes may take a task: every rule that must hold, and in which words it does not.

use crate::{decide::Context, reduce::refusals, usage::Usage};
use holm_types::{
    manifest::{Amounts, Bytes, MilliCpu, Place},
    view::{AppView, Liveness, NodeView, SlotView},
};

/// Tasks on one node, at most.
pub const MAX_TASKS_PER_NODE: u32 = 250;
/// After so many refusals of one slot and template a node is not asked again: it sees something
/// that its presence does not say, and each question would grow the document.
pub const MAX_REFUSALS: usize = 8;

/// Why a node may not take a task. The order is the order of the sentence that lists them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Misfit {
    /// It has less of this than the task wants: name, and amount for people.
    Lacks(String, String),
    /// It has as many tasks as a node may have.
    Full,
    /// It said no, for this reason.
    Refused(String),
    /// It is at another site.
    Site,
    /// It is in another region.
    Region,
    /// It is in another pool.
    Pool,
    /// It has another processor architecture.
    Arch,
    /// It does not have this label.
    Label(String),
    /// It has not said what it has.
    NoCapacity,
    /// It is overdue.
    Suspect,
    /// It is dead.
    Dead,
    /// It has left.
    Left,
}

/// The first rule of `place` that a node breaks.
pub(crate) fn elsewhere(node: &NodeView, place: &Place) -> Option<Misfit> {
    let labels = &node.info.labels;
    let differs = |want: &Option<String>, have: Option<&String>| want.as_ref().is_some_and(|want| have != Some(want));
    if place.site.as_ref().is_some_and(|site| *site != node.site) {
        return Some(Misfit::Site);
    }
    if differs(&place.region, labels.get("region")) {
        return Some(Misfit::Region);
    }
    if differs(&place.pool, labels.get("pool")) {
        return Some(Misfit::Pool);
    }
    if differs(&place.arch, Some(&node.info.arch)) {
        return Some(Misfit::Arch);
    }
    let missing = place.labels.iter().find(|(key, value)| labels.get(*key) != Some(*value));
    missing.map(|(key, value)| Misfit::Label(format!("{key}={value}")))
}

/// Why a node takes no task of an app at all, whatever room it has.
pub(crate) fn unschedulable(node: &NodeView, app: &AppView) -> Option<Misfit> {
    match node.liveness {
        Liveness::Suspect => return Some(Misfit::Suspect),
        Liveness::Dead => return Some(Misfit::Dead),
        Liveness::Left => return Some(Misfit::Left),
        Liveness::Alive => {}
    }
    elsewhere(node, &app.manifest.place)
        .or_else(|| (node.info.capacity == Amounts::default()).then_some(Misfit::NoCapacity))
}

/// Whether a node's earlier refusal of this slot still stands: until it says that it has enough
/// free, and for good after [`MAX_REFUSALS`].
pub(crate) fn refused(
    cx: &Context<'_>,
    app: &AppView,
    seen: Option<&SlotView>,
    node: &NodeView,
    request: &Amounts,
) -> Option<Misfit> {
    let count = refusals(seen, &app.template, &node.id).take(MAX_REFUSALS).count();
    let covers = || cx.free.get(&node.id).is_some_and(|free| free.lacks(request).is_none());
    if count == 0 || (count < MAX_REFUSALS && covers()) {
        return None;
    }
    let last = refusals(seen, &app.template, &node.id).max_by_key(|a| (a.epoch, a.writer));
    let reason = last.and_then(|a| a.status.as_ref()).map_or("", |status| status.reason.as_str());
    Some(Misfit::Refused(reason.to_owned()))
}

/// Why a node has no room for one more task. With `seated` the task takes the place of the one
/// that the node has in this slot now.
pub(crate) fn no_room(usage: &Usage, node: &NodeView, request: &Amounts, seated: bool) -> Option<Misfit> {
    let Some(room) = usage.of(&node.id) else { return Some(Misfit::NoCapacity) };
    if seated {
        return room.overcommitted.as_ref().map(|name| Misfit::lacks(name, request));
    }
    if room.tasks >= MAX_TASKS_PER_NODE {
        return Some(Misfit::Full);
    }
    room.left.lacks(request).map(|name| Misfit::lacks(&name, request))
}

impl Misfit {
    fn lacks(name: &str, request: &Amounts) -> Misfit {
        Misfit::Lacks(name.to_owned(), wanted_text(name, request))
    }

    /// What is said of `count` nodes, to follow the number: "lack memory (want 64Mi)".
    pub(crate) fn phrase(&self, count: usize) -> String {
        let one = count == 1;
        let pick = |singular: &str, plural: &str| if one { singular.to_owned() } else { plural.to_owned() };
        let is = pick("is", "are");
        match self {
            Misfit::Lacks(name, want) => format!("{} {name} (want {want})", pick("lacks", "lack")),
            Misfit::Full => format!("{} {MAX_TASKS_PER_NODE} tasks already", pick("has", "have")),
            Misfit::Refused(reason) if reason.is_empty() => "refused".to_owned(),
            Misfit::Refused(reason) => format!("refused ({reason})"),
            Misfit::Site => format!("{is} at another site"),
            Misfit::Region => format!("{is} in another region"),
            Misfit::Pool => format!("{is} in another pool"),
            Misfit::Arch => format!("{} another architecture", pick("has", "have")),
            Misfit::Label(label) => format!("{} the label {label}", pick("lacks", "lack")),
            Misfit::NoCapacity => format!("{} not said what {}", pick("has", "have"), pick("it has", "they have")),
            Misfit::Suspect => format!("{is} suspect"),
            Misfit::Dead => format!("{is} dead"),
            Misfit::Left => format!("{} left", pick("has", "have")),
        }
    }
}

/// An amount as people write it in a manifest.
pub(crate) fn wanted_text(name: &str, amounts: &Amounts) -> String {
    match name {
        "cpu" => MilliCpu(amounts.cpu).to_string(),
        "memory" => Bytes(amounts.memory).to_string(),
        "disk" => Bytes(amounts.disk).to_string(),
        other => amounts.extended.get(other).copied().unwrap_or(0).to_string(),
    }
}
