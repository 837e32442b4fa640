//! rmcp's transport over an [`Endpoint`]: rmcp frames messages and keeps sessions; who may send them, and what a 401
//! means, is decided below. rmcp gets no token at all (P15).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use linchpin_authority::Wait;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, SseError, StreamableHttpClient,
    StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
    StreamableHttpResponseLimits,
};
use sse_stream::Sse;

use crate::{Answer, Endpoint, Event, EventReader, Outgoing, ReadError, Recovery, SendError, Sent};

type Error = StreamableHttpError<SendError>;

/// How long a request of the transport waits for a token: within rmcp's own bound of 5 s on control traffic a
/// shorter wait than a transaction takes, so the transport's bounds are raised to it (see [`transport`]).
const WAIT: Duration = Duration::from_secs(60);
/// The longest pause before an event stream is opened again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An rmcp transport to `endpoint`, for `rmcp::serve_client`.
pub fn transport(endpoint: Endpoint) -> StreamableHttpClientTransport<LinchpinHttpClient> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(endpoint.server().url().as_str());
    let mut backoff = rmcp::transport::common::client_side_sse::ExponentialBackoff::default();
    backoff.max_delay = Some(LONGEST_PAUSE);
    config.retry_config = Arc::new(backoff);
    config.session_recovery_timeout = WAIT;
    StreamableHttpClientTransport::with_client(LinchpinHttpClient(endpoint), config)
}

/// rmcp's HTTP client over an endpoint.
#[derive(Debug, Clone)]
pub struct LinchpinHttpClient(Endpoint);

impl LinchpinHttpClient {
    async fn send(
        &self,
        method: Method,
        accept: &'static str,
        session: Option<&str>,
        custom: HashMap<HeaderName, HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut headers: HeaderMap = custom.into_iter().collect();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(session) = session.and_then(|session| HeaderValue::try_from(session).ok()) {
            headers.insert("mcp-session-id", session);
        }
        let outgoing = Outgoing { method, headers, body, wait: Wait::within(WAIT), recovery: Recovery::Once };
        let answer = self.0.send(&outgoing).await.map_err(send_error)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(StreamableHttpError::AuthRequired(AuthRequiredError::new(answer.challenge())));
        }
        Ok(answer)
    }
}

impl LinchpinHttpClient {
    fn read_error(&self, error: &ReadError) -> Error {
        match error {
            ReadError::TooLong(max_size) => StreamableHttpError::ResponseBodyTooLarge { max_size: *max_size },
            ReadError::Broken => StreamableHttpError::Client(SendError::Unreachable {
                server: Box::new(self.0.server().clone()),
                problem: "broke off in the middle of its answer".to_owned(),
                sent: Sent::Perhaps,
            }),
        }
    }
}

/// Keeps the markers that rmcp's callers look for (P17).
fn send_error(error: SendError) -> Error {
    match error {
        SendError::AuthenticationRequired { challenge, .. } => {
            StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge))
        }
        SendError::InsufficientScope { challenge, scope, .. } => {
            StreamableHttpError::InsufficientScope(InsufficientScopeError::new(challenge, scope))
        }
        other => StreamableHttpError::Client(other),
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
        let answer =
            self.send(Method::POST, accept, session_id.as_deref(), custom_headers, body.into()).await?;
        let status = answer.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        let session = answer.header("mcp-session-id").map(str::to_owned);
        if !status.is_success() {
            return error_answer(answer, session, limits.max_error_response_size).await;
        }
        if answer.is_of_type("text/event-stream") {
            return Ok(StreamableHttpPostResponse::Sse(events(answer, limits.max_sse_event_size), session));
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
        let message = serde_json::from_slice(&body).map_err(StreamableHttpError::Deserialize)?;
        Ok(StreamableHttpPostResponse::Json(message, session))
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let answer = self
            .send(Method::DELETE, "application/json", Some(&session_id), custom_headers, Bytes::new())
            .await?;
        match answer.status() {
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
        mut custom_headers: HashMap<HeaderName, HeaderValue>,
        max_sse_event_size: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::try_from(id).ok()) {
            custom_headers.insert(HeaderName::from_static("last-event-id"), id);
        }
        let answer = self
            .send(Method::GET, "text/event-stream", session_id.as_deref(), custom_headers, Bytes::new())
            .await?;
        match answer.status() {
            StatusCode::METHOD_NOT_ALLOWED => Err(StreamableHttpError::ServerDoesNotSupportSse),
            status if !status.is_success() => {
                let retry_after = answer.header("retry-after").map(str::to_owned);
                Err(StreamableHttpError::HttpStatus(HttpStatusError::new(status.as_u16(), retry_after)))
            }
            _ if !answer.is_of_type("text/event-stream") => Err(StreamableHttpError::UnexpectedContentType(
                answer.header("content-type").map(str::to_owned),
            )),
            _ => Ok(events(answer, max_sse_event_size)),
        }
    }
}

/// An HTTP error: the JSON-RPC error in it if there is one.
async fn error_answer(
    answer: Answer,
    session: Option<String>,
    limit: usize,
) -> Result<StreamableHttpPostResponse, Error> {
    let status = answer.status();
    let retry_after = answer.header("retry-after").map(str::to_owned);
    if answer.is_of_type("application/json")
        && let Ok(body) = answer.body(limit).await
        && let Ok(message @ JsonRpcMessage::Error(_)) = serde_json::from_slice::<ServerJsonRpcMessage>(&body)
    {
        return Ok(StreamableHttpPostResponse::Json(message, session));
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(StreamableHttpError::HttpStatus(HttpStatusError::new(status.as_u16(), retry_after)));
    }
    Err(StreamableHttpError::UnexpectedServerResponse(format!("HTTP {}", status.as_u16()).into()))
}

/// The events of an answer as rmcp reads them.
fn events(answer: Answer, limit: usize) -> BoxStream<'static, Result<Sse, SseError>> {
    futures::stream::unfold(Some((answer, EventReader::new(limit))), |state| async move {
        let (mut answer, mut reader) = state?;
        loop {
            match reader.next_event() {
                Ok(Some(event)) => return Some((Ok(sse(event)), Some((answer, reader)))),
                Ok(None) => {}
                Err(error) => return Some((Err(SseError::Body(Box::new(error))), None)),
            }
            match answer.chunk().await {
                Ok(Some(chunk)) => reader.push(&chunk),
                Ok(None) => return None,
                Err(error) => return Some((Err(SseError::Body(Box::new(error))), None)),
            }
        }
    })
    .boxed()
}

fn sse(event: Event) -> Sse {
    let data = event.data.map(|data| String::from_utf8_lossy(&data).into_owned());
    Sse { event: event.kind, data, id: event.id, retry: event.retry_ms }
}
