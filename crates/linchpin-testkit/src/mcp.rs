//! The MCP server: Streamable HTTP with sessions (2025-06-18, 2025-11-25) and without (2026-07-28).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::config::AuthMode;
use crate::fault::Endpoint;
use crate::grants::fingerprint;
use crate::kit::Shared;
use crate::provider::merge;
use crate::respond::{Answer, answer, empty, json as json_answer, unauthorized, with_header};
use crate::serve::Asked;

mod legacy;
mod modern;
mod surface;
mod tools;

pub(crate) use legacy::Sessions;

/// A JSON-RPC message, its id as the text that was sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) id: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) params: Option<Box<RawValue>>,
}

impl Message {
    pub(crate) fn params(&self) -> Value {
        self.params.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_ref().map_or("null", |id| id.get())
    }
}

pub(crate) fn result(id: &str, result: &Value) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

pub(crate) fn error(id: &str, code: i64, message: &str, data: Option<Value>) -> String {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data;
    }
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}")
}

pub(crate) async fn handle(shared: Arc<Shared>, asked: Asked) -> Answer {
    let Asked { request, wire } = asked;
    if shared.config().auth == AuthMode::NotMcp {
        return answer(StatusCode::OK, "text/html", "<!doctype html><title>A shop</title>");
    }
    let path = request.uri().path();
    if let Some(suffix) = path.strip_prefix("/.well-known/oauth-protected-resource") {
        shared.counts().metadata_requests += 1;
        let known = matches!(suffix, "" | "/mcp")
            && matches!(shared.config().auth, AuthMode::Provider | AuthMode::Tools);
        let effect = async { if known { resource_metadata(&shared) } else { empty(StatusCode::NOT_FOUND) } };
        return shared.answer(Endpoint::ResourceMetadata, None, &wire, effect).await;
    }
    if path != "/mcp" {
        return empty(StatusCode::NOT_FOUND);
    }
    let message = serde_json::from_slice::<Message>(request.body()).ok();
    let method = message.as_ref().and_then(|message| message.method.clone());
    count(&shared, &request, method.as_deref());
    shared.see(&request);
    let endpoint = match *request.method() {
        Method::POST => Endpoint::McpPost,
        Method::GET => Endpoint::McpGet,
        Method::DELETE => Endpoint::McpDelete,
        _ => return empty(StatusCode::METHOD_NOT_ALLOWED),
    };
    let effect = async {
        if let Err(refused) = admit(&shared, request.headers(), method.as_deref()) {
            return refused;
        }
        serve(&shared, &request, message).await
    };
    shared.answer(endpoint, method.as_deref(), &wire, effect).await
}

fn count(shared: &Shared, request: &Request<Bytes>, method: Option<&str>) {
    let mut counts = shared.counts();
    let what = match method {
        Some(method) => format!("{} {method}", request.method()),
        None if request.method() == Method::POST => "POST (an answer)".to_owned(),
        None => request.method().to_string(),
    };
    *counts.mcp_requests.entry(what).or_default() += 1;
    if let Some(token) = bearer(request.headers()) {
        *counts.mcp_requests_by_token.entry(fingerprint(token)).or_default() += 1;
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Lets a request in, or answers it 401.
#[expect(clippy::result_large_err, reason = "a refusal is an answer, made once per request")]
fn admit(shared: &Shared, headers: &HeaderMap, method: Option<&str>) -> Result<(), Answer> {
    let (auth, challenge) = {
        let config = shared.config();
        (config.auth.clone(), config.challenge)
    };
    let token = bearer(headers);
    let admitted = match &auth {
        AuthMode::Open | AuthMode::NotMcp => true,
        AuthMode::Static(expected) => token == Some(expected),
        AuthMode::Tools if method.is_some_and(opens_a_session) => true,
        AuthMode::Provider | AuthMode::Tools => {
            token.is_some_and(|token| shared.grants().admits(token).is_some())
        }
    };
    if admitted {
        return Ok(());
    }
    shared.counts().unauthorized += 1;
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", shared.mcp_origin);
    let error = if token.is_some() { ", error=\"invalid_token\"" } else { "" };
    let text = format!("Bearer realm=\"mcp\"{error}, resource_metadata=\"{metadata}\"");
    Err(unauthorized(challenge.then_some(text.as_str())))
}

fn opens_a_session(method: &str) -> bool {
    matches!(method, "initialize" | "notifications/initialized" | "server/discover")
}

fn resource_metadata(shared: &Shared) -> Answer {
    let config = shared.config();
    let mut document = json!({
        "resource": shared.mcp_url(),
        "authorization_servers": [shared.issuer],
        "scopes_supported": config.scopes,
        "bearer_methods_supported": ["header"],
    });
    merge(&mut document, &config.resource_metadata);
    json_answer(StatusCode::OK, &document)
}

async fn serve(shared: &Arc<Shared>, request: &Request<Bytes>, message: Option<Message>) -> Answer {
    let headers = request.headers();
    let (legacy, modern) = {
        let config = shared.config();
        (config.legacy, config.modern)
    };
    if request.method() != Method::POST {
        return if legacy { legacy::other(shared, request) } else { empty(StatusCode::METHOD_NOT_ALLOWED) };
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
        return empty(StatusCode::NOT_ACCEPTABLE);
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/json") {
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let Some(message) = message else {
        return json_rpc(StatusCode::BAD_REQUEST, error("null", -32700, "parse error", None));
    };
    let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
    if version == Some(modern::VERSION) && modern {
        return modern::post(shared, headers, message).await;
    }
    if legacy {
        return legacy::post(shared, headers, message).await;
    }
    let data = json!({ "supported": [modern::VERSION], "requested": version });
    json_rpc(StatusCode::BAD_REQUEST, error(message.id(), -32022, "unsupported protocol version", Some(data)))
}

fn json_rpc(status: StatusCode, body: String) -> Answer {
    answer(status, "application/json", body)
}

fn with_session(answer: Answer, session: &str) -> Answer {
    with_header(answer, "mcp-session-id", session)
}
