//! Every method reaches the node, and the interface describes all of them.

mod common;

use common::{Node, label, task};
use holm_types::{
    api::{AppRef, ApplyParams, ListParams, Request, ResultParams, RevokeParams, ScaleParams, TaskRef, TokenParams},
    cert::Role,
};
use serde_json::{Value, json};

/// Each method with parameters, and what the node is then asked. The table of the server has these and
/// three more: two subscriptions and `rpc.discover`.
fn cases() -> Vec<(&'static str, Value, Request)> {
    let app = || AppRef { name: label("web"), namespace: Some(label("prod")), site: None };
    let apply = ApplyParams {
        manifest: None,
        text: Some("name = 'web'".into()),
        expected_revision: Some(3),
        idempotency_key: Some("k".into()),
    };
    let apply_json = json!({ "text": "name = 'web'", "expected_revision": 3, "idempotency_key": "k" });
    let list = || ListParams { limit: Some(2), all: true, ..ListParams::default() };
    let list_json = json!({ "limit": 2, "all": true });
    let app_json = json!({ "name": "web", "namespace": "prod" });
    vec![
        ("mesh.status", json!({}), Request::MeshStatus),
        ("mesh.refused", json!({}), Request::MeshRefused),
        ("node.list", list_json.clone(), Request::NodeList(list())),
        ("app.apply", apply_json.clone(), Request::AppApply(apply.clone())),
        ("app.plan", apply_json, Request::AppPlan(apply)),
        ("app.get", app_json.clone(), Request::AppGet(app())),
        ("app.list", list_json.clone(), Request::AppList(list())),
        ("app.delete", app_json, Request::AppDelete(app())),
        (
            "app.scale",
            json!({ "name": "web", "replicas": 5 }),
            Request::AppScale(ScaleParams {
                name: label("web"),
                namespace: None,
                site: None,
                replicas: 5,
                expected_revision: None,
            }),
        ),
        (
            "app.result",
            json!({ "name": "sum", "slot": 4 }),
            Request::AppResult(ResultParams { name: label("sum"), namespace: None, site: None, slot: Some(4) }),
        ),
        ("task.list", list_json.clone(), Request::TaskList(list())),
        ("cert.list", list_json, Request::CertList(list())),
        (
            "cert.revoke",
            json!({ "node": "gw-1", "reason": "stolen" }),
            Request::CertRevoke(RevokeParams { node: "gw-1".into(), reason: Some("stolen".into()) }),
        ),
        ("task.get", json!({ "id": "web-0-ab" }), Request::TaskGet(TaskRef { id: task("web-0-ab") })),
        (
            "token.create",
            json!({ "role": "edge", "ttl_s": 60 }),
            Request::TokenCreate(TokenParams {
                role: Role::Edge,
                site: None,
                ttl_s: Some(60),
                uses: None,
                validity_s: None,
            }),
        ),
    ]
}

#[tokio::test]
async fn every_method_reaches_the_node_over_both_transports() {
    let node = Node::start().await;
    let client = node.client().await;
    for (method, params, request) in cases() {
        assert_eq!(node.call(method, params.clone()).await, Ok(json!("done")), "{method}");
        assert_eq!(node.fake.take_asked(), std::slice::from_ref(&request), "{method}");
        let answer: String = client.call(method, &params).await.expect(method);
        assert_eq!((answer.as_str(), node.fake.take_asked()), ("done", vec![request]), "{method}");
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let node = Node::start().await;
    for (method, mut params, _) in cases() {
        params["surprise"] = json!(1);
        let error = node.call(method, params).await.expect_err(method);
        assert_eq!(error["code"], -32602, "{method}");
        assert!(error["message"].as_str().is_some_and(|m| m.contains("unknown field `surprise`")), "{error}");
    }
    let unsafe_id = node.call("task.get", json!({ "id": "../../etc/passwd" })).await.expect_err("no id");
    assert_eq!(unsafe_id["code"], -32602);
    assert!(node.fake.take_asked().is_empty());
}

#[tokio::test]
async fn the_description_covers_every_method() {
    let node = Node::start().await;
    let document = node.call("rpc.discover", json!({})).await.expect("a document");
    assert_eq!(document["openrpc"], "1.2.6");
    let described = document["methods"].as_array().expect("methods");
    let names: Vec<_> = described.iter().filter_map(|m| m["name"].as_str()).collect();
    for (method, ..) in cases() {
        assert!(names.contains(&method), "{method}");
    }
    assert_eq!(names.len(), cases().len() + 3, "{names:?}");
    for method in described {
        assert_eq!(method["paramStructure"], "by-name", "{method}");
        assert!(method["result"]["schema"].is_object(), "{method}");
        for param in method["params"].as_array().expect("params") {
            assert!(param["name"].is_string() && param["schema"].is_object(), "{method}");
        }
        let called = method["name"].as_str().expect("a name");
        if called != "rpc.discover" && !["task.logs", "event.watch"].contains(&called) {
            let params = &cases().into_iter().find(|(name, ..)| *name == called).expect("a case").1;
            let known: Vec<_> =
                method["params"].as_array().expect("params").iter().map(|p| p["name"].clone()).collect();
            assert!(params.as_object().expect("an object").keys().all(|key| known.contains(&json!(key))), "{called}");
        }
    }
    let scale = described.iter().find(|m| m["name"] == "app.scale").expect("app.scale");
    assert_eq!(scale["params"][0]["required"], true, "required parameters come first: {scale}");
    assert_eq!(scale["result"]["schema"]["$ref"], "#/components/schemas/Applied");
    let watch = described.iter().find(|m| m["name"] == "event.watch").expect("event.watch");
    assert_eq!(watch["x-subscription"]["unsubscribe"], "event.watch.stop");
    references_lead_somewhere(&document, &document);
}

/// Every `$ref` of the document points into the document.
fn references_lead_somewhere(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').expect("a local reference");
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|value| references_lead_somewhere(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| references_lead_somewhere(document, item)),
        _ => {}
    }
}
