//! Which store a client uses: a policy, resolved once (P4).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::{Directories, FileStore, Store};

/// How the store is chosen. `auto` is a policy, not a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StorePolicy {
    /// The best store that works. In this version that is the file.
    #[default]
    Auto,
    /// The file store and no other.
    File,
}

/// Why a text is not a policy.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// A store that the design names and this version does not have.
    #[error("the store `{0}` is not part of this version; use `auto` or `file`")]
    NotYet(String),
    /// No store at all.
    #[error("`{0}` is not a store; use `auto` or `file`")]
    Unknown(String),
}

impl FromStr for StorePolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "file" => Ok(Self::File),
            "keyring" | "secrets" => Err(PolicyError::NotYet(text.to_owned())),
            other => Err(PolicyError::Unknown(other.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for StorePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::File => "file",
        })
    }
}

impl StorePolicy {
    /// Resolves the policy to the one store that a client then uses for life.
    pub fn resolve(self, directories: &Directories) -> Arc<dyn Store> {
        match self {
            Self::Auto | Self::File => Arc::new(FileStore::new(directories)),
        }
    }
}
