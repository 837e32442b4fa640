//! One MCP server with one person's sign-in.

use http::HeaderMap;
use linchpin_authority::{AccessToken, Credential, CredentialError, Leftover, SignOut, Wait};
use linchpin_oauth::http::HttpSetupError;
use linchpin_oauth::sign_in::{PendingSignIn, SignInError, SignInOptions};
use linchpin_store::{CredentialKey, Disposition, Pin, Record, ServerUrl, StoreKind, Why};
use linchpin_transport::{Authorization, Endpoint};
use thiserror::Error;

use crate::Linchpin;

/// One MCP server with one person's sign-in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    linchpin: Linchpin,
    credential: Credential,
    kind: StoreKind,
    why: Why,
}

/// A sign-in that was saved.
#[derive(Debug)]
pub struct SignedIn {
    /// The server, pinned to the store that the sign-in is in.
    pub server: Server,
    /// The record.
    pub record: Record,
    /// Copies elsewhere that could not be removed.
    pub leftovers: Vec<Leftover>,
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
    pub(crate) fn new(linchpin: Linchpin, credential: Credential, kind: StoreKind, why: Why) -> Self {
        Self { linchpin, credential, kind, why }
    }

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

    /// The pinned store's kind, and why it is that one.
    pub fn store(&self) -> (StoreKind, &Why) {
        (self.kind, &self.why)
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
        let mut options = options.clone();
        if options.issuer.is_none() {
            // What cannot be read is bound to nobody, and repaired by the sign-in.
            options.issuer = self.credential.record().await.ok().flatten().map(|record| record.issuer);
        }
        PendingSignIn::begin(self.url(), &options, &self.linchpin.0.http).await
    }

    /// The server as a new sign-in would have it: under `auto` pinned to the keyring when that works, else to the
    /// file.
    pub async fn for_sign_in(&self) -> Self {
        let Some(stores) = self.linchpin.stores() else { return self.clone() };
        let Pin { store, why, .. } = stores.for_sign_in().await;
        self.linchpin.pinned(self.key().clone(), store.kind(), why)
    }

    /// Finishes a sign-in with what the browser brought back, saves it durably where a new sign-in goes, removes a copy
    /// that lies elsewhere, and tells the browser. The server in the answer is pinned to where it is now.
    ///
    /// # Errors
    /// [`SignInFailed`]; nothing is saved then.
    pub async fn finish_sign_in(
        &self,
        pending: PendingSignIn,
        callback: linchpin_oauth::sign_in::Callback,
    ) -> Result<SignedIn, SignInFailed> {
        let signed_in = pending.finish(callback, &*self.linchpin.0.clock).await?;
        let server = self.for_sign_in().await;
        let leftovers = match server.credential.sign_in(signed_in.record.clone()).await {
            Ok(leftovers) => leftovers,
            Err(error) => {
                // Nobody has these tokens now, and nobody is to find them.
                let _ = self.linchpin.0.endpoint.revoke(&signed_in.record).await;
                signed_in.page.not_saved().await;
                return Err(error.into());
            }
        };
        if let Some(stores) = self.linchpin.stores() {
            stores.signed_in(self.key(), server.kind, &*self.linchpin.0.clock).await;
        }
        self.linchpin.0.pins.lock().await.insert(self.key().clone(), (server.kind, server.why.clone()));
        signed_in.page.signed_in().await;
        Ok(SignedIn { server, record: signed_in.record, leftovers })
    }

    /// Signs out: revokes at the provider, then deletes.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn sign_out(&self) -> Result<SignOut, CredentialError> {
        self.credential.sign_out().await
    }
}
