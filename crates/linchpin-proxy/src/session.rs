//! What the server said about the session, and what is needed to open it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

/// The session of revisions before 2026-07-28. Shared by all messages.
#[derive(Debug)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// Held while the session is opened again, so that one does it for all.
    pub(crate) reopening: tokio::sync::Mutex<()>,
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    initialize: Option<(Bytes, String)>,
    opening: Opening,
}

/// What an `initialize` was answered with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

impl Opening {
    /// Reads the session's id and the protocol version out of the head and the result of an answer.
    pub(crate) fn new(session: Option<HeaderValue>, result: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Initialized {
            #[serde(rename = "protocolVersion")]
            version: String,
        }
        let id = session.map(|mut session| {
            session.set_sensitive(true);
            session
        });
        let initialized = serde_json::from_str::<Initialized>(result.get()).ok();
        let version = initialized.and_then(|initialized| HeaderValue::try_from(initialized.version).ok());
        Self { id, version }
    }

    /// The headers that name it.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = &self.id {
            headers.insert("mcp-session-id", id.clone());
        }
        if let Some(version) = &self.version {
            headers.insert("mcp-protocol-version", version.clone());
        }
        headers
    }
}

/// What a message was sent with.
#[derive(Debug, Clone)]
pub(crate) struct Sitting {
    /// Which opening of the session.
    pub(crate) generation: u64,
    /// The headers that name it.
    pub(crate) headers: HeaderMap,
    /// Whether there is a session id, so that a 404 means that it was lost.
    pub(crate) has_id: bool,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            reopening: tokio::sync::Mutex::default(),
            generation: watch::Sender::new(0),
        }
    }

    /// Remembers the client's `initialize` and forgets the session before it.
    pub(crate) fn begin(&self, initialize: Bytes, id: &str) {
        let mut state = self.state();
        *state = State { initialize: Some((initialize, id.to_owned())), opening: Opening::default() };
    }

    /// From now on messages are sent in this opening.
    pub(crate) fn opened(&self, opening: Opening) {
        let mut state = self.state();
        state.opening = opening;
        drop(state);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The client's `initialize`, and its id.
    pub(crate) fn initialize(&self) -> Option<(Bytes, String)> {
        self.state().initialize.clone()
    }

    /// What a message sent now is sent with.
    pub(crate) fn sitting(&self) -> Sitting {
        let opening = self.state().opening.clone();
        let generation = *self.generation.borrow();
        Sitting { generation, headers: opening.headers(), has_id: opening.id.is_some() }
    }

    /// Which opening of the session it is.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
