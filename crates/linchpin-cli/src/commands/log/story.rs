//! Events as sentences. One sentence may need what earlier events said: who presented the token that was refused, and
//! who obtained the one that was adopted.

mod verdict;

use std::collections::HashMap;

use jiff::Timestamp;
use linchpin::history::{Cause, Event, How, Next, Outcome, Reason, TokenName, What};
use linchpin::{Refused, Registration, UnixMs};

use self::verdict::Presented;
use super::brief::brief;

/// So many tokens are remembered at most, by a command that may follow the history for weeks.
const MOST: usize = 10_000;

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// By refresh token: presentations, and what came of each as far as it is known.
    presented: HashMap<TokenName, Presented>,
    /// By access token: the process that obtained it.
    obtained: HashMap<TokenName, u32>,
}

impl Story {
    /// The sentence for `event`, which is remembered for those that follow.
    pub(super) fn tell(&mut self, event: &Event) -> String {
        let told = self.sentence(event);
        self.remember(event);
        told
    }

    fn remember(&mut self, event: &Event) {
        if self.presented.len() + self.obtained.len() > MOST {
            *self = Self::default();
        }
        match &event.what {
            What::ExchangeBegun { token, earlier, .. } => {
                self.presented.entry(token.clone()).or_default().begin(event, earlier.as_ref());
            }
            What::ExchangeEnded { token, .. } => {
                self.presented.entry(token.clone()).or_default().end(event.pid, &event.what);
            }
            What::Renewed { access, .. } | What::SignedIn { access, .. } => {
                self.obtained.insert(access.clone(), event.pid);
            }
            _ => {}
        }
    }

    fn sentence(&self, event: &Event) -> String {
        match &event.what {
            What::ExchangeBegun { token, cause, access, earlier: None, .. } => {
                format!("presents refresh token {token}: access token {access} {}", because(*cause))
            }
            What::ExchangeBegun { token, earlier: Some(earlier), .. } => {
                let who = process(earlier.pid, event);
                let when = moment(earlier.at_ms);
                format!(
                    "presents refresh token {token} once more: {who} presented it at {when}, and nobody knows what came of it"
                )
            }
            What::ExchangeEnded { .. } => ended(&event.what),
            What::Renewed { token, access, expires_at_ms, failed_saves } => {
                let tokens = tokens(access, *expires_at_ms, token.as_ref());
                match failed_saves {
                    0 => format!("renewed and saved: {tokens}"),
                    1 => format!("renewed, and saved after a failed attempt: {tokens}"),
                    _ => format!("renewed, and saved after {failed_saves} failed attempts: {tokens}"),
                }
            }
            What::SaveFailed { tokens_wait: true, attempt, problem } => format!(
                "the new tokens cannot be saved (attempt {attempt}): {problem}; they are kept in memory, and saving is tried again"
            ),
            What::SaveFailed { problem, .. } => {
                format!("nothing was presented, since that could not be noted: {problem}")
            }
            What::Adopted { access, instead_of } => {
                let instead =
                    instead_of.as_ref().map(|known| format!(" instead of {known}")).unwrap_or_default();
                let by = self.obtained.get(access).map(|pid| format!(", which process {pid} obtained"));
                format!("adopts access token {access}{instead}{}", by.unwrap_or_default())
            }
            What::Kept { access } => format!("access token {access} stays in use: it has not ended"),
            What::Superseded => {
                "the sign-in was changed while it was renewed, and the change counts".to_owned()
            }
            What::SignInRequired { .. } => format!("sign-in required: {}", self.why(event)),
            What::RefusedAfterExchange { access } => format!(
                "the server refuses access token {access}, which was renewed just now; it is not renewed again for 30 s"
            ),
            What::LockWaited { purpose, waited_ms } => {
                format!("waited {} for the lock ({purpose})", seconds(*waited_ms))
            }
            What::LockTimedOut { purpose, waited_ms, holder, held_for } => {
                let holder = holder.map(|holder| {
                    let purpose =
                        held_for.as_ref().map(|purpose| format!(" ({purpose})")).unwrap_or_default();
                    format!(", held by process {holder}{purpose}")
                });
                let holder = holder.unwrap_or_default();
                format!("gave up waiting for the lock ({purpose}) after {}{holder}", seconds(*waited_ms))
            }
            What::LockFailed { purpose, problem } => {
                format!("the lock ({purpose}) was not to be had: {problem}")
            }
            What::LockLost => "the lock was removed while it was held; starting over".to_owned(),
            What::SignedIn { how, issuer, token, access, expires_at_ms } => {
                let how = match how {
                    How::Imported => "sign-in imported, made",
                    _ => "signed in",
                };
                format!("{how} at {issuer}: {}", tokens(access, *expires_at_ms, token.as_ref()))
            }
            What::SignInAdopted { access } => {
                let who = self.obtained.get(access).map(|pid| process(*pid, event));
                let who = who.unwrap_or_else(|| "another process".to_owned());
                format!("takes over the sign-in that {who} made: access token {access}")
            }
            What::SignInFailed { problem } => {
                format!("a sign-in was begun and came to nothing: {problem}")
            }
            What::SignedOut { .. }
            | What::Moved { .. }
            | What::CopyRemoved { .. }
            | What::OtherProvider { .. } => brief(&event.what),
            What::CopyLeft { from, problem } => {
                format!("a copy in the {from} store could not be removed: {problem}")
            }
            What::StoreDrift { before, reason } => {
                let now = event.store.map_or_else(|| "another".to_owned(), |store| format!("the {store}"));
                format!("read from {now} store, the last time from the {before} store: {reason}")
            }
            What::Other { kind } => format!("{kind} (told by another version of linchpin; see --json)"),
            _ => "something that this version has no words for; see --json".to_owned(),
        }
    }

    fn why(&self, event: &Event) -> String {
        let What::SignInRequired { reason, code, token, access, evidence } = &event.what else {
            return String::new();
        };
        let name =
            |token: &Option<TokenName>| token.as_ref().map(|token| format!(" {token}")).unwrap_or_default();
        let presented =
            token.as_ref().and_then(|token| self.presented.get(token)).cloned().unwrap_or_default();
        let presented = presented.with(evidence.as_ref());
        match reason {
            Reason::NotSignedIn => "there is no sign-in".to_owned(),
            Reason::NotRenewable => {
                format!("access token{} has ended, and the provider issued no refresh token", name(access))
            }
            Reason::Refused => {
                let code = code.as_ref().map_or("no code", |code| code.as_str());
                let refused = evidence.as_ref().and_then(|evidence| evidence.refused_at_ms);
                let history = presented
                    .before_refusal(event)
                    .unwrap_or_else(|| refused.map(|at| format!(" at {}", moment(at))).unwrap_or_default());
                format!("the provider refused refresh token{} ({code}){history}", name(token))
            }
            Reason::RefusedAfterExchange => {
                format!("the server refuses access token{}, which was renewed just now", name(access))
            }
            Reason::OutcomeUnknown => {
                let who = presented.by(event).unwrap_or_default();
                format!(
                    "refresh token{} was presented twice{who}, and no usable answer came; it may be spent, so it is \
                     never presented again",
                    name(token)
                )
            }
            _ => "for a reason that this version has no words for".to_owned(),
        }
    }
}

fn because(cause: Cause) -> &'static str {
    match cause {
        Cause::Ended => "has ended",
        Cause::NearEnd => "is near its end",
        Cause::Short => "does not live for as long as it is needed",
        Cause::Refused => "was refused by the server",
        _ => "is to be replaced",
    }
}

fn ended(what: &What) -> String {
    let What::ExchangeEnded {
        token,
        outcome,
        code,
        problem,
        retry_after_ms,
        next,
        pause_ms,
        registration,
        ..
    } = what
    else {
        return String::new();
    };
    let code = code.as_ref().map_or("no code", |code| code.as_str());
    let problem = problem.as_ref().map_or("did not say why", |problem| problem.as_str());
    let came = match outcome {
        Outcome::Rotated => format!("the provider issued new tokens for refresh token {token}"),
        Outcome::Refused => format!("the provider refused refresh token {token} for good ({code})"),
        Outcome::ClientRefused => format!("the provider refused {} ({code})", Refused::by(code)),
        Outcome::NotSent => format!("refresh token {token} was not sent: the provider {problem}"),
        Outcome::Unavailable => {
            let asked = retry_after_ms.map(|asked| format!(" and asked to wait {}", seconds(asked)));
            format!(
                "refresh token {token} was not exchanged: the provider {problem}{}",
                asked.unwrap_or_default()
            )
        }
        Outcome::Unknown => {
            format!("whether refresh token {token} is spent is unknown: the provider {problem}")
        }
        _ => format!("something became of refresh token {token}"),
    };
    let pause = pause_ms.map(seconds).unwrap_or_default();
    let follows = match next {
        Next::Save => "they are saved next".to_owned(),
        Next::Bury => "it is never presented again".to_owned(),
        Next::Keep => {
            // An older version left nobody alone.
            let alone = pause_ms.map(|_| format!(", nobody asks again for {pause}")).unwrap_or_default();
            let then = match registration {
                _ if Refused::by(code) == Refused::Request => "a sign-in may help",
                Some(Registration::Preregistered) => {
                    "the next sign-in needs the --client-id that the provider knows"
                }
                Some(Registration::ClientCredentials) => {
                    "the program has to sign in with credentials that the provider knows"
                }
                _ => "the next sign-in registers anew",
            };
            format!("the tokens are kept{alone}, and {then}")
        }
        Next::Again => format!("tried again after {pause}"),
        Next::Repeat => "presented once more, at once".to_owned(),
        Next::GiveUp => format!("given up for now, and nobody asks again for {pause}"),
        _ => return came,
    };
    format!("{came}; {follows}")
}

fn tokens(access: &TokenName, expires: Option<UnixMs>, refresh: Option<&TokenName>) -> String {
    let until = expires.map(|at| format!(" until {}", moment(at))).unwrap_or_default();
    let refresh =
        refresh.map_or_else(|| "no refresh token".to_owned(), |token| format!("refresh token {token}"));
    format!("access token {access}{until}, {refresh}")
}

fn process(pid: u32, event: &Event) -> String {
    if pid == event.pid { "this process".to_owned() } else { format!("process {pid}") }
}

fn seconds(millis: u64) -> String {
    let tenths = millis.div_ceil(100);
    if tenths.is_multiple_of(10) {
        format!("{} s", tenths / 10)
    } else {
        format!("{}.{} s", tenths / 10, tenths % 10)
    }
}

/// A moment for people, in UTC, to the millisecond: a storm is over in less than a second.
pub(super) fn moment(at: UnixMs) -> String {
    let timestamp = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    timestamp
        .map_or_else(|| "the far future".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S.%3fZ").to_string())
}

#[cfg(test)]
mod tests;
