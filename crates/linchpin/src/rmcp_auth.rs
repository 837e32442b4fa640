//! For programs that use rmcp's `AuthorizationManager`: the shared sign-in behind its two interfaces.
//!
//! An [`RmcpAuth`] is rmcp's [`CredentialStore`] and its [`OAuthHttpClient`] at once. It gives rmcp access tokens and, in
//! place of a refresh token, a [stand-in](StandIn) that is worth nothing anywhere else (P15). When rmcp presents the
//! stand-in, no request leaves: the sign-in is recovered as for everybody else, by adopting what another process
//! obtained or by one exchange under the lock (P6), in a task that rmcp cannot cancel (P7); rmcp gets the result as the
//! token answer that it expects. Everything else that its OAuth code sends goes out over Linchpin's own HTTP client.
//!
//! ```no_run
//! # async fn example(server: linchpin::Server) -> Result<(), rmcp::transport::auth::AuthError> {
//! use std::sync::Arc;
//! use rmcp::transport::auth::AuthorizationManager;
//!
//! let auth = server.rmcp_auth();
//! let manager = auth.manager().await?;          // starts offline
//! // Or a manager of the program's own, which asks the server for its metadata:
//! let mut own = AuthorizationManager::new_with_oauth_http_client(auth.url(), Arc::new(auth.clone())).await?;
//! own.set_credential_store(auth);
//! let signed_in = own.initialize_from_store().await?;
//! # Ok(()) }
//! ```
//!
//! # Limitations
//! rmcp does not say which token a server refused. A refresh that it asks for within 30 s of a new token is answered with
//! that token: it nearly always comes from a request that carried the one before. A program that wants every 401 charged
//! to its token (P16) uses [`McpClient`](crate::McpClient) or the transport under it.
//!
//! A sign-in that ends through rmcp's own flow is kept if all that a record needs was seen, and refused with the command
//! that signs in otherwise. `clear` ends the use of the sign-in in this program; only `linchpin logout` deletes it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use linchpin_authority::{AccessToken, CredentialError, Wait, login_command};
use linchpin_store::{Disposition, Record};
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadata, CredentialRefreshGuard, CredentialStore,
    OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRequest, StoredCredentials,
};

use crate::Server;

mod answer;
mod exchange;
mod known;
mod observed;

pub use answer::StandIn;
use known::{Identity, Known, Tokens};
use observed::Observed;

/// How long rmcp waits for a token. The transaction has bounds of its own and goes on (P7).
const WAIT: Duration = Duration::from_secs(60);

/// rmcp's [`CredentialStore`] and [`OAuthHttpClient`] over one server's sign-in; from
/// [`Server::rmcp_auth`](crate::Server::rmcp_auth). Clones are the same one; give each manager one of its own.
#[derive(Clone)]
pub struct RmcpAuth(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
}

struct State {
    server: Server,
    tokens: Tokens,
    /// What is known of the record of the newest token, so that it is read once per token.
    known: Option<Known>,
    /// The client as rmcp knows it; see [`RmcpAuth::stored`].
    client_id: Option<String>,
    /// Refreshes of rmcp under way.
    refreshing: usize,
    observed: Observed,
    /// A sign-in of rmcp's flow that rmcp has not saved yet.
    pending: Option<Record>,
    /// The sign-in that the program has cleared.
    cleared: Option<Identity>,
}

impl fmt::Debug for RmcpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RmcpAuth").field(self.server().key()).finish()
    }
}

impl RmcpAuth {
    pub(crate) fn new(server: Server) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                server,
                tokens: Tokens::default(),
                known: None,
                client_id: None,
                refreshing: 0,
                observed: Observed::default(),
                pending: None,
                cleared: None,
            }),
        }))
    }

    /// The server's URL.
    pub fn url(&self) -> url::Url {
        self.server().url().url().clone()
    }

    /// A manager that is ready to use, without a request: it takes the provider's endpoints from the sign-in, so that it
    /// starts offline, and a server that names another provider changes nothing (P13). For a new sign-in through rmcp it
    /// has to ask for metadata first, as `OAuthState` does.
    ///
    /// # Errors
    /// [`AuthError::AuthorizationRequired`] without a sign-in that can be used, or why there is no token now.
    pub async fn manager(&self) -> Result<AuthorizationManager, AuthError> {
        let mut manager =
            AuthorizationManager::new_with_oauth_http_client(self.url(), Arc::new(self.clone())).await?;
        manager.set_credential_store(self.clone());
        let record = self.server().record().await.map_err(|error| failed(&error))?;
        let record = record.ok_or(AuthError::AuthorizationRequired)?;
        let mut metadata = AuthorizationMetadata::default();
        metadata.token_endpoint = record.token_endpoint.into();
        // rmcp wants one to be configured; a record has none, since nobody is authorized by it.
        metadata.authorization_endpoint.clone_from(&record.issuer);
        metadata.issuer = Some(record.issuer);
        manager.set_metadata(metadata);
        if !manager.initialize_from_store().await? {
            return Err(AuthError::AuthorizationRequired);
        }
        Ok(manager)
    }

    fn server(&self) -> Server {
        self.state().server.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that is good now, noted as one that rmcp has, and what belongs to it.
    async fn current(&self, wait: Wait) -> Result<(AccessToken, Known), CredentialError> {
        let token = self.server().access_token(wait).await?;
        let known = self.know(&token).await?;
        Ok((token, known))
    }

    /// What belongs to a token: read from the record once.
    async fn know(&self, token: &AccessToken) -> Result<Known, CredentialError> {
        self.state().tokens.see(token.fingerprint());
        if let Some(known) = self.state().known.clone().filter(|known| known.is_of(token)) {
            return Ok(known);
        }
        let record = self.server().record().await?.ok_or_else(|| CredentialError::Interrupted {
            // Signed out between the two; the next request says so.
            key: Box::new(self.server().key().clone()),
        })?;
        let known = Known::new(token, &record);
        self.state().known = Some(known.clone());
        Ok(known)
    }

    /// The credentials for rmcp. The client id stays the one that rmcp was configured with: it demands a new sign-in when
    /// that changes, and it does not matter, since it is not rmcp that spends the token. The moment of receipt is left
    /// out, so that rmcp starts no renewal of its own: by then Linchpin has renewed.
    async fn stored(&self) -> Result<Option<StoredCredentials>, CredentialError> {
        if self.is_given_up().await? {
            return Ok(None);
        }
        let (token, known) = match self.current(Wait::within(WAIT)).await {
            Ok(current) => current,
            Err(error) if error.disposition() == Disposition::SignIn => {
                tracing::info!("rmcp is told that it is not signed in: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let now = self.server().clock().now();
        let mut state = self.state();
        if state.refreshing == 0 {
            state.tokens.hand_out(token.fingerprint());
        }
        let client_id = state.client_id.get_or_insert_with(|| known.identity.client_id.clone()).clone();
        let answer = answer::tokens(&token, &known, now);
        Ok(Some(
            StoredCredentials::new(client_id, Some(answer), known.scopes, None)
                .with_issuer(Some(known.identity.issuer)),
        ))
    }

    /// Whether the program has cleared the sign-in, and nobody has signed in since.
    async fn is_given_up(&self) -> Result<bool, CredentialError> {
        let Some(cleared) = self.state().cleared.clone() else { return Ok(false) };
        let server = self.server();
        let Some(record) = server.record().await?.filter(|record| Identity::of(record) != cleared) else {
            return Ok(true);
        };
        // What this process still has is of the sign-in that was given up.
        if let Some(token) = server.credential().current()
            && *token.secret() != record.access_token
        {
            server.rejected(&token, Wait::within(WAIT)).await?;
        }
        self.state().cleared = None;
        Ok(false)
    }
}

#[async_trait]
impl CredentialStore for RmcpAuth {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        self.stored().await.map_err(|error| failed(&error))
    }

    /// Tokens that this gave to rmcp are saved already. Those of a sign-in through rmcp's flow become the sign-in of this
    /// machine.
    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let Some(fingerprint) = answer::access_token(&credentials) else {
            // How rmcp drops tokens of another provider.
            return self.clear().await;
        };
        if self.state().tokens.knows(&fingerprint) {
            return Ok(());
        }
        let pending = self.state().pending.clone();
        let Some(mut record) = pending.filter(|pending| pending.access_token.fingerprint() == fingerprint)
        else {
            return Err(AuthError::CredentialStoreError(format!(
                "Linchpin did not see how these tokens were issued, so they are not kept; run `{}`",
                login_command(self.server().key())
            )));
        };
        if record.scopes.is_empty() {
            record.scopes = credentials.granted_scopes;
        }
        let client_id = record.client.id.clone();
        let kept = self.server().keep(record).await.map_err(|error| failed(&error))?;
        for leftover in kept.leftovers {
            tracing::warn!(
                "a copy of an older sign-in is left in the {}: {}",
                leftover.store,
                leftover.error
            );
        }
        let mut state = self.state();
        state.tokens.see(&fingerprint);
        (state.server, state.client_id) = (kept.server, Some(client_id));
        (state.pending, state.cleared, state.known) = (None, None, None);
        Ok(())
    }

    /// Ends the use of the sign-in in this program. It is not deleted: rmcp also clears when a server names another
    /// provider, which ends nobody's sign-in (P13).
    async fn clear(&self) -> Result<(), AuthError> {
        let record = self.server().record().await.map_err(|error| failed(&error))?;
        if let Some(record) = record {
            tracing::warn!(server = %self.server().key(),
                "this program gives its sign-in up; it is kept, `linchpin logout` deletes it");
            self.state().cleared = Some(Identity::of(&record));
        }
        Ok(())
    }

    /// What was refused is noted already, for the one token that it was about (P11).
    async fn on_refresh_token_rejected(&self, _credentials: &StoredCredentials) -> Result<(), AuthError> {
        Ok(())
    }

    /// Holds nothing up: the transaction has the lock. It tells a token that rmcp looks up to refresh it from one that it
    /// looks up to send it.
    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        self.state().refreshing += 1;
        Ok(Some(CredentialRefreshGuard::new(Refreshing(self.clone()))))
    }
}

impl OAuthHttpClient for RmcpAuth {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let timeout = request.timeout.unwrap_or(WAIT);
            self.answer(request.request, timeout).await.map_err(Into::into)
        })
    }
}

/// While it lives rmcp refreshes.
struct Refreshing(RmcpAuth);

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.state().refreshing -= 1;
    }
}

/// Why there is no token, in rmcp's words. A store that fails is no reason to sign in again, an outage none to give up.
fn failed(error: &CredentialError) -> AuthError {
    match error {
        CredentialError::Store(_) | CredentialError::Lock(_) => {
            AuthError::CredentialStoreError(error.to_string())
        }
        error if error.disposition() == Disposition::SignIn => AuthError::AuthorizationRequired,
        _ => AuthError::TokenRefreshFailed(error.to_string()),
    }
}
