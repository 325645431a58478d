//! `rpc.discover`: the interface's own description, as an OpenRPC 1.2.6 document with draft-07 schemas,
//! made from the table of methods.

use crate::{
    ErrorBody, RpcError,
    methods::{Kind, Method, SchemaOf},
};
use holm_types::api::ApiError;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// Describes the methods.
pub(crate) fn document(methods: &[Method]) -> Result<Value, RpcError> {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let methods = methods.iter().map(|method| describe(method, &mut generator)).collect::<Vec<_>>();
    Ok(json!({
        "openrpc": "1.2.6",
        "info": {
            "title": "Holm",
            "description": "A node of a mesh that runs apps. Parameters are given by name; subscriptions need a WebSocket.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true), "errors": errors() },
    }))
}

fn describe(method: &Method, generator: &mut SchemaGenerator) -> Value {
    let references = errors().keys().map(|name| json!({ "$ref": format!("#/components/errors/{name}") })).collect();
    let mut described = Map::from_iter([
        ("name".into(), json!(method.name)),
        ("summary".into(), json!(method.summary)),
        ("paramStructure".into(), json!("by-name")),
        ("params".into(), params(method.params, generator)),
        ("result".into(), json!({ "name": "result", "schema": schema(method.result, generator) })),
        ("errors".into(), Value::Array(references)),
    ]);
    if let Kind::Subscription { unsubscribe, frame, .. } = &method.kind {
        let notification = json!({
            "method": method.name,
            "unsubscribe": unsubscribe,
            "schema": schema(*frame, generator),
        });
        described.insert("x-subscription".into(), notification);
    }
    Value::Object(described)
}

/// The properties of an object schema as content descriptors, the required ones first.
fn params(of: SchemaOf, generator: &mut SchemaGenerator) -> Value {
    let object = schema(of, generator);
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = object.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let (needed, optional): (Vec<_>, Vec<_>) =
        properties.into_iter().partition(|(name, _)| required.iter().any(|r| r == name));
    let describe = |(name, schema): (String, Value), required: bool| {
        let summary = schema.get("description").cloned().unwrap_or_default();
        match summary {
            Value::String(summary) => {
                json!({ "name": name, "summary": summary, "required": required, "schema": schema })
            }
            _ => json!({ "name": name, "required": required, "schema": schema }),
        }
    };
    let needed = needed.into_iter().map(|property| describe(property, true));
    needed.chain(optional.into_iter().map(|property| describe(property, false))).collect()
}

fn schema(of: SchemaOf, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = of(generator);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    schema
}

/// The errors that any method can give.
fn errors() -> Map<String, Value> {
    let own = [
        ApiError::Invalid("The request makes no sense".into()),
        ApiError::NotFound("There is no such thing".into()),
        ApiError::NotAuthorised("This node, or this client, may not do that".into()),
        ApiError::RevisionConflict { expected: 1, current: 2 },
        ApiError::Busy("Too much at once; try again".into()),
        ApiError::Internal("The node's disk or another part of it failed".into()),
    ];
    let own = own.map(|error| (error.reason().to_owned(), json!(ErrorBody::from(error))));
    let standard = [
        ("method_not_found", ErrorBody::method_not_found()),
        ("invalid_params", ErrorBody::invalid_params("what is wrong")),
    ];
    own.into_iter().chain(standard.map(|(name, body)| (name.to_owned(), json!(body)))).collect()
}
