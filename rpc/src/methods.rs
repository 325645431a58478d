//! The table of methods: it drives registration ([`register`]) and discovery ([`crate::discover`]).

use crate::{
    ErrorBody, RpcError,
    backend::Backend,
    budget::Weight,
    counters::Counters,
    discover,
    subscribe::{self, EventsParams, Frame, LogsItem, LogsParams},
};
use holm_types::{
    api::{
        AppRef, AppRow, AppStatus, Applied, ApplyParams, CertRow, ListParams, MeshStatus, NodeRow, Page, Plan,
        RefusedRow, Request, ResultParams, ResultRow, RevokeParams, Revoked, ScaleParams, TaskRef, TaskRow,
        TokenParams,
    },
    event::Event,
};
use jsonrpsee_core::{RegisterMethodError, server::RpcModule};
use jsonrpsee_types::Params;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the methods work with.
pub(crate) struct Context<B> {
    pub backend: Arc<B>,
    pub counters: Arc<Counters>,
    pub stop: CancellationToken,
}

/// Makes the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type Build = Arc<dyn Fn(&Params<'_>) -> Result<Request, ErrorBody> + Send + Sync>;

/// A row of the table.
pub(crate) struct Method {
    pub name: &'static str,
    pub summary: &'static str,
    /// An object schema: its properties are the parameters.
    pub params: SchemaOf,
    pub result: SchemaOf,
    pub kind: Kind,
}

/// How a method is carried out.
pub(crate) enum Kind {
    /// The backend answers.
    Call(Build),
    /// Frames follow until the client calls `unsubscribe` with the answered id.
    Subscription { feed: SubscriptionOf, unsubscribe: &'static str, frame: SchemaOf },
    /// The interface describes itself.
    Discover,
}

/// What can be subscribed to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SubscriptionOf {
    Events,
    Logs,
}

/// Parameters of a method that takes none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The unsubscribe methods, which the client needs too.
pub(crate) const EVENTS: (&str, &str) = ("event.watch", "event.watch.stop");
pub(crate) const LOGS: (&str, &str) = ("task.logs", "task.logs.stop");

/// All methods.
pub(crate) fn table() -> Vec<Method> {
    vec![
        call::<NoParams, MeshStatus>("mesh.status", "The mesh, as this node sees it", |_| Ok(Request::MeshStatus)),
        call::<NoParams, Vec<RefusedRow>>("mesh.refused", "The last changes that this node refused", |_| {
            Ok(Request::MeshRefused)
        }),
        call::<ListParams, Page<NodeRow>>("node.list", "Lists the nodes", |p| Ok(Request::NodeList(p))),
        call::<ApplyParams, Applied>("app.apply", "Submits or changes an app", |p| Ok(Request::AppApply(p))),
        call::<ApplyParams, Plan>("app.plan", "Says what app.apply would do", |p| Ok(Request::AppPlan(p))),
        call::<AppRef, AppStatus>("app.get", "An app, its slots and conflicts", |p| Ok(Request::AppGet(p))),
        call::<ListParams, Page<AppRow>>("app.list", "Lists the apps", |p| Ok(Request::AppList(p))),
        call::<AppRef, Applied>("app.delete", "Removes an app", |p| Ok(Request::AppDelete(p))),
        call::<ScaleParams, Applied>("app.scale", "Changes an app's number of tasks", |p| Ok(Request::AppScale(p))),
        call::<ResultParams, Vec<ResultRow>>("app.result", "Results of a job", |p| Ok(Request::AppResult(p))),
        call::<ListParams, Page<TaskRow>>("task.list", "Lists the tasks", |p| Ok(Request::TaskList(p))),
        call::<TaskRef, TaskRow>("task.get", "A task", |p| Ok(Request::TaskGet(p))),
        call::<TokenParams, String>("token.create", "Makes a token to join with", |p| Ok(Request::TokenCreate(p))),
        call::<ListParams, Page<CertRow>>("cert.list", "Lists the certificates", |p| Ok(Request::CertList(p))),
        call::<RevokeParams, Revoked>("cert.revoke", "Ends a membership", |p| Ok(Request::CertRevoke(p))),
        subscription::<LogsParams, LogsItem>(LOGS, "Output of a task or of an app's tasks", SubscriptionOf::Logs),
        subscription::<EventsParams, Event>(EVENTS, "Events of this node", SubscriptionOf::Events),
        Method {
            name: "rpc.discover",
            summary: "This description, as OpenRPC",
            params: inline::<NoParams>,
            result: |_| schemars::json_schema!({ "type": "object" }),
            kind: Kind::Discover,
        },
    ]
}

/// How long a method's answer may become.
pub(crate) fn weight(method: &str) -> Weight {
    match method {
        "mesh.refused" | "node.list" | "app.get" | "app.list" | "app.result" | "task.list" | "cert.list"
        | "rpc.discover" => Weight::Bulk,
        _ => Weight::Brief,
    }
}

fn call<P, R>(name: &'static str, summary: &'static str, request: fn(P) -> Result<Request, ErrorBody>) -> Method
where
    P: DeserializeOwned + JsonSchema + 'static,
    R: JsonSchema,
{
    let build = move |params: &Params<'_>| request(named(params)?);
    Method { name, summary, params: inline::<P>, result: referenced::<R>, kind: Kind::Call(Arc::new(build)) }
}

fn subscription<P: JsonSchema, T: JsonSchema>(
    (name, unsubscribe): (&'static str, &'static str),
    summary: &'static str,
    feed: SubscriptionOf,
) -> Method {
    let kind = Kind::Subscription { feed, unsubscribe, frame: referenced::<Frame<T>> };
    Method { name, summary, params: inline::<P>, result: referenced::<u64>, kind }
}

fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

fn referenced<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Reads named parameters. None at all, and an empty array, count as an empty object.
pub(crate) fn named<P: DeserializeOwned>(params: &Params<'_>) -> Result<P, ErrorBody> {
    let given = params.as_str().map(serde_json::from_str).transpose().map_err(ErrorBody::invalid_params)?;
    let object = match given {
        None => Value::Object(Map::new()),
        Some(Value::Array(values)) if values.is_empty() => Value::Object(Map::new()),
        Some(Value::Array(_)) => return Err(ErrorBody::invalid_params("give them by name, in an object")),
        Some(value) => value,
    };
    serde_json::from_value(object).map_err(ErrorBody::invalid_params)
}

/// Registers every method of the table.
pub(crate) fn register<B: Backend>(context: Context<B>) -> Result<RpcModule<Context<B>>, RpcError> {
    let mut module = RpcModule::new(context);
    let document = Arc::new(discover::document(&table())?);
    for method in table() {
        register_one(&mut module, method, &document)
            .map_err(|e| RpcError::Protocol(format!("the table of methods: {e}")))?;
    }
    Ok(module)
}

fn register_one<B: Backend>(
    module: &mut RpcModule<Context<B>>,
    method: Method,
    document: &Arc<Value>,
) -> Result<(), RegisterMethodError> {
    match method.kind {
        Kind::Call(build) => {
            module.register_async_method(method.name, move |params, context, _| {
                let request = build(&params);
                async move {
                    let request = request?;
                    let of_interest = matches!(request, Request::MeshStatus);
                    let mut answer = context.backend.call(request).await.map_err(ErrorBody::from)?;
                    if of_interest {
                        context.counters.add_to(&mut answer);
                    }
                    Ok::<Value, ErrorBody>(answer)
                }
            })?;
        }
        Kind::Discover => {
            let document = Arc::clone(document);
            module.register_method(method.name, move |params, _, _| -> Result<Value, ErrorBody> {
                named::<NoParams>(&params)?;
                Ok(Value::clone(&document))
            })?;
        }
        Kind::Subscription { feed: SubscriptionOf::Events, unsubscribe, .. } => {
            module.register_subscription(method.name, method.name, unsubscribe, |params, pending, context, _| {
                subscribe::events(params, pending, context)
            })?;
        }
        Kind::Subscription { feed: SubscriptionOf::Logs, unsubscribe, .. } => {
            module.register_subscription(method.name, method.name, unsubscribe, |params, pending, context, _| {
                subscribe::logs(params, pending, context)
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<P: DeserializeOwned + std::fmt::Debug>(text: Option<&str>) -> Result<P, String> {
        named(&Params::new(text)).map_err(|error: ErrorBody| error.message)
    }

    #[test]
    fn parameters_are_named_and_known() {
        assert!(read::<NoParams>(None).is_ok());
        assert!(read::<NoParams>(Some("[]")).is_ok());
        assert!(read::<NoParams>(Some("{}")).is_ok());
        assert_eq!(read::<ListParams>(Some(r#"{"limit":3}"#)).map(|p| p.limit), Ok(Some(3)));
        let positional = read::<AppRef>(Some(r#"["web"]"#)).expect_err("positional");
        assert!(positional.contains("by name"), "{positional}");
        let unknown = read::<AppRef>(Some(r#"{"name":"web","nmespace":"x"}"#)).expect_err("unknown");
        assert!(unknown.contains("unknown field `nmespace`"), "{unknown}");
        let missing = read::<AppRef>(Some("{}")).expect_err("missing");
        assert!(missing.contains("missing field `name`"), "{missing}");
    }

    #[test]
    fn every_method_and_parameter_is_in_the_documents() {
        let text = include_str!("../../docs/rpc.md");
        for method in table() {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{}` |", method.name)));
            let row = row.unwrap_or_else(|| panic!("{} is missing in docs/rpc.md", method.name));
            let schema = (method.params)(&mut SchemaGenerator::default()).to_value();
            for name in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
                let told = row.contains(&format!("`{name}`")) || (method.name == "app.plan");
                assert!(
                    told || ["node.list", "app.list", "cert.list"].contains(&method.name),
                    "{}: {name}",
                    method.name
                );
            }
        }
    }

    #[test]
    fn what_lists_is_known_to_grow() {
        for method in table() {
            let lists = method.name.ends_with(".list")
                || matches!(method.name, "mesh.refused" | "app.get" | "app.result" | "rpc.discover");
            assert_eq!(weight(method.name) == Weight::Bulk, lists, "{}", method.name);
        }
    }

    #[test]
    fn a_task_id_is_no_path() {
        assert!(read::<TaskRef>(Some(r#"{"id":"web-0-0123456789"}"#)).is_ok());
        for bad in ["../../etc/passwd", "", ".x", "a/b"] {
            let params = serde_json::json!({ "id": bad }).to_string();
            assert!(read::<TaskRef>(Some(&params)).is_err(), "{bad}");
        }
    }
}
