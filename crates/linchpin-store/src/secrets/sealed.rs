//! age over the bytes of an aggregate file, and where its identity comes from.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::{Arc, OnceLock};

use age::x25519::Identity;
use age::{DecryptError, Decryptor};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{IdentityError, IdentityPlace};
use crate::aggregate::Origin;
use crate::aggregate_file::Encoding;
use crate::keyring::Keyring;
use crate::permissions::{io_error, open_private};
use crate::{Secret, StoreError, atomic};

/// The entry of the keyring that holds the identity.
const ENTRY: &str = "identity";
/// Longer than any identity, with its comments.
const MAX_IDENTITY: u64 = 4096;

#[derive(Debug, Clone)]
pub(super) struct Sealed(Arc<Inner>);

struct Inner {
    given: Option<Secret>,
    file: PathBuf,
    keyring: Keyring,
    /// Found once; the places are not asked again in this process.
    found: OnceLock<(Identity, IdentityPlace)>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("file", &self.file).finish_non_exhaustive()
    }
}

/// No identity anywhere, and why the keyring gave none.
struct NoIdentity(Option<crate::KeyringError>);

impl Sealed {
    pub(super) fn new(given: Option<Secret>, file: PathBuf, keyring: Keyring) -> Self {
        Self(Arc::new(Inner { given, file, keyring, found: OnceLock::new() }))
    }

    /// Where the identity is.
    pub(super) fn place(&self, path: &Path) -> Result<Option<IdentityPlace>, StoreError> {
        Ok(self.0.find(path)?.ok().map(|(_, place)| place.clone()))
    }
}

impl Inner {
    fn find(&self, path: &Path) -> Result<Result<&(Identity, IdentityPlace), NoIdentity>, StoreError> {
        if let Some(found) = self.found.get() {
            return Ok(Ok(found));
        }
        let (text, place) = match self.look()? {
            Ok(found) => found,
            Err(none) => return Ok(Err(none)),
        };
        let identity = parse(text.expose()).ok_or_else(|| StoreError::Sealed {
            path: path.to_owned(),
            problem: IdentityError::Malformed(place.clone()),
        })?;
        Ok(Ok(self.found.get_or_init(|| (identity, place))))
    }

    fn look(&self) -> Result<Result<(Secret, IdentityPlace), NoIdentity>, StoreError> {
        if let Some(given) = &self.given {
            return Ok(Ok((given.clone(), IdentityPlace::Given)));
        }
        if let Some(file) = open_private(&self.file)? {
            let mut text = Zeroizing::new(String::new());
            let read = file.take(MAX_IDENTITY).read_to_string(&mut text);
            read.map_err(|source| io_error("read", &self.file, source))?;
            return Ok(Ok((Secret::new(text.as_str()), IdentityPlace::File(self.file.clone()))));
        }
        match self.keyring.get(ENTRY) {
            Ok(Some(text)) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                Ok(Ok((Secret::new(text), IdentityPlace::Keyring)))
            }
            Ok(None) => Ok(Err(NoIdentity(None))),
            Err(error) => Ok(Err(NoIdentity(Some(error)))),
        }
    }

    /// Makes an identity and keeps it, in the keyring if that works. Called under the aggregate lock, and only when
    /// there is no encrypted file yet.
    fn make(&self) -> Result<&(Identity, IdentityPlace), StoreError> {
        let identity = Identity::generate();
        let text = Zeroizing::new(format!("{}\n", identity.to_string().expose_secret()).into_bytes());
        let place = match self.keyring.prove().and_then(|()| self.keyring.set(None, ENTRY, &text)) {
            Ok(()) => IdentityPlace::Keyring,
            Err(error) => {
                atomic::replace(&self.file, &text)?;
                tracing::info!("the identity of the encrypted store is in {}: {error}", self.file.display());
                IdentityPlace::File(self.file.clone())
            }
        };
        Ok(self.found.get_or_init(|| (identity, place)))
    }
}

/// The first identity in a text that may have comments, as age writes them.
fn parse(text: &str) -> Option<Identity> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Identity::from_str(lines.next()?).ok()
}

impl Encoding for Sealed {
    type Sealed = Vec<u8>;

    fn open(
        &self,
        origin: &Origin<'_>,
        mut bytes: Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let failed = |problem| StoreError::Sealed { path: origin.path().to_owned(), problem };
        let (identity, place) = match self.0.find(origin.path())? {
            Ok(found) => found,
            Err(NoIdentity(keyring)) => {
                return Err(failed(IdentityError::Missing { file: self.0.file.clone(), keyring }));
            }
        };
        let damaged = || failed(IdentityError::Damaged { kept_copy: origin.keep_aside() });
        // What is encrypted need not be zeroed.
        let bytes = std::mem::take(&mut *bytes);
        let decryptor = Decryptor::new_buffered(&bytes[..]).map_err(|_| damaged())?;
        let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(
            |error| match error {
                DecryptError::NoMatchingKeys => failed(IdentityError::Wrong(place.clone())),
                _ => damaged(),
            },
        )?;
        let mut json = Zeroizing::new(Vec::with_capacity(bytes.len()));
        reader.read_to_end(&mut json).map_err(|_| damaged())?;
        Ok(json)
    }

    fn seal(&self, json: Zeroizing<Vec<u8>>, is_new: bool) -> Result<Vec<u8>, StoreError> {
        let path = &self.0.file;
        let (identity, _) = match self.0.find(path)? {
            Ok(found) => found,
            Err(_) if is_new => self.0.make()?,
            Err(NoIdentity(keyring)) => {
                let problem = IdentityError::Missing { file: path.clone(), keyring };
                return Err(StoreError::Sealed { path: path.clone(), problem });
            }
        };
        let sealed = age::encrypt(&identity.to_public(), &json);
        sealed.map_err(|_| StoreError::Other("the store cannot be encrypted"))
    }
}
