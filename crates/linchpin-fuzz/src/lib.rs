//! What the fuzz targets run: one function per parser of what others write, which panics when a promise about it does
//! not hold.
//!
//! The targets themselves are in `fuzz/`, a workspace of its own that needs a fuzzer. Here the same functions are run
//! over the committed corpus by an ordinary test, so that neither can rot.

use http::HeaderValue;
use linchpin_oauth::challenge::{Challenge, Challenges};
use linchpin_store::Record;
use linchpin_transport::{Event, EventReader};

/// One target: the name of its file in `fuzz/fuzz_targets` and of its directory in `fuzz/corpus`, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("challenge", challenge),
    ("events", events),
    ("record", record),
    ("aggregate", linchpin_store::fuzzing::aggregate),
    ("callback", callback),
    ("message", linchpin_proxy::fuzzing::message),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise does not hold.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(data);
}

/// `WWW-Authenticate`, a header line per line: what is handed on to rmcp, which searches it for names, reads back as the
/// same challenge.
///
/// # Panics
/// When it does not.
pub fn challenge(data: &[u8]) {
    let lines = data.split(|&byte| byte == b'\n');
    let lines: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let challenges = Challenges::parse(&lines);
    let Some(bearer) = challenges.bearer() else { return };
    let plain = HeaderValue::try_from(bearer.to_plain()).expect("plain text is a header value");
    let again = Challenges::parse([&plain]);
    let again = again.bearer().expect("a Bearer challenge stays one");
    for read in [Challenge::scope, Challenge::error, Challenge::resource_metadata] {
        assert!(read(again).is_none() || read(again) == read(bearer), "a parameter changed");
    }
    assert_eq!(again.to_plain().as_bytes(), plain.as_bytes(), "the plain form changed");
}

/// Server-sent events: the first byte says how long the pieces are that the rest comes in. How a stream is cut changes
/// nothing of what is read, and no event is longer than allowed.
///
/// # Panics
/// When it is otherwise.
pub fn events(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = read_events(stream, stream.len().max(1), usize::MAX);
    assert_eq!(whole, read_events(stream, usize::from(piece).max(1), usize::MAX), "the pieces matter");
    let limit = 32;
    for event in read_events(stream, usize::from(piece).max(1), limit) {
        assert!(event.data.is_none_or(|data| data.len() <= limit), "longer than allowed");
    }
}

fn read_events(stream: &[u8], piece: usize, limit: usize) -> Vec<Event> {
    let mut reader = EventReader::new(limit);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        reader.push(piece);
        loop {
            match reader.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return events,
            }
        }
    }
    assert_eq!(reader.last_id(), reader.last_id().filter(|id| !id.is_empty()), "an id that resumes nothing");
    events
}

/// A record as a store keeps it: what reads is written out and reads back as the same.
///
/// # Panics
/// When it does not.
pub fn record(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut read) = Record::from_json(text) else { return };
    let mut again = Record::from_json(&read.to_json()).expect("what was written reads");
    let names = |record: &Record| record.extra.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&read), names(&again), "an unknown field was lost");
    // Numbers of unknown fields are read as doubles, which may differ in the last digit.
    read.extra.clear();
    again.extra.clear();
    assert_eq!(read, again, "a field changed");
}

/// The query of a callback.
///
/// # Panics
/// When something of another's counts.
pub fn callback(data: &[u8]) {
    if let Ok(query) = std::str::from_utf8(data) {
        linchpin_oauth::fuzzing::callback(query);
    }
}
