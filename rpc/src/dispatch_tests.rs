//! The examples of the specification's section 7, and what it says beside them.

use super::*;
use jsonrpsee_core::server::RpcModule;
use jsonrpsee_types::ErrorObjectOwned;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The methods of the examples. They take positional parameters, which ours do not.
fn examples() -> (Dispatcher, Arc<AtomicU64>) {
    let notified = Arc::new(AtomicU64::new(0));
    let mut module = RpcModule::new(Arc::clone(&notified));
    module
        .register_method("subtract", |params, _, _| -> Result<i64, ErrorObjectOwned> {
            #[derive(Deserialize)]
            struct Named {
                minuend: i64,
                subtrahend: i64,
            }
            match params.parse::<Named>() {
                Ok(named) => Ok(named.minuend - named.subtrahend),
                Err(_) => params.parse::<(i64, i64)>().map(|(minuend, subtrahend)| minuend - subtrahend),
            }
        })
        .expect("registered");
    module
        .register_method("sum", |params, _, _| params.parse::<Vec<i64>>().map(|numbers| numbers.iter().sum::<i64>()))
        .expect("registered");
    module.register_method("get_data", |_, _, _| Some(json!(["hello", 5]))).expect("registered");
    module.register_method("nothing", |_, _, _| Some(Value::Null)).expect("registered");
    for name in ["update", "notify_hello", "notify_sum"] {
        module
            .register_async_method(name, |_, notified, _| async move { Some(notified.fetch_add(1, Relaxed)) })
            .expect("registered");
    }
    (Dispatcher::new(module, 64, Budget::new(1 << 20, 1 << 18), Arc::default()), notified)
}

async fn ask(dispatcher: &Dispatcher, text: &str) -> Option<Value> {
    let reply = dispatcher.handle(text.as_bytes(), None).await;
    reply.text.map(|text| serde_json::from_str(&text).expect("an answer is JSON"))
}

#[tokio::test]
async fn every_example_of_the_specification() {
    let (dispatcher, notified) = examples();
    let parse_error = json!({"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null});
    let invalid = json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null});
    let not_found = |id| json!({"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": id});
    for (text, expected) in [
        // rpc call with positional parameters
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 1}),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#,
            json!({"jsonrpc": "2.0", "result": -19, "id": 2}),
        ),
        // rpc call with named parameters
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 3}),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#,
            json!({"jsonrpc": "2.0", "result": 19, "id": 4}),
        ),
        // rpc call of non-existent method
        (r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#, not_found("1")),
        // rpc call with invalid JSON
        (r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#, parse_error.clone()),
        // rpc call with invalid Request object
        (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, invalid.clone()),
        // rpc call Batch, invalid JSON
        (
            r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]"#,
            parse_error,
        ),
        // rpc call with an empty Array
        ("[]", invalid.clone()),
        // rpc call with an invalid Batch (but not empty)
        ("[1]", json!([invalid])),
        // rpc call with invalid Batch
        ("[1,2,3]", json!([invalid, invalid, invalid])),
        // rpc call Batch
        (
            r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
                {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
                {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
                {"foo": "boo"},
                {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
                {"jsonrpc": "2.0", "method": "get_data", "id": "9"}]"#,
            json!([
                {"jsonrpc": "2.0", "result": 7, "id": "1"},
                {"jsonrpc": "2.0", "result": 19, "id": "2"},
                invalid,
                not_found("5"),
                {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
            ]),
        ),
    ] {
        assert_eq!(ask(&dispatcher, text).await, Some(expected), "{text}");
    }
    assert_eq!(notified.load(Relaxed), 1, "the notification of the batch was run");
    for (text, so_far) in [
        // a Notification
        (r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, 2),
        (r#"{"jsonrpc": "2.0", "method": "foobar"}"#, 2),
        // rpc call Batch (all notifications)
        (
            r#"[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]}, {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]"#,
            4,
        ),
    ] {
        assert_eq!(ask(&dispatcher, text).await, None, "{text}");
        assert_eq!(notified.load(Relaxed), so_far, "{text}");
    }
}

#[tokio::test]
async fn every_legal_id_comes_back() {
    let (dispatcher, _) = examples();
    for id in ["1.5", "-3", "0", "\"\"", "\"a b\"", "null", "9007199254740993"] {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"sum","params":[1],"id":{id}}}"#);
        let reply = dispatcher.handle(text.as_bytes(), None).await.text;
        assert_eq!(reply, Some(format!(r#"{{"jsonrpc":"2.0","result":1,"id":{id}}}"#)));
    }
}

#[tokio::test]
async fn a_result_of_null_is_a_result() {
    let (dispatcher, _) = examples();
    let answer = ask(&dispatcher, r#"{"jsonrpc":"2.0","method":"nothing","id":1}"#).await;
    assert_eq!(answer, Some(json!({"jsonrpc": "2.0", "result": null, "id": 1})));
}

#[tokio::test]
async fn an_invalid_parameter_is_no_internal_error() {
    let (dispatcher, _) = examples();
    let answer = ask(&dispatcher, r#"{"jsonrpc":"2.0","method":"sum","params":["a"],"id":1}"#).await;
    assert_eq!(answer.expect("an answer")["error"]["code"], json!(-32602));
}
