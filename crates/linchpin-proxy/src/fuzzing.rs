//! What the fuzz targets look at of this crate's inside.

use bytes::Bytes;

use crate::message::{Awaited, Incoming, Kind, read};
use crate::modern::{self, ToolHeaders};

/// Reads `line` as a message of a client. It goes on as it came, its headers can be sent, an answer by its own id is
/// the answer that it is owed, and read as a message of the server it answers nothing that was not asked.
///
/// # Panics
/// When it is otherwise.
pub fn message(line: &[u8]) {
    let _ = Awaited::default().strike(line);
    let Ok(message) = read(Bytes::copy_from_slice(line)) else { return };
    assert_eq!(message.bytes, line, "the message was changed");
    let headers = modern::headers(&message, &ToolHeaders::default());
    assert!(message.is_modern || headers.is_none(), "headers of a revision that it is not of");
    let mut awaited = Awaited::of(&message);
    if let Kind::Request { id, .. } = &message.kind {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        assert!(matches!(awaited.strike(answer.as_bytes()), Incoming::Answer(Some(_))), "not its answer");
        assert!(awaited.is_empty(), "still owed");
    }
}
