//! A stream of messages of the server, over one answer or several.

use std::time::Duration;

use bytes::Bytes;
use linchpin_transport::{Answer, Event, EventReader};

/// The longest event, in bytes.
const MAX_EVENT: usize = 16 << 20;
/// How often in a row a stream that broke and brings nothing is resumed.
const MAX_RESUMES: u32 = 5;
/// How often in a row a stream is resumed that the server ended in good order, having named a time to come back.
const MAX_POLLS: u32 = 1000;

/// A stream of events over one answer or several.
pub(crate) struct EventStream {
    answer: Answer,
    reader: EventReader,
    last_id: Option<String>,
    pub(crate) retry: Option<Duration>,
}

/// Why a stream ended early.
pub(crate) enum Broken {
    Connection,
    TooLarge(String),
}

impl EventStream {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { answer, reader: EventReader::new(MAX_EVENT), last_id: None, retry: None }
    }

    /// The same stream, resumed with another answer.
    pub(crate) fn continued(self, answer: Answer) -> Self {
        Self { answer, reader: EventReader::new(MAX_EVENT), ..self }
    }

    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The data of the next message that has any; `None` at the end. Dropping the future loses nothing.
    pub(crate) async fn next_data(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            while let Some(event) =
                self.reader.next_event().map_err(|error| Broken::TooLarge(error.to_string()))?
            {
                let Event { data, id, retry_ms, kind } = event;
                self.last_id = id.or_else(|| self.last_id.take());
                self.retry = retry_ms.map(Duration::from_millis).or(self.retry);
                let is_message = kind.is_none_or(|kind| matches!(kind.as_str(), "" | "message"));
                if let Some(data) = data.filter(|data| is_message && !data.is_empty()) {
                    return Ok(Some(data));
                }
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.reader.push(&chunk),
                Ok(None) => return Ok(None),
                Err(_) => return Err(Broken::Connection),
            }
        }
    }
}

/// How a stream ended before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server ended it in good order.
    Orderly,
    /// The connection broke, or the server could not be asked.
    Broken,
}

/// How often a stream that brings nothing is resumed.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    resumed: u32,
    polled: u32,
}

impl Patience {
    /// Whether to resume once more after this end. `named` says that the server named a reconnection time: a
    /// server that does so and ends the stream in good order wants to be asked again (SEP-1699).
    pub(crate) fn allows(&mut self, end: End, named: bool) -> bool {
        if end == End::Orderly && named {
            self.polled += 1;
            return self.polled <= MAX_POLLS;
        }
        self.resumed += 1;
        self.resumed <= MAX_RESUMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_with_a_broken_stream_ends_sooner_than_with_a_polled_one() {
        let times = |end, named| {
            let mut patience = Patience::default();
            (0..2000).take_while(|_| patience.allows(end, named)).count()
        };
        assert_eq!(times(End::Broken, false), 5);
        assert_eq!(times(End::Broken, true), 5);
        assert_eq!(times(End::Orderly, false), 5);
        assert_eq!(times(End::Orderly, true), 1000);
    }
}
