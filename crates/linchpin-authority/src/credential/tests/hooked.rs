//! A store over another, in which a test says what happens at single calls.

use linchpin_store::{LockError, LockWatch, StoreError, StoreKind, StoredRecord};

use super::*;

/// What happens at the calls of a [`Hooked`] store: what the store beneath does, unless said otherwise.
#[async_trait]
pub(super) trait Hooks: fmt::Debug + Send + Sync {
    async fn load(&self, beneath: &dyn Store, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        beneath.load(key).await
    }

    async fn save(
        &self,
        beneath: &dyn Store,
        guard: &CredentialGuard,
        record: &Record,
    ) -> Result<(), StoreError> {
        beneath.save(guard, record).await
    }

    async fn lock(
        &self,
        beneath: &dyn Store,
        key: &CredentialKey,
        request: LockRequest,
    ) -> Result<CredentialGuard, LockError> {
        beneath.lock(key, request).await
    }

    fn watch_lock(&self, beneath: &dyn Store, key: &CredentialKey) -> Box<dyn LockWatch> {
        beneath.watch_lock(key)
    }
}

#[derive(Debug)]
pub(super) struct Hooked<H> {
    beneath: Arc<dyn Store>,
    pub(super) hooks: H,
}

impl<H: Hooks> Hooked<H> {
    pub(super) fn over(beneath: impl Store + 'static, hooks: H) -> Arc<Self> {
        Arc::new(Self { beneath: Arc::new(beneath), hooks })
    }
}

#[async_trait]
impl<H: Hooks> Store for Hooked<H> {
    fn kind(&self) -> StoreKind {
        self.beneath.kind()
    }

    fn location(&self) -> String {
        self.beneath.location()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        self.hooks.load(&*self.beneath, key).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.beneath.ready().await
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        self.hooks.save(&*self.beneath, guard, record).await
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        self.beneath.delete(guard).await
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        self.beneath.list().await
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        self.hooks.lock(&*self.beneath, key, request).await
    }

    fn watch_lock(&self, key: &CredentialKey) -> Box<dyn LockWatch> {
        self.hooks.watch_lock(&*self.beneath, key)
    }
}
