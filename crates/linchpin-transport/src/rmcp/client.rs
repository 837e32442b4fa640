//! rmcp's HTTP client over an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use linchpin_authority::Wait;
use linchpin_store::Disposition;
use rand::Rng as _;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions as _, JsonRpcMessage,
};
use rmcp::transport::streamable_http_client::{
    HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    StreamableHttpResponseLimits,
};
use sse_stream::Sse;
use tokio::time::Instant;

use super::events::{Resumable, Whose, events};
use crate::listening::{SignInMark, is_busy, pause};
use crate::{Allowance, Answer, Authorization, Endpoint, Outgoing, ReadError, Recovery, SendError, Sent};

mod answer;

use answer::{error_answer, send_error, unauthorized, unless_undiscovered};

pub(super) type Error = StreamableHttpError<SendError>;

/// rmcp drops an answer to the server, a cancellation and the end of a session after 5 s without a word; a little
/// before that, the wait for a token ends with an error of its own.
const CONTROL: Duration = Duration::from_millis(4500);
/// Other background traffic, which rmcp waits for without a bound, or opens a session with (see `SESSION_RECOVERY`).
const BACKGROUND: Duration = Duration::from_secs(28);
/// rmcp takes a server that does not answer `server/discover` within 10 s for an old one.
const DISCOVER: Duration = Duration::from_secs(9);

/// rmcp's HTTP client over an endpoint. Cheap to clone; clones are the same client.
#[derive(Debug, Clone)]
pub struct LinchpinHttpClient {
    endpoint: Endpoint,
    resumable: Resumable,
    /// What connecting may do, while it does.
    connecting: Arc<Mutex<Option<Allowance>>>,
}

impl LinchpinHttpClient {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let resumable = Resumable::of(endpoint.server());
        Self { endpoint, resumable, connecting: Arc::default() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn begin(&self, allowance: Allowance) {
        *self.connecting.lock().unwrap_or_else(PoisonError::into_inner) = Some(allowance);
    }

    pub(super) fn begun(&self) {
        *self.connecting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whom a message is charged to.
    fn allowance(&self, message: &ClientJsonRpcMessage) -> Allowance {
        let limit = match message {
            JsonRpcMessage::Request(request) => {
                if let Some(allowance) = request.request.extensions().get::<Allowance>() {
                    return allowance.clone();
                }
                match request.request {
                    ClientRequest::DiscoverRequest(_) | ClientRequest::InitializeRequest(_) => {
                        return self.handshake();
                    }
                    _ => BACKGROUND,
                }
            }
            JsonRpcMessage::Notification(notification) => match notification.notification {
                ClientNotification::InitializedNotification(_) => return self.handshake(),
                ClientNotification::CancelledNotification(_) => CONTROL,
                _ => BACKGROUND,
            },
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => CONTROL,
        };
        Allowance::within(limit)
    }

    fn handshake(&self) -> Allowance {
        let connecting = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        connecting.clone().unwrap_or_else(|| Allowance::within(BACKGROUND))
    }

    /// How long a message waits for a token: as its allowance says, but for the message that rmcp asks for in vain
    /// after 10 s.
    fn wait(message: &ClientJsonRpcMessage, allowance: &Allowance) -> Wait {
        match (message, allowance.wait()) {
            (JsonRpcMessage::Request(request), wait)
                if matches!(request.request, ClientRequest::DiscoverRequest(_)) =>
            {
                let end = Instant::now() + DISCOVER;
                Wait::Until(if let Wait::Until(deadline) = wait { deadline.min(end) } else { end })
            }
            (_, wait) => wait,
        }
    }

    async fn get(
        &self,
        session: Option<&str>,
        last_event_id: Option<&str>,
        mut custom: HashMap<HeaderName, HeaderValue>,
        allowance: &Allowance,
    ) -> Result<Answer, SendError> {
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::try_from(id).ok()) {
            custom.insert(HeaderName::from_static("last-event-id"), id);
        }
        let outgoing =
            outgoing(Method::GET, "text/event-stream", session, custom, Bytes::new(), allowance.wait());
        self.endpoint.send_for(&outgoing, allowance).await
    }

    /// The stream that brings the answer of an operation, resumed. rmcp tries again unless the error is one of those
    /// that it takes as final; those are noted, since it does not hand them to the caller.
    async fn resume(
        &self,
        session: Option<&str>,
        last_event_id: &str,
        custom: HashMap<HeaderName, HeaderValue>,
        allowance: &Allowance,
    ) -> Result<Answer, Error> {
        if allowance.is_over() || allowance.failure().is_some() {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        let failed = |error| {
            allowance.fail(error);
            Err(StreamableHttpError::ServerDoesNotSupportSse)
        };
        match self.get(session, Some(last_event_id), custom, allowance).await {
            Ok(answer) if answer.status().is_success() || is_busy(answer.status()) => Ok(answer),
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => Err(unauthorized(&answer)),
            Ok(_) => failed(SendError::Unreachable {
                server: Box::new(self.endpoint.server().clone()),
                problem: "has forgotten the answer that it was sending".to_owned(),
                sent: Sent::Perhaps,
            }),
            Err(error @ SendError::Unreachable { .. }) => Err(StreamableHttpError::Client(error)),
            Err(error) => failed(error),
        }
    }

    /// The stream of what the server has to say by itself. Tries until there is one, after a pause that grows to half
    /// a minute; while nobody is signed in it sends nothing, and goes on once somebody is (P18).
    async fn listen(
        &self,
        session: Option<&str>,
        mut last_event_id: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Answer, Error> {
        let mut failures = 0;
        loop {
            let mark = match self.endpoint.authorization() {
                Authorization::SignIn(credential) => Some((SignInMark::of(credential).await, credential)),
                Authorization::Configured => None,
            };
            let allowance = Allowance::within(BACKGROUND);
            let mut asked = None;
            match self.get(session, last_event_id.as_deref(), custom.clone(), &allowance).await {
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
                    return Err(unauthorized(&answer));
                }
                Ok(answer) if is_busy(answer.status()) => asked = answer.retry_after(),
                // A server that does not know the last event any more may still have a stream.
                Ok(answer) if answer.status().is_client_error() && last_event_id.take().is_some() => {
                    if answer.status() == StatusCode::NOT_FOUND {
                        return Ok(answer);
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(SendError::Redirected { .. }) => {
                    return Err(StreamableHttpError::ServerDoesNotSupportSse);
                }
                Err(error) => match (error.disposition(), mark) {
                    (Disposition::SignIn, Some((mark, credential))) => {
                        tracing::warn!("events are not listened to until a new sign-in: {error}");
                        mark.after(&error).superseded(credential).await;
                        continue;
                    }
                    (Disposition::SignIn, None) => return Err(send_error(error)),
                    _ => {}
                },
            }
            failures += 1;
            let jitter = rand::rng().random_range(0.0..1.0);
            tokio::time::sleep(pause(asked, failures, jitter)).await;
        }
    }

    fn read_error(&self, error: &ReadError) -> Error {
        match error {
            ReadError::TooLong(max_size) => StreamableHttpError::ResponseBodyTooLarge { max_size: *max_size },
            ReadError::Broken => StreamableHttpError::Client(SendError::Unreachable {
                server: Box::new(self.endpoint.server().clone()),
                problem: "broke off in the middle of its answer".to_owned(),
                sent: Sent::Perhaps,
            }),
        }
    }

    /// A 404 to a session: opened anew by rmcp, once per operation (P17).
    fn session_lost(&self, allowance: &Allowance) -> Error {
        allowance.refused();
        if allowance.take_session() {
            return StreamableHttpError::SessionExpired;
        }
        StreamableHttpError::Client(SendError::SessionLost {
            server: Box::new(self.endpoint.server().clone()),
        })
    }
}

impl StreamableHttpClient for LinchpinHttpClient {
    type Error = SendError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits)
            .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let mut limits = StreamableHttpResponseLimits::default();
        limits.max_sse_event_size = max_sse_event_size;
        self.post_message_with_response_limits(uri, message, session_id, auth_header, custom_headers, limits)
            .await
    }

    async fn post_message_with_response_limits(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let body = serde_json::to_vec(&message).map_err(StreamableHttpError::Deserialize)?;
        let accept = "application/json, text/event-stream";
        let allowance = self.allowance(&message);
        let (session, wait) = (session_id.as_deref(), Self::wait(&message, &allowance));
        let outgoing = outgoing(Method::POST, accept, session, custom_headers, body.into(), wait);
        let answer = self.endpoint.send_for(&outgoing, &allowance).await.map_err(send_error)?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(unauthorized(&answer));
        }
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session_id.is_some() {
            return Err(self.session_lost(&allowance));
        }
        let session = answer.header("mcp-session-id").map(str::to_owned);
        if !status.is_success() {
            return error_answer(answer, session, &message, limits.max_error_response_size).await;
        }
        if answer.is_of_type("text/event-stream") {
            let operation = carried(&message);
            let limit = limits.max_sse_event_size;
            let events = events(answer, limit, None, operation, self.resumable.clone());
            return Ok(StreamableHttpPostResponse::Sse(events, session));
        }
        if !answer.is_of_type("application/json") {
            return match message {
                // Some servers answer a notification with 200 and nothing.
                JsonRpcMessage::Notification(_) => Ok(StreamableHttpPostResponse::Accepted),
                _ => Err(StreamableHttpError::UnexpectedContentType(
                    answer.header("content-type").map(str::to_owned),
                )),
            };
        }
        let max_size = limits.max_json_response_size;
        let body = answer.body(max_size).await.map_err(|error| self.read_error(&error))?;
        let answer = serde_json::from_slice(&body).map_err(StreamableHttpError::Deserialize)?;
        Ok(StreamableHttpPostResponse::Json(unless_undiscovered(&message, answer), session))
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let (accept, allowance) = ("application/json", Allowance::within(CONTROL));
        let (session, wait) = (Some(&*session_id), allowance.wait());
        let outgoing = outgoing(Method::DELETE, accept, session, custom_headers, Bytes::new(), wait);
        let answer = self.endpoint.send_for(&outgoing, &allowance).await.map_err(send_error)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(unauthorized(&answer)),
            status if status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status => Err(StreamableHttpError::HttpStatus(HttpStatusError::new(status.as_u16(), None))),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        let limit = StreamableHttpResponseLimits::default().max_sse_event_size;
        self.get_stream_with_max_sse_event_size(
            uri,
            session_id,
            last_event_id,
            auth_header,
            custom_headers,
            limit,
        )
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        _uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        let session = session_id.as_deref();
        let whose = last_event_id.as_deref().and_then(|id| self.resumable.whose(id));
        let (answer, operation) = match (whose, &last_event_id) {
            (Some(Whose::Operation(allowance)), Some(id)) => {
                (self.resume(session, id, custom_headers, &allowance).await?, Some(allowance))
            }
            (Some(Whose::Blocked(times)), _) => {
                // A server that begins its stream anew may bring the same event.
                tokio::time::sleep(pause(None, times, 0.0)).await;
                (self.listen(session, None, custom_headers).await?, None)
            }
            _ => (self.listen(session, last_event_id.clone(), custom_headers).await?, None),
        };
        match answer.status() {
            // rmcp takes this as the end; a lost session is opened anew by the next request, and with it the stream.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => {
                Err(StreamableHttpError::ServerDoesNotSupportSse)
            }
            status if !status.is_success() => {
                let retry_after = answer.header("retry-after").map(str::to_owned);
                Err(StreamableHttpError::HttpStatus(HttpStatusError::new(status.as_u16(), retry_after)))
            }
            _ if !answer.is_of_type("text/event-stream") => Err(StreamableHttpError::UnexpectedContentType(
                answer.header("content-type").map(str::to_owned),
            )),
            _ => {
                let resumable = self.resumable.clone();
                Ok(events(answer, max_sse_event_size, last_event_id, operation, resumable))
            }
        }
    }
}

fn outgoing(
    method: Method,
    accept: &'static str,
    session: Option<&str>,
    custom: HashMap<HeaderName, HeaderValue>,
    body: Bytes,
    wait: Wait,
) -> Outgoing {
    let mut headers: HeaderMap = custom.into_iter().collect();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(session) = session.and_then(|session| HeaderValue::try_from(session).ok()) {
        headers.insert("mcp-session-id", session);
    }
    Outgoing { method, headers, body, wait, recovery: Recovery::Once }
}

/// The allowance that a request brought with it.
fn carried(message: &ClientJsonRpcMessage) -> Option<Allowance> {
    match message {
        JsonRpcMessage::Request(request) => request.request.extensions().get::<Allowance>().cloned(),
        _ => None,
    }
}
