//! How the store is chosen: what a user may say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::StoreKind;

/// How the store is chosen. `auto` is a policy, not a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorePolicy {
    /// The keyring where it works, else the file; resolved once per client (P4).
    #[default]
    Auto,
    /// The keyring and no other.
    Keyring,
    /// The encrypted file and no other.
    Secrets,
    /// The file and no other.
    File,
}

/// Why a text is not a policy.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a store; use `auto`, `keyring`, `secrets` or `file`")]
pub struct PolicyError(String);

impl FromStr for StorePolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "keyring" => Ok(Self::Keyring),
            "secrets" => Ok(Self::Secrets),
            "file" => Ok(Self::File),
            other => Err(PolicyError(other.chars().take(40).filter(|c| !c.is_control()).collect())),
        }
    }
}

impl fmt::Display for StorePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Keyring => "keyring",
            Self::Secrets => "secrets",
            Self::File => "file",
        })
    }
}

impl StorePolicy {
    /// The one store that an explicit policy names; `None` for `auto`.
    pub const fn kind(self) -> Option<StoreKind> {
        match self {
            Self::Auto => None,
            Self::Keyring => Some(StoreKind::Keyring),
            Self::Secrets => Some(StoreKind::Secrets),
            Self::File => Some(StoreKind::File),
        }
    }
}
