//! Revisions with sessions: 2025-06-18 and 2025-11-25.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::tools::{self, Peer};
use super::{Message, error, json_rpc, result, surface, with_session};
use crate::kit::Shared;
use crate::respond::{Answer, empty};
use crate::stream::EventLog;

const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// The open sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<String, Session>,
    opened: u64,
}

#[derive(Debug)]
struct Session {
    standalone: EventLog,
    streams: HashMap<String, EventLog>,
    waiting: HashMap<String, oneshot::Sender<Value>>,
    requests: u64,
}

impl Sessions {
    fn open(&mut self) -> String {
        self.opened += 1;
        let id = format!("session-{}-{:016x}", self.opened, rand::random::<u64>());
        let standalone = EventLog::new(format!("{id}.get"));
        let streams = HashMap::from([(standalone.name().to_owned(), standalone.clone())]);
        self.open.insert(id.clone(), Session { standalone, streams, waiting: HashMap::new(), requests: 0 });
        id
    }

    pub(crate) fn clear(&mut self) {
        for (_, session) in self.open.drain() {
            session.standalone.end();
        }
    }

    /// Ends every connection of a standalone stream; the streams go on for whoever asks again.
    pub(crate) fn interrupt(&mut self) {
        for session in self.open.values() {
            session.standalone.interrupt();
        }
    }

    pub(crate) fn push(&mut self, message: &str) {
        for session in self.open.values() {
            session.standalone.push(message.to_owned());
        }
    }

    /// A stream of a session, kept for resumption.
    fn stream(&mut self, session: &str) -> Option<EventLog> {
        let session = self.open.get_mut(session)?;
        // A finished stream may still be resumed; a bound keeps ten thousand calls from piling up.
        if session.streams.len() > 256 {
            let standalone = session.standalone.name().to_owned();
            session.streams.retain(|name, _| *name == standalone);
        }
        let log = EventLog::new(format!("{:08x}", rand::random::<u32>()));
        session.streams.insert(log.name().to_owned(), log.clone());
        Some(log)
    }

    /// A request of the server to the client: its id, and where the answer will come.
    pub(super) fn ask(&mut self, session: &str) -> Option<(String, oneshot::Receiver<Value>)> {
        let session = self.open.get_mut(session)?;
        session.requests += 1;
        let id = format!("server-{}", session.requests);
        let (sender, receiver) = oneshot::channel();
        session.waiting.insert(id.clone(), sender);
        Some((id, receiver))
    }
}

pub(super) async fn post(shared: &Arc<Shared>, headers: &HeaderMap, message: Message) -> Answer {
    if message.method.as_deref() == Some("initialize") {
        return initialize(shared, &message);
    }
    let session = match session(shared, headers) {
        Ok(session) => session,
        Err(refused) => return refused,
    };
    let Some(method) = message.method.clone() else { return client_answer(shared, &session, &message) };
    if message.id.is_none() {
        return empty(StatusCode::ACCEPTED);
    }
    let id = message.id().to_owned();
    match method.as_str() {
        "ping" => json_rpc(StatusCode::OK, result(&id, &json!({}))),
        "tools/list" => json_rpc(StatusCode::OK, result(&id, &tools::page(shared))),
        "tools/call" => call(shared, &session, &id, &message).await,
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => {
            json_rpc(StatusCode::OK, result(&id, &json!({})))
        }
        _ => match surface::result(&method, &message.params()) {
            Some(answer) => json_rpc(StatusCode::OK, result(&id, &answer)),
            None => json_rpc(
                StatusCode::OK,
                error(&id, -32601, "method not found", Some(json!({ "method": method }))),
            ),
        },
    }
}

fn initialize(shared: &Shared, message: &Message) -> Answer {
    let asked = message.params();
    let asked = asked["protocolVersion"].as_str().unwrap_or_default();
    let version = if VERSIONS.contains(&asked) { asked } else { VERSIONS[0] };
    let session = shared.sessions().open();
    shared.counts().sessions_opened += 1;
    let body = result(
        message.id(),
        &json!({
            "protocolVersion": version,
            "capabilities": surface::capabilities(),
            "serverInfo": { "name": "linchpin-testkit", "version": env!("CARGO_PKG_VERSION") },
        }),
    );
    with_session(json_rpc(StatusCode::OK, body), &session)
}

/// The session that a request names: 400 without one, 404 for an unknown one.
#[expect(clippy::result_large_err, reason = "a refusal is an answer, made once per request")]
fn session(shared: &Shared, headers: &HeaderMap) -> Result<String, Answer> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("mcp-protocol-version").is_some_and(|version| !VERSIONS.contains(&version)) {
        return Err(json_rpc(
            StatusCode::BAD_REQUEST,
            error("null", -32000, "unsupported protocol version", None),
        ));
    }
    let Some(session) = text("mcp-session-id") else {
        return Err(json_rpc(StatusCode::BAD_REQUEST, error("null", -32000, "no session", None)));
    };
    if !shared.sessions().open.contains_key(session) {
        shared.counts().sessions_unknown += 1;
        return Err(json_rpc(StatusCode::NOT_FOUND, error("null", -32001, "session not found", None)));
    }
    if text("mcp-protocol-version").is_none() {
        return Err(json_rpc(StatusCode::BAD_REQUEST, error("null", -32000, "no protocol version", None)));
    }
    Ok(session.to_owned())
}

fn client_answer(shared: &Shared, session: &str, message: &Message) -> Answer {
    let id: String = serde_json::from_str(message.id()).unwrap_or_default();
    let waiting = shared.sessions().open.get_mut(session).and_then(|session| session.waiting.remove(&id));
    shared.counts().client_answers += 1;
    match waiting {
        Some(waiting) => {
            let _ = waiting.send(json!(id));
            empty(StatusCode::ACCEPTED)
        }
        None => json_rpc(StatusCode::BAD_REQUEST, error("null", -32600, "no such request", None)),
    }
}

async fn call(shared: &Arc<Shared>, session: &str, id: &str, message: &Message) -> Answer {
    let call = tools::Call::parse(message);
    let streamed = call.streams() || shared.config().sse || call.asks_for_sse();
    if !streamed {
        let answer = tools::run(shared, &call, &Peer::Nobody).await;
        return json_rpc(StatusCode::OK, answer.into_message(id));
    }
    let Some(log) = shared.sessions().stream(session) else { return empty(StatusCode::NOT_FOUND) };
    let answer = shared.stream(log.read(0, true));
    let (shared, session, id, running) = (Arc::clone(shared), session.to_owned(), id.to_owned(), log);
    // The tool runs on when the client's connection breaks: its answer can be fetched by resuming.
    tokio::spawn(async move {
        let peer = Peer::Stream { session, log: running.clone() };
        let answer = tools::run(&shared, &call, &peer).await;
        running.push(answer.into_message(&id));
        running.end();
    });
    answer
}

/// GET and DELETE.
pub(super) fn other(shared: &Shared, request: &Request<Bytes>) -> Answer {
    let session = match session(shared, request.headers()) {
        Ok(session) => session,
        Err(refused) => return refused,
    };
    if request.method() == Method::DELETE {
        if let Some(session) = shared.sessions().open.remove(&session) {
            session.standalone.end();
            shared.counts().sessions_deleted += 1;
        }
        return empty(StatusCode::NO_CONTENT);
    }
    let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let (name, from) = match last.and_then(|last| last.rsplit_once('-')) {
        Some((name, number)) => {
            shared.counts().resumes += 1;
            (Some(name.to_owned()), number.parse().unwrap_or(0))
        }
        None => (None, 0),
    };
    let sessions = shared.sessions();
    let log = sessions.open.get(&session).and_then(|session| match name {
        Some(name) => session.streams.get(&name).cloned(),
        None => Some(session.standalone.clone()),
    });
    drop(sessions);
    match log {
        Some(log) => shared.stream(log.read(from, true)),
        None => json_rpc(StatusCode::BAD_REQUEST, error("null", -32000, "no such stream", None)),
    }
}
