//! The locks that the local stores share: one per credential key, whichever store its record lies in, so that two
//! processes that resolved `auto` differently still exclude each other.

use std::path::{Path, PathBuf};

use crate::lock::lock;
use crate::permissions::private_dir;
use crate::{CredentialGuard, CredentialKey, Directories, LockError, LockRequest};

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
        private_dir(&self.directory).map_err(|error| LockError::File(Box::new(error)))?;
        let held = lock(&self.directory.join(format!("{}.lock", key.digest())), request).await?;
        let (lock, holding) = held.split();
        Ok(CredentialGuard::new(key.clone(), lock).with_marker(holding))
    }

    /// Where the lock of the aggregate file `file` is.
    pub(crate) fn of_file(&self, file: &Path) -> PathBuf {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        self.directory.join(name)
    }
}
