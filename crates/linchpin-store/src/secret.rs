//! Values that must never reach a log, an error, a JSON status or a command line (P20).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The fewest bytes that a secret is looked for with.
const LEAST: usize = 8;

/// A token, client secret or identity.
///
/// It has no `Display` and no `Serialize`; `Debug` prints `[redacted]`. [`Secret::expose`] marks every place where
/// the text leaves the type. Memory is zeroed on drop.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself. Every call is a place to look at when asking where a secret may go.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `text`, which somebody else wrote, contains this secret in any case of its letters. What is shorter than
    /// eight characters is in too many innocent texts to be looked for.
    pub fn is_in(&self, text: &str) -> bool {
        let secret = self.expose().as_bytes();
        secret.len() >= LEAST
            && text.as_bytes().windows(secret.len()).any(|part| part.eq_ignore_ascii_case(secret))
    }

    /// What may be written down about this secret: see [`Fingerprint`].
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// The SHA-256 of a token, in lower-case hexadecimal: names a token in records and logs without revealing it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of `secret`.
    pub fn of(secret: &Secret) -> Self {
        Self(hex(&Sha256::digest(secret.expose().as_bytes())))
    }

    /// All 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, enough for a person to tell two tokens apart.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_debug_of_a_secret_is_redacted() {
        let secret = Secret::new("planted-7c1e");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert!(!format!("{:?}", secret.fingerprint()).contains("planted"));
    }

    #[test]
    fn p20_a_secret_is_found_in_what_somebody_else_wrote() {
        let secret = Secret::new("AbCdEf01");
        for (text, found) in
            [("abcdef01", true), ("x ABCDEF01y", true), ("AbCdEf0", false), ("AbCdEf 01", false), ("", false)]
        {
            assert_eq!(secret.is_in(text), found, "{text}");
        }
        assert!(!Secret::new("short").is_in("short") && !Secret::new("").is_in("x"));
    }

    #[test]
    fn a_fingerprint_is_the_sha256_of_the_text() {
        // RFC 6234 test vector for "abc".
        let fingerprint = Secret::new("abc").fingerprint();
        assert_eq!(fingerprint.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fingerprint.short(), "ba7816bf");
    }
}
