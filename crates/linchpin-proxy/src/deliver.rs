//! Bringing one message of the client across, and its answer back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use linchpin_authority::Wait;
use linchpin_transport::{Answer, Event, EventReader, Outgoing, Recovery};
use serde_json::value::RawValue;

use crate::bridge::Shared;
use crate::failure::{self, Failure};
use crate::framing::one_line;
use crate::message::{Incoming, Message, error_of, incoming};
use crate::modern;
use crate::output::Closed;

/// The longest JSON answer, in bytes.
const MAX_JSON: usize = 64 << 20;
/// The longest event, in bytes.
pub(crate) const MAX_EVENT: usize = 16 << 20;
/// The longest error answer that is looked at, in bytes.
const MAX_ERROR: usize = 64 << 10;
/// How often a stream that brings nothing is resumed.
const MAX_RESUMES: u32 = 5;
/// How long after the answer a stream may stay open for the connection to be of further use.
const LINGER: Duration = Duration::from_secs(1);
/// The pause before a stream is resumed, unless the server names one.
const RESUME_PAUSE: Duration = Duration::from_secs(1);

/// Why a message was not brought across to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The client is to be told.
    Failed(Failure),
    /// The client has gone.
    Closed,
}

impl From<Closed> for Stopped {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Shared {
    /// Brings a message across. A request that fails is answered with an error, anything else is logged.
    pub(crate) async fn deliver(self: &Arc<Self>, message: &Message) -> Result<(), Closed> {
        match self.exchange(message).await {
            Ok(()) => Ok(()),
            Err(Stopped::Closed) => Err(Closed),
            Err(Stopped::Failed(failure)) => {
                if let Some(id) = message.id() {
                    return self.output.line(failure::answer(id, &failure)).await;
                }
                tracing::warn!("a message of the client could not be delivered: {failure}");
                Ok(())
            }
        }
    }

    async fn exchange(self: &Arc<Self>, message: &Message) -> Result<(), Stopped> {
        let modern = {
            let tools = self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            modern::headers(message, &tools)
        };
        let answer = match modern {
            Some(headers) => {
                self.post(headers, message.bytes.clone(), Recovery::Once).await.map_err(Failure::Send)?
            }
            None => self.post_in_session(message).await?,
        };
        self.healthy.notify_waiters();
        match message.id() {
            Some(id) => self.answer(message, id, answer).await,
            None => self.acknowledged(answer).await,
        }
    }

    /// POSTs a message in the session; a lost session is opened again once, and the message sent once more.
    async fn post_in_session(self: &Arc<Self>, message: &Message) -> Result<Answer, Stopped> {
        let opens = message.method() == Some("initialize");
        let mut recovery = Recovery::Once;
        let mut reopened = false;
        loop {
            let sitting = self.session.sitting();
            let headers = if opens { HeaderMap::new() } else { sitting.headers };
            let answer = self.post(headers, message.bytes.clone(), recovery).await.map_err(Failure::Send)?;
            let lost = answer.status() == StatusCode::NOT_FOUND && sitting.has_id && !opens;
            if !lost {
                return Ok(answer);
            }
            if std::mem::replace(&mut reopened, true) {
                return Err(Failure::SessionLost.into());
            }
            if answer.recovery() == Recovery::Spent {
                recovery = Recovery::Spent;
            }
            drop(answer);
            self.reopen(sitting.generation).await?;
        }
    }

    pub(crate) async fn post(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
        recovery: Recovery,
    ) -> Result<Answer, linchpin_transport::SendError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let outgoing = Outgoing { method: Method::POST, headers, body, wait: Wait::Transaction, recovery };
        self.endpoint.send(&outgoing).await
    }

    /// Opens the session again as the client did, unless another message has done so meanwhile. The answer stays
    /// here: to the client it is the same session.
    async fn reopen(self: &Arc<Self>, lost: u64) -> Result<(), Stopped> {
        let _reopening = self.session.reopening.lock().await;
        if self.session.sitting().generation != lost {
            return Ok(());
        }
        let Some((initialize, id)) = self.session.initialize() else {
            return Err(Failure::SessionLost.into());
        };
        tracing::info!("the server forgot the session; opening it again");
        let answer = self.post(HeaderMap::new(), initialize, Recovery::Once).await.map_err(Failure::Send)?;
        if !answer.status().is_success() {
            return Err(refused(&answer).into());
        }
        let session = answer.headers().get("mcp-session-id").cloned();
        let mut opened = None;
        if answer.is_of_type("text/event-stream") {
            let mut stream = EventStream::new(answer);
            while let Some(data) = stream.next_data().await.map_err(|_| Failure::Lost)? {
                if let Incoming::Answer(result) = incoming(&data, &id) {
                    opened = result.map(ToOwned::to_owned);
                    break;
                }
            }
        } else {
            let body = answer.body(MAX_JSON).await.map_err(|error| Failure::Answer(error.to_string()))?;
            if let Incoming::Answer(result) = incoming(&body, &id) {
                opened = result.map(ToOwned::to_owned);
            }
        }
        let Some(result) = opened else {
            return Err(Failure::Answer("the server refused to open a session again".to_owned()).into());
        };
        self.session.opened(session, Some(&result));
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let sitting = self.session.sitting();
        let _ = self.post(sitting.headers, initialized, Recovery::Once).await.map_err(Failure::Send)?;
        Ok(())
    }

    async fn acknowledged(&self, answer: Answer) -> Result<(), Stopped> {
        let status = answer.status();
        if !status.is_success() {
            return Err(refused(&answer).into());
        }
        // Nothing should come; a server that answers with a stream all the same has messages on it.
        if answer.is_of_type("text/event-stream") {
            let mut stream = EventStream::new(answer);
            while let Ok(Some(data)) = stream.next_data().await {
                self.output.line(one_line(&data)).await?;
            }
        } else if answer.is_of_type("application/json") {
            let body = answer.body(MAX_JSON).await.map_err(|error| Failure::Answer(error.to_string()))?;
            if !body.trim_ascii().is_empty() {
                self.output.line(one_line(&body)).await?;
            }
        }
        Ok(())
    }

    /// Brings the answer to the request `id` back.
    async fn answer(self: &Arc<Self>, message: &Message, id: &str, answer: Answer) -> Result<(), Stopped> {
        if !answer.status().is_success() {
            return self.error_answer(id, answer).await;
        }
        let session = answer.headers().get("mcp-session-id").cloned();
        if answer.is_of_type("text/event-stream") {
            return self.stream_answer(message, id, answer, session).await;
        }
        if !answer.is_of_type("application/json") {
            let status = answer.status().as_u16();
            let problem = format!(
                "{} answered {status} without JSON or events; it may not be an MCP server, check the URL",
                self.endpoint.server()
            );
            return Err(Failure::Answer(problem).into());
        }
        let body = answer.body(MAX_JSON).await.map_err(|error| Failure::Answer(error.to_string()))?;
        if let Incoming::Answer(result) = read_if_needed(message, id, &body) {
            self.note(message, result, session);
        }
        self.output.line(one_line(&body)).await?;
        Ok(())
    }

    /// Takes from an answer what later requests need.
    fn note(&self, message: &Message, result: Option<&RawValue>, session: Option<HeaderValue>) {
        match (message.method(), result) {
            (Some("initialize"), Some(result)) => self.session.opened(session, Some(result)),
            (Some("tools/list"), Some(result)) => {
                self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).learn(result);
            }
            _ => {}
        }
    }

    /// Brings a stream of messages back up to the answer, resuming it where it breaks.
    async fn stream_answer(
        self: &Arc<Self>,
        message: &Message,
        id: &str,
        answer: Answer,
        session: Option<HeaderValue>,
    ) -> Result<(), Stopped> {
        let mut stream = EventStream::new(answer);
        let mut fruitless = 0;
        loop {
            match stream.next_data().await {
                Ok(Some(data)) => {
                    fruitless = 0;
                    let answered = match incoming(&data, id) {
                        Incoming::Answer(result) => {
                            self.note(message, result, session.clone());
                            true
                        }
                        Incoming::Other => false,
                    };
                    self.output.line(one_line(&data)).await?;
                    if answered {
                        // Read to the end, so that the connection can carry the next request.
                        let _ = tokio::time::timeout(LINGER, async {
                            while let Ok(Some(_)) = stream.next_data().await {}
                        })
                        .await;
                        return Ok(());
                    }
                }
                Err(Broken::TooLarge(problem)) => return Err(Failure::Answer(problem).into()),
                Ok(None) | Err(Broken::Connection) => {
                    fruitless += 1;
                    stream = self.resume(stream, fruitless).await?;
                }
            }
        }
    }

    /// Resumes a stream after the last event seen (2025-11-25, "Resumability and Redelivery").
    async fn resume(self: &Arc<Self>, stream: EventStream, attempt: u32) -> Result<EventStream, Stopped> {
        let Some(last_id) = stream.last_id().and_then(|id| HeaderValue::try_from(id).ok()) else {
            return Err(Failure::Lost.into());
        };
        if attempt > MAX_RESUMES {
            return Err(Failure::Lost.into());
        }
        tokio::time::sleep(stream.retry.unwrap_or(RESUME_PAUSE).min(Duration::from_secs(30))).await;
        match self.listen(Some(last_id)).await {
            Ok(answer) if answer.status().is_success() && answer.is_of_type("text/event-stream") => {
                Ok(stream.continued(answer))
            }
            Ok(_) => Err(Failure::Lost.into()),
            Err(linchpin_transport::SendError::Unreachable { .. }) => Ok(stream.ended()),
            Err(error) => Err(Failure::Send(error).into()),
        }
    }

    /// A GET for events in the session.
    pub(crate) async fn listen(
        &self,
        last_event_id: Option<HeaderValue>,
    ) -> Result<Answer, linchpin_transport::SendError> {
        let mut headers = self.session.sitting().headers;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id {
            headers.insert("last-event-id", id);
        }
        let outgoing = Outgoing {
            method: Method::GET,
            headers,
            body: Bytes::new(),
            wait: Wait::within(Duration::from_secs(60)),
            recovery: Recovery::Once,
        };
        self.endpoint.send(&outgoing).await
    }

    /// An HTTP error: the server's JSON-RPC error if it sent one, else one that names the status.
    async fn error_answer(&self, id: &str, answer: Answer) -> Result<(), Stopped> {
        let failure = refused(&answer);
        if !answer.is_of_type("application/json") {
            return Err(failure.into());
        }
        let Ok(body) = answer.body(MAX_ERROR).await else { return Err(failure.into()) };
        match error_of(&body, id) {
            Some((_, true)) => self.output.line(one_line(&body)).await?,
            Some((error, false)) => self.output.line(one_line(&failure::passed_on(id, error))).await?,
            None => return Err(failure.into()),
        }
        Ok(())
    }
}

/// Few answers have to be understood; parsing the others would cost every call.
fn read_if_needed<'a>(message: &Message, id: &str, body: &'a [u8]) -> Incoming<'a> {
    match message.method() {
        Some("initialize" | "tools/list") => incoming(body, id),
        _ => Incoming::Other,
    }
}

fn refused(answer: &Answer) -> Failure {
    let advice = match answer.status() {
        StatusCode::NOT_FOUND => "; check the URL",
        StatusCode::UNAUTHORIZED => "; check the Authorization header that is configured",
        _ => "",
    };
    Failure::Answer(format!("the server answered {}{advice}", answer.status().as_u16()))
}

/// A stream of events over one answer or several.
pub(crate) struct EventStream {
    answer: Option<Answer>,
    reader: EventReader,
    last_id: Option<String>,
    pub(crate) retry: Option<Duration>,
}

/// Why a stream ended early.
pub(crate) enum Broken {
    Connection,
    TooLarge(String),
}

impl EventStream {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { answer: Some(answer), reader: EventReader::new(MAX_EVENT), last_id: None, retry: None }
    }

    /// The same stream, resumed with another answer.
    pub(crate) fn continued(self, answer: Answer) -> Self {
        Self { answer: Some(answer), reader: EventReader::new(MAX_EVENT), ..self }
    }

    /// The same stream without an answer: it is at its end.
    fn ended(self) -> Self {
        Self { answer: None, ..self }
    }

    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The data of the next event that has any; `None` at the end.
    pub(crate) async fn next_data(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            while let Some(event) =
                self.reader.next_event().map_err(|error| Broken::TooLarge(error.to_string()))?
            {
                let Event { data, id, retry_ms, .. } = event;
                self.last_id = id.or_else(|| self.last_id.take());
                self.retry = retry_ms.map(Duration::from_millis).or(self.retry);
                if let Some(data) = data.filter(|data| !data.is_empty()) {
                    return Ok(Some(data));
                }
            }
            let Some(answer) = &mut self.answer else { return Ok(None) };
            match answer.chunk().await {
                Ok(Some(chunk)) => self.reader.push(&chunk),
                Ok(None) => return Ok(None),
                Err(_) => return Err(Broken::Connection),
            }
        }
    }
}
