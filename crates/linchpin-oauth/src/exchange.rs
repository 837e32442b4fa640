//! The outcomes of spending a refresh token, and of giving one back.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use linchpin_store::{Record, Secret};

pub(crate) mod answer;

/// What became of one POST of a refresh token to the token endpoint (RFC 6749 section 6).
#[derive(Debug)]
#[must_use]
pub enum Exchange {
    /// New tokens.
    Rotated(TokenAnswer),
    /// The refresh token is refused for good.
    Refused {
        /// The error code, `invalid_grant`.
        code: String,
    },
    /// The client or the request is refused; says nothing about the token.
    ClientRefused {
        /// The error code.
        code: String,
    },
    /// Surely not sent: it may be tried again freely.
    NotSent {
        /// What happened, a verb phrase.
        problem: String,
    },
    /// The provider answered that it did not do it.
    Unavailable {
        /// What happened.
        problem: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// Sent, and nobody knows what came of it.
    Unknown {
        /// What happened.
        problem: String,
    },
}

impl Exchange {
    /// What the answer of a token endpoint says that somebody else asked (RFC 6749 sections 5.1 and 5.2).
    pub fn of_answer(answer: http::Response<Vec<u8>>) -> Self {
        let (head, body) = answer.into_parts();
        answer::classify(head.status, &head.headers, Ok(body), crate::provider::now(), &[])
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotated(_) => f.write_str("rotated"),
            Self::Refused { code } => write!(f, "refused ({code})"),
            Self::ClientRefused { code } => write!(f, "client refused ({code})"),
            Self::NotSent { problem } => write!(f, "not sent: the provider {problem}"),
            Self::Unavailable { problem, .. } => write!(f, "unavailable: the provider {problem}"),
            Self::Unknown { problem } => write!(f, "outcome unknown: the provider {problem}"),
        }
    }
}

/// The tokens of a successful exchange.
#[derive(Debug)]
pub struct TokenAnswer {
    /// The new access token.
    pub access_token: Secret,
    /// The new refresh token; without one the old one stays (RFC 6749 section 6).
    pub refresh_token: Option<Secret>,
    /// How long the access token lives; unknown when absent.
    pub expires_in: Option<Duration>,
    /// The scopes; as before when absent.
    pub scopes: Option<Vec<String>>,
}

/// What became of a revocation (RFC 7009).
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Revocation {
    /// The provider revoked it.
    Revoked,
    /// The provider has no revocation endpoint.
    NotOffered,
    /// The provider refused.
    Refused {
        /// The error code.
        code: String,
    },
    /// The provider could not be asked.
    Unavailable {
        /// What happened.
        problem: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
}

/// Where tokens are spent and given back. The real one is an HTTP client; tests put in their own.
#[async_trait]
pub trait TokenEndpoint: fmt::Debug + Send + Sync {
    /// Presents the record's refresh token once.
    async fn refresh(&self, record: &Record) -> Exchange;

    /// Revokes the record's tokens.
    async fn revoke(&self, record: &Record) -> Revocation;
}
