//! Text that others wrote, in JSON that a person may look at with `cat`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// JSON text in which nothing acts on a terminal or hides from a person: controls, line separators and format
/// characters, of which some reverse the direction of what follows and others are not seen at all, are written as
/// escapes. To a reader of JSON it says the same. They stand only in strings; line breaks between values stay.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let wants = |c: char| is_unseen(c) && c != '\n';
    if !json.chars().any(wants) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if wants(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(plain, "\\u{unit:04x}").expect("a string takes everything");
            }
        } else {
            plain.push(c);
        }
    }
    plain.into()
}

/// Whether a character does something to a text instead of being seen in it: controls (Cc), separators of lines and
/// paragraphs (Zl, Zp), and those of the format characters (Cf) that have no shape of their own.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f25_json_says_the_same_without_what_acts_or_hides() {
        for (text, expected) in [
            ("plain ünïcode 数", "plain ünïcode 数"),
            ("a\u{9b}1m\u{7f}", "a\\u009b1m\\u007f"),
            ("txt.\u{202e}exe\u{2069}", "txt.\\u202eexe\\u2069"),
            ("pay\u{200b}pal\u{2028}", "pay\\u200bpal\\u2028"),
            ("\u{feff}so\u{ad}ft", "\\ufeffso\\u00adft"),
            // Beyond the plane of four digits: a pair of surrogates (RFC 8259 section 7).
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            let json = serde_json::to_string(text).expect("JSON");
            let plain = plain_json(&json);
            assert_eq!(plain, format!("\"{expected}\""));
            assert_eq!(serde_json::from_str::<String>(&plain).expect("still JSON"), text);
        }
        let lines = "{\n  \"a\": 1\n}";
        assert_eq!(plain_json(lines), lines, "line breaks between values stay");
    }
}
