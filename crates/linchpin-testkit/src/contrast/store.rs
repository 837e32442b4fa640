//! A credential store for rmcp: a file, replaced atomically, shared by processes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::transport::auth::{AuthError, CredentialStore, StoredCredentials};
use serde_json::json;

use crate::SignedIn;

/// The file.
pub(super) struct CredentialsFile(PathBuf);

impl CredentialsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

#[async_trait::async_trait]
impl CredentialStore for CredentialsFile {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AuthError::CredentialStoreError(error.to_string())),
        };
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            AuthError::CredentialStoreError("the file does not hold credentials of rmcp".to_owned())
        })
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        write(&self.0, &credentials).map_err(|error| AuthError::CredentialStoreError(error.to_string()))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(AuthError::CredentialStoreError(error.to_string()))
            }
            _ => Ok(()),
        }
    }
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

/// Whole or not at all, and for the user alone.
fn write(path: &Path, credentials: &StoredCredentials) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&temporary)?.write_all(&serde_json::to_vec(credentials)?)?;
    fs::rename(&temporary, path)
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
            let file = CredentialsFile::new(path.clone());
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
}
