//! Events in a few words, for a table.

use linchpin::Refused;
use linchpin::history::{Code, How, Outcome, Reason, RevocationOutcome, What};

/// What happened.
pub(in crate::commands) fn brief(what: &What) -> String {
    let code = |code: &Option<Code>| code.as_ref().map_or_else(String::new, |code| format!(" ({code})"));
    match what {
        What::ExchangeBegun { .. } => "a refresh was begun".to_owned(),
        What::ExchangeEnded { outcome: Outcome::Rotated, .. } => "renewed, to be saved".to_owned(),
        What::ExchangeEnded { outcome: Outcome::Refused, code: given, .. } => {
            format!("ended by the provider{}", code(given))
        }
        What::ExchangeEnded { outcome: Outcome::ClientRefused, code: given, .. } => {
            let refused = Refused::by(given.as_ref().map_or("", |code| code.as_str()));
            format!("the provider refused {refused}{}", code(given))
        }
        What::ExchangeEnded { outcome: Outcome::Unknown, .. } => {
            "a refresh without a known outcome".to_owned()
        }
        What::ExchangeEnded { problem, .. } => {
            format!(
                "not renewed: the provider {}",
                problem.as_ref().map_or("was not asked", |problem| problem.as_str())
            )
        }
        What::Renewed { .. } => "renewed".to_owned(),
        What::SaveFailed { tokens_wait: true, .. } => "renewed, and not saved yet".to_owned(),
        What::SaveFailed { .. } => "not renewed: the store cannot be written".to_owned(),
        What::Superseded => "changed while it was renewed".to_owned(),
        What::SignInRequired { reason, code: given, .. } => match reason {
            Reason::Refused => format!("ended by the provider{}", code(given)),
            Reason::NotRenewable => "the access token ended and cannot be renewed".to_owned(),
            Reason::RefusedAfterExchange => "the server refuses a token that was just renewed".to_owned(),
            Reason::OutcomeUnknown => "presented twice without an answer".to_owned(),
            _ => "sign-in required".to_owned(),
        },
        What::RefusedAfterExchange { .. } => "the server refused a token that was just renewed".to_owned(),
        What::LockTimedOut { .. } => "not renewed: another process held the lock".to_owned(),
        What::LockFailed { .. } => "not renewed: no lock".to_owned(),
        What::SignedIn { how: How::Imported, .. } => "imported".to_owned(),
        What::SignedIn { .. } => "signed in".to_owned(),
        What::SignInAdopted { .. } => "another process's sign-in was taken over".to_owned(),
        What::SignInFailed { .. } => "a sign-in came to nothing".to_owned(),
        What::SignedOut { revocation, code: given, problem } => match revocation {
            RevocationOutcome::Revoked => "signed out; the provider has revoked the tokens".to_owned(),
            RevocationOutcome::NotOffered => "signed out; the provider offers no revocation".to_owned(),
            RevocationOutcome::Refused => {
                format!("signed out; the provider refused to revoke{}", code(given))
            }
            _ => {
                let problem = problem.as_ref().map_or("was not asked", |problem| problem.as_str());
                format!("signed out; not revoked: the provider {problem}")
            }
        },
        What::Moved { to } => format!("moved to the {to} store"),
        What::CopyRemoved { from } => format!("a copy in the {from} store was removed"),
        What::CopyLeft { from, .. } => format!("a copy in the {from} store could not be removed"),
        What::OtherProvider { before, named } => {
            format!("the server names another provider, {named} instead of {before}; no token was sent there")
        }
        What::Other { kind } => kind.clone(),
        _ => String::new(),
    }
}

/// Whether an event says something about how a sign-in is; what concerns one process alone does not.
pub(in crate::commands) fn is_news(what: &What) -> bool {
    !matches!(
        what,
        What::Adopted { .. }
            | What::Kept { .. }
            | What::LockWaited { .. }
            | What::LockLost
            | What::StoreDrift { .. }
            | What::SignInAdopted { .. }
            | What::SignInFailed { .. }
            | What::SignInRequired { reason: Reason::NotSignedIn, .. }
    )
}
