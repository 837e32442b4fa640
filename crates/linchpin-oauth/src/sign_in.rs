//! Signing in: discovery, registration, the browser's part, and the exchange of the code (OAuth 2.1, MCP
//! authorization 2026-07-28).
//!
//! Discovery and the choice of scopes are rmcp's; what it is lenient about is checked here before anything is sent.
//! Registration, the authorization URL and the code exchange are made here, because a record needs what rmcp drops:
//! how the client authenticates, when its secret ends, the exact `resource`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linchpin_store::{Client, ClientAuthMethod, Clock, Record, Registration, Secret, ServerUrl, UnixMs};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::http::{HttpOptions, Reach};
use crate::provider::{Asking, exchange};
use crate::{Exchange, TokenAnswer};

mod callback;
mod client;
mod discover;
mod error;
mod page;
mod probe;
mod register;

pub use crate::assertion::KeyError;
pub use callback::Callback;
#[cfg(feature = "fuzzing")]
pub(crate) use callback::fuzzed as check_callback;
use callback::{Expected, Listener, Waiting};
pub use client::{ClientCredentials, ClientProof};
pub use discover::is_resource_of;
use discover::{Discovered, discover, shown};
pub use error::SignInError;
use error::not_exchanged;
pub use page::BrowserPage;

/// How long the exchange of the code may take.
const CODE_EXCHANGE: Duration = Duration::from_secs(30);
/// The scope of a refresh token at providers that are `OpenID` providers too.
const OFFLINE_ACCESS: &str = "offline_access";

/// What a person may choose about a sign-in: [`SignInOptions::default`], and whatever is set in it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SignInOptions {
    /// Scopes to ask for in place of those that the server names.
    pub scopes: Vec<String>,
    /// A client registered beforehand.
    pub client: Option<PreregisteredClient>,
    /// The URL of a client metadata document, used where the provider supports it.
    pub client_metadata_url: Option<Url>,
    /// The `WWW-Authenticate` of the refusal that calls for this sign-in, its lines joined by commas: it says which
    /// scopes are wanted and where the server's metadata is. Without one the server is asked.
    pub challenge: Option<String>,
    /// The port of the callback on this machine; any free one for 0.
    pub callback_port: u16,
    /// The provider of the sign-in that is there already: to another one nothing is sent (P13).
    pub issuer: Option<String>,
}

/// A client that somebody registered at the provider by hand.
#[derive(Debug, Clone)]
pub struct PreregisteredClient {
    /// `client_id`.
    pub id: String,
    /// `client_secret`, if it has one.
    pub secret: Option<Secret>,
}

/// A sign-in that waits for the browser. It holds no lock (P12).
#[derive(Debug)]
pub struct PendingSignIn {
    discovered: Discovered,
    client: Client,
    method: ClientAuthMethod,
    url: Url,
    verifier: Secret,
    redirect_uri: String,
    scopes: Vec<String>,
    expected: Expected,
    listener: Listener,
    reach: Reach,
    http: HttpOptions,
}

/// The end of a sign-in: the record to save, and the browser that waits to be told.
#[derive(Debug)]
#[must_use = "the record is not saved yet"]
pub struct SignedIn {
    /// What to save.
    pub record: Record,
    /// The page that the person looks at.
    pub page: BrowserPage,
}

impl PendingSignIn {
    /// Finds the provider, registers a client unless one is given, and listens for the callback.
    ///
    /// Dropping the future, or the sign-in, leaves nothing behind but a client registration at the provider.
    ///
    /// # Errors
    /// Every [`SignInError`].
    pub async fn begin(
        server: &ServerUrl,
        options: &SignInOptions,
        http: &HttpOptions,
    ) -> Result<Self, SignInError> {
        let reach = Reach::of(server.url()).await;
        let discovered = discover(server, options.challenge.as_deref(), reach, http).await?;
        if !discovered.challenge_methods.iter().any(|method| method == "S256") {
            let problem =
                format!("{} does not say that it supports PKCE with S256", shown(&discovered.issuer));
            return Err(SignInError::Metadata { server: server.clone(), problem });
        }
        same_provider(server, options.issuer.as_ref(), &discovered)?;
        let listener = Listener::bind(options.callback_port, server).await?;
        let redirect_uri = listener.redirect_uri();
        let scopes = scopes(&options.scopes, &discovered);
        let (client, method) = register::client(&discovered, options, &scopes, &redirect_uri, reach).await?;
        let (state, verifier) = (random(), Secret::new(random()));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose().as_bytes()));

        let mut url = discovered.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &discovered.resource);
        if !scopes.is_empty() {
            url.query_pairs_mut().append_pair("scope", &scopes.join(" "));
        }
        if asks_to_consent(&scopes) {
            url.query_pairs_mut().append_pair("prompt", "consent");
        }
        let expected = Expected {
            state: Secret::new(state),
            issuer: discovered.issuer.clone(),
            issuer_due: discovered.issuer_due,
        };
        let http = http.clone();
        Ok(Self {
            discovered,
            client,
            method,
            url,
            verifier,
            redirect_uri,
            scopes,
            expected,
            listener,
            reach,
            http,
        })
    }

    /// The page to open: https, or http to this machine, and written out from a parsed URL.
    pub fn authorization_url(&self) -> &Url {
        &self.url
    }

    /// The provider.
    pub fn issuer(&self) -> &str {
        &self.discovered.issuer
    }

    /// Waits for the browser to come back, at most `within`.
    ///
    /// # Errors
    /// [`SignInError::TimedOut`], [`SignInError::WrongIssuer`], [`SignInError::Denied`]. A wrong state is turned away, and
    /// does not end the wait.
    pub async fn callback(&mut self, within: Duration) -> Result<Callback, SignInError> {
        self.listener.callback(&self.expected, within).await
    }

    /// Takes the address that the browser was sent to, for a person who pastes it.
    ///
    /// # Errors
    /// [`SignInError::NotACallback`], [`SignInError::WrongState`] and those of [`PendingSignIn::callback`] but the timeout.
    pub fn pasted(&self, text: &str) -> Result<Callback, SignInError> {
        let query = match Url::parse(text.trim()) {
            Ok(url) => url.query().unwrap_or_default().to_owned(),
            Err(_) => text.trim().trim_start_matches('?').to_owned(),
        };
        self.expected.check(&query, Waiting::nobody())
    }

    /// Exchanges the code and closes the listener.
    ///
    /// # Errors
    /// [`SignInError::Exchange`].
    pub async fn finish(self, callback: Callback, clock: &dyn Clock) -> Result<SignedIn, SignInError> {
        let begun = clock.now();
        let asking = Asking {
            client: &self.client,
            method: self.method,
            issuer: &self.discovered.issuer,
            reach: self.reach,
            options: &self.http,
            access_token: None,
        };
        let form = [
            ("grant_type", "authorization_code"),
            ("code", callback.code.expose()),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", self.verifier.expose()),
            ("resource", &self.discovered.resource),
        ];
        let outcome = exchange(&self.discovered.token_endpoint, &form, asking, CODE_EXCHANGE).await;
        let answer = match outcome {
            Exchange::Rotated(answer) => answer,
            failed => {
                callback.waiting.failed("The provider did not complete the sign-in.").await;
                return Err(not_exchanged(failed, &self.client));
            }
        };
        let record = record(self.discovered, (self.client, self.method), self.scopes, answer, begun);
        Ok(SignedIn { record, page: BrowserPage::new(callback.waiting, self.listener) })
    }
}

/// The record of a sign-in that began at `begun`.
fn record(
    provider: Discovered,
    (client, method): (Client, ClientAuthMethod),
    asked: Vec<String>,
    answer: TokenAnswer,
    begun: UnixMs,
) -> Record {
    Record {
        generation: 0,
        issuer: provider.issuer,
        token_endpoint: provider.token_endpoint,
        revocation_endpoint: provider.revocation_endpoint,
        token_endpoint_auth_method: method,
        resource: provider.resource,
        client,
        access_token: answer.access_token,
        refresh_token: answer.refresh_token,
        // An answer without scopes grants those that were asked for (RFC 6749 section 5.1).
        scopes: answer.scopes.unwrap_or(asked),
        obtained_at_ms: begun,
        expires_at_ms: answer.expires_in.map(|lifetime| begun.after(lifetime)),
        exchange: None,
        dead: None,
        refused: None,
        client_refused: None,
        retry_at_ms: None,
        signed_in_at_ms: None,
        extra: serde_json::Map::new(),
    }
}

/// Nothing is sent to another provider than that of the sign-in that is there (P13).
fn same_provider(
    server: &ServerUrl,
    before: Option<&String>,
    discovered: &Discovered,
) -> Result<(), SignInError> {
    match before.filter(|before| **before != discovered.issuer) {
        None => Ok(()),
        Some(before) => {
            let (before, now) = (shown(before), shown(&discovered.issuer));
            Err(SignInError::OtherProvider { server: Box::new(server.clone()), before, now })
        }
    }
}

/// What to ask for: what was chosen, or what the server names; and `offline_access` beside it where the provider lists
/// it, so that the sign-in can be renewed (MCP authorization 2026-07-28, "Scope Selection Strategy"). By itself it is
/// not asked for: where no scope is named, the provider's own choice is the better one.
fn scopes(chosen: &[String], discovered: &Discovered) -> Vec<String> {
    let mut scopes = if chosen.is_empty() { discovered.scopes.clone() } else { chosen.to_owned() };
    if discovered.offline_access && !scopes.is_empty() && !scopes.iter().any(|scope| scope == OFFLINE_ACCESS)
    {
        scopes.push(OFFLINE_ACCESS.to_owned());
    }
    scopes
}

/// `offline_access` is ignored without `prompt=consent` (`OpenID` Connect Core section 11), and no refresh token comes.
/// Nothing else needs the parameter, so providers that know neither are spared it.
fn asks_to_consent(scopes: &[String]) -> bool {
    scopes.iter().any(|scope| scope == OFFLINE_ACCESS)
}

/// 32 random bytes as text: a state or a PKCE verifier (RFC 7636 section 4.1).
fn random() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// How a client authenticates, given what the provider supports; nothing said means Basic (RFC 8414 section 2).
fn auth_method(supported: Option<&[String]>, has_secret: bool) -> ClientAuthMethod {
    let supports =
        |method: &str| supported.is_some_and(|methods| methods.iter().any(|known| known == method));
    match has_secret {
        false => ClientAuthMethod::None,
        true if supports("client_secret_post") && !supports("client_secret_basic") => ClientAuthMethod::Post,
        true => ClientAuthMethod::Basic,
    }
}

fn preregistered(client: &PreregisteredClient, supported: Option<&[String]>) -> (Client, ClientAuthMethod) {
    let method = auth_method(supported, client.secret.is_some());
    let client = Client {
        id: client.id.clone(),
        secret: client.secret.clone(),
        secret_expires_at_ms: None,
        registration: Registration::Preregistered,
        redirect_uri: None,
    };
    (client, method)
}

#[cfg(test)]
mod tests;
