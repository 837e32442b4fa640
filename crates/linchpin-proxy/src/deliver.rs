//! Bringing one message of the client across, and its answer back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use linchpin_authority::Wait;
use linchpin_transport::listening::is_busy;
use linchpin_transport::{Answer, Outgoing, ReadError, Recovery, SendError};
use serde_json::value::RawValue;

use crate::bridge::Shared;
use crate::failure::{self, Failure};
use crate::framing::one_line;
use crate::message::{Awaited, Incoming, Message};
use crate::modern;
use crate::output::Closed;
use crate::session::Opening;
use crate::stream::{Broken, End, EventStream, Patience};

/// The longest JSON answer, in bytes.
const MAX_JSON: usize = 64 << 20;
/// The longest error answer that is looked at, in bytes.
const MAX_ERROR: usize = 64 << 10;
/// How long after the answer a stream may bring further messages.
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
    /// Brings a message across. Each of its requests that fails is answered with an error; anything else is logged.
    /// What is left of a stream after the answer is given back.
    pub(crate) async fn deliver(self: &Arc<Self>, message: &Message) -> Result<Option<EventStream>, Closed> {
        let mut awaited = Awaited::of(message);
        match self.exchange(message, &mut awaited).await {
            Ok(rest) => Ok(rest),
            Err(Stopped::Closed) => Err(Closed),
            Err(Stopped::Failed(failure)) => {
                if awaited.is_empty() {
                    tracing::warn!("a message of the client could not be delivered: {failure}");
                }
                for id in awaited.take_all() {
                    self.output.line(failure::answer(&id, &failure)).await?;
                }
                Ok(None)
            }
        }
    }

    /// Passes on what a stream brings after the answer, for a while: a server should end it then, and its
    /// connection can carry the next request once it did.
    pub(crate) async fn linger(&self, mut rest: EventStream) {
        let passed_on = async {
            while let Ok(Some(data)) = rest.next_data().await {
                if !matches!(Awaited::default().strike(&data), Incoming::NotJson)
                    && self.output.line(one_line(&data)).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(LINGER, passed_on) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        message: &Message,
        awaited: &mut Awaited,
    ) -> Result<Option<EventStream>, Stopped> {
        let modern = {
            let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
            modern::headers(message, &tools)
        };
        // Revision 2026-07-28 has no resumption.
        let resumable = modern.is_none();
        let answer = match modern {
            Some(headers) => {
                self.post(headers, message.bytes.clone(), Recovery::Once).await.map_err(Failure::Send)?
            }
            None => self.post_in_session(message).await?,
        };
        self.healthy.notify_waiters();
        if !answer.status().is_success() {
            self.error_answer(awaited, answer).await?;
            return Ok(None);
        }
        let session = answer.headers().get("mcp-session-id").cloned();
        let note = |result: Option<&RawValue>| self.note(message, result, session.clone());
        if answer.is_of_type("text/event-stream") {
            return self.stream_answer(awaited, answer, resumable, note).await;
        }
        self.json_answer(awaited, answer, note).await?;
        Ok(None)
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
            spend(&mut recovery, &answer);
            drop(answer);
            self.reopen(sitting.generation, &mut recovery).await?;
        }
    }

    pub(crate) async fn post(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
        recovery: Recovery,
    ) -> Result<Answer, SendError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let outgoing = Outgoing { method: Method::POST, headers, body, wait: Wait::Transaction, recovery };
        self.endpoint.send(&outgoing).await
    }

    /// Opens the session again as the client did, unless another message has done so meanwhile. The answer stays
    /// here: to the client it is the same session. `recovery` is that of the message it is done for (P17).
    async fn reopen(self: &Arc<Self>, lost: u64, recovery: &mut Recovery) -> Result<(), Stopped> {
        let _reopening = self.session.reopening.lock().await;
        if self.session.sitting().generation != lost {
            return Ok(());
        }
        let Some((initialize, id)) = self.session.initialize() else {
            return Err(Failure::SessionLost.into());
        };
        tracing::info!("the server forgot the session; opening it again");
        let answer = self.post(HeaderMap::new(), initialize, *recovery).await.map_err(Failure::Reopening)?;
        spend(recovery, &answer);
        if !answer.status().is_success() {
            return Err(Failure::of(&answer).into());
        }
        let session = answer.headers().get("mcp-session-id").cloned();
        let Some(result) = result_of(answer, &id).await? else {
            return Err(Failure::Answer("the server refused to open a session again".to_owned()).into());
        };
        let opening = Opening::new(session, &result);
        // The session is confirmed before anything else is sent in it.
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let answer =
            self.post(opening.headers(), initialized, *recovery).await.map_err(Failure::Reopening)?;
        spend(recovery, &answer);
        self.session.opened(opening);
        Ok(())
    }

    /// Brings a JSON answer back.
    async fn json_answer(
        &self,
        awaited: &mut Awaited,
        answer: Answer,
        note: impl Fn(Option<&RawValue>),
    ) -> Result<(), Stopped> {
        if !answer.is_of_type("application/json") {
            if awaited.is_empty() {
                return Ok(());
            }
            let status = answer.status().as_u16();
            let problem = format!(
                "{} answered {status} without JSON or events; it may not be an MCP server, check the URL",
                self.endpoint.server()
            );
            return Err(Failure::Answer(problem).into());
        }
        let body = whole(answer).await?;
        match awaited.strike(&body) {
            Incoming::Unaddressed(error) if !awaited.is_empty() => self.pass_on(awaited, error).await?,
            Incoming::NotJson if awaited.is_empty() => {}
            Incoming::NotJson => {
                return Err(Failure::Answer("the server's answer is not JSON".to_owned()).into());
            }
            incoming => {
                if let Incoming::Answer(result) = incoming {
                    note(result);
                }
                self.output.line(one_line(&body)).await?;
            }
        }
        if awaited.is_empty() {
            return Ok(());
        }
        Err(Failure::Answer("the server answered with something that is not the answer".to_owned()).into())
    }

    /// Takes from an answer what later requests need.
    fn note(&self, message: &Message, result: Option<&RawValue>, session: Option<HeaderValue>) {
        match (message.method(), result) {
            (Some("initialize"), Some(result)) => self.session.opened(Opening::new(session, result)),
            (Some("tools/list"), Some(result)) => {
                self.tools.lock().unwrap_or_else(PoisonError::into_inner).learn(result);
            }
            _ => {}
        }
    }

    /// Brings a stream of messages back up to the answer, resuming it where it breaks. A stream that is owed no
    /// answer is brought back up to its end.
    async fn stream_answer(
        self: &Arc<Self>,
        awaited: &mut Awaited,
        answer: Answer,
        resumable: bool,
        note: impl Fn(Option<&RawValue>),
    ) -> Result<Option<EventStream>, Stopped> {
        let owed = !awaited.is_empty();
        let mut stream = EventStream::new(answer);
        let mut patience = Patience::default();
        loop {
            let end = match stream.next_data().await {
                Ok(Some(data)) => {
                    patience = Patience::default();
                    match awaited.strike(&data) {
                        Incoming::NotJson => continue,
                        Incoming::Unaddressed(error) if owed => self.pass_on(awaited, error).await?,
                        incoming => {
                            if let Incoming::Answer(result) = incoming {
                                note(result);
                            }
                            self.output.line(one_line(&data)).await?;
                        }
                    }
                    if owed && awaited.is_empty() {
                        return Ok(Some(stream));
                    }
                    continue;
                }
                Err(Broken::TooLarge(problem)) => return Err(Failure::Answer(problem).into()),
                Ok(None) => End::Orderly,
                Err(Broken::Connection) => End::Broken,
            };
            if !owed {
                return Ok(None);
            }
            if !resumable {
                return Err(Failure::Lost.into());
            }
            stream = self.resume(stream, end, &mut patience).await?;
        }
    }

    /// Resumes a stream after the last event seen (2025-11-25, "Resumability and Redelivery").
    async fn resume(
        self: &Arc<Self>,
        stream: EventStream,
        mut end: End,
        patience: &mut Patience,
    ) -> Result<EventStream, Stopped> {
        let Some(last_id) = stream.last_id().and_then(|id| HeaderValue::try_from(id).ok()) else {
            return Err(Failure::Lost.into());
        };
        while patience.allows(end, stream.retry.is_some()) {
            tokio::time::sleep(stream.retry.unwrap_or(RESUME_PAUSE).min(Duration::from_secs(30))).await;
            match self.listen(Some(last_id.clone())).await {
                Ok(answer) if answer.status().is_success() && answer.is_of_type("text/event-stream") => {
                    return Ok(stream.continued(answer));
                }
                Ok(answer) if is_busy(answer.status()) => end = End::Broken,
                Ok(_) => break,
                Err(SendError::Unreachable { .. }) => end = End::Broken,
                Err(error) => return Err(Failure::Send(error).into()),
            }
        }
        Err(Failure::Lost.into())
    }

    /// A GET for events in the session.
    pub(crate) async fn listen(&self, last_event_id: Option<HeaderValue>) -> Result<Answer, SendError> {
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
    async fn error_answer(&self, awaited: &mut Awaited, answer: Answer) -> Result<(), Stopped> {
        let failure = Failure::of(&answer);
        if !answer.is_of_type("application/json") || awaited.is_empty() {
            return Err(failure.into());
        }
        let Ok(body) = answer.body(MAX_ERROR).await else { return Err(failure.into()) };
        match awaited.strike(&body) {
            Incoming::Answer(_) => self.output.line(one_line(&body)).await?,
            Incoming::Unaddressed(error) => self.pass_on(awaited, error).await?,
            Incoming::Other | Incoming::NotJson => {}
        }
        if awaited.is_empty() { Ok(()) } else { Err(failure.into()) }
    }

    /// Answers what is awaited with an error that the server wrote for no request in particular.
    async fn pass_on(&self, awaited: &mut Awaited, error: &RawValue) -> Result<(), Closed> {
        for id in awaited.take_all() {
            self.output.line(one_line(&failure::passed_on(&id, error))).await?;
        }
        Ok(())
    }
}

/// Notes that the one recovery of an operation was used up on the way to `answer` (P17).
fn spend(recovery: &mut Recovery, answer: &Answer) {
    if answer.recovery() == Recovery::Spent {
        *recovery = Recovery::Spent;
    }
}

/// The whole body of a JSON answer. One that breaks off is lost: what it answered may have been carried out.
async fn whole(answer: Answer) -> Result<Bytes, Failure> {
    answer.body(MAX_JSON).await.map_err(|error| match error {
        ReadError::TooLong(_) => Failure::Answer(error.to_string()),
        _ => Failure::Lost,
    })
}

/// The result in the answer to the request `id`, as JSON or as events.
async fn result_of(answer: Answer, id: &str) -> Result<Option<Box<RawValue>>, Failure> {
    let mut awaited = Awaited::to(id);
    if !answer.is_of_type("text/event-stream") {
        let body = whole(answer).await?;
        return Ok(match awaited.strike(&body) {
            Incoming::Answer(result) => result.map(ToOwned::to_owned),
            _ => None,
        });
    }
    let mut stream = EventStream::new(answer);
    while let Some(data) = stream.next_data().await.map_err(|_| Failure::Lost)? {
        if let Incoming::Answer(result) = awaited.strike(&data) {
            return Ok(result.map(ToOwned::to_owned));
        }
    }
    Ok(None)
}
