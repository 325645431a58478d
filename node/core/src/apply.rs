//! Requests, and those of them that change apps. A change is answered when it is durable here,
//! whatever other nodes can be reached: that is what lets a cut-off site take deployments.

use crate::{
    Effect, Node, RequestId,
    fencing::check_fence,
    finding::{full_name, namespace_or_default},
    listing::out_of_sight,
};
use holm_scheduler::app_row;
use holm_types::{
    Digest, DocId, Now,
    api::{ApiError, AppRef, AppState, Applied, ApplyParams, Request, ScaleParams},
    change::{MAX_VALUE_BYTES, Value, keys_of},
    event::EventKind,
    manifest::{AppType, Format, Manifest, Run},
};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that a message names, at most.
const MAX_NAMED: usize = 10;

/// What is written of an app now.
pub(crate) struct Current {
    pub(crate) life: u64,
    pub(crate) revision: u64,
    fields: BTreeMap<String, String>,
    /// Fields, or the app's life, of which edits that did not see each other say different things.
    contested: BTreeSet<String>,
}

impl Current {
    pub(crate) fn live(&self) -> bool {
        self.life % 2 == 1
    }

    /// Whether an edit that says nothing new has something to say all the same: it brings the app back, or settles what is
    /// contested.
    pub(crate) fn wants_a_word(&self) -> bool {
        !self.live() || !self.contested.is_empty()
    }

    /// The revision that a caller sees: 0 while the app does not exist.
    fn visible_revision(&self) -> u64 {
        if self.live() { self.revision } else { 0 }
    }
}

/// Longest idempotency key, in bytes: a thousand of them are kept.
const MAX_KEY: usize = 128;

/// A request that its sender may repeat.
#[derive(Debug)]
pub(crate) struct Asked {
    key: String,
    manifest: Digest,
}

impl Asked {
    fn of(key: &str, manifest: &Manifest) -> Result<Asked, ApiError> {
        if key.len() > MAX_KEY {
            return Err(ApiError::Invalid(format!(
                "idempotency_key: {} bytes, at most {MAX_KEY} are allowed",
                key.len()
            )));
        }
        let fields: Vec<String> = manifest.to_fields().into_iter().flat_map(|(field, value)| [field, value]).collect();
        let fields: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
        Ok(Asked { key: key.to_owned(), manifest: Digest::of("holm idempotent apply v1", &fields) })
    }
}

impl Node {
    pub(crate) fn on_request(&mut self, now: Now, id: RequestId, request: Request, out: &mut Vec<Effect>) {
        let result = match request {
            Request::AppApply(params) => return self.apply_or_wait(now, id, params, out),
            Request::AppScale(params) => {
                let result = self.scale(now, &params);
                return self.answer_write(id, result, out);
            }
            Request::AppDelete(app) => {
                let result = self.delete(now, &app);
                return self.answer_write(id, result, out);
            }
            Request::CertRevoke(params) => {
                let result = self.revoke(now, &params);
                return self.answer_write(id, result, out);
            }
            Request::CertList(params) => self.cert_list(now, &params),
            Request::TokenCreate(params) => self.create_token(now, &params),
            Request::AppPlan(params) => self.plan(now, &params),
            query => self.query(now, &query),
        };
        out.push(Effect::Reply { id, result });
    }

    /// Refusals are answered at once, what was done when it is durable.
    pub(crate) fn answer_write<T: serde::Serialize>(
        &mut self,
        id: RequestId,
        result: Result<(T, Vec<Effect>), ApiError>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok((applied, effects)) => {
                let result = to_json(&applied);
                if holm_types::sabotaged!("an acknowledgement comes before the disk") {
                    return out.push(Effect::Reply { id, result });
                }
                self.journal.after_persist(Effect::Reply { id, result });
                effects.into_iter().for_each(|effect| self.journal.after_persist(effect));
            }
            Err(error) => out.push(Effect::Reply { id, result: Err(error) }),
        }
    }

    pub(crate) fn apply(&mut self, now: Now, params: &ApplyParams) -> Result<(Applied, Vec<Effect>), ApiError> {
        self.may_write(now)?;
        let manifest = read_manifest(params)?;
        let asked = params.idempotency_key.as_deref().map(|key| Asked::of(key, &manifest)).transpose()?;
        if let Some(answer) = asked.as_ref().map_or(Ok(None), |asked| self.answered_before(asked))? {
            return Ok((answer, Vec::new()));
        }
        let mut warnings = unsupported(&manifest)?;
        warnings.extend(self.lease_stays(&manifest));
        let (applied, effects) = self.apply_manifest(now, &manifest, params.expected_revision, warnings)?;
        if let (Some(asked), Ok(json)) = (asked, serde_json::to_value(&applied)) {
            self.remember(asked, json);
        }
        Ok((applied, effects))
    }

    fn apply_manifest(
        &mut self,
        now: Now,
        manifest: &Manifest,
        expected: Option<u64>,
        warnings: Vec<String>,
    ) -> Result<(Applied, Vec<Effect>), ApiError> {
        let (scope, doc) = self.place_of(manifest)?;
        let current = self.current(&doc);
        check_revision(expected, &current)?;
        let mut ops = edits(&current, manifest)?;
        let changed = !ops.is_empty() || current.wants_a_word();
        let revision = current.revision + u64::from(changed);
        let warnings = warnings.into_iter().chain(self.about_namesakes(manifest, doc)).chain(self.about_site(manifest));
        let warnings = warnings.collect();
        let applied = Applied {
            name: manifest.name.clone(),
            namespace: manifest.namespace.clone(),
            site: scope.site().cloned(),
            revision,
            changed,
            warnings,
        };
        if !changed {
            let warnings = applied.warnings.into_iter().chain(self.about_repeating(&doc, manifest)).collect();
            return Ok((Applied { warnings, ..applied }, Vec::new()));
        }
        self.must_have_room(&scope)?;
        // Written again with every edit, so that an edit wins over a removal that it did not see.
        let life = if current.live() { current.life } else { current.life + 1 };
        ops.push((keys_of::LIFE.to_owned(), Some(Value::Uint(life))));
        ops.push((keys_of::REVISION.to_owned(), Some(Value::Uint(revision))));
        let guards = self.new_guards(now, &doc, life, manifest)?;
        ops.extend(self.guard_edits(&doc, life, guards.as_ref())?);
        let warnings = applied.warnings.into_iter().chain(self.about_guards(guards.as_ref(), manifest)).collect();
        self.write(&scope, doc, ops, now).map_err(|e| ApiError::Invalid(e.to_string()))?;
        let detail = format!("revision {revision}");
        let event = self.event(now.wall, EventKind::Accepted, Some(&manifest.name), None, detail);
        Ok((Applied { warnings, ..applied }, vec![event]))
    }

    fn scale(&mut self, now: Now, params: &ScaleParams) -> Result<(Applied, Vec<Effect>), ApiError> {
        self.may_write(now)?;
        let mut manifest = self.manifest_of(&params.app())?;
        match manifest.kind {
            AppType::Service => manifest.replicas = Some(params.replicas),
            AppType::Job if params.replicas > 0 => manifest.parallel = Some(params.replicas),
            AppType::Job => return Err(ApiError::Invalid("a job needs at least 1 task in parallel".into())),
            AppType::Daemon | AppType::Cron => {
                return Err(ApiError::Invalid("only a service or a job can be scaled".into()));
            }
        }
        let fields = manifest.to_fields();
        let manifest = Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .map_err(|e| ApiError::Invalid(e.to_string()))?;
        self.apply_manifest(now, &manifest, params.expected_revision, Vec::new())
    }

    fn delete(&mut self, now: Now, app: &AppRef) -> Result<(Applied, Vec<Effect>), ApiError> {
        self.may_write(now)?;
        let (scope, doc) = self.find_app(app)?;
        let current = self.current(&doc);
        let warnings = self.about_removing(&doc);
        let revision = current.revision + 1;
        let ops = vec![
            (keys_of::LIFE.to_owned(), Some(Value::Uint(current.life + 1))),
            (keys_of::REVISION.to_owned(), Some(Value::Uint(revision))),
        ];
        self.write(&scope, doc, ops, now).map_err(|e| ApiError::Invalid(e.to_string()))?;
        let event = self.event(now.wall, EventKind::Removed, Some(&app.name), None, "");
        let namespace = namespace_or_default(app.namespace.as_ref());
        let applied = Applied {
            name: app.name.clone(),
            namespace,
            site: scope.site().cloned(),
            revision,
            changed: true,
            warnings,
        };
        Ok((applied, vec![event]))
    }

    /// The answer that was given to the same request.
    fn answered_before(&self, asked: &Asked) -> Result<Option<Applied>, ApiError> {
        match self.idempotent.iter().find(|(known, _)| known.key == asked.key) {
            Some((known, _)) if known.manifest != asked.manifest => Err(ApiError::Invalid(format!(
                "the idempotency key {:?} was used for another manifest: each request has a key of its own",
                asked.key
            ))),
            Some((_, answer)) => Ok(serde_json::from_value(answer.clone()).ok()),
            None => Ok(None),
        }
    }

    fn manifest_of(&self, app: &AppRef) -> Result<Manifest, ApiError> {
        let (_, doc) = self.find_app(app)?;
        let found = self.state.apps().get(&doc).map(|app| (*app.manifest).clone());
        found.ok_or_else(|| self.no_app(&namespace_or_default(app.namespace.as_ref()), &app.name))
    }

    /// Whoever repeats the submission of what has ended may want it to run again.
    fn about_repeating(&mut self, doc: &DocId, manifest: &Manifest) -> Option<String> {
        let state = self.with_view(|_, view| view.apps.get(doc).map(|app| app_row(view, app).state))?;
        let ended = match state {
            AppState::Failed => "has failed",
            AppState::Succeeded => "is done",
            _ => return None,
        };
        let name = full_name(&manifest.namespace, &manifest.name);
        Some(format!(
            "{name} {ended}, and an apply that changes nothing does not run it again: remove it first (holm rm), or change it"
        ))
    }

    /// What a removal cannot stop now.
    fn about_removing(&mut self, doc: &DocId) -> Vec<String> {
        let nodes = self.with_view(|_, view| view.apps.get(doc).map(|app| out_of_sight(view, app)).unwrap_or_default());
        let warn = |(node, count): (String, usize)| {
            let tasks = if count == 1 { "a task".to_owned() } else { format!("{count} tasks") };
            format!("{tasks} on {node}, which is out of sight, may run until that node is back and learns of it")
        };
        nodes.into_iter().take(MAX_NAMED).map(warn).collect()
    }

    pub(crate) fn current(&self, doc: &DocId) -> Current {
        let mut current = Current { life: 0, revision: 0, fields: BTreeMap::new(), contested: BTreeSet::new() };
        let Some(registers) = self.state.registers(doc) else { return current };
        current.life = holm_state::life_of(registers).unwrap_or(0);
        if let Some(app) = self.state.apps().get(doc) {
            current.revision = app.revision;
            current.contested = app.conflicts.iter().map(|conflict| conflict.field.clone()).collect();
        }
        for (key, values) in registers {
            let top = values.first().map(|register| &register.value);
            if let (Some(field), Some(Value::Text(json))) = (key.strip_prefix("spec/"), top) {
                current.fields.insert(field.to_owned(), json.to_string());
            }
        }
        current
    }
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<serde_json::Value, ApiError> {
    serde_json::to_value(value).map_err(|e| ApiError::Internal(e.to_string()))
}

pub(crate) fn read_manifest(params: &ApplyParams) -> Result<Manifest, ApiError> {
    let manifest = match (&params.manifest, &params.text) {
        (Some(manifest), None) => {
            // The same rules hold for an object as for text.
            let fields = manifest.to_fields();
            Manifest::from_fields(fields.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        }
        (None, Some(text)) => Manifest::parse(text, Format::guess("", text)),
        _ => return Err(ApiError::Invalid("give either `manifest` (an object) or `text` (TOML or YAML)".into())),
    };
    manifest.map_err(|e| ApiError::Invalid(e.to_string()))
}

pub(crate) fn check_revision(expected: Option<u64>, current: &Current) -> Result<(), ApiError> {
    match expected {
        Some(expected) if expected != current.visible_revision() => {
            Err(ApiError::RevisionConflict { expected, current: current.visible_revision() })
        }
        _ => Ok(()),
    }
}

/// What of the manifest this version cannot do: refused where ignoring it would be unsafe or
/// pointless, a warning where the app runs all the same.
pub(crate) fn unsupported(manifest: &Manifest) -> Result<Vec<String>, ApiError> {
    let refuse = |what: &str| Err(ApiError::Invalid(format!("{what} is not supported by this version")));
    check_fence(manifest)?;
    if manifest.kind == AppType::Cron {
        return refuse("type = \"cron\"");
    }
    match manifest.run {
        Run::Process(_) => {}
        Run::Wasm(_) => return refuse("run.wasm"),
        Run::Container(_) => return refuse("run.container"),
    }
    let mut warnings = Vec::new();
    if manifest.health.is_some() {
        warnings.push("health is not checked by this version".to_owned());
    }
    if manifest.update.rollback || manifest.update.max_surge > 0 {
        warnings.push("update: this version replaces tasks in place, without surge or rollback".to_owned());
    }
    if manifest.priority.class != Default::default() {
        warnings.push("priority.class does not preempt in this version".to_owned());
    }
    Ok(warnings)
}

/// The fields that differ from what is written: put if new or changed, deleted if gone. Those of a later version stay.
pub(crate) fn edits(current: &Current, manifest: &Manifest) -> Result<Vec<(String, Option<Value>)>, ApiError> {
    let wanted = manifest.to_fields();
    let mut ops = Vec::new();
    for (field, json) in &wanted {
        if json.len() > MAX_VALUE_BYTES {
            return Err(ApiError::Invalid(format!(
                "{field}: {} bytes, at most {MAX_VALUE_BYTES} are allowed; put large data into a file that the task reads",
                json.len()
            )));
        }
        if current.fields.get(field) != Some(json) || current.contested.contains(field) {
            ops.push((keys_of::spec(field), Some(Value::Text(json.into()))));
        }
    }
    for field in current.fields.keys().filter(|field| !wanted.contains_key(*field) && Manifest::knows(field)) {
        ops.push((keys_of::spec(field), None));
    }
    Ok(ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_leaves_the_fields_of_later_versions() {
        let toml = "name = 'web'\ntype = 'service'\nreplicas = 2\n[run.process]\ncommand = ['/bin/true']\n";
        let manifest = Manifest::parse(toml, Format::Toml).unwrap();
        let mut fields = manifest.to_fields();
        fields.insert("colour".into(), "\"red\"".into());
        fields.insert("replicas".into(), "3".into());
        fields.insert("parallel".into(), "3".into());
        let mut current = Current { life: 1, revision: 1, fields, contested: BTreeSet::new() };
        let written = edits(&current, &manifest).unwrap();
        assert_eq!(
            written,
            [("spec/replicas".to_owned(), Some(Value::Text("2".into()))), ("spec/parallel".to_owned(), None)]
        );
        current.contested.insert("type".into());
        assert!(current.wants_a_word());
        let settled = (keys_of::spec("type"), Some(Value::Text("\"service\"".into())));
        assert!(edits(&current, &manifest).unwrap().contains(&settled), "said once more, it is contested no more");
    }
}
