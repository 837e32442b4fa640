//! Why a sign-in failed, and what can be done about it.

use std::time::Duration;

use linchpin_store::{Client, Disposition, Registration, ServerUrl};
use thiserror::Error;

use super::KeyError;
use crate::Exchange;
use crate::http::HttpSetupError;

/// Why a sign-in failed. Nothing is changed by one that does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The server answers without a token.
    #[error("{0} needs no sign-in; use it as it is")]
    NotNeeded(ServerUrl),
    /// It is there and is no MCP server, or one without OAuth.
    #[error("{server} does not look like an MCP server ({problem}); check the URL")]
    NotAnMcpServer {
        /// The server.
        server: ServerUrl,
        /// What it answered.
        problem: String,
    },
    /// The server or the provider cannot be reached.
    #[error("{who} {problem}; try again")]
    Unreachable {
        /// The server or the provider.
        who: String,
        /// What happened.
        problem: String,
    },
    /// What the server or the provider says about itself is wrong or hostile. Nothing was sent to where it points.
    #[error("{server} cannot be signed in to: {problem}; tell its operator")]
    Metadata {
        /// The server.
        server: ServerUrl,
        /// What is wrong.
        problem: String,
    },
    /// The server names another provider than the sign-in that is there. No token was sent to it, nor anything but the
    /// request for its metadata.
    #[error(
        "{server} names another provider than before: {now} instead of {before}; if that is right, \
         run `linchpin logout` for it first"
    )]
    OtherProvider {
        /// The server.
        server: Box<ServerUrl>,
        /// The provider of the sign-in.
        before: String,
        /// The provider that the server names now.
        now: String,
    },
    /// The provider registers nobody and no client was given.
    #[error(
        "{issuer} does not register clients by itself; register one there and pass its id with --client-id"
    )]
    NoRegistration {
        /// The provider.
        issuer: String,
    },
    /// The provider refused to register a client.
    #[error(
        "{issuer} refused to register a client ({problem}); pass one that is registered with --client-id"
    )]
    RegistrationRefused {
        /// The provider.
        issuer: String,
        /// Its error code or status.
        problem: String,
    },
    /// The callback port is taken.
    #[error(
        "port {port} of this machine cannot be listened on ({problem}); choose another with --callback-port"
    )]
    CallbackPort {
        /// The port.
        port: u16,
        /// Why.
        problem: String,
    },
    /// Nobody came back from the browser.
    #[error("no answer from the browser within {} s; run the command again", .0.as_secs_f32())]
    TimedOut(Duration),
    /// A callback that does not belong to this sign-in.
    #[error("the browser came back with a wrong state, so its answer was not used; run the command again")]
    WrongState,
    /// A callback that names another provider, or none where one is due (RFC 9207).
    #[error(
        "the answer came from another provider than {expected}, so it was not used; run the command again"
    )]
    WrongIssuer {
        /// The provider asked.
        expected: String,
    },
    /// The text is no callback URL.
    #[error("this is not the URL that the browser was sent back to; copy the whole address and try again")]
    NotACallback,
    /// The person or the provider said no.
    #[error("the provider did not sign you in ({code})")]
    Denied {
        /// The error code.
        code: String,
    },
    /// The code was not exchanged.
    #[error("the provider {problem}; run the command again")]
    Exchange {
        /// What happened.
        problem: String,
        /// What can be done about it.
        disposition: Disposition,
    },
    /// The provider does not know the client that was given, or not by this secret.
    #[error(
        "the provider refused the client `{client_id}` ({code}); check --client-id and --client-secret-file"
    )]
    ClientRefused {
        /// `client_id`.
        client_id: String,
        /// The error code.
        code: String,
    },
    /// The private key is of no use.
    #[error("{0}")]
    Key(KeyError),
    /// The provider takes no such proof of who the client is.
    #[error("{issuer} takes no {proof}; use what it registered the client with")]
    ProofNotTaken {
        /// The provider.
        issuer: String,
        /// The method or the algorithm.
        proof: &'static str,
    },
    /// There is no HTTP client.
    #[error(transparent)]
    Http(#[from] HttpSetupError),
}

impl SignInError {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::NotNeeded(_)
            | Self::NotAnMcpServer { .. }
            | Self::NotACallback
            | Self::NoRegistration { .. }
            | Self::ClientRefused { .. }
            | Self::Key(_)
            | Self::ProofNotTaken { .. }
            | Self::CallbackPort { .. } => Disposition::Usage,
            Self::Unreachable { .. } => Disposition::Retry,
            Self::Metadata { .. } | Self::OtherProvider { .. } | Self::RegistrationRefused { .. } => {
                Disposition::Answered
            }
            Self::TimedOut(_) => Disposition::TimedOut,
            Self::WrongState | Self::WrongIssuer { .. } | Self::Denied { .. } => Disposition::SignIn,
            Self::Exchange { disposition, .. } => *disposition,
            Self::Http(_) => Disposition::Configuration,
        }
    }
}

/// Why there are no tokens for a code. Whatever it is, the code is spent: a person goes through the browser again.
pub(super) fn not_exchanged(outcome: Exchange, client: &Client) -> SignInError {
    let (problem, disposition) = match outcome {
        Exchange::ClientRefused { code }
            if matches!(
                client.registration,
                Registration::Preregistered | Registration::ClientCredentials
            ) =>
        {
            return SignInError::ClientRefused { client_id: client.id.clone(), code };
        }
        Exchange::Refused { code } | Exchange::ClientRefused { code } => {
            (format!("refused to complete the sign-in ({code})"), Disposition::SignIn)
        }
        Exchange::NotSent { problem }
        | Exchange::Unavailable { problem, .. }
        | Exchange::Unknown { problem } => {
            (format!("{problem} when the sign-in was to be completed"), Disposition::Retry)
        }
        Exchange::Rotated(_) => ("issued tokens that were not used".to_owned(), Disposition::Retry),
    };
    SignInError::Exchange { problem, disposition }
}
