//! Answers on stdout, everything else on stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Prints a line on stdout. A reader that went away ends nothing but the printing.
pub(crate) fn line(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stdout().lock(), "{}", text.as_ref());
}

/// Prints a line on stderr.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

/// Prints `value` as one JSON document on stdout.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => note(format!("linchpin: the answer cannot be written as JSON: {error}")),
    }
}

/// Prints a failure: one line on stderr, and with `--json` the same as an object on stdout.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    #[derive(Serialize)]
    struct Answer<'a> {
        error: &'a str,
        disposition: &'static str,
        exit_code: u8,
    }
    let message = failure.to_string();
    if as_json {
        let disposition = failure.disposition;
        json(&Answer {
            error: &message,
            disposition: disposition.word(),
            exit_code: disposition.exit_code(),
        });
    }
    let red = anstyle::AnsiColor::Red.on_default().bold();
    note(format!("{red}error:{red:#} {message}"));
}

/// The narrowest terminal that tables are fitted into, in columns. A terminal that does not know its width says 0.
const NARROWEST: u16 = 40;

/// A table for people: as wide as the terminal, plain when piped.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let width = table.width().filter(|_| io::stdout().is_terminal());
    table.set_content_arrangement(arrangement(width));
    for row in rows {
        table.add_row(row.iter().map(|cell| shown(cell).into_owned()));
    }
    for row in table.to_string().lines() {
        line(row.trim_end());
    }
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

/// Text from elsewhere without the power to move the cursor, change colours or break a line (F25).
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
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
        assert_eq!(shown_lines("a\u{1b}[2J\nb"), "a�[2J\nb");
    }
}
