//! `WWW-Authenticate` as the grammar has it (RFC 9110 section 11.6.1): any number of header lines, any number of
//! challenges in each, tokens, quoted strings with escapes, token68, blanks round `=`.
//!
//! A search for `scope=` in the text would find it inside other parameters' strings; this does not.

use http::HeaderValue;

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
    /// Reads every header line. What does not parse ends its line; the challenges before it stand.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut challenges = Vec::new();
        for line in lines {
            // Bytes beyond ASCII can only stand in quoted strings, where nobody depends on them.
            let text = String::from_utf8_lossy(line.as_bytes());
            Parser { text: text.as_bytes(), at: 0 }.line(&mut challenges);
        }
        Self(challenges)
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

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    /// `challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]`, in a list with parameters in a list of their
    /// own: after a comma, a token followed by `=` is a parameter of the current challenge, any other a new scheme.
    fn line(&mut self, challenges: &mut Vec<Challenge>) {
        let mut current: Option<Challenge> = None;
        loop {
            self.skip(b" \t,");
            let Some(word) = self.token() else { break };
            let after_word = self.at;
            self.skip(b" \t");
            if self.peek() == Some(b'=') && current.is_some() && !self.is_token68_end() {
                self.at += 1;
                self.skip(b" \t");
                let Some(value) = self.value() else { break };
                if let Some(challenge) = &mut current {
                    challenge.add(word.to_ascii_lowercase(), value);
                }
                continue;
            }
            challenges.extend(current.take());
            current = Some(Challenge { scheme: word, parameters: Vec::new() });
            if self.at > after_word {
                self.skip_token68();
            }
        }
        challenges.extend(current);
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.peek().is_some_and(|byte| bytes.contains(&byte)) {
            self.at += 1;
        }
    }

    fn token(&mut self) -> Option<String> {
        let start = self.at;
        while self.peek().is_some_and(is_tchar) {
            self.at += 1;
        }
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

    /// At an `=`: whether only `=` and blanks follow up to a comma or the end, as in the padding of a token68.
    fn is_token68_end(&self) -> bool {
        let rest = &self.text[self.at..];
        let padding = rest.iter().take_while(|&&byte| byte == b'=').count();
        let after: &[u8] = &rest[padding..];
        let blanks = after.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
        matches!(after.get(blanks), None | Some(b','))
    }

    /// After a scheme and a blank: passes over a token68, which has no parameters to offer.
    fn skip_token68(&mut self) {
        let start = self.at;
        while self.peek().is_some_and(|byte| is_tchar(byte) || byte == b'/') {
            self.at += 1;
        }
        let is_token68 = self.at > start
            && match self.peek() {
                None | Some(b',') => true,
                Some(b'=') => self.is_token68_end(),
                Some(_) => false,
            };
        if is_token68 {
            self.skip(b"=");
        } else {
            self.at = start;
        }
    }
}

impl Challenge {
    fn add(&mut self, name: String, value: String) {
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = None,
            None => self.parameters.push((name, Some(value))),
        }
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
