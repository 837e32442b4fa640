//! Which sign-in is meant: a server's URL in canonical form and a profile on it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use url::{Host, Url};

use crate::secret::hex;

/// Whether plain http may leave this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// Only to a loopback address or `localhost` (the default).
    #[default]
    LoopbackOnly,
    /// To any host; the user asked for it (`--allow-http`).
    Allowed,
}

/// The URL of a remote MCP server in canonical form (RFC 8707 section 2, MCP authorization "canonical server URI"):
/// lower-case scheme and host, no default port, no fragment, no lone trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ServerUrl(Url);

/// Why a text is not the URL of a remote MCP server.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// It does not parse as an absolute URL with a host.
    #[error("`{0}` is not a URL; give one like https://mcp.example.com/mcp, or a name from `linchpin list`")]
    NotAUrl(String),
    /// Its scheme is neither https nor http.
    #[error("`{0}:` URLs are not supported; an MCP server is reached over https")]
    Scheme(String),
    /// Plain http to another host.
    #[error(
        "plain http to `{0}` would send tokens in the clear; use https, or pass --allow-http if you accept that"
    )]
    PlainHttp(String),
    /// A user name or password in the URL, which would end up in logs and keys.
    #[error("the URL carries a user name or password; remove it, Linchpin signs in with OAuth")]
    UserInfo,
}

impl ServerUrl {
    /// Parses and canonicalizes `text`.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Result<Self, ServerUrlError> {
        let not_a_url = || ServerUrlError::NotAUrl(text.chars().take(200).collect());
        let mut url = Url::parse(text.trim()).map_err(|_| not_a_url())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerUrlError::UserInfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if plain_http == PlainHttp::Allowed || is_loopback(&url) => {}
            "http" => return Err(ServerUrlError::PlainHttp(url.host_str().unwrap_or_default().to_owned())),
            // `localhost:3000/mcp` parses as the scheme `localhost`.
            other if url.has_host() => return Err(ServerUrlError::Scheme(other.to_owned())),
            _ => return Err(not_a_url()),
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The URL that requests are sent to.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The canonical text: [`ServerUrl::url`] without the slash that stands for an empty path.
    pub fn as_str(&self) -> &str {
        let text = self.0.as_str();
        if self.0.path() == "/" && self.0.query().is_none() { text.trim_end_matches('/') } else { text }
    }

    /// Whether this server is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// Which account of a person on a server; `default` unless named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Profile(String);

/// Why a text is not a profile name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a profile name; use 1 to 64 letters, digits, `.`, `_`, `@` or `-`")]
pub struct ProfileError(String);

impl Profile {
    /// Parses a profile name: 1 to 64 of `A-Z a-z 0-9 . _ @ -`.
    pub fn parse(name: &str) -> Result<Self, ProfileError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(ProfileError(name.chars().take(64).collect()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Profile {
    type Error = ProfileError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Profile> for String {
    fn from(profile: Profile) -> Self {
        profile.0
    }
}

/// What is locked, stored and shared: one profile on one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey {
    /// The account.
    pub profile: Profile,
    /// The server.
    pub server: ServerUrl,
}

impl CredentialKey {
    /// The key of `profile` on `server`.
    pub fn new(profile: Profile, server: ServerUrl) -> Self {
        Self { profile, server }
    }

    /// The entry name in a store: profile, a blank, canonical URL. Neither part can contain a blank.
    pub fn entry(&self) -> String {
        format!("{} {}", self.profile, self.server)
    }

    /// Parses an [`CredentialKey::entry`]. Plain http is accepted here: the rule applies when a person names a
    /// server, not when a stored sign-in is read back.
    pub fn from_entry(entry: &str) -> Option<Self> {
        let (profile, server) = entry.split_once(' ')?;
        Some(Self::new(Profile::parse(profile).ok()?, ServerUrl::parse(server, PlainHttp::Allowed).ok()?))
    }

    /// A file-name-safe digest of the entry, for lock files: 32 hexadecimal digits.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.entry().as_bytes())[..16])
    }
}

impl fmt::Display for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.profile == Profile::default() {
            self.server.fmt(f)
        } else {
            write!(f, "{} (profile {})", self.server, self.profile)
        }
    }
}

#[cfg(test)]
mod tests;
