//! The owner of the sign-ins of an installation: which stores, which provider, which clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linchpin_authority::{Authority, Copies, CredentialError, Moved, moment_in};
use linchpin_oauth::http::HttpOptions;
use linchpin_oauth::{Provider, TokenEndpoint};
use linchpin_store::history::{Event, Phrase, Recorder, Unrecorded, What};
use linchpin_store::{
    Clock, CredentialKey, Directories, DirectoriesError, Disposition, KeyringError, Pin, PolicyError,
    Profile, Record, Secret, ServerUrl, Store, StoreError, StoreKind, StorePolicy, Stores, SystemClock, Why,
};
use thiserror::Error;

use crate::Server;
use crate::pins::Pins;

/// The one owner of the sign-ins of an installation. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Linchpin(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    source: Source,
    pub(crate) endpoint: Arc<dyn TokenEndpoint>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) http: HttpOptions,
    recorder: Arc<dyn Recorder>,
    /// One per store that is in use.
    authorities: Mutex<HashMap<StoreKind, Authority>>,
    /// What was resolved, once and for life (P4).
    pub(crate) pins: Pins,
}

/// Where stores come from.
#[derive(Debug)]
enum Source {
    /// An installation's, chosen by its policy.
    Stores(Box<Stores>),
    /// The one that was given.
    Given(Arc<dyn Store>),
}

/// What a [`Linchpin`] is made of; every part can be replaced.
#[derive(Debug, Default)]
pub struct Builder {
    source: Option<Source>,
    endpoint: Option<Arc<dyn TokenEndpoint>>,
    clock: Option<Arc<dyn Clock>>,
    http: HttpOptions,
    recorder: Option<Arc<dyn Recorder>>,
}

/// Why there is no [`Linchpin`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The directories are unknown.
    #[error(transparent)]
    Directories(#[from] DirectoriesError),
    /// `LINCHPIN_STORE` names no store.
    #[error("LINCHPIN_STORE: {0}")]
    Policy(#[from] PolicyError),
}

impl SetupError {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        Disposition::Configuration
    }
}

impl Builder {
    /// One store for everything.
    #[must_use]
    pub fn store(self, store: Arc<dyn Store>) -> Self {
        Self { source: Some(Source::Given(store)), ..self }
    }

    /// An installation's stores, and the policy that chooses among them.
    #[must_use]
    pub fn stores(self, stores: Stores) -> Self {
        Self { source: Some(Source::Stores(Box::new(stores))), ..self }
    }

    /// Where tokens are spent; an HTTP client unless given.
    #[must_use]
    pub fn token_endpoint(self, endpoint: Arc<dyn TokenEndpoint>) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    /// The clock; the machine's unless given.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// What HTTP clients may do.
    #[must_use]
    pub fn http(self, http: HttpOptions) -> Self {
        Self { http, ..self }
    }

    /// Who is told what happened to sign-ins; the installation's history unless given, and with a single store nobody.
    #[must_use]
    pub fn recorder(self, recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// Puts it together. Without a store, the memory of this process is one.
    pub fn build(self) -> Linchpin {
        let source =
            self.source.unwrap_or_else(|| Source::Given(Arc::new(linchpin_store::MemoryStore::new())));
        let endpoint = self.endpoint.unwrap_or_else(|| Arc::new(Provider::new(self.http.clone())));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let recorder = self.recorder.unwrap_or_else(|| match &source {
            Source::Stores(stores) => Arc::new(stores.history().clone()),
            Source::Given(_) => Arc::new(Unrecorded),
        });
        let (authorities, pins) = (Mutex::default(), Pins::default());
        Linchpin(Arc::new(Inner { source, endpoint, clock, http: self.http, recorder, authorities, pins }))
    }
}

/// What the environment asks for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Environment {
    /// Where files are (`LINCHPIN_HOME`, or the platform's directories).
    pub directories: Directories,
    /// Which store (`LINCHPIN_STORE`).
    pub policy: StorePolicy,
    /// The age identity of the `secrets` store (`LINCHPIN_IDENTITY`).
    pub identity: Option<Secret>,
}

impl Environment {
    /// What a program would have the environment ask for: these files, that store, and no age identity.
    pub fn new(directories: Directories, policy: StorePolicy) -> Self {
        Self { directories, policy, identity: None }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn read() -> Result<Self, SetupError> {
        let directories = match variable("LINCHPIN_HOME") {
            Some(home) => Directories::under(home)?,
            None => Directories::of_platform()?,
        };
        let policy = match variable("LINCHPIN_STORE") {
            Some(policy) => policy.to_string_lossy().parse()?,
            None => StorePolicy::default(),
        };
        let identity = variable("LINCHPIN_IDENTITY").map(|text| Secret::new(text.to_string_lossy()));
        Ok(Self { directories, policy, identity })
    }

    /// The stores that follow from it. Touches nothing yet.
    pub fn stores(&self) -> Stores {
        Stores::new(&self.directories, self.policy, self.identity.clone())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one home of the library's environment")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A sign-in as a store has it: which store, which sign-in, and the record or why it cannot be read.
pub type Listed = (StoreKind, CredentialKey, Result<Record, StoreError>);

impl Linchpin {
    /// A builder.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The sign-ins of this machine, in the store that the environment names (`LINCHPIN_HOME`, `LINCHPIN_STORE`,
    /// `LINCHPIN_IDENTITY`).
    ///
    /// # Errors
    /// [`SetupError`]: no home directory, no such store. Nothing is opened yet.
    pub fn from_env() -> Result<Self, SetupError> {
        Ok(Self::builder().stores(Environment::read()?.stores()).build())
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The installation's stores; `None` when one store was given for everything.
    pub fn stores(&self) -> Option<&Stores> {
        match &self.0.source {
            Source::Stores(stores) => Some(stores),
            Source::Given(_) => None,
        }
    }

    /// One server, as one of a person's accounts. Resolves the store of that sign-in and pins it: for the life of this
    /// `Linchpin` no other store is asked (P4). A resolution that differs from the last one is warned of (P5).
    ///
    /// Never fails: a store that does not work says so when it is used.
    pub async fn server(&self, url: ServerUrl, profile: Profile) -> Server {
        let key = CredentialKey::new(profile, url);
        let (kind, why) = self.0.pins.get_or_resolve(&key, self.resolve(&key)).await;
        self.pinned(key, kind, why)
    }

    async fn resolve(&self, key: &CredentialKey) -> (StoreKind, Why) {
        let stores = match &self.0.source {
            Source::Given(store) => return (store.kind(), Why::Configured),
            Source::Stores(stores) => stores,
        };
        let Pin { store, why, drift, .. } = stores.resolve(key, &*self.0.clock).await;
        if let Some(drift) = drift {
            tracing::warn!("{drift}");
            let reason = Phrase::new(&drift.reason.to_string());
            self.tell(key, drift.now, What::StoreDrift { before: drift.before, reason });
        }
        (store.kind(), why)
    }

    /// The server with its sign-in in the store of that kind.
    pub(crate) fn pinned(&self, key: CredentialKey, kind: StoreKind, why: Why) -> Server {
        Server::new(self.clone(), self.authority(kind).credential(key), kind, why)
    }

    /// Tells the history what happened outside a transaction.
    pub(crate) fn tell(&self, key: &CredentialKey, store: StoreKind, what: What) {
        self.0.recorder.record(Event::new(self.0.clock.now(), key, store, None, what));
    }

    fn authority(&self, kind: StoreKind) -> Authority {
        let mut authorities = self.0.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let (store, copies) = match &self.0.source {
                Source::Given(store) => (Arc::clone(store), Copies::default()),
                Source::Stores(stores) => {
                    let store = stores.store(kind).expect("only the installation's own stores are pinned");
                    (store, copies(stores, kind))
                }
            };
            let (endpoint, clock) = (Arc::clone(&self.0.endpoint), Arc::clone(&self.0.clock));
            Authority::of_installation(store, endpoint, clock, copies, Arc::clone(&self.0.recorder))
        };
        authorities.entry(kind).or_insert_with(make).clone()
    }

    /// Every sign-in in the stores that the policy looks at, readable or not; the first store of a sign-in that is in
    /// several is the one that is used. Beside them, the stores that could not be listed.
    ///
    /// # Errors
    /// The store's, when there is only one to look at.
    pub async fn sign_ins(&self) -> Result<(Vec<Listed>, Vec<StoreError>), StoreError> {
        let stores = match &self.0.source {
            Source::Given(store) => vec![Arc::clone(store)],
            Source::Stores(stores) => stores.in_use(),
        };
        let only = stores.len() == 1;
        let (mut listed, mut failed) = (Vec::new(), Vec::new());
        for store in stores {
            match store.list().await {
                Ok(records) => {
                    let kind = store.kind();
                    listed.extend(records.into_iter().map(|(key, record)| (kind, key, record)));
                }
                Err(error) if only => return Err(error),
                // An ordinary machine without a keyring.
                Err(StoreError::Keyring(KeyringError::Unavailable(_) | KeyringError::NotBuilt)) => {}
                Err(error) => failed.push(error),
            }
        }
        Ok((listed, failed))
    }

    /// Moves the sign-in of `key` from one store to another under its lock: written, read back, and only then removed
    /// where it was. `None` when there is none to move, or when it is to go where it is.
    ///
    /// Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// The lock's and the stores'; [`StoreError::Other`] when the installation has no such store, or when one store was
    /// given for everything.
    pub async fn move_sign_in(
        &self,
        key: CredentialKey,
        from: StoreKind,
        to: StoreKind,
    ) -> Result<Option<Moved>, CredentialError> {
        let refused = |why| Err(CredentialError::Store(Arc::new(StoreError::Other(why))));
        let Some(stores) = self.stores() else {
            return refused("a sign-in cannot be moved: there is one store for everything");
        };
        let (Some(_), Some(target)) = (stores.store(from), stores.store(to)) else {
            return refused("a sign-in cannot be moved from or to a store that the installation has not");
        };
        // Written and then removed where it was, it would be gone.
        if from == to {
            return Ok(None);
        }
        let moved = self.authority(from).credential(key.clone()).move_to(target).await?;
        if moved.is_some() {
            stores.signed_in(&key, to, &*self.0.clock).await;
            self.0.pins.forget(&key);
        }
        Ok(moved)
    }

    /// Waits until running refreshes have ended, at most `within`; whether all did. Call it before the process ends: what
    /// they came to is in the history then.
    ///
    /// It is final, for this `Linchpin` and all its clones: from now on a refresh, a sign-in or a sign-out that would
    /// have to wait for a lock is [`CredentialError::Interrupted`] instead.
    pub async fn drain(&self, within: Duration) -> bool {
        let end = moment_in(within);
        let authorities: Vec<_> = {
            let authorities = self.0.authorities.lock().unwrap_or_else(PoisonError::into_inner);
            authorities.values().cloned().collect()
        };
        let mut all = true;
        for authority in authorities {
            all &= authority.drain(end.saturating_duration_since(tokio::time::Instant::now())).await;
        }
        // What the history loses is no reason to stay.
        let _ = tokio::time::timeout_at(end, self.0.recorder.written()).await;
        all
    }
}

/// Where copies of a sign-in in the store of that kind may lie: under `auto` in the other store that `auto` looks at,
/// where a new sign-in removes one; at a sign-out, in any.
fn copies(stores: &Stores, kind: StoreKind) -> Copies {
    let others = |stores: Vec<Arc<dyn Store>>| {
        stores.into_iter().filter(|store| store.kind() != kind).collect::<Vec<_>>()
    };
    let at_sign_in = if stores.policy() == StorePolicy::Auto { others(stores.in_use()) } else { Vec::new() };
    Copies { at_sign_in, at_sign_out: others(stores.all().into()) }
}
