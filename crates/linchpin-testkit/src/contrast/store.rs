//! A credential store for rmcp: a file, replaced atomically, shared by processes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::transport::auth::{AuthError, CredentialRefreshGuard, CredentialStore, StoredCredentials};
use serde_json::json;

use super::guard::RefreshLock;
use crate::SignedIn;

/// The file.
pub(super) struct CredentialsFile {
    path: PathBuf,
    guarded: bool,
}

impl CredentialsFile {
    pub(super) fn new(path: PathBuf, guarded: bool) -> Self {
        Self { path, guarded }
    }

    /// Whose credentials they are.
    pub(super) fn client_id(&self) -> Result<Option<String>, AuthError> {
        Ok(self.read()?.map(|credentials| credentials.client_id))
    }

    fn read(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            AuthError::CredentialStoreError("the file does not hold credentials of rmcp".to_owned())
        })
    }
}

fn refresh_token(credentials: &StoredCredentials) -> Option<String> {
    let tokens = serde_json::to_value(&credentials.token_response).ok()?;
    tokens["refresh_token"].as_str().map(str::to_owned)
}

fn failed(error: &io::Error) -> AuthError {
    AuthError::CredentialStoreError(error.to_string())
}

#[async_trait::async_trait]
impl CredentialStore for CredentialsFile {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        self.read()
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        write(&self.path, &credentials).map_err(|error| failed(&error))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        remove(&self.path).map_err(|error| failed(&error))
    }

    /// Called under the guard: nobody presents a rejected token again, and one that replaced it stays.
    async fn on_refresh_token_rejected(&self, rejected: &StoredCredentials) -> Result<(), AuthError> {
        let kept = self.read()?;
        if self.guarded && kept.as_ref().and_then(refresh_token) == refresh_token(rejected) {
            remove(&self.path).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        if !self.guarded {
            return Ok(None);
        }
        let lock = RefreshLock::of(&self.path).await.map_err(|error| failed(&error))?;
        Ok(Some(CredentialRefreshGuard::new(lock)))
    }
}

/// Signs out as a careful program would: under the lock of refreshes, so that one in flight is waited for.
///
/// # Errors
/// Those of the file system.
pub fn forget(path: &Path) -> io::Result<()> {
    let _lock = RefreshLock::of_blocking(path)?;
    remove(path)
}

/// Writes a sign-in made just now into `path`, as rmcp would have saved it.
///
/// # Errors
/// Those of the file system.
pub fn plant(signed_in: &SignedIn, path: &Path) -> io::Result<()> {
    let answer = json!({
        "access_token": signed_in.access_token,
        "token_type": "bearer",
        "expires_in": signed_in.access_lifetime_ms.div_ceil(1000),
        "refresh_token": signed_in.refresh_token,
        "scope": signed_in.scope,
    });
    let scopes = signed_in.scope.split(' ').map(str::to_owned).collect();
    let answer = serde_json::from_value(answer)?;
    let credentials =
        StoredCredentials::new(signed_in.client_id.clone(), Some(answer), scopes, Some(unix_seconds()))
            .with_issuer(Some(signed_in.issuer.clone()));
    write(path, &credentials)
}

/// Whole or not at all, durably, and for the user alone.
fn write(path: &Path, credentials: &StoredCredentials) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let written = write_synced(&temporary, &serde_json::to_vec(credentials)?)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) => fs::File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_directory(path),
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kit, Options};

    #[test]
    fn what_is_planted_is_what_rmcp_reads_back_and_the_users_alone() {
        let kit = Kit::spawn(Options::default()).expect("loopback can be bound");
        let signed_in = kit.sign_in().expect("approved");
        let path = std::env::temp_dir().join(format!("linchpin-testkit-{}.json", std::process::id()));
        plant(&signed_in, &path).expect("written");
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("there").permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let file = CredentialsFile::new(path.clone(), false);
            let read = file.load().await.expect("readable").expect("there");
            assert_eq!((read.client_id, read.issuer), (signed_in.client_id, Some(signed_in.issuer)));
            let tokens = serde_json::to_value(read.token_response).expect("JSON");
            assert_eq!(tokens["refresh_token"], signed_in.refresh_token.as_str());
            assert_eq!((tokens["expires_in"].as_u64(), read.token_received_at.is_some()), (Some(3600), true));
            file.clear().await.expect("removed");
            file.clear().await.expect("removed already");
            assert!(file.load().await.expect("nothing to read").is_none());
        });
    }

    /// What a careful user's guard has to do: one holder, a rejected token forgotten, a newer one kept.
    #[test]
    fn a_guard_excludes_and_a_rejection_forgets_nothing_newer() {
        let kit = Kit::spawn(Options::default()).expect("loopback can be bound");
        let (old, new) = (kit.sign_in().expect("approved"), kit.sign_in().expect("approved"));
        let path = std::env::temp_dir().join(format!("linchpin-guarded-{}.json", std::process::id()));
        let file = CredentialsFile::new(path.clone(), true);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime").block_on(async {
            let held = file.acquire_refresh_guard().await.expect("free").expect("a guard");
            let second =
                tokio::time::timeout(std::time::Duration::from_millis(50), file.acquire_refresh_guard());
            assert!(second.await.is_err(), "the second waits");
            drop(held);
            drop(file.acquire_refresh_guard().await.expect("free again"));

            plant(&old, &path).expect("written");
            let rejected = file.load().await.expect("readable").expect("there");
            plant(&new, &path).expect("written");
            file.on_refresh_token_rejected(&rejected).await.expect("read");
            let kept = file.load().await.expect("readable").expect("the newer one is kept");
            file.on_refresh_token_rejected(&kept).await.expect("read");
            assert!(file.load().await.expect("readable").is_none(), "the rejected one is not");
        });
        plant(&new, &path).expect("written");
        forget(&path).expect("signed out");
        assert!(!path.exists());
        let _ = fs::remove_file(path.with_extension("lock"));
    }
}
