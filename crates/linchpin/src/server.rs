//! The owner of sign-ins, and one server's part of it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use linchpin_authority::{AccessToken, Authority, Credential, CredentialError, SignOut, Wait};
use linchpin_oauth::http::{HttpOptions, HttpSetupError};
use linchpin_oauth::sign_in::{PendingSignIn, SignInError, SignInOptions};
use linchpin_oauth::{Provider, TokenEndpoint};
use linchpin_store::{
    Clock, CredentialKey, Directories, DirectoriesError, Disposition, PolicyError, Profile, Record,
    ServerUrl, Store, StoreError, StorePolicy, StoredRecord, SystemClock,
};
use linchpin_transport::{Authorization, Endpoint};
use thiserror::Error;

/// The one owner of the sign-ins of one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Linchpin {
    authority: Authority,
    http: HttpOptions,
}

/// What a [`Linchpin`] is made of; every part can be replaced.
#[derive(Debug, Default)]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    endpoint: Option<Arc<dyn TokenEndpoint>>,
    clock: Option<Arc<dyn Clock>>,
    http: HttpOptions,
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
    /// The store. Required.
    #[must_use]
    pub fn store(self, store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
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

    /// Puts it together. Without a store, the memory of this process is one.
    pub fn build(self) -> Linchpin {
        let store = self.store.unwrap_or_else(|| Arc::new(linchpin_store::MemoryStore::new()));
        let endpoint = self.endpoint.unwrap_or_else(|| Arc::new(Provider::new(self.http.clone())));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        Linchpin { authority: Authority::new(store, endpoint, clock), http: self.http }
    }
}

/// The directories and the store policy that the environment asks for: `LINCHPIN_HOME` and `LINCHPIN_STORE`.
#[expect(clippy::disallowed_methods, reason = "the one home of the library's environment")]
pub(crate) fn environment() -> Result<(Directories, StorePolicy), SetupError> {
    let directories = match std::env::var_os("LINCHPIN_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Directories::under(home)?,
        None => Directories::of_platform()?,
    };
    let policy = match std::env::var("LINCHPIN_STORE").ok().filter(|policy| !policy.is_empty()) {
        Some(policy) => policy.parse()?,
        None => StorePolicy::default(),
    };
    Ok((directories, policy))
}

impl Linchpin {
    /// A builder.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The sign-ins of this machine, in the store that the environment names (`LINCHPIN_HOME`, `LINCHPIN_STORE`).
    ///
    /// # Errors
    /// [`SetupError`]: no home directory, no such store. Nothing is opened yet.
    pub fn from_env() -> Result<Self, SetupError> {
        Self::from_env_with(HttpOptions::default()).map(|(linchpin, _)| linchpin)
    }

    /// The same with other HTTP options; and the directories.
    ///
    /// # Errors
    /// As [`Linchpin::from_env`].
    pub fn from_env_with(http: HttpOptions) -> Result<(Self, Directories), SetupError> {
        let (directories, policy) = environment()?;
        let linchpin = Self::builder().store(policy.resolve(&directories)).http(http).build();
        Ok((linchpin, directories))
    }

    /// The pinned store.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.authority.store()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.authority.clock()
    }

    /// One server, as one of a person's accounts. Reads nothing yet.
    pub fn server(&self, url: ServerUrl, profile: Profile) -> Server {
        let credential = self.authority.credential(CredentialKey::new(profile, url));
        Server { credential, http: self.http.clone(), clock: Arc::clone(self.authority.clock()) }
    }

    /// Every sign-in in the store, readable or not.
    ///
    /// # Errors
    /// The store's.
    pub async fn sign_ins(&self) -> Result<Vec<StoredRecord>, StoreError> {
        self.authority.store().list().await
    }

    /// Waits until running refreshes have ended, at most `within`; whether all did. Call it before the process ends.
    pub async fn drain(&self, within: Duration) -> bool {
        self.authority.drain(within).await
    }
}

/// One MCP server with one person's sign-in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    credential: Credential,
    http: HttpOptions,
    clock: Arc<dyn Clock>,
}

/// Why a sign-in was not finished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignInFailed {
    /// The browser's or the provider's part.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// It could not be saved.
    #[error("signed in, but the sign-in could not be saved: {0}")]
    Save(#[from] CredentialError),
}

impl SignInFailed {
    /// What can be done about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::SignIn(error) => error.disposition(),
            Self::Save(error) => error.disposition(),
        }
    }
}

impl Server {
    /// Which server, and as whom.
    pub fn key(&self) -> &CredentialKey {
        self.credential.key()
    }

    /// The server's URL.
    pub fn url(&self) -> &ServerUrl {
        &self.credential.key().server
    }

    /// The sign-in.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// A token that is good now, for any HTTP client; an ended one is renewed first, waiting at most `wait`.
    ///
    /// # Errors
    /// Every [`CredentialError`].
    pub async fn access_token(&self, wait: Wait) -> Result<AccessToken, CredentialError> {
        self.credential.access_token(wait).await
    }

    /// "This one got a 401": adopts what another process renewed, or renews.
    ///
    /// # Errors
    /// Every [`CredentialError`].
    pub async fn rejected(&self, token: &AccessToken, wait: Wait) -> Result<AccessToken, CredentialError> {
        self.credential.recover(token, wait).await
    }

    /// The record as the store has it, for showing.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(&self) -> Result<Option<Record>, CredentialError> {
        self.credential.record().await
    }

    /// Requests to this server with the sign-in, and with `headers` besides.
    ///
    /// # Errors
    /// [`HttpSetupError`] when TLS cannot be set up.
    pub fn endpoint(&self, headers: HeaderMap) -> Result<Endpoint, HttpSetupError> {
        Endpoint::new(self.url().clone(), Authorization::SignIn(self.credential.clone()), headers)
    }

    /// Begins a sign-in: the page to open is in the answer. Holds no lock, changes nothing.
    ///
    /// # Errors
    /// Every [`SignInError`].
    pub async fn begin_sign_in(&self, options: &SignInOptions) -> Result<PendingSignIn, SignInError> {
        PendingSignIn::begin(self.url(), options, &self.http).await
    }

    /// Finishes a sign-in with what the browser brought back, saves it durably, and tells the browser.
    ///
    /// # Errors
    /// [`SignInFailed`]; nothing is saved then.
    pub async fn finish_sign_in(
        &self,
        pending: PendingSignIn,
        callback: linchpin_oauth::sign_in::Callback,
    ) -> Result<Record, SignInFailed> {
        let signed_in = pending.finish(callback, self.clock.as_ref()).await?;
        match self.credential.sign_in(signed_in.record.clone()).await {
            Ok(()) => {
                signed_in.page.signed_in().await;
                Ok(signed_in.record)
            }
            Err(error) => {
                signed_in.page.not_saved().await;
                Err(error.into())
            }
        }
    }

    /// Signs out: revokes at the provider, then deletes.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn sign_out(&self) -> Result<SignOut, CredentialError> {
        self.credential.sign_out().await
    }
}
