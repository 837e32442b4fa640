//! `WWW-Authenticate` as the grammar has it (RFC 9110 section 11.6.1): any number of header lines, any number of
//! challenges in each, tokens, quoted strings with escapes, token68, blanks round `=`.
//!
//! A search for `scope=` in the text would find it inside other parameters' strings; this does not.

use http::HeaderValue;
use linchpin_store::Secret;

/// Parameters of one challenge that are kept, so that a hostile line cannot make every one be compared with every
/// other. The grammar knows some ten.
const MOST_PARAMETERS: usize = 64;

/// The challenges of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenges(Vec<Challenge>);

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    /// Names in lower case. A name that repeats makes its challenge worthless, so it keeps no value.
    parameters: Vec<(String, Option<String>)>,
}

impl Challenges {
    /// Reads every header line. What does not parse ends its line; the challenges before it stand. Bytes beyond ASCII
    /// (`obs-text`) can only stand in quoted strings; what is not UTF-8 there is replaced.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut challenges = Vec::new();
        for line in lines {
            Parser::new(line.as_bytes()).line(&mut challenges);
        }
        Self(challenges)
    }

    /// Reads a text in which the header lines are joined by commas.
    pub fn parse_text(text: &str) -> Self {
        let line = HeaderValue::try_from(text).ok();
        Self::parse(&line)
    }

    /// The first Bearer challenge (RFC 6750 section 3).
    pub fn bearer(&self) -> Option<&Challenge> {
        self.0.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Challenge> {
        self.0.iter()
    }
}

impl Challenge {
    /// The scheme as it was written.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The value of a parameter, unless it is missing or repeated. `name` in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// Where the protected resource's metadata is (RFC 9728 section 5.1).
    pub fn resource_metadata(&self) -> Option<&str> {
        self.parameter("resource_metadata")
    }

    /// The scopes that the request needs, separated by blanks (RFC 6750 section 3).
    pub fn scope(&self) -> Option<&str> {
        self.parameter("scope")
    }

    /// The error code (RFC 6750 section 3.1).
    pub fn error(&self) -> Option<&str> {
        self.parameter("error")
    }

    /// The same without the scopes in which one of `secrets` is found, and without any other parameter that has one. The
    /// one who challenges was sent them, and may repeat them in what is shown or asked for next (P20).
    #[must_use]
    pub fn without(self, secrets: &[Secret]) -> Self {
        let tells = |text: &str| secrets.iter().any(|secret| secret.is_in(text));
        let cleaned = |(name, value): (String, Option<String>)| {
            let value = value.and_then(|value| {
                if !tells(&value) {
                    return Some(value);
                }
                let scopes = value.split_ascii_whitespace().filter(|scope| name == "scope" && !tells(scope));
                let left = scopes.collect::<Vec<_>>().join(" ");
                (!left.is_empty() && !tells(&left)).then_some(left)
            });
            (name, value)
        };
        Self { parameters: self.parameters.into_iter().map(cleaned).collect(), ..self }
    }

    /// The challenge in plain form: what a reader that only searches for names cannot misread.
    pub fn to_plain(&self) -> String {
        let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | ',' | '=');
        let url = |c: char| matches!(c, '!'..='~') && !matches!(c, '"' | '\\' | ',');
        let parameters = ["resource_metadata", "scope", "error"].into_iter().filter_map(|name| {
            let value = self.parameter(name)?;
            let harmless =
                if name == "resource_metadata" { value.chars().all(url) } else { value.chars().all(plain) };
            harmless.then(|| format!("{name}=\"{value}\""))
        });
        format!("{} {}", self.scheme, parameters.collect::<Vec<_>>().join(", ")).trim_end().to_owned()
    }
}

/// Reads one header line. Every byte is looked at a bounded number of times, whatever the line holds.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    /// How often a byte was looked at.
    #[cfg(test)]
    looked: std::cell::Cell<usize>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            #[cfg(test)]
            looked: std::cell::Cell::default(),
        }
    }

    /// `challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]`, in a list with parameters in a list of their
    /// own: after a comma, a token followed by `=` is a parameter of the current challenge, any other a new scheme.
    /// A parameter without a scheme or a value is damage.
    fn line(&mut self, challenges: &mut Vec<Challenge>) {
        let mut current: Option<Challenge> = None;
        loop {
            self.skip(b" \t,");
            let Some(word) = self.token() else { break };
            let after_word = self.at;
            self.skip(b" \t");
            if self.peek() == Some(b'=') {
                self.at += 1;
                self.skip(b" \t");
                let (Some(challenge), Some(value)) = (&mut current, self.value()) else { break };
                challenge.add(word.to_ascii_lowercase(), value);
                continue;
            }
            challenges.extend(current.replace(Challenge { scheme: word, parameters: Vec::new() }));
            if self.at > after_word {
                self.skip_token68();
            }
        }
        challenges.extend(current);
    }

    fn peek(&self) -> Option<u8> {
        #[cfg(test)]
        self.looked.set(self.looked.get() + 1);
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.skip_while(|byte| bytes.contains(&byte));
    }

    fn skip_while(&mut self, is_part: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_part) {
            self.at += 1;
        }
    }

    fn token(&mut self) -> Option<String> {
        let start = self.at;
        self.skip_while(is_tchar);
        (self.at > start).then(|| String::from_utf8_lossy(&self.text[start..self.at]).into_owned())
    }

    fn value(&mut self) -> Option<String> {
        if self.peek() != Some(b'"') {
            return self.token();
        }
        self.at += 1;
        let mut value = Vec::new();
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(String::from_utf8_lossy(&value).into_owned());
                }
                b'\\' => {
                    self.at += 1;
                    value.push(self.peek()?);
                }
                byte => value.push(byte),
            }
            self.at += 1;
        }
    }

    /// After a scheme and a blank: passes over a token68, which has no parameters to offer. It stands alone up to the
    /// next comma; what does not is the name of a parameter, or another scheme.
    fn skip_token68(&mut self) {
        let start = self.at;
        self.skip_while(is_token68_char);
        let found = self.at > start;
        self.skip(b"=");
        let end = self.at;
        self.skip(b" \t");
        self.at = if found && matches!(self.peek(), None | Some(b',')) { end } else { start };
    }
}

impl Challenge {
    fn add(&mut self, name: String, value: String) {
        if let Some((_, known)) = self.parameters.iter_mut().find(|(known, _)| *known == name) {
            *known = None;
        } else if self.parameters.len() < MOST_PARAMETERS {
            self.parameters.push((name, Some(value)));
        }
    }
}

/// RFC 9110 section 11.2, less the padding.
fn is_token68_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
