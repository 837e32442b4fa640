//! Lines in, with a bound; answers out as lines.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// The longest line a client may send, in bytes.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end.
    Whole(Bytes),
    /// Longer than allowed; passed over up to its end.
    TooLong,
}

/// Splits input into lines. Unlike tokio-util's `LinesCodec` it yields bytes, does not end at a byte that is not
/// UTF-8, and goes on after a line that is too long.
#[derive(Debug)]
pub(crate) struct Lines {
    limit: usize,
    searched: usize,
    passing_over: bool,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, searched: 0, passing_over: false }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        let found = buffer[self.searched..].iter().position(|&byte| byte == b'\n');
        let Some(end) = found.map(|at| at + self.searched) else {
            if self.passing_over || buffer.len() > self.limit {
                self.passing_over = true;
                buffer.clear();
            }
            self.searched = buffer.len();
            return Ok(None);
        };
        self.searched = 0;
        let mut line = buffer.split_to(end + 1);
        line.truncate(end);
        if std::mem::take(&mut self.passing_over) || line.len() > self.limit {
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line.freeze())))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        if std::mem::take(&mut self.passing_over) {
            return Ok(Some(Line::TooLong));
        }
        self.searched = 0;
        let rest = buffer.split();
        Ok((!rest.is_empty()).then(|| Line::Whole(rest.freeze())))
    }
}

/// A JSON text as one line. Line ends cannot stand inside a JSON string, so between tokens they become blanks; no
/// other byte changes.
pub(crate) fn one_line(json: &Bytes) -> Bytes {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let end = json.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let json = json.slice(..end);
    if !json.iter().any(is_end) {
        return json;
    }
    json.iter().map(|byte| if is_end(byte) { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, pieces: &[&str]) -> Vec<Line> {
        let (mut decoder, mut buffer, mut lines) = (Lines::new(limit), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece.as_bytes());
            while let Some(line) = decoder.decode(&mut buffer).expect("no I/O") {
                lines.push(line);
            }
        }
        while let Some(line) = decoder.decode_eof(&mut buffer).expect("no I/O") {
            lines.push(line);
        }
        lines
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn f26_lines_come_whole_whatever_the_pieces() {
        assert_eq!(lines(9, &["a", "b\nc", "\n", "\nd"]), [whole("ab"), whole("c"), whole(""), whole("d")]);
        assert_eq!(lines(9, &[]), []);
    }

    #[test]
    fn f26_a_line_that_is_too_long_is_passed_over_and_the_next_read() {
        assert_eq!(lines(4, &["12345\nok\n"]), [Line::TooLong, whole("ok")]);
        assert_eq!(lines(4, &["123", "456", "789", "\nok\n"]), [Line::TooLong, whole("ok")]);
        assert_eq!(lines(4, &["123456789"]), [Line::TooLong]);
    }

    #[test]
    fn an_answer_over_several_lines_becomes_one() {
        let pretty = Bytes::from_static(b"{\r\n  \"a\": \"x\\ny\"\n}\n");
        assert_eq!(&one_line(&pretty)[..], b"{    \"a\": \"x\\ny\" }");
        assert_eq!(&one_line(&Bytes::from_static(b"{\"a\":1.0}"))[..], b"{\"a\":1.0}");
    }
}
