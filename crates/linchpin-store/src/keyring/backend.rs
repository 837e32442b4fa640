//! The platform's keyring through `keyring-core` and its stores.

use std::fmt;

use zeroize::Zeroizing;

use super::KeyringError;

/// A keyring: named entries. Calls block for as long as they like; [`super::Bounded`] ends the wait.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// The entry, or `None` when the keyring says that there is none (which proves nothing by itself).
    fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError>;

    /// Makes or replaces the entry.
    fn set(&self, entry: &str, secret: &[u8]) -> Result<(), KeyringError>;

    /// Deletes the entry; whether there was one.
    fn delete(&self, entry: &str) -> Result<bool, KeyringError>;

    /// The names of all entries.
    fn list(&self) -> Result<Vec<String>, KeyringError>;
}

/// What a person knows it by.
pub(crate) const NAME: &str = if cfg!(target_os = "macos") {
    "the login keychain"
} else if cfg!(windows) {
    "the Credential Manager"
} else {
    "the Secret Service of this session"
};

#[cfg(not(all(feature = "keyring", any(unix, windows))))]
pub(crate) use absent::Platform;
#[cfg(all(feature = "keyring", any(unix, windows)))]
pub(crate) use present::Platform;

#[cfg(not(all(feature = "keyring", any(unix, windows))))]
mod absent {
    use super::{Backend, KeyringError, Zeroizing};

    /// No keyring.
    #[derive(Debug, Default)]
    pub(crate) struct Platform {}

    impl Backend for Platform {
        fn get(&self, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
            Err(KeyringError::NotBuilt)
        }

        fn set(&self, _: &str, _: &[u8]) -> Result<(), KeyringError> {
            Err(KeyringError::NotBuilt)
        }

        fn delete(&self, _: &str) -> Result<bool, KeyringError> {
            Err(KeyringError::NotBuilt)
        }

        fn list(&self) -> Result<Vec<String>, KeyringError> {
            Err(KeyringError::NotBuilt)
        }
    }
}

#[cfg(all(feature = "keyring", any(unix, windows)))]
mod present {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, PoisonError};

    use keyring_core::{CredentialStore, Entry, Error};

    use super::{Backend, KeyringError, Zeroizing};

    /// The service that all of our entries carry.
    const SERVICE: &str = "linchpin";

    /// The platform's keyring, connected by the first call that needs it.
    #[derive(Debug, Default)]
    pub(crate) struct Platform {
        connected: Mutex<Option<Arc<CredentialStore>>>,
    }

    impl Platform {
        /// Runs `work` over the connection. One that broke (the daemon was restarted) is made anew, once.
        fn with<T>(
            &self,
            work: impl Fn(&CredentialStore) -> Result<T, Error>,
        ) -> Result<Option<T>, KeyringError> {
            let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
            let is_old = connected.is_some();
            for is_last in [!is_old, true] {
                let store = match connected.as_ref() {
                    Some(store) => Arc::clone(store),
                    None => Arc::clone(connected.insert(connect()?)),
                };
                match work(&*store) {
                    Ok(answer) => return Ok(Some(answer)),
                    Err(Error::NoEntry) => return Ok(None),
                    Err(error) => {
                        let error = told_apart(&error);
                        if is_last || matches!(error, KeyringError::Locked | KeyringError::TooLarge(_)) {
                            return Err(error);
                        }
                        *connected = None;
                    }
                }
            }
            unreachable!("the second round is the last")
        }
    }

    impl Backend for Platform {
        fn get(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
            self.with(|store| store.build(SERVICE, entry, None)?.get_secret().map(Zeroizing::new))
        }

        fn set(&self, entry: &str, secret: &[u8]) -> Result<(), KeyringError> {
            let label = format!("Linchpin: {entry}");
            let modifiers = HashMap::from([("label", label.as_str())]);
            let modifiers = cfg!(all(unix, not(target_vendor = "apple"))).then_some(&modifiers);
            self.with(|store| {
                store.build(SERVICE, entry, modifiers)?.set_secret(secret).map_err(|error| match error {
                    // An entry cannot be missing when it is being made; the place for it can.
                    Error::NoEntry => Error::BadStoreFormat(NO_COLLECTION.to_owned()),
                    other => other,
                })
            })
            .map_err(|error| match error {
                KeyringError::TooLarge(_) => KeyringError::TooLarge(secret.len()),
                other => other,
            })?
            .ok_or(KeyringError::NoCollection)
        }

        fn delete(&self, entry: &str) -> Result<bool, KeyringError> {
            Ok(self.with(|store| store.build(SERVICE, entry, None)?.delete_credential())?.is_some())
        }

        fn list(&self) -> Result<Vec<String>, KeyringError> {
            let entries: Vec<Entry> =
                self.with(|store| store.search(&HashMap::from([("service", SERVICE)])))?.unwrap_or_default();
            let names = entries.iter().filter_map(Entry::get_specifiers).map(|(_, entry)| entry);
            Ok(names.collect())
        }
    }

    const NO_COLLECTION: &str = "no collection";

    #[cfg(all(unix, not(target_vendor = "apple")))]
    fn connect() -> Result<Arc<CredentialStore>, KeyringError> {
        // Without an address zbus would try to start a bus of its own, which is not the user's session.
        match zbus_secret_service_keyring_store::Store::new() {
            Ok(store) => Ok(store),
            Err(error) => Err(match told_apart(&error) {
                KeyringError::Failed(problem) => KeyringError::Unavailable(problem),
                other => other,
            }),
        }
    }

    #[cfg(target_os = "macos")]
    fn connect() -> Result<Arc<CredentialStore>, KeyringError> {
        match apple_native_keyring_store::keychain::Store::new() {
            Ok(store) => Ok(store),
            Err(error) => Err(told_apart(&error)),
        }
    }

    #[cfg(windows)]
    fn connect() -> Result<Arc<CredentialStore>, KeyringError> {
        match windows_native_keyring_store::Store::new() {
            Ok(store) => Ok(store),
            Err(error) => Err(told_apart(&error)),
        }
    }

    /// What kind of failure it is. Texts of the platform name no secret: entries are named by profile and URL.
    fn told_apart(error: &Error) -> KeyringError {
        match error {
            Error::TooLong(_, _) => KeyringError::TooLarge(0),
            Error::BadStoreFormat(problem) if problem == NO_COLLECTION => KeyringError::NoCollection,
            Error::NoStorageAccess(cause) | Error::PlatformFailure(cause) => platform(&**cause)
                .unwrap_or_else(|| match error {
                    Error::NoStorageAccess(_) => KeyringError::Locked,
                    _ => KeyringError::Failed(one_line(&cause.to_string())),
                }),
            other => KeyringError::Failed(one_line(&other.to_string())),
        }
    }

    #[cfg(all(unix, not(target_vendor = "apple")))]
    fn platform(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<KeyringError> {
        use secret_service::Error as Cause;
        Some(match cause.downcast_ref::<Cause>()? {
            Cause::Locked | Cause::Prompt => KeyringError::Locked,
            Cause::NoResult => KeyringError::NoCollection,
            Cause::Unavailable => KeyringError::Unavailable("nobody keeps secrets".to_owned()),
            Cause::PromptDisconnected => KeyringError::Unavailable("it went away".to_owned()),
            cause => {
                let text = one_line(&cause.to_string());
                let names = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
                if names(&["NoSuchObject", "no such object", "No such object", "does not exist"]) {
                    KeyringError::NoCollection
                } else if names(&["IsLocked", "is locked"]) {
                    KeyringError::Locked
                } else if names(&["ServiceUnknown", "NoReply", "Disconnected", "NameHasNoOwner", "I/O error"])
                {
                    KeyringError::Unavailable(text)
                } else {
                    KeyringError::Failed(text)
                }
            }
        })
    }

    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    fn platform(_: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<KeyringError> {
        None
    }

    fn one_line(text: &str) -> String {
        text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}
