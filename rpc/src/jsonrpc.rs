//! JSON-RPC 2.0 itself, without transport or methods: text to requests, outcomes to text.
//!
//! Everything here follows the specification's words, <https://www.jsonrpc.org/specification>:
//! an id is a string, a number (fractional ones too) or null; a request without one is a notification;
//! the answer carries the request's id, and null if that could not be made out.

use crate::error::ErrorBody;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

/// What a peer sent in one go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    One(Entry),
    Batch(Vec<Entry>),
}

/// One request, or what was sent instead of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Call { id: Value, call: Call },
    Notification(Call),
    Invalid { id: Value },
}

/// A method and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub method: String,
    /// An array, an object, or nothing.
    pub params: Option<Value>,
}

/// Reads a message. The error is the answer to all of it, with a null id.
pub(crate) fn parse(text: &[u8], max_batch: usize) -> Result<Message, ErrorBody> {
    match serde_json::from_slice(text).map_err(|_| ErrorBody::parse_error())? {
        Value::Array(entries) if entries.is_empty() => Err(ErrorBody::invalid_request()),
        Value::Array(entries) if entries.len() > max_batch => Err(ErrorBody::too_many(max_batch)),
        Value::Array(entries) => Ok(Message::Batch(entries.into_iter().map(entry).collect())),
        single => Ok(Message::One(entry(single))),
    }
}

fn entry(value: Value) -> Entry {
    let Value::Object(mut fields) = value else { return Entry::Invalid { id: Value::Null } };
    let id = match fields.remove("id") {
        Some(id @ (Value::Null | Value::Number(_) | Value::String(_))) => Some(id),
        Some(_) => return Entry::Invalid { id: Value::Null },
        None => None,
    };
    match (call(fields), id) {
        (Some(call), Some(id)) => Entry::Call { id, call },
        (Some(call), None) => Entry::Notification(call),
        (None, id) => Entry::Invalid { id: id.unwrap_or_default() },
    }
}

fn call(mut fields: Map<String, Value>) -> Option<Call> {
    if fields.get("jsonrpc")? != "2.0" {
        return None;
    }
    let Value::String(method) = fields.remove("method")? else { return None };
    match fields.remove("params") {
        params @ (None | Some(Value::Array(_) | Value::Object(_))) => Some(Call { method, params }),
        Some(_) => None,
    }
}

/// How a call ended.
pub(crate) type Outcome = Result<Box<RawValue>, Box<RawValue>>;

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    id: &'a Value,
}

/// The answer to the call with this id.
pub(crate) fn answer(id: &Value, outcome: &Outcome) -> String {
    let (result, error) = match outcome {
        Ok(result) => (Some(&**result), None),
        Err(error) => (None, Some(&**error)),
    };
    serde_json::to_string(&Answer { jsonrpc: "2.0", result, error, id })
        .unwrap_or_else(|_| unreachable!("a struct of JSON values is serialised to a string"))
}

/// The answer that a call failed.
pub(crate) fn failure(id: &Value, error: &ErrorBody) -> String {
    answer(id, &Err(raw(error)))
}

/// An error as an outcome carries it.
pub(crate) fn raw(error: &ErrorBody) -> Box<RawValue> {
    serde_json::value::to_raw_value(error)
        .unwrap_or_else(|_| unreachable!("a struct of numbers and strings is serialised to a string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn one(text: &str) -> Entry {
        match parse(text.as_bytes(), 8) {
            Ok(Message::One(entry)) => entry,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_legal_id_is_kept() {
        for id in ["1", "-1", "1.5", "0.1", "\"a\"", "\"\"", "null", "18446744073709551615"] {
            let entry = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#));
            let Entry::Call { id: kept, .. } = entry else { panic!("{id}: {entry:?}") };
            assert_eq!(kept.to_string(), id);
        }
    }

    #[test]
    fn what_is_not_a_request_is_told_apart_from_a_notification() {
        let call = Call { method: "m".into(), params: None };
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m"}"#), Entry::Notification(call));
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","method":"m","id":[1]}"#, json!(null)),
            (r#"{"jsonrpc":"2.0","method":"m","id":true}"#, json!(null)),
            (r#"{"jsonrpc":"2.0","method":"m","params":"bar","id":7}"#, json!(7)),
            (r#"{"jsonrpc":"2.0","method":"m","params":null,"id":7}"#, json!(7)),
            (r#"{"jsonrpc":"1.0","method":"m","id":7}"#, json!(7)),
            (r#"{"jsonrpc":2.0,"method":"m","id":7}"#, json!(7)),
            (r#"{"method":"m","id":"x"}"#, json!("x")),
            (r#"{"jsonrpc":"2.0","id":7}"#, json!(7)),
            ("1", json!(null)),
            ("\"text\"", json!(null)),
            ("null", json!(null)),
        ] {
            assert_eq!(one(text), Entry::Invalid { id }, "{text}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(parse(deep.as_bytes(), 8), Err(ErrorBody::parse_error()));
        assert_eq!(parse(b"[1,2,3]", 2), Err(ErrorBody::too_many(2)));
        assert_eq!(parse(b"[]", 2), Err(ErrorBody::invalid_request()));
        assert_eq!(parse(b"{} {}", 2), Err(ErrorBody::parse_error()));
        assert_eq!(parse(b"\xff", 2), Err(ErrorBody::parse_error()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, 8);
        }

        #[test]
        fn a_call_comes_back_as_it_was_sent(
            id in prop_oneof![any::<i64>().prop_map(Value::from), ".{0,20}".prop_map(Value::from), Just(Value::Null)],
            method in ".{0,20}",
            named in proptest::option::of(proptest::collection::btree_map(".{0,8}", any::<i32>(), 0..4)),
        ) {
            let mut request = json!({ "jsonrpc": "2.0", "method": method, "id": id });
            let params = named.map(|n| json!(n));
            if let Some(params) = &params {
                request["params"] = params.clone();
            }
            let call = Call { method, params };
            prop_assert_eq!(parse(request.to_string().as_bytes(), 8), Ok(Message::One(Entry::Call { id, call })));
        }
    }
}
