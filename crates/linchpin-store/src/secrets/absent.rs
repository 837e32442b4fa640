//! A build without encryption: every use says so.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{IdentityError, IdentityPlace};
use crate::aggregate::Origin;
use crate::aggregate_file::Encoding;
use crate::keyring::Keyring;
use crate::{Secret, StoreError};

#[derive(Debug, Clone)]
pub(super) struct Sealed(PathBuf);

impl Sealed {
    pub(super) fn new(_: Option<Secret>, file: PathBuf, _: Keyring) -> Self {
        Self(file)
    }

    #[expect(clippy::unused_self, reason = "the one that encrypts looks for its identity")]
    pub(super) fn place(&self, path: &Path) -> Result<Option<IdentityPlace>, StoreError> {
        Err(StoreError::Sealed { path: path.to_owned(), problem: IdentityError::NotBuilt })
    }
}

impl Encoding for Sealed {
    type Sealed = Vec<u8>;

    fn open(&self, origin: &Origin<'_>, _: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        Err(StoreError::Sealed { path: origin.path().to_owned(), problem: IdentityError::NotBuilt })
    }

    fn seal(&self, _: Zeroizing<Vec<u8>>, _: bool) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::Sealed { path: self.0.clone(), problem: IdentityError::NotBuilt })
    }
}
