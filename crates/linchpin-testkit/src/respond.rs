//! Answers.

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

/// What every handler gives back.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// An answer with this body.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", value.to_string())
}

/// An OAuth error (RFC 6749 section 5.2).
pub(crate) fn oauth_error(status: StatusCode, code: &str) -> Answer {
    let mut answer = json(status, &serde_json::json!({ "error": code }));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(crate) fn redirect(location: &str) -> Answer {
    let mut answer = empty(StatusCode::FOUND);
    if let Ok(value) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, value);
    }
    answer
}

/// A 401, with or without a challenge.
pub(crate) fn unauthorized(challenge: Option<&str>) -> Answer {
    let mut answer = empty(StatusCode::UNAUTHORIZED);
    if let Some(value) = challenge.and_then(|challenge| HeaderValue::from_str(challenge).ok()) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    answer
}

/// Server-sent events.
pub(crate) fn events(events: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let body = StreamBody::new(events.map(|bytes| Ok(Frame::data(bytes))));
    let mut answer = Response::new(http_body_util::BodyExt::boxed_unsync(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

pub(crate) fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
    answer
}
