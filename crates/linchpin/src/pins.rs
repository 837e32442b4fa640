//! Which store each sign-in was resolved to, once and for life (P4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linchpin_store::{CredentialKey, StoreKind, Why};
use tokio::sync::OnceCell;

/// Where a sign-in is, and why there.
pub(crate) type Pinned = (StoreKind, Why);

/// A cell for each sign-in: whoever asks for one that is being resolved waits for that, and for no other.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<HashMap<CredentialKey, Arc<OnceCell<Pinned>>>>);

impl Pins {
    /// Where `key` is pinned; resolved by the first who asks. If that one gives up, the next one resolves.
    pub(crate) async fn get_or_resolve(
        &self,
        key: &CredentialKey,
        resolve: impl Future<Output = Pinned>,
    ) -> Pinned {
        let cell = Arc::clone(self.lock().entry(key.clone()).or_default());
        cell.get_or_init(|| resolve).await.clone()
    }

    /// From now on `key` is there.
    pub(crate) fn set(&self, key: CredentialKey, pinned: Pinned) {
        self.lock().insert(key, Arc::new(OnceCell::new_with(Some(pinned))));
    }

    /// From now on `key` is where the next one who asks finds it.
    pub(crate) fn forget(&self, key: &CredentialKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialKey, Arc<OnceCell<Pinned>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::{FutureExt as _, poll};
    use linchpin_store::{PlainHttp, Profile, ServerUrl};

    use super::*;

    fn key(name: &str) -> CredentialKey {
        let url = ServerUrl::parse(&format!("https://{name}.example.com/mcp"), PlainHttp::LoopbackOnly);
        CredentialKey::new(Profile::default(), url.expect("a URL"))
    }

    fn at(kind: StoreKind) -> Pinned {
        (kind, Why::Configured)
    }

    #[tokio::test]
    async fn p04_a_sign_in_whose_store_hangs_holds_up_no_other() {
        let pins = Pins::default();
        let hangs = key("a");
        let mut hanging = Box::pin(pins.get_or_resolve(&hangs, pending()));
        assert!(poll!(&mut hanging).is_pending());
        let other = pins.get_or_resolve(&key("b"), ready(at(StoreKind::File))).now_or_never();
        assert_eq!(other, Some(at(StoreKind::File)));
        // The same one is resolved once: others wait, until whoever resolves has given up.
        let mut second = Box::pin(pins.get_or_resolve(&hangs, ready(at(StoreKind::Keyring))));
        assert!(poll!(&mut second).is_pending());
        drop(hanging);
        assert_eq!(second.now_or_never(), Some(at(StoreKind::Keyring)));
    }

    #[tokio::test]
    async fn p04_a_sign_in_is_resolved_once_and_stays_until_it_moves() {
        let pins = Pins::default();
        let key = key("a");
        let resolved = |kind| pins.get_or_resolve(&key, ready(at(kind)));
        assert_eq!(resolved(StoreKind::File).await, at(StoreKind::File));
        assert_eq!(resolved(StoreKind::Keyring).await, at(StoreKind::File));
        pins.set(key.clone(), at(StoreKind::Secrets));
        assert_eq!(resolved(StoreKind::Keyring).await, at(StoreKind::Secrets));
        pins.forget(&key);
        assert_eq!(resolved(StoreKind::Keyring).await, at(StoreKind::Keyring));
    }

    #[tokio::test]
    async fn p04_a_sign_in_that_is_saved_while_another_store_is_looked_at_stays_where_it_was_saved() {
        let pins = Pins::default();
        let key = key("a");
        let (found, looking) = tokio::sync::oneshot::channel();
        let mut resolving = Box::pin(pins.get_or_resolve(&key, async { looking.await.expect("found") }));
        assert!(poll!(&mut resolving).is_pending());
        pins.set(key.clone(), at(StoreKind::Keyring));
        found.send(at(StoreKind::File)).expect("awaited");
        resolving.await;
        let after = pins.get_or_resolve(&key, ready(at(StoreKind::File))).await;
        assert_eq!(after, at(StoreKind::Keyring));
    }
}
