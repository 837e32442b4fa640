//! One event, and the line that it is in `events.jsonl`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Place, What};
use crate::{CredentialKey, Profile, StoreKind, UnixMs, plain_json};

/// The version of the lines that this crate writes. Readers take later ones for what they understand of them.
const VERSION: u32 = 1;

/// One thing that was decided or done about a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at_ms: UnixMs,
    /// The process.
    pub pid: u32,
    /// The version of Linchpin in it.
    pub version: String,
    /// Which sign-in: [`CredentialKey::digest`], which tells apart also servers that differ in what
    /// [`Event::server`] leaves out.
    pub key: String,
    /// The server, without the query of its URL.
    pub server: Place,
    /// The account.
    pub profile: Profile,
    /// The store of the sign-in; `None` for a kind that this version does not know.
    pub store: Option<StoreKind>,
    /// The generation of the record that this left or was decided by.
    pub generation: Option<u64>,
    /// What.
    pub what: What,
}

impl Event {
    /// An event of this process.
    pub fn new(
        at_ms: UnixMs,
        key: &CredentialKey,
        store: StoreKind,
        generation: Option<u64>,
        what: What,
    ) -> Self {
        Self {
            at_ms,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: key.digest(),
            server: Place::new(key.server.as_str()),
            profile: key.profile.clone(),
            store: Some(store),
            generation,
            what,
        }
    }

    /// Whether it is about the sign-in of `key`.
    pub fn is_about(&self, key: &CredentialKey) -> bool {
        self.key == key.digest()
    }

    /// The line in `events.jsonl`, without its end. A person may look at it: what acts on a terminal or hides is escaped.
    pub fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            v: u32,
            at_ms: UnixMs,
            pid: u32,
            version: &'a str,
            key: &'a str,
            server: &'a Place,
            profile: &'a Profile,
            store: Option<StoreKind>,
            #[serde(skip_serializing_if = "Option::is_none")]
            generation: Option<u64>,
            #[serde(flatten)]
            what: &'a What,
        }
        let Self { at_ms, pid, version, key, server, profile, store, generation, what } = self;
        let (at_ms, pid, store, generation) = (*at_ms, *pid, *store, *generation);
        let line = Line { v: VERSION, at_ms, pid, version, key, server, profile, store, generation, what };
        let line = serde_json::to_string(&line).expect("an event is strings and numbers");
        plain_json(&line).into_owned()
    }

    /// The event of a line; `None` when it is none. Fields that this version does not know are passed over, and of a
    /// kind that it does not know the name is kept.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return None };
        let kind = fields.get("kind")?.as_str()?.to_owned();
        Some(Self {
            at_ms: field(&fields, "at_ms")?,
            pid: field(&fields, "pid")?,
            version: field(&fields, "version").unwrap_or_default(),
            key: field(&fields, "key")?,
            server: field(&fields, "server")?,
            profile: field(&fields, "profile")?,
            store: field(&fields, "store"),
            generation: field(&fields, "generation"),
            what: serde_json::from_value(Value::Object(fields)).unwrap_or(What::Other { kind }),
        })
    }
}

fn field<T: DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Option<T> {
    T::deserialize(fields.get(name)?).ok()
}
