//! Answers on stdout, everything else on stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use linchpin::Disposition;
use serde::Serialize;

use crate::failure::Failure;

/// Prints a line on stdout. A reader that went away ends nothing but the printing; an answer that cannot be written
/// otherwise is not given.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    written(writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()))
}

/// Whether anybody still reads stdout: of a pipe whose other end was closed a write would say so, but there may be
/// nothing to write for hours.
pub(crate) fn is_read() -> bool {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdout = io::stdout();
        let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut asked, Some(&at_once)), Ok(1..)) || !asked[0].revents().contains(PollFlags::ERR)
    }
    #[cfg(not(unix))]
    true
}

/// What became of a write to stdout.
pub(crate) fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let told = format!(
                "the answer cannot be written to standard output: {error}; make room, or send it elsewhere"
            );
            Err(Failure::configuration(told))
        }
        _ => Ok(()),
    }
}

/// Prints a line on stderr.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

/// Prints `value` as one JSON document on stdout. What could act on a terminal, or hide, is
/// escaped beyond what JSON asks for.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::new(Disposition::Answered, format!("the answer cannot be written as JSON: {error}"))
    })?;
    line(linchpin::plain_json(&text))
}

/// Prints a failure: one line on stderr, and with `--json` the same as an object on stdout.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    if as_json {
        failure_object(failure);
    }
    let red = anstyle::AnsiColor::Red.on_default().bold();
    note(format!("{red}error:{red:#} {failure}"));
}

/// A failure as an object on stdout. When that cannot be written either, there is still stderr and the exit code.
pub(crate) fn failure_object(failure: &Failure) {
    #[derive(Serialize)]
    struct Answer<'a> {
        error: &'a str,
        disposition: &'static str,
        exit_code: u8,
    }
    let disposition = failure.disposition;
    let _ = json(&Answer {
        error: &failure.to_string(),
        disposition: disposition.word(),
        exit_code: disposition.exit_code(),
    });
}

/// The narrowest terminal that tables are fitted into, in columns. A terminal that does not know its width says 0.
const NARROWEST: u16 = 40;

/// A table for people: as wide as the terminal, plain when piped.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let width = table.width().filter(|_| io::stdout().is_terminal());
    table.set_content_arrangement(arrangement(width));
    for row in rows {
        table.add_row(row.iter().map(|cell| shown(cell).into_owned()));
    }
    for row in table.to_string().lines() {
        // Cells have a blank on either side; the first one's is of no use.
        line(row.strip_prefix(' ').unwrap_or(row).trim_end())?;
    }
    Ok(())
}

/// Lines are broken to fit a terminal, but not into letters.
fn arrangement(width: Option<u16>) -> ContentArrangement {
    match width {
        Some(NARROWEST..) => ContentArrangement::Dynamic,
        _ => ContentArrangement::Disabled,
    }
}

/// Whether a person looks at stderr.
pub(crate) fn is_interactive() -> bool {
    io::stderr().is_terminal()
}

/// Text from elsewhere without the power to move the cursor, change colours, break a line or reorder it (F25).
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a terminal acts on a character instead of showing it: controls, line separators, and the marks that
/// reverse the direction of what follows.
fn acts(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The longest piece of what somebody typed that a line repeats, in characters.
const LONGEST_QUOTE: usize = 200;

/// What somebody typed, fit to be quoted: not longer than a line that a person reads.
pub(crate) fn clipped(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => Cow::Borrowed(text),
    }
}

/// Like [`shown`], for text of several lines.
pub(crate) fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_fitted_only_into_a_terminal_of_some_width() {
        for (width, fitted) in
            [(None, false), (Some(0), false), (Some(39), false), (Some(40), true), (Some(200), true)]
        {
            let dynamic = matches!(arrangement(width), ContentArrangement::Dynamic);
            assert_eq!(dynamic, fitted, "{width:?}");
        }
    }

    #[test]
    fn f25_escape_sequences_lose_their_power() {
        assert_eq!(shown("plain ünïcode"), "plain ünïcode");
        assert_eq!(shown("a\u{1b}]0;owned\u{7}b\r\nc\u{9b}1m"), "a�]0;owned�b��c�1m");
        assert_eq!(shown("a\u{202e}b\u{2028}c\u{2069}"), "a�b�c�");
        assert_eq!(shown_lines("a\u{1b}[2J\nb"), "a�[2J\nb");
    }
}
