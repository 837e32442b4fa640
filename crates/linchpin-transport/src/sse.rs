//! Server-sent events (HTML Living Standard, section 9.2.6), with a bound.
//!
//! `sse-stream`, which the rmcp transport uses, has no bound on an event and hands out owned strings; the bridge
//! needs the bound against a server that never ends one (F25), and the bytes as they came.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The lines of `data`, joined by line feeds; `None` for an event without any.
    pub data: Option<Bytes>,
    /// The last event id so far, this event included.
    pub id: Option<String>,
    /// A new reconnection time in ms.
    pub retry_ms: Option<u64>,
    /// The event's type; `message` unless named.
    pub kind: Option<String>,
}

/// An event is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the server sent an event of more than {0} bytes")]
pub struct EventTooLarge(pub usize);

/// Reads events out of the pieces of a body.
#[derive(Debug)]
pub struct EventReader {
    buffer: BytesMut,
    /// How far the buffer was searched for a line's end.
    searched: usize,
    limit: usize,
    pending: Pending,
    last_id: Option<String>,
    begun: bool,
}

#[derive(Debug, Default)]
struct Pending {
    data: Option<BytesMut>,
    retry_ms: Option<u64>,
    kind: Option<String>,
    id_seen: bool,
}

impl EventReader {
    /// A reader that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
            pending: Pending::default(),
            last_id: None,
            begun: false,
        }
    }

    /// Takes a piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The last event id so far, what a reconnection sends as `Last-Event-ID`.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next whole event, if the pieces so far hold one.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line);
            if self.pending.data.as_ref().is_some_and(|data| data.len() > self.limit) {
                return Err(EventTooLarge(self.limit));
            }
        }
        if self.buffer.len() > self.limit {
            return Err(EventTooLarge(self.limit));
        }
        Ok(None)
    }

    /// The next line without its end, which is CR, LF or both.
    fn line(&mut self) -> Option<Bytes> {
        if !self.begun && !self.buffer.is_empty() {
            // A byte order mark may come first, also in pieces.
            const MARK: &[u8] = b"\xef\xbb\xbf";
            if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
                return None;
            }
            if self.buffer.starts_with(MARK) {
                self.buffer.advance(MARK.len());
            }
            self.begun = true;
        }
        let found = self.buffer[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return None;
        };
        let ends_in_cr = self.buffer[end] == b'\r';
        if ends_in_cr && end + 1 == self.buffer.len() {
            // A line feed may still follow and belongs to the same end. Every server ends an event with a line
            // feed somewhere, so waiting for one more byte holds nothing up.
            self.searched = end;
            return None;
        }
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(if ends_in_cr && self.buffer.get(1) == Some(&b'\n') { 2 } else { 1 });
        self.searched = 0;
        Some(line)
    }

    fn field(&mut self, line: &Bytes) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let name = &line[..colon];
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        let text = || String::from_utf8_lossy(&value).into_owned();
        match name {
            b"data" => match &mut self.pending.data {
                Some(data) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(&value);
                }
                none => *none = Some(BytesMut::from(&value[..])),
            },
            b"id" if !value.contains(&0) => {
                self.last_id = Some(text()).filter(|id| !id.is_empty());
                self.pending.id_seen = true;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.pending.retry_ms = text().parse().ok();
            }
            b"event" => self.pending.kind = Some(text()),
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let pending = std::mem::take(&mut self.pending);
        if pending.data.is_none() && pending.retry_ms.is_none() && !pending.id_seen {
            return None;
        }
        Some(Event {
            data: pending.data.map(BytesMut::freeze),
            id: self.last_id.clone(),
            retry_ms: pending.retry_ms,
            kind: pending.kind,
        })
    }
}

#[cfg(test)]
mod tests;
