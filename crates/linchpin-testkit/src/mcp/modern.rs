//! Revision 2026-07-28: no sessions, every request for itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::tools::{self, Peer};
use super::{Message, error, json_rpc, result, surface};
use crate::kit::Shared;
use crate::respond::{Answer, empty};
use crate::stream::EventLog;

pub(super) const VERSION: &str = "2026-07-28";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(super) async fn post(shared: &Arc<Shared>, headers: &HeaderMap, message: Message) -> Answer {
    let Some(method) = message.method.clone() else {
        return json_rpc(
            StatusCode::BAD_REQUEST,
            error("null", -32600, "only requests and notifications", None),
        );
    };
    let params = message.params();
    let id = message.id().to_owned();
    if let Some(problem) = mismatch(headers, &method, &params) {
        return json_rpc(StatusCode::BAD_REQUEST, error(&id, -32020, &problem, None));
    }
    if message.id.is_none() {
        return empty(StatusCode::ACCEPTED);
    }
    match method.as_str() {
        "server/discover" => json_rpc(StatusCode::OK, result(&id, &discover())),
        "tools/list" => {
            let mut list = tools::page(shared);
            list["resultType"] = json!("complete");
            list["ttlMs"] = json!(0);
            list["cacheScope"] = json!("private");
            json_rpc(StatusCode::OK, result(&id, &list))
        }
        "tools/call" => call(shared, &id, &message).await,
        "subscriptions/listen" => {
            let log = EventLog::new("listen".to_owned());
            log.push(
                json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
                    "notifications": params["notifications"],
                    "_meta": { "io.modelcontextprotocol/subscriptionId": message.id.as_ref() } } })
                .to_string(),
            );
            shared.stream(log.read(0, false))
        }
        _ => match surface::result(&method, &params) {
            Some(answer) => json_rpc(StatusCode::OK, result(&id, &surface::complete(&method, answer))),
            None => json_rpc(
                StatusCode::NOT_FOUND,
                error(&id, -32601, "method not found", Some(json!({ "method": method }))),
            ),
        },
    }
}

fn discover() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": [VERSION],
        "capabilities": surface::capabilities(),
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo":
            { "name": "linchpin-testkit", "version": env!("CARGO_PKG_VERSION") } },
    })
}

/// What a header says otherwise than the body, if any does.
fn mismatch(headers: &HeaderMap, method: &str, params: &Value) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(decoded);
    if params["_meta"][META_VERSION].as_str() != Some(VERSION) {
        return Some(format!("_meta names the protocol version {}", params["_meta"][META_VERSION]));
    }
    if header("mcp-method").as_deref() != Some(method) {
        return Some(format!("Mcp-Method is {:?}, the method is {method}", header("mcp-method")));
    }
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    if name.is_some() && header("mcp-name").as_deref() != name {
        return Some(format!("Mcp-Name is {:?}, the name is {name:?}", header("mcp-name")));
    }
    if method == "tools/call" && name == Some("region") {
        let expected = match &params["arguments"]["region"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        if header("mcp-param-region") != expected {
            return Some(format!(
                "Mcp-Param-Region is {:?}, the argument {expected:?}",
                header("mcp-param-region")
            ));
        }
    }
    None
}

/// The value of a header, out of its Base64 sentinel if it is in one.
fn decoded(value: &str) -> String {
    let inner = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let bytes = inner.and_then(|encoded| STANDARD.decode(encoded).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| value.to_owned())
}

async fn call(shared: &Arc<Shared>, id: &str, message: &Message) -> Answer {
    let call = tools::Call::parse(message);
    if !(call.streams() || shared.config().sse || call.asks_for_sse()) {
        let answer = tools::run(shared, &call, &Peer::Nobody).await;
        return json_rpc(StatusCode::OK, answer.complete().into_message(id));
    }
    let log = EventLog::new("call".to_owned());
    let answer = shared.stream(log.read(0, false));
    let (shared, id, running) = (Arc::clone(shared), id.to_owned(), log);
    tokio::spawn(async move {
        let peer = Peer::Listener { log: running.clone() };
        let answer = tools::run(&shared, &call, &peer).await;
        running.push(answer.complete().into_message(&id));
        running.end();
    });
    answer
}
