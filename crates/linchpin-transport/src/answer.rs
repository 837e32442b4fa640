//! Answers, as much of them as is asked for.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use linchpin_oauth::challenge::{Challenge, Challenges};
use linchpin_store::Secret;
use thiserror::Error;

use crate::Recovery;

/// The head of an answer, and its body as it comes.
pub struct Answer {
    response: reqwest::Response,
    recovered: bool,
    /// What the request carried that the server must not be quoted with.
    sent: Vec<Secret>,
}

/// The status and nothing else: headers hold session ids and cookies (P20).
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Why a body ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Longer than the caller allows.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The connection broke.
    #[error("the connection broke in the middle of the answer")]
    Broken,
}

impl Answer {
    /// The answer to a request that carried the secrets `sent`.
    pub(crate) fn new(response: reqwest::Response, sent: Vec<Secret>) -> Self {
        Self { response, recovered: false, sent }
    }

    /// The same answer, to a request that was refused before.
    pub(crate) fn after_recovery(self) -> Self {
        Self { recovered: true, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether a 401 was recovered on the way to it.
    pub fn recovery(&self) -> Recovery {
        if self.recovered { Recovery::Spent } else { Recovery::Once }
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Whether the body is of this media type, parameters aside.
    pub fn is_of_type(&self, media_type: &str) -> bool {
        let value =
            self.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(media_type))
    }

    /// What `Retry-After` asks for in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER.as_str())?.trim().parse().ok().map(Duration::from_secs)
    }

    /// Every line of the challenge, joined as the grammar allows. If it repeats a secret that the request carried, what
    /// is left of it in plain form without that (P20).
    pub fn challenge(&self) -> String {
        let lines = self.headers().get_all(WWW_AUTHENTICATE);
        let whole: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let whole = whole.join(", ");
        let parsed = Challenges::parse(lines);
        let tells = |text: &str| self.sent.iter().any(|secret| secret.is_in(text));
        // Escapes in a quoted string hide it from the first look.
        let is_harmless = !tells(&whole)
            && parsed.iter().all(|challenge| challenge.clone().without(&self.sent) == *challenge);
        if is_harmless {
            return whole;
        }
        let cleaned = parsed.iter().filter(|challenge| !tells(challenge.scheme()));
        let cleaned: Vec<_> =
            cleaned.map(|challenge| challenge.clone().without(&self.sent).to_plain()).collect();
        cleaned.join(", ")
    }

    /// The challenge of a 403 that asks for more scopes (RFC 6750 section 3.1), without any that repeats a secret which
    /// the request carried.
    pub fn insufficient_scope(&self) -> Option<Challenge> {
        if self.status() != StatusCode::FORBIDDEN {
            return None;
        }
        let challenges = Challenges::parse(self.headers().get_all(WWW_AUTHENTICATE));
        let bearer = challenges.bearer().filter(|bearer| bearer.error() == Some("insufficient_scope"));
        bearer.map(|bearer| bearer.clone().without(&self.sent))
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.response.chunk().await.map_err(|_| ReadError::Broken)
    }

    /// The whole body, of at most `limit` bytes.
    pub async fn body(mut self, limit: usize) -> Result<Bytes, ReadError> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let mut whole = None;
        let mut length = first.len();
        while length <= limit {
            let Some(chunk) = self.chunk().await? else { break };
            length += chunk.len();
            whole.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&chunk);
        }
        if length > limit {
            return Err(ReadError::TooLong(limit));
        }
        Ok(whole.map_or(first, BytesMut::freeze))
    }
}
