//! What is kept: the [`Record`] of a sign-in, its [`CredentialKey`] and secrets, and the [`Store`]s it lives in.
//!
//! A record renews itself offline: it names the issuer, the endpoints, the client and the tokens. A store keeps
//! records and hands out one [`CredentialGuard`] per key at a time, across processes; whatever changes a record
//! takes that guard as an argument, so that changing one without the lock does not compile.
//!
//! How the promises are kept:
//! - a save reads, changes and replaces the whole aggregate file under a cross-process lock (P1), through a
//!   synced temporary file and a rename (P2);
//! - content that cannot be read is an error that names the file, and is kept (P3);
//! - secrets are [`Secret`], which cannot be printed or serialized by accident (P20).
//!
//! # Limitations
//! The local stores rely on the operating system's advisory file locks. A file system whose locks do nothing on this
//! machine is refused; one that keeps them here but not between machines excludes this machine's processes only.

mod aggregate;
mod aggregate_file;
mod atomic;
mod clock;
#[cfg(test)]
mod contract;
mod directories;
mod disposition;
pub mod doctor;
mod drift;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod history;
mod key;
mod keyring;
mod lock;
mod locks;
mod memory;
mod permissions;
mod plain;
mod policy;
mod record;
mod resolve;
#[cfg(test)]
mod samples;
mod secret;
mod secrets;
pub mod steps;
mod store;
mod user_file;

pub use clock::{Clock, SystemClock, UnixMs};
pub use directories::{Directories, DirectoriesError};
pub use disposition::Disposition;
pub use file::FileStore;
pub use key::{CredentialKey, PlainHttp, Profile, ProfileError, ServerUrl, ServerUrlError};
pub use keyring::{KeyringError, KeyringStore};
pub use lock::{LockError, LockHolder};
pub use memory::MemoryStore;
pub use plain::plain_json;
pub use policy::{PolicyError, StorePolicy};
pub use record::{
    Client, ClientAuthMethod, DeadToken, ExchangeMark, PRESENTATIONS, RECORD_VERSION, Record, RecordError,
    RefusedClient, RefusedToken, Registration,
};
pub use resolve::{Drift, DriftReason, Pin, Stores, Why};
pub use secret::{Fingerprint, Secret};
pub use secrets::{IdentityError, IdentityPlace, SecretsStore};
pub use store::{
    CredentialGuard, Held, Hold, LockRequest, LockWatch, SignInTurn, Store, StoreError, StoreKind,
    StoredRecord,
};
pub use user_file::{UserFile, UserFileGuard};
