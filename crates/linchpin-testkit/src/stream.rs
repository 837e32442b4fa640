//! One server-sent event stream, kept so that it can be resumed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::Notify;

/// The events of one stream, from the first. Any number of readers follow it from any point.
#[derive(Debug, Clone)]
pub(crate) struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<String>,
    ended: bool,
    interruptions: u64,
}

impl EventLog {
    pub(crate) fn new(name: String) -> Self {
        Self(Arc::new(Inner { name, state: Mutex::default(), changed: Notify::new() }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Adds a message; readers get it as an event with the id `<name>-<number>`.
    pub(crate) fn push(&self, message: String) {
        self.state().events.push(message);
        self.0.changed.notify_waiters();
    }

    /// No more events; readers end once they have read all.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.0.changed.notify_waiters();
    }

    /// Ends the connections of this moment; whoever asks again reads on.
    pub(crate) fn interrupt(&self) {
        self.state().interruptions += 1;
        self.0.changed.notify_waiters();
    }

    /// Reads from event `from` on. With `ids`, events carry ids and the stream begins with an empty event that
    /// names where it stands, so that it can be resumed before the first message.
    pub(crate) fn read(&self, from: usize, ids: bool) -> impl Stream<Item = Bytes> + Send + 'static {
        let log = self.clone();
        let prelude =
            (ids && from == 0).then(|| Bytes::from(format!("retry: 50\nid: {}-0\ndata:\n\n", log.name())));
        let interruptions = log.state().interruptions;
        let rest = futures::stream::unfold((log, from), move |(log, next)| async move {
            let inner = Arc::clone(&log.0);
            loop {
                let changed = inner.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                {
                    let state = log.state();
                    if state.interruptions != interruptions {
                        return None;
                    }
                    if let Some(message) = state.events.get(next) {
                        let event = if ids {
                            format!("id: {}-{}\ndata: {message}\n\n", log.name(), next + 1)
                        } else {
                            format!("event: message\ndata: {message}\n\n")
                        };
                        drop(state);
                        return Some((Bytes::from(event), (log, next + 1)));
                    }
                    if state.ended {
                        return None;
                    }
                }
                changed.await;
            }
        });
        futures::StreamExt::chain(futures::stream::iter(prelude), rest)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
