//! What the test server has besides tools: resources, prompts, completions, a level of logging.

use serde_json::{Value, json};

/// The capabilities beside the tools.
pub(super) fn capabilities() -> Value {
    json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true }, "prompts": {},
        "completions": {}, "logging": {} })
}

/// The result of a method that there is in every revision, but for what revisions put beside it; `None` for any
/// other method, and for a resource or prompt that there is not.
pub(super) fn result(method: &str, params: &Value) -> Option<Value> {
    Some(match method {
        "resources/list" => resources(params),
        "resources/templates/list" => json!({ "resourceTemplates": [
            { "uriTemplate": "test:///{name}", "name": "any" } ] }),
        "resources/read" => {
            let uri = params["uri"].as_str().filter(|uri| uri.starts_with("test:///"))?;
            json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": format!("this is {uri}") }] })
        }
        "prompts/list" => json!({ "prompts": [{ "name": "greet", "arguments": [{ "name": "who" }] }] }),
        "prompts/get" => {
            params["name"].as_str().filter(|name| *name == "greet")?;
            let text = format!("Hello, {}!", params["arguments"]["who"].as_str().unwrap_or("you"));
            json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": text } }] })
        }
        "completion/complete" => {
            let begun = params["argument"]["value"].as_str().unwrap_or_default();
            json!({ "completion": { "values": [format!("{begun}!")], "total": 1, "hasMore": false } })
        }
        _ => return None,
    })
}

/// Two pages of one resource each.
fn resources(params: &Value) -> Value {
    if params["cursor"].as_str() == Some("second") {
        json!({ "resources": [{ "uri": "test:///two", "name": "two" }] })
    } else {
        json!({ "resources": [{ "uri": "test:///one", "name": "one" }], "nextCursor": "second" })
    }
}

/// With what 2026-07-28 says about a result.
pub(super) fn complete(method: &str, mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    if method.ends_with("/list") || method == "resources/read" {
        result["ttlMs"] = json!(0);
        result["cacheScope"] = json!("private");
    }
    result
}
