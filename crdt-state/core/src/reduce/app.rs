//! The reduction of an app's document.

use crate::registers::{self, Register, Registers};
use holm_types::{
    ActorId, DocId, NodeId, Scope, Sorted,
    change::{Value, keys_of},
    fence::GuardSet,
    manifest::Manifest,
    view::{AppView, Conflict},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The app's life, if its document has one: odd while it lives in that generation, the next
/// even number once it is removed.
///
/// Of concurrent values a live one is preferred, so that an apply wins over a remove that it
/// could not see; then the highest.
pub fn life_of(registers: &Registers) -> Option<u64> {
    uints(registers, keys_of::LIFE).max_by_key(|life| (life % 2, *life))
}

/// Edits that did not see each other have one number, and what they make together has the next: who has read only one of
/// them must not be able to change the other unseen.
fn revision_of(registers: &Registers) -> u64 {
    let others = uints(registers, keys_of::REVISION).count().saturating_sub(1) as u64;
    uints(registers, keys_of::REVISION).max().unwrap_or(0).saturating_add(others)
}

fn uints<'a>(registers: &'a Registers, key: &str) -> impl Iterator<Item = u64> + use<'a> {
    let values = registers.get(key).into_iter().flatten();
    values.filter_map(|register| if let Value::Uint(n) = register.value { Some(n) } else { None })
}

/// The app, unless its document does not make a valid one (yet).
pub(super) fn reduce(
    scope: &Scope,
    doc: &DocId,
    registers: &Registers,
    authors: &BTreeMap<ActorId, NodeId>,
    bad: &mut usize,
) -> Option<AppView> {
    let life = life_of(registers).filter(|life| *life > 0)?;
    let mut fields = Vec::new();
    let mut conflicts = Vec::new();
    let prefix = keys_of::spec("");
    let spec = registers::beginning(registers, &prefix);
    for (key, values) in spec {
        let field = &key[prefix.len()..];
        let texts: Vec<(&Register, &str)> = values.iter().filter_map(text).collect();
        *bad += values.len() - texts.len();
        if let Some((_, holds)) = texts.first() {
            fields.push((field, *holds));
            conflicts.extend(conflict(field, &texts, authors));
        }
    }
    conflicts.extend(removal(registers, life, authors));
    let manifest = Manifest::from_fields(fields).ok();
    let belongs = |m: &Manifest| Scope::of_app(m.place.site.as_ref()) == *scope;
    let Some(manifest) = manifest.filter(|m| DocId::app(scope, &m.namespace, &m.name) == *doc && belongs(m)) else {
        *bad += 1;
        return None;
    };
    // A removed app keeps the generation in which it lived: its tasks still have to be seen.
    let generation = if life % 2 == 1 { life } else { life - 1 };
    Some(AppView {
        doc: *doc,
        scope: scope.clone(),
        generation,
        live: life % 2 == 1,
        revision: revision_of(registers),
        template: manifest.template(),
        manifest: Arc::new(manifest),
        guards: guards(registers, generation, bad),
        conflicts,
        slots: Sorted::new(),
    })
}

/// All sets of guards that were written for a generation, each once, in their order: none of them may be
/// passed over, whichever a merge would prefer.
fn guards(registers: &Registers, generation: u64, bad: &mut usize) -> Vec<GuardSet> {
    let values = registers.get(&*keys_of::guards(generation)).into_iter().flatten();
    let mut sets = BTreeSet::new();
    for register in values {
        let set = if let Value::Bytes(bytes) = &register.value { GuardSet::decode(bytes).ok() } else { None };
        match set {
            Some(set) => {
                sets.insert(set);
            }
            None => *bad += 1,
        }
    }
    sets.into_iter().collect()
}

fn text(register: &Register) -> Option<(&Register, &str)> {
    match &register.value {
        Value::Text(text) => Some((register, text)),
        _ => None,
    }
}

/// An app that lives because an edit did not see its removal.
fn removal(registers: &Registers, life: u64, authors: &BTreeMap<ActorId, NodeId>) -> Option<Conflict> {
    let said = |wanted: &dyn Fn(u64) -> bool| {
        let values = registers.get(keys_of::LIFE)?.iter();
        values.into_iter().find(|register| matches!(register.value, Value::Uint(n) if wanted(n)))
    };
    let removed = said(&|n| n % 2 == 0).filter(|_| life % 2 == 1)?;
    let kept = said(&|n| n == life)?;
    Some(Conflict {
        field: Conflict::LIFE.to_owned(),
        kept: "kept".into(),
        lost: vec!["removed".into()],
        writers: [kept, removed].map(|register| writer(register, authors)).to_vec(),
    })
}

fn writer(register: &Register, authors: &BTreeMap<ActorId, NodeId>) -> String {
    authors.get(&register.actor).map_or_else(|| register.actor.to_string(), NodeId::to_string)
}

/// Edits of one field that did not see each other, when they differ.
fn conflict(field: &str, values: &[(&Register, &str)], authors: &BTreeMap<ActorId, NodeId>) -> Option<Conflict> {
    let (kept, rest) = values.split_first()?;
    let mut seen = BTreeSet::from([kept.1]);
    let lost: Vec<_> = rest.iter().filter(|(_, text)| seen.insert(text)).collect();
    if lost.is_empty() {
        return None;
    }
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    Some(Conflict {
        field: field.to_owned(),
        kept: value(kept.1),
        lost: lost.iter().map(|(_, text)| value(text)).collect(),
        writers: std::iter::once(kept).chain(lost.iter().copied()).map(|(r, _)| writer(r, authors)).collect(),
    })
}
