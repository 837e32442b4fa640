//! The events of an answer as rmcp reads them, and whose they are when their stream is resumed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use linchpin_store::ServerUrl;
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::Sse;

use crate::listening::LONGEST_PAUSE;
use crate::{Allowance, Answer, Event, EventReader, EventTooLarge, SendError};

/// From so many streams on, those of finished operations are forgotten.
const MANY: usize = 64;

/// Whose stream ends with which event: rmcp resumes a stream with nothing but the id of its last event.
#[derive(Debug, Clone)]
pub(super) struct Resumable {
    server: Box<ServerUrl>,
    known: Arc<Mutex<HashMap<String, Whose>>>,
}

#[derive(Debug, Clone)]
pub(super) enum Whose {
    /// An operation waits for its answer.
    Operation(Allowance),
    /// Nobody's in particular, and so many times now in front of an event that is too large: resuming would bring it
    /// again.
    Blocked(u32),
}

impl Resumable {
    pub(super) fn of(server: &ServerUrl) -> Self {
        Self { server: Box::new(server.clone()), known: Arc::default() }
    }

    pub(super) fn whose(&self, last_id: &str) -> Option<Whose> {
        self.lock().get(last_id).cloned()
    }

    fn moved(&self, from: Option<&str>, to: &str, whose: Whose) {
        let mut known = self.lock();
        if let Some(from) = from {
            known.remove(from);
        }
        if known.len() >= MANY {
            known.retain(|_, whose| matches!(whose, Whose::Operation(allowance) if !allowance.is_over()));
        }
        known.insert(to.to_owned(), whose);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Whose>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reading {
    answer: Answer,
    reader: EventReader,
    last_id: Option<String>,
    operation: Option<Allowance>,
    resumable: Resumable,
}

/// The events of an answer, to an operation's request or in the background, of at most `limit` bytes each. A broken
/// connection is an end like any other: rmcp resumes after a pause, or says that the answer is missing.
pub(super) fn events(
    answer: Answer,
    limit: usize,
    last_id: Option<String>,
    operation: Option<Allowance>,
    resumable: Resumable,
) -> BoxStream<'static, Result<Sse, SseError>> {
    let reading = Reading { answer, reader: EventReader::new(limit), last_id, operation, resumable };
    futures::stream::unfold(reading, |mut reading| async move {
        let event = reading.next().await?;
        Some((Ok(event), reading))
    })
    .boxed()
}

impl Reading {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            match self.reader.next_event() {
                Ok(Some(event)) => return Some(self.taken(event)),
                Ok(None) => {}
                Err(error) => {
                    self.blocked(error);
                    return None;
                }
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.reader.push(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    fn taken(&mut self, event: Event) -> Sse {
        if let Some(id) = event.id.as_ref().filter(|id| self.last_id.as_ref() != Some(id)) {
            if let Some(allowance) = &self.operation {
                let whose = Whose::Operation(allowance.clone());
                self.resumable.moved(self.last_id.as_deref(), id, whose);
            }
            self.last_id = Some(id.clone());
        }
        let data = event.data.map(|data| String::from_utf8_lossy(&data).into_owned());
        let longest = u64::try_from(LONGEST_PAUSE.as_millis()).unwrap_or(u64::MAX);
        Sse { event: event.kind, data, id: event.id, retry: event.retry_ms.map(|ms| ms.min(longest)) }
    }

    fn blocked(&mut self, EventTooLarge(limit): EventTooLarge) {
        match (&self.operation, &self.last_id) {
            (Some(allowance), _) => {
                allowance.fail(SendError::TooLarge { server: self.resumable.server.clone(), limit });
            }
            (None, Some(id)) => {
                let before =
                    if let Some(Whose::Blocked(times)) = self.resumable.whose(id) { times } else { 0 };
                self.resumable.moved(None, id, Whose::Blocked(before.saturating_add(1)));
            }
            (None, None) => {}
        }
        tracing::warn!("an event of more than {limit} bytes was left out");
    }
}
