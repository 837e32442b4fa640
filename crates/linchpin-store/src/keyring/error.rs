//! What a keyring can fail with, told apart.

use thiserror::Error;

/// Why the keyring failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// No session bus, or nobody on it who keeps secrets.
    #[error(
        "there is none in this session ({0}); log in to a desktop, or choose another store with LINCHPIN_STORE"
    )]
    Unavailable(String),
    /// Locked, and nobody unlocked it.
    #[error("it is locked; unlock it and try again")]
    Locked,
    /// It has nowhere to keep entries.
    #[error(
        "it has no collection to keep entries in; log in to a desktop once, or choose another store with LINCHPIN_STORE"
    )]
    NoCollection,
    /// The entry is longer than the platform allows.
    #[error("it refuses an entry of {0} bytes; use the store `secrets`")]
    TooLarge(usize),
    /// No answer within the bound of a call.
    #[error("it did not answer within 3 s; it may be waiting for you to unlock it")]
    TimedOut,
    /// There is no keyring for this platform in this build.
    #[error("this build has none for this platform; choose another store with LINCHPIN_STORE")]
    NotBuilt,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl KeyringError {
    /// How the keyring is, in a few words after "the keyring".
    pub const fn in_brief(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "is not there in this session",
            Self::Locked => "is locked",
            Self::NoCollection => "has no collection",
            Self::TooLarge(_) => "refuses entries of this size",
            Self::TimedOut => "did not answer",
            Self::NotBuilt => "is not part of this build",
            Self::Failed(_) => "failed",
        }
    }
}
