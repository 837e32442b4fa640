//! Why there is no access token.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use linchpin_store::{CredentialKey, Disposition, LockError, StoreError};
use thiserror::Error;

use crate::{ClientRemedy, Refused, login_command};

/// Why there is no access token. Cloned to every caller that waited for the same transaction.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A person has to sign in.
    #[error("sign-in required for {key}: {reason}; run `{}`", login_command(key))]
    SignInRequired {
        /// Which sign-in.
        key: Box<CredentialKey>,
        /// Why.
        reason: SignInReason,
    },
    /// The provider could not be asked, or could not answer; the sign-in is kept.
    #[error("{key}: the provider {problem}; the sign-in is kept, try again{}", later(*retry_after))]
    Temporary {
        /// Which sign-in.
        key: Box<CredentialKey>,
        /// What happened.
        problem: String,
        /// What the provider asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The provider answered that our client or request is wrong. The tokens are kept.
    #[error("{key}: the provider refused {} ({code}); the sign-in is kept; {remedy}", Refused::by(code))]
    ClientRefused {
        /// Which sign-in.
        key: Box<CredentialKey>,
        /// The provider's error code.
        code: String,
        /// What can be done about it.
        remedy: Box<ClientRemedy>,
    },
    /// The caller's wait ran out; the transaction goes on and the next request finds its result.
    #[error("{key}: the wait for a new access token ran out; the refresh goes on, try again")]
    TimedOut {
        /// Which sign-in.
        key: Box<CredentialKey>,
    },
    /// The process is ending, or the transaction failed in a way that is a bug.
    #[error("{key}: interrupted; try again")]
    Interrupted {
        /// Which sign-in.
        key: Box<CredentialKey>,
    },
    /// The pinned store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The credential lock was not to be had.
    #[error(transparent)]
    Lock(Arc<LockError>),
}

/// Why a person has to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInReason {
    /// There is no sign-in.
    NotSignedIn,
    /// The access token has ended and the provider issued no refresh token.
    NotRenewable,
    /// The provider refused the refresh token for good.
    Refused {
        /// The provider's error code.
        code: String,
    },
    /// The server refuses an access token that was just obtained.
    RefusedAfterExchange,
    /// The refresh token was presented twice and no answer came: it may be spent, and is not presented again (P10).
    OutcomeUnknown,
}

impl std::fmt::Display for SignInReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSignedIn => f.write_str("not signed in"),
            Self::NotRenewable => f.write_str("the access token has ended and cannot be renewed"),
            Self::Refused { code } => write!(f, "the provider ended the sign-in ({code})"),
            Self::RefusedAfterExchange => f.write_str("the server refuses a token that was just renewed"),
            Self::OutcomeUnknown => {
                f.write_str("the provider was asked twice for a new token and no usable answer came")
            }
        }
    }
}

/// A word of a command, to be pasted into a shell: in single quotes, unless nothing in it means anything there.
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b":/._~%-".contains(&letter);
    if word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

fn later(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(" in {} s", wait.as_secs().max(1))).unwrap_or_default()
}

impl CredentialError {
    /// Whether the lock was taken away from the transaction, which changed nothing and may start over.
    pub(crate) fn is_lost_lock(&self) -> bool {
        match self {
            Self::Store(error) => error.is_lost_lock(),
            Self::Lock(error) => matches!(**error, LockError::Lost { .. }),
            _ => false,
        }
    }

    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::SignInRequired { .. } | Self::ClientRefused { .. } => Disposition::SignIn,
            Self::Temporary { .. } | Self::Interrupted { .. } => Disposition::Retry,
            Self::TimedOut { .. } => Disposition::TimedOut,
            Self::Store(error) => error.disposition(),
            Self::Lock(error) => error.disposition(),
        }
    }
}

#[cfg(test)]
mod tests {
    use linchpin_store::{PlainHttp, Profile, ServerUrl};

    use super::*;

    fn key() -> CredentialKey {
        let server = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
        CredentialKey::new(Profile::default(), server)
    }

    #[test]
    fn each_reason_is_said_with_what_to_do() {
        for (reason, said) in [
            (SignInReason::NotSignedIn, "not signed in"),
            (SignInReason::NotRenewable, "has ended and cannot be renewed"),
            (SignInReason::Refused { code: "invalid_grant".into() }, "ended the sign-in (invalid_grant)"),
            (SignInReason::RefusedAfterExchange, "refuses a token that was just renewed"),
            (SignInReason::OutcomeUnknown, "asked twice for a new token"),
        ] {
            let error = CredentialError::SignInRequired { key: Box::new(key()), reason }.to_string();
            let remedy = "; run `linchpin login https://mcp.example.com/mcp`";
            assert!(error.contains(said) && error.ends_with(remedy), "{error}");
        }
        for (retry_after_ms, said) in [(None, ""), (Some(30_000), " in 30 s"), (Some(10), " in 1 s")] {
            let retry_after = retry_after_ms.map(Duration::from_millis);
            let problem = "answered 503".to_owned();
            let error = CredentialError::Temporary { key: Box::new(key()), problem, retry_after }.to_string();
            assert!(error.ends_with(&format!("the sign-in is kept, try again{said}")), "{error}");
        }
    }

    #[test]
    fn f11_only_a_lock_that_was_taken_away_lets_a_transaction_start_over() {
        let lost = || LockError::Lost { path: "lock".into() };
        let late = LockError::TimedOut { path: "lock".into(), waited: Duration::ZERO, holder: None };
        for (error, is_lost) in [
            (CredentialError::Lock(Arc::new(lost())), true),
            (CredentialError::Store(Arc::new(StoreError::Lock(lost()))), true),
            (CredentialError::Lock(Arc::new(late)), false),
            (CredentialError::Store(Arc::new(StoreError::Other("full"))), false),
            (CredentialError::Interrupted { key: Box::new(key()) }, false),
        ] {
            assert_eq!(error.is_lost_lock(), is_lost, "{error}");
        }
    }

    #[test]
    fn p20_the_command_to_paste_is_one_command_whatever_the_address() {
        for (url, word) in [
            ("https://mcp.example.com/mcp", "https://mcp.example.com/mcp"),
            ("http://127.0.0.1:8080/a_b-c.d~e/%20", "http://127.0.0.1:8080/a_b-c.d~e/%20"),
            ("https://mcp.example.com/a;id", "'https://mcp.example.com/a;id'"),
            ("https://mcp.example.com/$(id)", "'https://mcp.example.com/$(id)'"),
            ("https://mcp.example.com/?a=b&c=d", "'https://mcp.example.com/?a=b&c=d'"),
            ("https://mcp.example.com/it's", r"'https://mcp.example.com/it'\''s'"),
            ("http://[::1]:8080/mcp", "'http://[::1]:8080/mcp'"),
        ] {
            let server = ServerUrl::parse(url, PlainHttp::LoopbackOnly).expect(url);
            let key = CredentialKey::new(Profile::default(), server);
            assert_eq!(login_command(&key), format!("linchpin login {word}"));
        }
    }
}
