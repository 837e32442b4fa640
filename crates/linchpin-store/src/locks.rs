//! The locks that the local stores share: one per credential key, whichever store its record lies in, so that two
//! processes that resolved `auto` differently still exclude each other.

use std::path::{Path, PathBuf};

use crate::lock::{FileLock, Watch, lock};
use crate::permissions::private_dir;
use crate::{CredentialGuard, CredentialKey, Directories, LockError, LockRequest, LockWatch, SignInTurn};

/// The directory of lock files.
#[derive(Debug, Clone)]
pub(crate) struct LocalLocks {
    directory: PathBuf,
}

impl LocalLocks {
    pub(crate) fn new(directories: &Directories) -> Self {
        Self { directory: directories.locks() }
    }

    #[cfg(test)]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The credential lock of `key`.
    pub(crate) async fn credential(
        &self,
        key: &CredentialKey,
        request: LockRequest,
    ) -> Result<CredentialGuard, LockError> {
        let (lock, holding) = self.take(of_credential(key), request).await?.split();
        Ok(CredentialGuard::new(key.clone(), lock).with_marker(holding))
    }

    /// Watches the credential lock of `key`.
    pub(crate) fn watch(&self, key: &CredentialKey) -> Box<dyn LockWatch> {
        Box::new(Watch::new(self.directory.join(of_credential(key))))
    }

    /// The turn to sign in to `key`: a lock file of its own, since the credential lock never spans a browser.
    pub(crate) async fn sign_in_turn(
        &self,
        key: &CredentialKey,
        request: LockRequest,
    ) -> Result<SignInTurn, LockError> {
        Ok(SignInTurn::new(self.take(format!("{}.sign-in.lock", key.digest()), request).await?))
    }

    async fn take(&self, file: String, request: LockRequest) -> Result<FileLock, LockError> {
        private_dir(&self.directory).map_err(|error| LockError::File(Box::new(error)))?;
        lock(&self.directory.join(file), request).await
    }

    /// Where the lock of the aggregate file `file` is.
    pub(crate) fn of_file(&self, file: &Path) -> PathBuf {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        self.directory.join(name)
    }
}

fn of_credential(key: &CredentialKey) -> String {
    format!("{}.lock", key.digest())
}
