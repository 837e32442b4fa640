//! Everything needed to use and to renew one sign-in, offline.

use serde_json::{Map, Value};
use thiserror::Error;
use url::Url;

use crate::{Fingerprint, Secret, UnixMs};

mod wire;

/// The version of the record format that this crate writes.
pub const RECORD_VERSION: u32 = 1;

/// How often a refresh token may be presented with an unknown outcome: the exchange and its one repeat (P10).
pub const PRESENTATIONS: u32 = 2;

/// One sign-in. A record renews itself without discovery: issuer, endpoints, client and tokens are all here (P13).
///
/// It is deliberately not `Serialize`: only a store writes it out, through [`Record::to_json`].
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Grows with every change.
    pub generation: u64,
    /// The authorization server's issuer identifier, as validated at sign-in (RFC 8414 section 3.3).
    pub issuer: String,
    /// Where tokens are exchanged.
    pub token_endpoint: Url,
    /// Where tokens are revoked (RFC 7009), if the provider has such an endpoint.
    pub revocation_endpoint: Option<Url>,
    /// How the client authenticates at both.
    pub token_endpoint_auth_method: ClientAuthMethod,
    /// The `resource` of every token request (RFC 8707), as the server's metadata spells it.
    pub resource: String,
    /// Who we are to the provider.
    pub client: Client,
    /// The current access token.
    pub access_token: Secret,
    /// The current refresh token, if the provider issued one.
    pub refresh_token: Option<Secret>,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// When a person signed in; refreshes carry it on. Unknown for a record of an older Linchpin.
    pub signed_in_at_ms: Option<UnixMs>,
    /// When the access token was obtained.
    pub obtained_at_ms: UnixMs,
    /// When the access token ends; unknown when the provider did not say.
    pub expires_at_ms: Option<UnixMs>,
    /// An exchange that was begun and whose outcome is not recorded yet (P8).
    pub exchange: Option<ExchangeMark>,
    /// A refresh token that the provider refused for good (P10).
    pub dead: Option<DeadToken>,
    /// An access token that the server refused right after its own exchange.
    pub refused: Option<RefusedToken>,
    /// A client that the provider refused: while it is this record's, nobody presents anything for half a minute.
    pub client_refused: Option<RefusedClient>,
    /// The provider could not be reached or asked to be left alone: no exchange before this moment, by any process.
    pub retry_at_ms: Option<UnixMs>,
    /// Fields that this version does not know, kept as they are.
    pub extra: Map<String, Value>,
}

/// The OAuth client that the tokens were issued to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret` of a confidential client, or the private key (PEM) of one that signs assertions.
    pub secret: Option<Secret>,
    /// When the secret ends (RFC 7591 section 3.2.1); `None` when it does not.
    pub secret_expires_at_ms: Option<UnixMs>,
    /// How this client came to be.
    pub registration: Registration,
    /// The redirect URI that it was registered with, when that was said.
    pub redirect_uri: Option<String>,
}

/// How a client came to be known to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Registration {
    /// Dynamic client registration (RFC 7591).
    Dynamic,
    /// A client identifier that is the URL of its metadata document.
    MetadataDocument,
    /// Registered beforehand, by hand.
    Preregistered,
    /// Registered beforehand, by hand, and signed in as itself: its own credentials get its tokens (RFC 6749
    /// section 4.4), the next one like the first, and no person is asked.
    ClientCredentials,
}

/// How a client authenticates at the token endpoint (RFC 6749 section 2.3, RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ClientAuthMethod {
    /// A public client: `client_id` in the body.
    #[serde(rename = "none")]
    None,
    /// HTTP Basic with form-encoded id and secret.
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// `client_id` and `client_secret` in the body.
    #[serde(rename = "client_secret_post")]
    Post,
    /// An assertion signed with the client's private key (RFC 7523 section 2.2).
    #[serde(rename = "private_key_jwt")]
    PrivateKeyJwt,
}

/// The mark of an exchange, saved before the token is spent (P8). Found in a record after a crash, it says that
/// the outcome of that exchange is unknown (P10).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExchangeMark {
    /// The refresh token that was about to be presented.
    pub fingerprint: Fingerprint,
    /// How many times it may have been presented with an unknown outcome, this one included.
    pub presentations: u32,
    /// When the latest presentation was begun.
    pub at_ms: UnixMs,
    /// The process that began it.
    pub pid: u32,
}

/// A refresh token that was refused for good: no process presents it again (P10).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeadToken {
    /// The refresh token.
    pub fingerprint: Fingerprint,
    /// The provider's error code, for example `invalid_grant`.
    pub reason: String,
    /// When it was refused.
    pub at_ms: UnixMs,
}

/// An access token that the server refused right after its own exchange: it is not exchanged again for 30 s.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusedToken {
    /// The access token.
    pub fingerprint: Fingerprint,
    /// When it was refused.
    pub at_ms: UnixMs,
}

/// A client that the provider refused, for example because it has forgotten its registration. Says nothing about the
/// tokens (P11).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusedClient {
    /// `client_id` of the client.
    pub client_id: String,
    /// The provider's error code, for example `invalid_client`.
    pub code: String,
    /// When it was refused, the last time.
    pub at_ms: UnixMs,
}

/// Why a text is not a record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not JSON, or a field is missing or of another type. Line and column only, never the content.
    #[error("not a record at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Written by a newer Linchpin.
    #[error("record version {0}, this program knows version {RECORD_VERSION}; update linchpin")]
    Version(u64),
}

impl Record {
    /// Whether the access token has not ended at `now`. A token without a known end has not.
    pub fn is_live(&self, now: UnixMs) -> bool {
        self.expires_at_ms.is_none_or(|end| now < end)
    }

    /// Whether the access token is of any use at `now`: it has not ended, and it is not one that the server refuses
    /// and that cannot be renewed.
    pub fn is_usable(&self, now: UnixMs) -> bool {
        self.is_live(now) && (self.is_renewable() || !self.is_refused())
    }

    /// Whether the access token is noted as one that the server refuses.
    pub fn is_refused(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.fingerprint == self.access_token.fingerprint())
    }

    /// Whether the client signed in as itself. What it presents for a new token is not spent by that.
    pub fn is_of_client(&self) -> bool {
        self.client.registration == Registration::ClientCredentials
    }

    /// The fingerprint of what is presented for a new access token: the refresh token, or the credentials of a client
    /// that signed in as itself; `None` when there is neither.
    pub fn refresh_fingerprint(&self) -> Option<Fingerprint> {
        let presented = if self.is_of_client() { &self.client.secret } else { &self.refresh_token };
        presented.as_ref().map(Secret::fingerprint)
    }

    /// The note that what is presented for a new access token was refused for good, if there is one.
    pub fn death(&self) -> Option<&DeadToken> {
        let presented = self.refresh_fingerprint()?;
        self.dead.as_ref().filter(|dead| dead.fingerprint == presented)
    }

    /// The note that the provider refused the client of this record, if there is one.
    pub fn client_refusal(&self) -> Option<&RefusedClient> {
        self.client_refused.as_ref().filter(|refused| refused.client_id == self.client.id)
    }

    /// How often the current refresh token may have been presented with an unknown outcome. A client's own credentials
    /// are not spent by being presented: a mark says nothing against them.
    pub fn presentations(&self) -> u32 {
        let mark = self.exchange.as_ref().filter(|_| !self.is_of_client());
        let mark = mark.filter(|mark| self.refresh_fingerprint().as_ref() == Some(&mark.fingerprint));
        mark.map_or(0, |mark| mark.presentations)
    }

    /// Whether there is something to present for a new access token: it was not refused for good, and is not lost to
    /// [`PRESENTATIONS`] without a known outcome (P10). A mark may be that of an exchange that is running.
    pub fn is_renewable(&self) -> bool {
        self.refresh_fingerprint().is_some() && self.death().is_none() && self.presentations() < PRESENTATIONS
    }
}

#[cfg(test)]
mod tests;
