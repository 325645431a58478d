//! Which app is meant. A name is unique at a site, and among the apps of no site; who holds several sites
//! may know several apps of one name.

use crate::Node;
use holm_types::{
    DocId, Label, Scope,
    api::{ApiError, AppRef},
    manifest::Manifest,
    view::AppView,
};
use std::collections::BTreeSet;

/// Names that an error lists, at most.
const MAX_NAMED: usize = 4;

impl Node {
    /// The live app that is meant, and where its document is.
    pub(crate) fn find_app(&self, app: &AppRef) -> Result<(Scope, DocId), ApiError> {
        self.must_hold(app.site.as_ref())?;
        let namespace = namespace_or_default(app.namespace.as_ref());
        let meant = |found: &&AppView| app.site.is_none() || found.scope.site() == app.site.as_ref();
        let found: Vec<&AppView> = self.namesakes(&namespace, &app.name).filter(meant).collect();
        match found.as_slice() {
            [one] => Ok((one.scope.clone(), one.doc)),
            [] => Err(self.no_app(&namespace, &app.name)),
            several => Err(ApiError::Invalid(format!(
                "there are several apps {}: {}; say which one with --site",
                app.name,
                listed(several.iter().map(|app| where_it_is(&app.scope)))
            ))),
        }
    }

    /// That the apps of a site that is asked for are known here: of a site that is not, nothing could be said.
    pub(crate) fn must_hold(&self, site: Option<&Label>) -> Result<(), ApiError> {
        let scope = site.map(|site| Scope::Site(site.clone()));
        scope.filter(|scope| !self.claims.holds(scope)).map_or(Ok(()), |scope| Err(self.not_held(&scope)))
    }

    /// Where the app of a manifest belongs, if this node may write there.
    pub(crate) fn place_of(&self, manifest: &Manifest) -> Result<(Scope, DocId), ApiError> {
        let scope = Scope::of_app(manifest.place.site.as_ref());
        if !self.claims.holds(&scope) {
            return Err(self.not_held(&scope));
        }
        let doc = DocId::app(&scope, &manifest.namespace, &manifest.name);
        // `--site` tells apart those of two sites, but not one of a site from one of no site.
        let unclear = |other: &&AppView| other.scope.site().is_none() || scope.site().is_none();
        match self.new_namesakes(manifest, doc).find(unclear) {
            Some(other) => Err(ApiError::Invalid(format!(
                "there is an app {} {} already, and an app stays where it was submitted: remove that one first, or \
                 choose another name",
                manifest.name,
                where_it_is(&other.scope)
            ))),
            None => Ok((scope, doc)),
        }
    }

    /// What to tell of a new app whose name other sites use.
    pub(crate) fn about_namesakes(&self, manifest: &Manifest, doc: DocId) -> Option<String> {
        let places: Vec<String> = self.new_namesakes(manifest, doc).map(|app| where_it_is(&app.scope)).collect();
        (!places.is_empty()).then(|| {
            format!(
                "there is an app {} {} as well, which is another one and runs on; `holm rm {} --site SITE` removes it",
                manifest.name,
                listed(places.into_iter()),
                manifest.name
            )
        })
    }

    /// That nobody is known at the site of an app: its name may be mistyped.
    pub(crate) fn about_site(&self, manifest: &Manifest) -> Option<String> {
        let site = manifest.place.site.as_ref()?;
        let sites: BTreeSet<&Label> = self.nodes.values().map(|node| &node.site).collect();
        (!sites.contains(site)).then(|| {
            format!(
                "no node of site {site} is known here, and nothing runs until one has joined; there are nodes at {}",
                listed(sites.iter().map(ToString::to_string))
            )
        })
    }

    /// Other apps of its name, where a manifest makes a new one.
    fn new_namesakes<'a>(&'a self, manifest: &'a Manifest, doc: DocId) -> impl Iterator<Item = &'a AppView> {
        let new = !self.state.apps().get(&doc).is_some_and(|app| app.live);
        self.namesakes(&manifest.namespace, &manifest.name).filter(move |app| new && app.doc != doc)
    }

    /// That there is no such app, and where there is one of that name.
    pub(crate) fn no_app(&self, namespace: &Label, name: &Label) -> ApiError {
        if let Some(app) = self.namesakes(namespace, name).next() {
            let place = where_it_is(&app.scope);
            return ApiError::NotFound(format!(
                "there is no such app {name} in namespace {namespace}; there is one {place}"
            ));
        }
        let apps = self.state.apps().values().filter(|app| app.live && app.manifest.name == *name);
        let elsewhere: BTreeSet<String> = apps.map(|app| app.manifest.namespace.to_string()).collect();
        let hint = match elsewhere.len() {
            0 => String::new(),
            1 => format!("; there is one in namespace {}", listed(elsewhere.into_iter())),
            _ => format!("; there are some in the namespaces {}", listed(elsewhere.into_iter())),
        };
        ApiError::NotFound(format!("there is no app {name} in namespace {namespace}{hint}"))
    }

    /// The live apps of a name, one a scope at most: an app's document follows from its scope and its name.
    fn namesakes<'a>(&'a self, namespace: &'a Label, name: &'a Label) -> impl Iterator<Item = &'a AppView> {
        let docs = self.state.scopes().into_iter().map(move |scope| DocId::app(&scope, namespace, name));
        docs.filter_map(|doc| self.state.apps().get(&doc)).filter(|app| app.live)
    }

    fn not_held(&self, scope: &Scope) -> ApiError {
        let site = scope.site().map_or("", Label::as_str);
        let knows = self.nodes.values().filter(|node| node.is_keeper() || node.site.as_str() == site);
        let names: BTreeSet<String> = knows.map(|node| node.name.to_string()).collect();
        let ask = if names.is_empty() { String::new() } else { format!(", as are {}", listed(names.into_iter())) };
        ApiError::Invalid(format!(
            "this node is of site {} and does not hold the apps of site {site}: ask a node that is of {site} or a \
             keeper{ask}",
            self.claims.site
        ))
    }
}

fn where_it_is(scope: &Scope) -> String {
    scope.site().map_or_else(|| "of no site".to_owned(), |site| format!("at site {site}"))
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The namespace given, or the default one.
pub(crate) fn namespace_or_default(namespace: Option<&Label>) -> Label {
    namespace.cloned().or_else(|| "default".parse().ok()).unwrap_or_else(|| unreachable!("a valid literal"))
}

/// An app's name as people write it: with its namespace unless that is the default one.
pub(crate) fn full_name(namespace: &Label, name: &Label) -> String {
    if *namespace == namespace_or_default(None) { name.to_string() } else { format!("{namespace}/{name}") }
}
