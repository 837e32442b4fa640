//! The head of a JSON-RPC message: as much of a line as the bridge has to know.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::modern;

/// A message of the client, with the bytes that go out.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The line as it came.
    pub(crate) bytes: Bytes,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether it is of a revision without sessions. Read once: every message is asked for it twice.
    pub(crate) is_modern: bool,
    /// Its `params`, a part of `bytes`.
    params: Option<Bytes>,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request, which is owed an answer. The id is the JSON text that the client wrote.
    Request {
        /// The id.
        id: String,
        /// The method.
        method: String,
    },
    /// A notification.
    Notification {
        /// The method.
        method: String,
    },
    /// An answer to a request of the server.
    Answer,
    /// Several messages (2025-03-26); they pass as they are.
    Batch,
}

impl Message {
    /// The id that is owed an answer.
    pub(crate) fn id(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The method of a request or notification.
    pub(crate) fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method } => Some(method),
            _ => None,
        }
    }

    /// Its `params` as the JSON text that the client wrote.
    pub(crate) fn params(&self) -> Option<&[u8]> {
        self.params.as_deref()
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Reads a line; `None` when it is no JSON-RPC message.
pub(crate) fn read(bytes: Bytes) -> Option<Message> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<Vec<&RawValue>>(&bytes).ok()?;
        return Some(Message { bytes, kind: Kind::Batch, is_modern: false, params: None });
    }
    let head: Head<'_> = serde_json::from_slice(&bytes).ok()?;
    let kind = match (head.method, head.id) {
        (Some(method), Some(id)) => Kind::Request { id: id.get().to_owned(), method: method.into_owned() },
        (Some(method), None) => Kind::Notification { method: method.into_owned() },
        (None, _) if head.result.is_some() || head.error.is_some() => Kind::Answer,
        (None, _) => return None,
    };
    let params = head.params.map(|params| bytes.slice_ref(params.get().as_bytes()));
    let is_modern = !matches!(kind, Kind::Answer) && params.as_deref().is_some_and(modern::is_modern);
    Some(Message { bytes, kind, is_modern, params })
}

/// What a message of the server is to a request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Incoming<'a> {
    /// The answer to the request: its result, or `None` for an error.
    Answer(Option<&'a RawValue>),
    /// Anything else: a notification, a request of the server.
    Other,
}

/// Reads what a message of the server is to the request `id`.
pub(crate) fn incoming<'a>(bytes: &'a [u8], id: &str) -> Incoming<'a> {
    let Ok(head) = serde_json::from_slice::<Head<'a>>(bytes) else { return Incoming::Other };
    let is_answer = head.method.is_none() && head.id.is_some_and(|given| given.get() == id);
    if is_answer { Incoming::Answer(head.result) } else { Incoming::Other }
}

/// The error object of a JSON-RPC error answer, and whether it answers the request `id`.
pub(crate) fn error_of<'a>(bytes: &'a [u8], id: &str) -> Option<(&'a RawValue, bool)> {
    let head: Head<'a> = serde_json::from_slice(bytes).ok()?;
    Some((head.error?, head.id.is_some_and(|given| given.get() == id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &'static str) -> Option<Kind> {
        read(Bytes::from_static(line.as_bytes())).map(|message| message.kind)
    }

    fn request(id: &str) -> Kind {
        Kind::Request { id: id.to_owned(), method: "m".to_owned() }
    }

    #[test]
    fn a_line_is_read_as_far_as_needed() {
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#), Some(request("1")));
        assert_eq!(
            kind(r#"{"id":12345678901234567890123,"method":"m"}"#),
            Some(request("12345678901234567890123"))
        );
        assert_eq!(kind(r#"{"id":"a\u0062","method":"m"}"#), Some(request(r#""a\u0062""#)));
        assert_eq!(kind(r#"{"id":1.0,"method":"\u006d"}"#), Some(request("1.0")));
        assert_eq!(kind(r#"{"method":"m"}"#), Some(Kind::Notification { method: "m".to_owned() }));
        assert_eq!(kind(r#"{"id":1,"result":{}}"#), Some(Kind::Answer));
        assert_eq!(kind(r#"{"id":1,"error":{"code":1}}"#), Some(Kind::Answer));
        assert_eq!(kind(r#" [{"id":1,"method":"m"}]"#), Some(Kind::Batch));
        for none in [
            "",
            "x",
            "{",
            "{}",
            "1",
            r#""m""#,
            r#"{"id":1}"#,
            "[",
            r#"{"method":1}"#,
            "{\"method\":\"\x00\"}",
        ] {
            assert_eq!(kind(none), None, "{none}");
        }
    }

    #[test]
    fn an_answer_is_told_by_the_text_of_its_id() {
        let is_answer = |line: &str, id| matches!(incoming(line.as_bytes(), id), Incoming::Answer(_));
        assert!(is_answer(r#"{"id":1,"result":{}}"#, "1"));
        assert!(is_answer(r#"{"id":"1","error":{}}"#, "\"1\""));
        assert!(!is_answer(r#"{"id":"1","result":{}}"#, "1"));
        assert!(!is_answer(r#"{"id":1,"method":"ping"}"#, "1"));
        assert!(!is_answer("no json", "1"));
    }
}
