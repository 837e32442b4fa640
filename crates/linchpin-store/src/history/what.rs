//! What an event says.

use serde::{Deserialize, Serialize};

use super::{Code, Phrase, Place, TokenName};
use crate::{Registration, StoreKind, UnixMs};

/// What was decided or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The mark is saved, and the refresh token is about to be presented (P8).
    ExchangeBegun {
        /// The refresh token.
        token: TokenName,
        /// How often it will have been presented with an unknown outcome, this time included.
        presentations: u32,
        /// Why.
        cause: Cause,
        /// The access token that is to be replaced.
        access: TokenName,
        /// Who presented it before, without an outcome that anybody knows (P10).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        earlier: Option<Earlier>,
    },
    /// What the provider answered, and what follows.
    ExchangeEnded {
        /// The refresh token.
        token: TokenName,
        /// As in [`What::ExchangeBegun`].
        presentations: u32,
        /// Requests made in this transaction.
        tries: u32,
        /// What came of it.
        outcome: Outcome,
        /// The provider's error code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// What happened, as words that follow "the provider".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Phrase>,
        /// What `Retry-After` asked for, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// What follows.
        next: Next,
        /// For how long the provider is left alone, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
        /// Of a client that is refused, how the provider came to know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registration: Option<Registration>,
    },
    /// The new tokens are saved (P9).
    Renewed {
        /// The refresh token from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenName>,
        /// The access token from now on.
        access: TokenName,
        /// When it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<UnixMs>,
        /// How often saving them failed before.
        #[serde(default, skip_serializing_if = "is_zero")]
        failed_saves: u32,
    },
    /// New tokens, or a mark, could not be saved.
    SaveFailed {
        /// Whether new tokens wait in memory to be saved, which is tried again (P9); a mark is not: nothing was spent.
        tokens_wait: bool,
        /// How often so far.
        attempt: u32,
        /// Why.
        problem: Phrase,
    },
    /// A transaction took the access token that another process had saved, without a request (P6, P16).
    Adopted {
        /// That token.
        access: TokenName,
        /// The one that this process had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<TokenName>,
    },
    /// An access token that has not ended stays in use, although it could not be renewed (P11).
    Kept {
        /// That token.
        access: TokenName,
    },
    /// The record was changed past the lock while it was renewed, and what it says now counts (P12).
    Superseded,
    /// A person has to sign in.
    SignInRequired {
        /// Why.
        reason: Reason,
        /// The provider's error code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// The refresh token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenName>,
        /// The access token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access: Option<TokenName>,
        /// What led to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// The server refused an access token right after its own exchange.
    RefusedAfterExchange {
        /// That token.
        access: TokenName,
    },
    /// A transaction waited for its lock, and got it, or what it wanted the lock for.
    LockWaited {
        /// What for.
        purpose: Phrase,
        /// How long, in milliseconds.
        waited_ms: u64,
    },
    /// A transaction did not get its lock in time.
    LockTimedOut {
        /// What for.
        purpose: Phrase,
        /// How long, in milliseconds.
        waited_ms: u64,
        /// The process that held it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<u32>,
        /// What that process said it held it for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_for: Option<Phrase>,
    },
    /// The lock was not to be had for another reason.
    LockFailed {
        /// What for.
        purpose: Phrase,
        /// Why not.
        problem: Phrase,
    },
    /// The lock was taken away from its holder, which starts over.
    LockLost,
    /// A new sign-in is saved.
    SignedIn {
        /// How.
        how: How,
        /// The provider.
        issuer: Place,
        /// Its refresh token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenName>,
        /// Its access token.
        access: TokenName,
        /// When that ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<UnixMs>,
    },
    /// A process that was to sign in found what another one brought while it waited for its turn, and took that over
    /// (F19).
    SignInAdopted {
        /// Its access token.
        access: TokenName,
    },
    /// A sign-in was begun and came to nothing; what was there before is as it was.
    SignInFailed {
        /// Why.
        problem: Phrase,
    },
    /// The sign-in is revoked, as far as the provider let it be, and deleted.
    SignedOut {
        /// What the provider said.
        revocation: RevocationOutcome,
        /// Its error code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// What happened, as words that follow "the provider".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Phrase>,
    },
    /// The record was moved to another store.
    Moved {
        /// That store.
        to: StoreKind,
    },
    /// A copy in another store was removed.
    CopyRemoved {
        /// That store.
        from: StoreKind,
    },
    /// A copy in another store could not be removed.
    CopyLeft {
        /// That store.
        from: StoreKind,
        /// Why not.
        problem: Phrase,
    },
    /// `auto` resolved to another store than the last time (P5).
    StoreDrift {
        /// The store of the last time.
        before: StoreKind,
        /// Why it is another one.
        reason: Phrase,
    },
    /// The server names another provider than the sign-in has; no token was sent there (P13).
    OtherProvider {
        /// The provider of the sign-in.
        before: Place,
        /// The one that the server names.
        named: Place,
    },
    /// Something that a later version tells.
    #[serde(skip)]
    Other {
        /// Its name for it.
        kind: String,
    },
}

/// Why a refresh token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The access token has ended.
    Ended,
    /// It is near its end, and renewed while it is in use.
    NearEnd,
    /// It does not live for as long as somebody needs it to.
    Short,
    /// The server refused it.
    Refused,
}

/// A presentation whose outcome nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The process.
    pub pid: u32,
    /// When.
    pub at_ms: UnixMs,
}

/// What led to a sign-in being required, as far as it is known to whoever says so. It stands in the event itself, since
/// the events before it may be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// How often the refresh token was presented with an outcome that was unknown at first; 0 when that is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub presentations: u32,
    /// Requests made in the transaction that came to it; 0 when that is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Of these, the ones that were answered that nothing was done.
    #[serde(skip_serializing_if = "is_zero")]
    pub unavailable: u32,
    /// The presentation that came last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Earlier>,
    /// The one before it, without an outcome that anybody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Earlier>,
    /// What happened to the request that was lost or answered so, as words that follow "the provider".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Phrase>,
    /// When the provider refused the refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_at_ms: Option<UnixMs>,
}

/// What came of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// New tokens.
    Rotated,
    /// The refresh token is refused for good.
    Refused,
    /// The client is refused.
    ClientRefused,
    /// The request was surely not sent.
    NotSent,
    /// The provider answered that it did nothing.
    Unavailable,
    /// Sent, and nobody knows what came of it.
    Unknown,
}

/// What follows an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Next {
    /// The new tokens are saved.
    Save,
    /// The token is noted as dead: it is never presented again.
    Bury,
    /// The tokens stay as they are, and the client is to be registered anew, or to be named as the provider knows it.
    Keep,
    /// The same request once more, after a pause; it had no effect.
    Again,
    /// The same token once more, at once (P10).
    Repeat,
    /// Nothing more for now.
    GiveUp,
}

/// Why a person has to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// There is no sign-in.
    NotSignedIn,
    /// The access token has ended and there is no refresh token.
    NotRenewable,
    /// The provider refused the refresh token for good.
    Refused,
    /// The server refuses an access token that was just obtained.
    RefusedAfterExchange,
    /// The refresh token was presented twice and no answer came.
    OutcomeUnknown,
}

/// How a sign-in came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum How {
    /// A person signed in.
    SignedIn,
    /// It was taken over from another program.
    Imported,
}

/// What came of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationOutcome {
    /// The provider revoked the tokens.
    Revoked,
    /// It has no revocation endpoint.
    NotOffered,
    /// It refused.
    Refused,
    /// It could not be asked.
    Unavailable,
}

impl What {
    /// Whether this says nothing that `before` did not: that a sign-in is required, or came to nothing, for the same
    /// reason. Evidence is not compared: whoever finds a sign-in ended knows less of it than the one that saw it end.
    pub fn repeats(&self, before: &Self) -> bool {
        let without_evidence = |what: &Self| match what.clone() {
            Self::SignInRequired { reason, code, token, access, evidence: _ } => {
                Self::SignInRequired { reason, code, token, access, evidence: None }
            }
            what => what,
        };
        self.changes_nothing() && without_evidence(self) == without_evidence(before)
    }

    /// Whether it tells how things are, and nothing that was done: somebody who asks again and again would have it told
    /// each time.
    pub(super) fn changes_nothing(&self) -> bool {
        matches!(self, Self::SignInRequired { .. } | Self::SignInFailed { .. } | Self::OtherProvider { .. })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
