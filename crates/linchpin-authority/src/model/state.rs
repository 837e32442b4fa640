//! What the model's states are made of. Small, so that many fit: tokens are numbers, and time is counted in ticks of a
//! minute, which is a token's life. What a tick outlasts: an exchange and its provider's grace, every pause, and the
//! doubt about a lock that was made anew.

use linchpin_store::steps::Step;

/// An access token and the refresh token issued with it: the `number`th of its grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token {
    pub(super) grant: u8,
    pub(super) number: u8,
}

impl Token {
    pub(super) fn bit(self) -> u32 {
        1 << (u32::from(self.grant) * 8 + u32::from(self.number))
    }
}

/// What of a record decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kept {
    pub(super) token: Token,
    pub(super) obtained: u8,
    /// The token that is marked, how often, and when.
    pub(super) mark: Option<(Token, u8, u8)>,
    pub(super) dead: Option<Token>,
    pub(super) refused: Option<(Token, u8)>,
    /// When its client was refused.
    pub(super) client_refused: Option<u8>,
    /// The tick for which the provider is to be left alone.
    pub(super) retry_after: Option<u8>,
}

impl Kept {
    pub(super) fn new(token: Token, obtained: u8) -> Self {
        Self {
            token,
            obtained,
            mark: None,
            dead: None,
            refused: None,
            client_refused: None,
            retry_after: None,
        }
    }
}

/// Why a transaction is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Why {
    Ended(Option<Token>),
    Refused(Token),
}

/// What became of a request, as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Outcome {
    Rotated(Token),
    Refused,
    ClientRefused,
    NotSent,
    Unknown,
}

/// An exchange under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Exchanging {
    pub(super) why: Why,
    /// The record under its mark, once that is saved.
    pub(super) record: Kept,
    pub(super) presentations: u8,
    pub(super) tries: u8,
}

/// Where a process is: the step of the code that it has reached, and what it knows there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum At {
    Idle,
    /// What it had marked under a lock that was taken away; and what it read without the lock.
    PreLock(Why, Option<Kept>, Option<Kept>),
    Locked(Why, Option<Kept>, Option<Kept>),
    /// It has decided to spend; next it saves the mark.
    Reread(Exchanging),
    Marked(Exchanging),
    /// The answer, once the provider has given it.
    Sent(Exchanging, Option<Outcome>),
    /// The new token; next it is saved.
    Received(Exchanging, Token, u8),
    /// The same after its lock was taken away.
    PreLockAgain(Exchanging, Token, u8),
    MarkCleared(Token),
    /// A person signs in with a grant from the browser.
    SignInPreLock(u8),
    SignInLocked(u8),
    SignedIn(Token),
    /// A person signs out.
    SignOutPreLock,
    SignOutLocked,
    /// Revoked, if there was something to revoke; next the record is deleted.
    Revoked,
    SignedOut,
    /// Of a protocol that deletes what was refused, whatever the record holds by then.
    Deleting(Token),
}

impl At {
    /// The name that the code gives it.
    pub(super) fn step(self) -> Option<Step> {
        Some(match self {
            Self::Idle => return None,
            Self::PreLock(..) | Self::PreLockAgain(..) | Self::SignInPreLock(_) | Self::SignOutPreLock => {
                Step::PreLock
            }
            Self::Locked(..) | Self::SignInLocked(_) | Self::SignOutLocked => Step::Locked,
            Self::Reread(_) | Self::Revoked => Step::Reread,
            Self::Marked(_) => Step::Marked,
            Self::Sent(..) => Step::Sent,
            Self::Received(..) | Self::Deleting(_) => Step::Received,
            Self::MarkCleared(_) | Self::SignedIn(_) | Self::SignedOut => Step::MarkCleared,
        })
    }
}

/// The credential lock as a process has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lock {
    No,
    Held,
    /// It believes so, and its file was removed.
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) at: At,
    pub(super) lock: Lock,
    /// The token that it uses.
    pub(super) snapshot: Option<Token>,
}

impl Process {
    pub(super) const NEW: Self = Self { at: At::Idle, lock: Lock::No, snapshot: None };
}

/// One grant at the provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Grant {
    /// When each token was spent; the next one is the newest.
    pub(super) spent_at: Vec<u8>,
    pub(super) ended: bool,
}

/// How often things may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Budget {
    pub(super) ticks: u8,
    pub(super) crashes: u8,
    /// Requests and answers lost.
    pub(super) losses: u8,
    pub(super) unsent: u8,
    /// Access tokens refused by the server.
    pub(super) refusals: u8,
    /// Requests that the provider answers by refusing the client.
    pub(super) client_refusals: u8,
    pub(super) sign_ins: u8,
    pub(super) sign_outs: u8,
    /// Lock files removed.
    pub(super) removals: u8,
}

/// What a person did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum UserAction {
    SignedIn(u8),
    SignedOut,
}

/// What is true, kept apart from what the record says.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Truth {
    pub(super) last: UserAction,
    /// The token that a living process received or a person brought, and saved, last.
    pub(super) saved: Token,
    /// Refresh tokens that the provider received once, twice, and more often, as sets of bits.
    pub(super) presented: [u32; 3],
    /// Refresh tokens whose refusal was noted.
    pub(super) dead: u32,
    pub(super) dead_presented: bool,
    /// The grant whose client was refused and when, since that was noted.
    pub(super) client_refused: Option<(u8, u8)>,
    pub(super) pause_broken: bool,
    pub(super) replays: bool,
    /// Something was lost or somebody died.
    pub(super) excused: bool,
    pub(super) rotations: u8,
    /// Ends of lives and refusals, each of which is worth one rotation.
    pub(super) reasons: u8,
    pub(super) refused: u32,
    /// A record was deleted whose token is not the one that was refused.
    pub(super) deleted_another: bool,
    /// A process gave up a token that it had received, though nobody replaced the sign-in.
    pub(super) dropped: bool,
    /// For the report that it came about: an adoption of what another saved.
    pub(super) adopted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) now: u8,
    pub(super) record: Option<Kept>,
    /// When the lock file was made.
    pub(super) lock_made: u8,
    /// Sorted: which is which makes no difference.
    pub(super) processes: Vec<Process>,
    /// Requests of processes that died, still on their way.
    pub(super) orphans: Vec<Token>,
    pub(super) grants: Vec<Grant>,
    pub(super) left: Budget,
    pub(super) truth: Truth,
}
