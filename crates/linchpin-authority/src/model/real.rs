//! The bridge to the real functions: the model's small values become records, the functions of `decide` and `exchange`
//! are called, and what they give is made small again. Each call is made once and remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::thread::LocalKey;
use std::time::Duration;

use linchpin_oauth::{Exchange, TokenAnswer};
use linchpin_store::{
    DeadToken, ExchangeMark, Fingerprint, Record, RefusedClient, RefusedToken, Secret, UnixMs,
};

use super::state::{Kept, Outcome, Token, Why};
use crate::SignInReason;
use crate::decide::{Cause, Decision};
use crate::exchange::{Next, Progress};

const TICK: Duration = Duration::from_secs(60);
const EPOCH: u64 = 1_000_000_000_000;
const CODE: &str = "invalid_grant";
const CLIENT_CODE: &str = "invalid_client";

/// A [`Decision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decided {
    Adopt,
    Exchange(u8),
    LeaveAlone,
    /// Whether because the outcome is unknown.
    SignIn(bool),
}

/// A [`Next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Save(Token),
    Bury,
    ClientRefused,
    Again,
    Repeat,
    GiveUp(u8),
}

/// What was asked, and what the real function said.
type Said<K, V> = RefCell<HashMap<K, V>>;

thread_local! {
    static DECIDED: Said<(Option<Kept>, Why, u8), Decided> = RefCell::default();
    static FOLLOWS: Said<(Outcome, u8, u8), Follows> = RefCell::default();
    static BECOMES: Said<(Change, Kept, u8), Kept> = RefCell::default();
    static NEVER_SENT: Said<(Kept, Kept), Option<Kept>> = RefCell::default();
    static MAY_RUN: Said<(Kept, u8, u8), bool> = RefCell::default();
}

/// What a record becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    Marked(u8),
    Rotated(Token),
    Buried(Option<Token>),
    GivenUp(u8),
    ClientRefused(u8),
}

fn remembered<K: Hash + Eq + Copy, V: Copy>(
    said: &'static LocalKey<Said<K, V>>,
    key: K,
    call: impl FnOnce() -> V,
) -> V {
    if let Some(known) = said.with_borrow(|said| said.get(&key).copied()) {
        return known;
    }
    let value = call();
    said.with_borrow_mut(|said| said.insert(key, value));
    value
}

pub(super) fn decide(record: Option<Kept>, why: Why, now: u8) -> Decided {
    remembered(&DECIDED, (record, why, now), || {
        let cause = match why {
            Why::Ended(known) => Cause::Ended(known.map(|known| access(known).fingerprint())),
            Why::Refused(known) => Cause::Refused(access(known).fingerprint()),
        };
        match crate::decide::decide(record.map(real).as_ref(), &cause, time(now)) {
            Decision::Adopt => Decided::Adopt,
            Decision::Exchange { presentations } => Decided::Exchange(small(presentations)),
            Decision::RetryAt(_) | Decision::ClientRefused { .. } => Decided::LeaveAlone,
            Decision::SignInRequired(reason) => Decided::SignIn(reason == SignInReason::OutcomeUnknown),
        }
    })
}

pub(super) fn next(outcome: Outcome, tries: u8, presentations: u8) -> Follows {
    remembered(&FOLLOWS, (outcome, tries, presentations), || {
        let problem = || "had an accident".to_owned();
        let real = match outcome {
            Outcome::Rotated(token) => Exchange::Rotated(answer(token)),
            Outcome::Refused => Exchange::Refused { code: CODE.to_owned() },
            Outcome::ClientRefused => Exchange::ClientRefused { code: CLIENT_CODE.to_owned() },
            Outcome::NotSent => Exchange::NotSent { problem: problem() },
            Outcome::Unknown => Exchange::Unknown { problem: problem() },
        };
        let (tries, presentations) = (tries.into(), presentations.into());
        match crate::exchange::next(real, Progress { tries, presentations, paused: Duration::ZERO }) {
            Next::Save(answer) => Follows::Save(token(&answer.access_token.fingerprint())),
            Next::Bury { .. } => Follows::Bury,
            Next::Again(_) => Follows::Again,
            Next::Repeat => Follows::Repeat,
            Next::GiveUp { unknown, .. } => Follows::GiveUp(small(unknown)),
            Next::ClientRefused { .. } => Follows::ClientRefused,
        }
    })
}

pub(super) fn marked(record: Kept, presentations: u8, now: u8) -> Kept {
    becomes(Change::Marked(presentations), record, now)
}

pub(super) fn rotated(record: Kept, to: Token, begun: u8) -> Kept {
    becomes(Change::Rotated(to), record, begun)
}

pub(super) fn buried(record: Kept, why: Why, now: u8) -> Kept {
    let rejected = match why {
        Why::Refused(rejected) => Some(rejected),
        Why::Ended(_) => None,
    };
    becomes(Change::Buried(rejected), record, now)
}

pub(super) fn given_up(record: Kept, unknown: u8, now: u8) -> Kept {
    becomes(Change::GivenUp(unknown), record, now)
}

pub(super) fn client_refused(record: Kept, unknown: u8, now: u8) -> Kept {
    becomes(Change::ClientRefused(unknown), record, now)
}

fn becomes(change: Change, record: Kept, now: u8) -> Kept {
    remembered(&BECOMES, (change, record, now), || {
        let record = real(record);
        kept(&match change {
            Change::Marked(presentations) => crate::exchange::marked(record, presentations.into(), time(now)),
            Change::Rotated(to) => crate::exchange::rotated(record, answer(to), time(now)),
            Change::Buried(rejected) => {
                let rejected = rejected.map(|rejected| access(rejected).fingerprint());
                crate::exchange::buried(record, CODE, rejected.as_ref(), time(now))
            }
            Change::GivenUp(unknown) => {
                let retry_at = time(now).after(Duration::from_secs(2));
                crate::exchange::given_up(record, unknown.into(), Some(retry_at))
            }
            Change::ClientRefused(unknown) => {
                crate::exchange::client_refused(record, CLIENT_CODE, unknown.into(), time(now))
            }
        })
    })
}

pub(super) fn never_sent(marked: Kept, found: Kept) -> Option<Kept> {
    remembered(&NEVER_SENT, (marked, found), || {
        crate::exchange::never_sent(&real(marked), &real(found)).as_ref().map(kept)
    })
}

pub(super) fn may_be_running(record: Kept, lock_made: u8, now: u8) -> bool {
    remembered(&MAY_RUN, (record, lock_made, now), || {
        crate::exchange::may_be_running(&real(record), Some(time(lock_made)), time(now))
    })
}

fn time(tick: u8) -> UnixMs {
    UnixMs(EPOCH).after(TICK * tick.into())
}

fn tick(at: UnixMs) -> u8 {
    small(at.since(UnixMs(EPOCH)).as_secs() / TICK.as_secs())
}

fn small(number: impl TryInto<u8>) -> u8 {
    number.try_into().ok().expect("small numbers")
}

fn access(token: Token) -> Secret {
    Secret::new(format!("A{}.{}", token.grant, token.number))
}

fn refresh(token: Token) -> Secret {
    Secret::new(format!("R{}.{}", token.grant, token.number))
}

/// Which token has this fingerprint, of its access token or its refresh token.
fn token(fingerprint: &Fingerprint) -> Token {
    thread_local!(static NAMES: HashMap<Fingerprint, Token> = {
        let tokens = (0..4).flat_map(|grant| (0..8).map(move |number| Token { grant, number }));
        tokens.flat_map(|token| [(access(token).fingerprint(), token), (refresh(token).fingerprint(), token)]).collect()
    });
    NAMES.with(|names| names[fingerprint])
}

fn answer(token: Token) -> TokenAnswer {
    TokenAnswer {
        access_token: access(token),
        refresh_token: Some(refresh(token)),
        expires_in: Some(TICK),
        scopes: None,
    }
}

fn real(kept: Kept) -> Record {
    let record = crate::credential::tests::record("", "");
    Record {
        access_token: access(kept.token),
        refresh_token: Some(refresh(kept.token)),
        obtained_at_ms: time(kept.obtained),
        expires_at_ms: Some(time(kept.obtained).after(TICK)),
        exchange: kept.mark.map(|(token, presentations, at)| ExchangeMark {
            fingerprint: refresh(token).fingerprint(),
            presentations: presentations.into(),
            at_ms: time(at),
            pid: 1,
        }),
        dead: kept.dead.map(|token| DeadToken {
            fingerprint: refresh(token).fingerprint(),
            reason: CODE.to_owned(),
            at_ms: time(0),
        }),
        refused: kept
            .refused
            .map(|(token, at)| RefusedToken { fingerprint: access(token).fingerprint(), at_ms: time(at) }),
        retry_at_ms: kept.retry_after.map(|at| time(at).after(Duration::from_secs(2))),
        client_refused: kept.client_refused.map(|at| RefusedClient {
            client_id: record.client.id.clone(),
            code: CLIENT_CODE.to_owned(),
            at_ms: time(at),
        }),
        ..record
    }
}

fn kept(record: &Record) -> Kept {
    Kept {
        token: token(&record.access_token.fingerprint()),
        obtained: tick(record.obtained_at_ms),
        mark: record
            .exchange
            .as_ref()
            .map(|mark| (token(&mark.fingerprint), small(mark.presentations), tick(mark.at_ms))),
        dead: record.dead.as_ref().map(|dead| token(&dead.fingerprint)),
        refused: record.refused.as_ref().map(|refused| (token(&refused.fingerprint), tick(refused.at_ms))),
        client_refused: record.client_refused.as_ref().map(|refused| tick(refused.at_ms)),
        retry_after: record.retry_at_ms.map(tick),
    }
}
