//! The head of a JSON-RPC message: as much of a line as the bridge has to know.

use std::fmt;

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::modern;

/// A message of the client, with the bytes that go out.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The line as it came.
    pub(crate) bytes: Bytes,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its `params` as the text that the client wrote, a part of `bytes`.
    pub(crate) params: Option<Bytes>,
    /// Whether it is of a revision without sessions. Read once: every message is asked for it twice.
    pub(crate) is_modern: bool,
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
    Batch {
        /// The ids of the requests among them.
        ids: Vec<String>,
    },
}

/// Why a line is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not JSON.
    NotJson,
    /// It is JSON, but neither a request nor a notification nor an answer.
    NotAMessage,
}

impl Message {
    /// The id of a request.
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
}

/// The fields of a message that matter here. Of a field that is there twice the last one counts, as nearly every
/// reader of JSON has it.
#[derive(Default)]
struct Head<'a> {
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Head<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Field {
            Id,
            Method,
            Params,
            Result,
            Error,
            #[serde(other)]
            Other,
        }

        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Head<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
                let mut head = Head::default();
                while let Some(field) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    match field {
                        Field::Id => head.id = Some(value),
                        Field::Method => head.method = Some(value),
                        Field::Params => head.params = Some(value),
                        Field::Result => head.result = Some(value),
                        Field::Error => head.error = Some(value),
                        Field::Other => {}
                    }
                }
                Ok(head)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Reads a line.
pub(crate) fn read(bytes: Bytes) -> Result<Message, Unreadable> {
    let unreadable = || if is_json(&bytes) { Unreadable::NotAMessage } else { Unreadable::NotJson };
    if bytes.trim_ascii_start().starts_with(b"[") {
        let items: Vec<&RawValue> = serde_json::from_slice(&bytes).map_err(|_| Unreadable::NotJson)?;
        if items.is_empty() {
            return Err(Unreadable::NotAMessage);
        }
        let ids = items.iter().filter_map(|item| {
            let head: Head<'_> = serde_json::from_str(item.get()).ok()?;
            head.method.and(head.id).map(|id| id.get().to_owned())
        });
        let kind = Kind::Batch { ids: ids.collect() };
        return Ok(Message { bytes, kind, params: None, is_modern: false });
    }
    let head: Head<'_> = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
    let method = head.method.map(|method| serde_json::from_str::<String>(method.get()));
    let kind = match (method.transpose().map_err(|_| Unreadable::NotAMessage)?, head.id) {
        (Some(method), Some(id)) => Kind::Request { id: id.get().to_owned(), method },
        (Some(method), None) => Kind::Notification { method },
        (None, _) if head.result.is_some() || head.error.is_some() => Kind::Answer,
        (None, _) => return Err(Unreadable::NotAMessage),
    };
    let params = head.params.map(|params| bytes.slice_ref(params.get().as_bytes()));
    let is_modern = !matches!(kind, Kind::Answer) && params.as_deref().is_some_and(modern::is_modern);
    Ok(Message { bytes, kind, params, is_modern })
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// The answers that a message is still owed, by the ids of its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Awaited(Vec<String>);

/// What a message of the server is to the requests that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Incoming<'a> {
    /// The answer to one of them, its result unless it is an error; or several answers.
    Answer(Option<&'a RawValue>),
    /// An error that the server wrote for no request in particular.
    Unaddressed(&'a RawValue),
    /// Anything else: a notification, a request of the server.
    Other,
    /// It is no JSON.
    NotJson,
}

impl Awaited {
    /// What `message` is owed.
    pub(crate) fn of(message: &Message) -> Self {
        match &message.kind {
            Kind::Request { id, .. } => Self(vec![id.clone()]),
            Kind::Batch { ids } => Self(ids.clone()),
            Kind::Notification { .. } | Kind::Answer => Self::default(),
        }
    }

    /// The answer to the request `id`.
    pub(crate) fn to(id: &str) -> Self {
        Self(vec![id.to_owned()])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the ids that are left; nothing is owed afterwards.
    pub(crate) fn take_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0)
    }

    /// Reads what a message of the server is, and strikes out what it answers.
    pub(crate) fn strike<'a>(&mut self, bytes: &'a [u8]) -> Incoming<'a> {
        if bytes.trim_ascii_start().starts_with(b"[") {
            let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(bytes) else { return Incoming::NotJson };
            let before = self.0.len();
            for item in items {
                let _ = self.strike(item.get().as_bytes());
            }
            return if self.0.len() < before { Incoming::Answer(None) } else { Incoming::Other };
        }
        let Ok(head) = serde_json::from_slice::<Head<'a>>(bytes) else {
            return if is_json(bytes) { Incoming::Other } else { Incoming::NotJson };
        };
        if head.method.is_some() {
            return Incoming::Other;
        }
        let id = head.id.map_or("null", RawValue::get);
        if let Some(at) = self.0.iter().position(|awaited| is_same_id(awaited, id)) {
            self.0.swap_remove(at);
            return Incoming::Answer(head.result);
        }
        match head.error.filter(|error| error.get() != "null") {
            Some(error) if id == "null" => Incoming::Unaddressed(error),
            _ => Incoming::Other,
        }
    }
}

/// Whether two ids are the same to a server that reads and writes JSON: some write `1` for `1.0` and round what is
/// longer than a double.
fn is_same_id(one: &str, other: &str) -> bool {
    use serde_json::Value;
    if one == other {
        return true;
    }
    match (serde_json::from_str(one), serde_json::from_str(other)) {
        (Ok(Value::Number(one)), Ok(Value::Number(other))) => one.as_f64() == other.as_f64(),
        (Ok(Value::String(one)), Ok(Value::String(other))) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &'static str) -> Result<Kind, Unreadable> {
        read(Bytes::from_static(line.as_bytes())).map(|message| message.kind)
    }

    fn request(id: &str) -> Kind {
        Kind::Request { id: id.to_owned(), method: "m".to_owned() }
    }

    #[test]
    fn a_line_is_read_as_far_as_needed() {
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#), Ok(request("1")));
        assert_eq!(
            kind(r#"{"id":12345678901234567890123,"method":"m"}"#),
            Ok(request("12345678901234567890123"))
        );
        assert_eq!(kind(r#"{"id":"a\u0062","method":"m"}"#), Ok(request(r#""a\u0062""#)));
        assert_eq!(kind(r#"{"id":1.0,"method":"\u006d"}"#), Ok(request("1.0")));
        assert_eq!(kind(r#"{"id":null,"method":"m"}"#), Ok(request("null")));
        assert_eq!(kind(r#"{"id":1,"id":2,"method":"x","method":"m","a":1,"a":2}"#), Ok(request("2")));
        assert_eq!(kind(r#"{"method":"m"}"#), Ok(Kind::Notification { method: "m".to_owned() }));
        for answer in
            [r#"{"id":1,"result":{}}"#, r#"{"id":1,"error":{"code":1}}"#, r#"{"id":1,"result":null}"#]
        {
            assert_eq!(kind(answer), Ok(Kind::Answer));
        }
        let batch = |ids: &[&str]| Kind::Batch { ids: ids.iter().map(|&id| id.to_owned()).collect() };
        assert_eq!(
            kind(r#" [{"id":1,"method":"m"},{"method":"m"},{"id":2,"result":1},7,{"id":"3","method":"m"}]"#),
            Ok(batch(&["1", "\"3\""]))
        );
        for not_json in ["", "x", "{", "[", "[1,", "{\"method\":\"\x00\"}", "{}x"] {
            assert_eq!(kind(not_json), Err(Unreadable::NotJson), "{not_json}");
        }
        for not_a_message in
            ["{}", "[]", "1", r#""m""#, r#"{"id":1}"#, r#"{"method":1}"#, r#"{"method":null}"#]
        {
            assert_eq!(kind(not_a_message), Err(Unreadable::NotAMessage), "{not_a_message}");
        }
    }

    #[test]
    fn params_are_what_the_client_wrote() {
        let message =
            read(Bytes::from_static(br#"{"method":"m","params": {"a" : 1.0 } }"#)).expect("a message");
        assert_eq!(message.params.as_deref(), Some(&br#"{"a" : 1.0 }"#[..]));
    }

    #[test]
    fn an_answer_is_told_by_its_id_however_the_server_writes_it() {
        let is_answer =
            |line: &str, id| matches!(Awaited::to(id).strike(line.as_bytes()), Incoming::Answer(_));
        assert!(is_answer(r#"{"id":1,"result":{}}"#, "1"));
        assert!(is_answer(r#"{"id":"1","error":{}}"#, "\"1\""));
        assert!(is_answer(r#"{"id":1,"result":{}}"#, "1.0"));
        assert!(is_answer(r#"{"id":"b","result":{}}"#, r#""\u0062""#));
        assert!(is_answer(r#"{"id":1.2345678901234568e+22,"result":{}}"#, "12345678901234567890123"));
        assert!(!is_answer(r#"{"id":"1","result":{}}"#, "1"));
        assert!(!is_answer(r#"{"id":2,"result":{}}"#, "1"));
        assert!(!is_answer(r#"{"id":1,"method":"ping"}"#, "1"));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let incoming = |line: &'static str| Awaited::to("1").strike(line.as_bytes());
        assert!(matches!(incoming(r#"{"id":null,"error":{"code":1}}"#), Incoming::Unaddressed(_)));
        assert!(matches!(incoming(r#"{"error":{"code":1}}"#), Incoming::Unaddressed(_)));
        assert!(matches!(incoming(r#"{"id":null,"error":null}"#), Incoming::Other));
        assert!(matches!(incoming("17"), Incoming::Other));
        assert!(matches!(incoming("[]"), Incoming::Other));
        assert!(matches!(incoming("ping"), Incoming::NotJson));
        assert!(matches!(incoming("[1"), Incoming::NotJson));
    }

    #[test]
    fn a_batch_is_answered_once_all_of_it_is() {
        let batch = br#"[{"id":1,"method":"m"},{"id":"2","method":"m"},{"id":3,"method":"m"}]"#;
        let mut awaited = Awaited::of(&read(Bytes::from_static(batch)).expect("a batch"));
        assert!(matches!(awaited.strike(br#"{"id":3,"result":1}"#), Incoming::Answer(Some(_))));
        assert!(matches!(
            awaited.strike(br#"[{"id":"2","result":1},{"method":"n"}]"#),
            Incoming::Answer(None)
        ));
        assert!(!awaited.is_empty());
        assert_eq!(awaited.take_all(), ["1"]);
        assert!(awaited.is_empty());
    }
}
