//! The texts of an event: each type takes away what could hide a secret (P20).

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Fingerprint, Secret};

/// The longest [`Phrase`] and [`Place`], in characters.
const LONGEST: usize = 200;
/// The longest [`Code`], in bytes.
const LONGEST_CODE: usize = 40;

/// A token's name: the first eight digits of its fingerprint, enough to tell two tokens apart. There is no way to make
/// one of a token's text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenName(String);

impl From<&Fingerprint> for TokenName {
    fn from(fingerprint: &Fingerprint) -> Self {
        Self(fingerprint.short().to_owned())
    }
}

/// What is read back has to look like one.
impl TryFrom<String> for TokenName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_name = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_name { Ok(Self(text)) } else { Err("no token's name") }
    }
}

/// An error code of a provider's, for example `invalid_grant`: a word, which says nothing but what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Code(String);

impl Code {
    /// What stands for a code that is not to be repeated.
    pub const UNRECOGNISED: &str = "unrecognised_error";

    /// `code`, if it looks like a registered one (lower-case letters, digits and `_`, 40 at most); else
    /// [`Code::UNRECOGNISED`]. RFC 6749 section 5.2 allows more, but that much could be a token.
    pub fn new(code: &str) -> Self {
        Self::of_answer(code, &[])
    }

    /// The same for the answer to a request that carried `secrets`: a code in which one of them, or a part of one that
    /// is no code's length by chance, is found is not recognised either.
    pub fn of_answer(code: &str, secrets: &[Secret]) -> Self {
        let is_word = (1..=LONGEST_CODE).contains(&code.len())
            && code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let as_secret = Secret::new(code);
        let tells = |secret: &Secret| secret.is_in(code) || as_secret.is_in(secret.expose());
        let fine = is_word && !secrets.iter().any(tells);
        Self(if fine { code } else { Self::UNRECOGNISED }.to_owned())
    }
}

/// A few words of Linchpin's own about what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Phrase(String);

impl Phrase {
    /// `text` in one short line, without control characters, and the URLs in it without user, query and fragment.
    pub fn new(text: &str) -> Self {
        let words: Vec<_> = text.split(' ').map(without_query).collect();
        Self(clipped(&words.join(" ")))
    }
}

/// A server or a provider: its URL without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Place(String);

impl Place {
    /// The place that `url` is at.
    pub fn new(url: &str) -> Self {
        Self(clipped(&without_query(url)))
    }
}

// What is read back was written by somebody: it is cleaned as if it were new.
macro_rules! read_back {
    ($($name:ident),+) => {
        $(impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(&text)
            }
        })+
    };
}

read_back!(Code, Phrase, Place);

macro_rules! texts {
    ($($name:ident),+) => {
        $(impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        })+
    };
}

texts!(TokenName, Code, Phrase, Place);

/// A word as it is, unless there is a URL in it.
fn without_query(word: &str) -> String {
    let Some(scheme) = word.find("://") else { return word.to_owned() };
    let begin = word[..scheme].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    let (before, url) = word.split_at(begin);
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let mut place = url[..end].to_owned();
    if let Ok(mut parsed) = Url::parse(&place)
        && (!parsed.username().is_empty() || parsed.password().is_some())
    {
        let _ = parsed.set_username("").and_then(|()| parsed.set_password(None));
        place = parsed.into();
    }
    format!("{before}{place}")
}

fn clipped(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(LONGEST).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = Code::UNRECOGNISED;

    #[test]
    fn p20_a_code_is_a_word_and_none_of_the_secrets_of_its_request() {
        let secrets = ["0123456789abcdef", "planted-rt-9f8e7d6c5b", "short"].map(Secret::new);
        for (code, expected) in [
            ("invalid_grant", "invalid_grant"),
            ("error_42", "error_42"),
            (&"x".repeat(40), &*"x".repeat(40)),
            (&"x".repeat(41), ODD),
            ("Invalid_Grant", ODD),
            ("invalid grant", ODD),
            ("planted-rt-1", ODD),
            ("0123456789abcdef", ODD),
            ("x_0123456789abcdef_y", ODD),
            ("0123456789abcdef0123456789abcdef", ODD),
            // A part of it.
            ("456789abcd", ODD),
            ("9f8e7d6c", ODD),
            ("short", "short"),
            (ODD, ODD),
        ] {
            assert_eq!(Code::of_answer(code, &secrets).as_str(), expected, "{code}");
        }
        // What is compared is not case.
        assert_eq!(Code::of_answer("abcdefgh", &[Secret::new("ABCDEFGH")]).as_str(), ODD);
    }

    #[test]
    fn p20_no_url_in_a_text_keeps_its_query_or_user() {
        for (text, expected) in [
            ("https://as.example.com/a?code=planted#f", "https://as.example.com/a"),
            ("https://u:planted@as.example.com/a", "https://as.example.com/a"),
            ("https://as.example.com#planted", "https://as.example.com"),
            ("https://as.example.com", "https://as.example.com"),
        ] {
            assert_eq!(Place::new(text).as_str(), expected);
            let phrase = Phrase::new(&format!("cannot ask (`{text}` of it)"));
            assert!(phrase.as_str().starts_with(&format!("cannot ask (`{expected}")), "{phrase}");
            assert!(!phrase.as_str().contains("planted"), "{phrase}");
        }
        assert_eq!(Phrase::new("why? because").as_str(), "why? because");
    }

    #[test]
    fn p20_what_is_read_back_is_cleaned_as_if_it_were_new() {
        fn read<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
            serde_json::from_value(serde_json::Value::from(text)).ok()
        }
        assert_eq!(read::<Code>("planted-rt-x"), Some(Code::new("planted-rt-x")));
        assert_eq!(read::<Code>("invalid_grant"), Some(Code::new("invalid_grant")));
        for text in ["https://u:planted@as.example.com/a?planted", "a\u{1b}[2J", &"x".repeat(10_000)] {
            assert_eq!(read::<Place>(text), Some(Place::new(text)), "{text}");
            assert_eq!(read::<Phrase>(text), Some(Phrase::new(text)), "{text}");
            assert_ne!(read::<Phrase>(text).expect("a text").as_str(), text);
        }
        let name = TokenName::from(&Secret::new("abc").fingerprint());
        assert_eq!(read::<TokenName>("ba7816bf"), Some(name.clone()));
        assert_eq!(serde_json::to_value(&name).expect("a text"), "ba7816bf");
        for text in ["", "ba7816b", "ba7816bf0", "BA7816BF", "planted-", "\u{1b}[2Jabc"] {
            assert_eq!(read::<TokenName>(text), None, "{text}");
        }
    }

    #[test]
    fn f25_texts_are_short_and_do_nothing_to_a_terminal() {
        let long = "x".repeat(10_000);
        assert_eq!(Phrase::new(&long).as_str().len(), LONGEST);
        assert_eq!(Place::new(&format!("https://{long}")).as_str().len(), LONGEST);
        assert_eq!(Phrase::new("a\u{1b}[2J\nb").as_str(), "a\u{fffd}[2J\u{fffd}b");
        for (code, expected) in [("invalid_grant", "invalid_grant"), ("", ODD), ("a\nb", ODD), (&long, ODD)] {
            assert_eq!(Code::new(code).as_str(), expected);
        }
        assert_eq!(TokenName::from(&Secret::new("abc").fingerprint()).as_str(), "ba7816bf");
    }
}
