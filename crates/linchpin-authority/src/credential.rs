//! One sign-in as the rest of the program sees it.
use crate::{AccessToken, CredentialError, Wait};
use linchpin_store::CredentialKey;
use std::sync::Arc;
use std::time::Duration;

/// The one owner of the sign-ins of one pinned store.
#[derive(Debug, Clone)]
pub struct Authority;

/// One sign-in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credential(Arc<CredentialKey>);

impl Authority {
    /// Waits until running transactions have ended, at most `within`; whether all did.
    pub async fn drain(&self, within: Duration) -> bool {
        let _ = within;
        true
    }
}

impl Credential {
    /// Which sign-in.
    pub fn key(&self) -> &CredentialKey {
        &self.0
    }
    /// A token that is good now; renews an ended one first, waiting at most `wait`.
    pub async fn access_token(&self, wait: Wait) -> Result<AccessToken, CredentialError> {
        let _ = wait;
        unimplemented!()
    }
    /// "This one got a 401": adopts a newer token or renews (P16).
    pub async fn recover(&self, rejected: &AccessToken, wait: Wait) -> Result<AccessToken, CredentialError> {
        let _ = (rejected, wait);
        unimplemented!()
    }
    /// The token that `recover` gave was refused too: it is not exchanged again for 30 s.
    pub fn refused_again(&self, token: &AccessToken) {
        let _ = token;
    }
}
