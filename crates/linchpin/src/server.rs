//! One MCP server with one person's sign-in.

use std::time::Duration;

use http::HeaderMap;
use linchpin_authority::{AccessToken, Credential, CredentialError, Leftover, SignOut, Wait};
use linchpin_oauth::challenge::{Challenge, Challenges};
use linchpin_oauth::http::{HttpOptions, HttpSetupError};
use linchpin_oauth::sign_in::{ClientCredentials, PendingSignIn, SignInError, SignInOptions};
use linchpin_store::history::{Code, Phrase, Place, What};
use linchpin_store::{
    Clock, CredentialKey, Disposition, LockHolder, Pin, Record, Secret, ServerUrl, SignInTurn, StoreKind, Why,
};
use linchpin_transport::{Authorization, Endpoint};
use thiserror::Error;

use crate::Linchpin;
use crate::rmcp_auth::RmcpAuth;

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
#[non_exhaustive]
pub struct SignedIn {
    /// The server, pinned to the store that the sign-in is in.
    pub server: Server,
    /// The record.
    pub record: Record,
    /// Copies elsewhere that could not be removed.
    pub leftovers: Vec<Leftover>,
}

/// Whose turn it is to send a person through a browser.
#[derive(Debug)]
#[must_use = "dropping a turn passes it on"]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "one at a time, and short-lived")]
pub enum Turn {
    /// This process's. To be kept until the sign-in is finished.
    Taken(SignInTurn),
    /// Another process signed in while this one waited, and that serves as well.
    Served(SignedIn),
}

/// A sign-in that is neither finished nor given up: see [`Server::sign_in_begun`].
#[derive(Debug)]
#[must_use = "dropping it tells the history that the sign-in was given up"]
pub struct SignInBegun {
    server: Server,
    over: bool,
}

impl SignInBegun {
    /// The sign-in is not given up: it goes on elsewhere, or has failed for a reason of its own.
    pub fn over(mut self) {
        self.over = true;
    }
}

impl Drop for SignInBegun {
    fn drop(&mut self) {
        if !self.over {
            let problem = Phrase::new("it was given up before it was finished");
            let Server { linchpin, kind, .. } = &self.server;
            linchpin.tell(self.server.key(), *kind, What::SignInFailed { problem });
        }
    }
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

    /// "This one got a 401": adopts what another process renewed, or renews. Send the request once more with the
    /// answer; when that is refused too, say so with [`Server::rejected_again`] and stop. Nothing else tells a server
    /// that refuses every token from one that refuses an old one: called in a loop against such a server, this makes
    /// an exchange each time.
    ///
    /// Dropping the future ends the wait, not the refresh (P7).
    ///
    /// # Errors
    /// Every [`CredentialError`].
    pub async fn rejected(&self, token: &AccessToken, wait: Wait) -> Result<AccessToken, CredentialError> {
        self.credential.recover(token, wait).await
    }

    /// "And the one that [`Server::rejected`] gave got a 401 too." If it was obtained just now, it is not exchanged again
    /// for 30 s, by any process: [`Server::rejected`] answers that a person has to look, and the provider is left
    /// alone. Returns at once; the note for other processes is written by a task that [`Linchpin::drain`] waits for.
    pub fn rejected_again(&self, token: &AccessToken) {
        self.credential.refused_again(token);
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

    /// The sign-in for a program that uses rmcp's `AuthorizationManager`: its credential store and its OAuth HTTP client.
    /// Make one for each manager.
    pub fn rmcp_auth(&self) -> RmcpAuth {
        RmcpAuth::new(self.clone())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.linchpin.0.clock
    }

    pub(crate) fn http_options(&self) -> &HttpOptions {
        &self.linchpin.0.http
    }

    /// The turn to send a person through a browser, waited for at most `within`. Of several processes that want a
    /// sign-in here at once one opens a page, and the others find its result, if that has the `scopes` they want.
    /// `busy` is told which process they wait for.
    ///
    /// # Errors
    /// The lock's; a wait that ran out names who has the turn.
    pub async fn sign_in_turn(
        &self,
        scopes: &[String],
        within: Duration,
        busy: impl FnOnce(Option<&LockHolder>),
    ) -> Result<Turn, CredentialError> {
        let server = self.for_sign_in().await;
        Ok(match server.credential.sign_in_turn(scopes, within, busy).await? {
            linchpin_authority::Turn::Taken(turn) => Turn::Taken(turn),
            linchpin_authority::Turn::Served(record) => {
                server.pin();
                Turn::Served(SignedIn { server, record: *record, leftovers: Vec::new() })
            }
        })
    }

    /// Begins a sign-in: the page to open is in the answer. Holds no lock, changes nothing. Scopes that are asked for,
    /// by the caller or by a challenge of `insufficient_scope` (RFC 6750 section 3.1), are united with those of a
    /// sign-in that is there, so that a step up loses nothing.
    ///
    /// # Errors
    /// Every [`SignInError`].
    pub async fn begin_sign_in(&self, options: &SignInOptions) -> Result<PendingSignIn, SignInError> {
        let mut options = options.clone();
        // What cannot be read is bound to nobody, and repaired by the sign-in.
        let record = self.credential.record().await.ok().flatten();
        let secrets = record.as_ref().map(secrets).unwrap_or_default();
        if let Some(record) = record {
            if options.scopes.is_empty() {
                options.scopes = options.challenge.as_deref().map(lacking).unwrap_or_default();
            }
            if !options.scopes.is_empty() {
                options.scopes = united(record.scopes, options.scopes);
            }
            options.issuer.get_or_insert(record.issuer);
        }
        let here = self.sign_in_begun();
        let begun = PendingSignIn::begin(self.url(), &options, &self.linchpin.0.http).await;
        here.over();
        let begun = begun.map_err(|error| self.without_secrets(error, &secrets));
        begun.inspect_err(|error| self.sign_in_failed(error))
    }

    /// What others answer may repeat what they know of the sign-in that is there: that is told nobody (P20).
    fn without_secrets(&self, error: SignInError, secrets: &[Secret]) -> SignInError {
        let told = error.to_string();
        if !secrets.iter().any(|secret| secret.is_in(&told)) {
            return error;
        }
        let problem = "it or its provider answered with a secret of the sign-in that is there".to_owned();
        SignInError::Metadata { server: self.url().clone(), problem }
    }

    /// While this is kept, a sign-in waits for its person; when it is dropped and was not told to be
    /// [over](SignInBegun::over), because the process was interrupted or the future that waits was dropped, the history
    /// is told that the sign-in was given up. Calls of this server that are dropped tell so by themselves; this is for
    /// what waits for the browser, [`PendingSignIn::callback`].
    pub fn sign_in_begun(&self) -> SignInBegun {
        SignInBegun { server: self.clone(), over: false }
    }

    /// Tells the history that a sign-in of another process was taken over in place of one of this process's own: for
    /// whoever goes on with a [`Turn::Served`].
    pub fn sign_in_adopted(&self, record: &Record) {
        let access = (&record.access_token.fingerprint()).into();
        self.linchpin.tell(self.key(), self.kind, What::SignInAdopted { access });
    }

    /// Tells the history that a sign-in came to nothing. Whatever fails in a call of this server is told by it; this is
    /// for what waits for the browser, [`PendingSignIn::callback`].
    pub fn sign_in_failed(&self, error: &SignInError) {
        let what = match error {
            SignInError::NotNeeded(_) => return,
            SignInError::OtherProvider { before, now, .. } => {
                What::OtherProvider { before: Place::new(before), named: Place::new(now) }
            }
            // What a browser brings back was written by anybody.
            SignInError::Denied { code } => {
                let problem = format!("the provider did not sign the person in ({})", Code::new(code));
                What::SignInFailed { problem: Phrase::new(&problem) }
            }
            error => What::SignInFailed { problem: Phrase::new(&error.to_string()) },
        };
        self.linchpin.tell(self.key(), self.kind, what);
    }

    /// Signs a program in as itself, without a person (RFC 6749 section 4.4, SEP-1046), and saves that like any sign-in.
    /// The credentials are kept in the record, which renews itself with them: under the same lock, one request at a
    /// time, and without a refresh token.
    ///
    /// Dropping the future before the token is there leaves nothing behind; the save is not cancelled.
    ///
    /// # Errors
    /// [`SignInFailed`]; nothing is saved then.
    pub async fn sign_in_with_client_credentials(
        &self,
        credentials: &ClientCredentials,
    ) -> Result<SignedIn, SignInFailed> {
        let mut credentials = credentials.clone();
        let there = self.credential.record().await.ok().flatten();
        let secrets = there.as_ref().map(secrets).unwrap_or_default();
        if let Some(there) = there {
            credentials.issuer.get_or_insert(there.issuer);
        }
        let here = self.sign_in_begun();
        let signed_in = credentials.sign_in(self.url(), self.http_options(), self.clock()).await;
        here.over();
        let signed_in = signed_in.map_err(|error| self.without_secrets(error, &secrets));
        let record = signed_in.inspect_err(|error| self.sign_in_failed(error))?;
        Ok(self.keep(record).await?)
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
        let here = self.sign_in_begun();
        let record = self.credential.record().await.ok().flatten();
        let secrets = record.as_ref().map(secrets).unwrap_or_default();
        let signed_in = pending.finish(callback, &*self.linchpin.0.clock).await;
        // From here on it is saved, whoever waits for that.
        here.over();
        let signed_in = signed_in.map_err(|error| self.without_secrets(error, &secrets));
        let signed_in = signed_in.inspect_err(|error| self.sign_in_failed(error))?;
        match self.keep(signed_in.record).await {
            Ok(kept) => {
                signed_in.page.signed_in().await;
                Ok(kept)
            }
            Err(error) => {
                signed_in.page.not_saved().await;
                Err(error.into())
            }
        }
    }

    /// Saves a new sign-in where a new one goes. One that cannot be saved is given back to the provider.
    pub(crate) async fn keep(&self, record: Record) -> Result<SignedIn, CredentialError> {
        let server = self.for_sign_in().await;
        let leftovers = match server.credential.sign_in(record.clone()).await {
            Ok(leftovers) => leftovers,
            Err(error) => {
                let problem = Phrase::new(&format!("signed in, but not saved: {error}"));
                self.linchpin.tell(server.key(), server.kind, What::SignInFailed { problem });
                // Nobody has these tokens now, and nobody is to find them.
                let _ = self.linchpin.0.endpoint.revoke(&record).await;
                return Err(error);
            }
        };
        if let Some(stores) = self.linchpin.stores() {
            stores.signed_in(self.key(), server.kind, &*self.linchpin.0.clock).await;
        }
        server.pin();
        Ok(SignedIn { server, record, leftovers })
    }

    /// From now on the installation knows the sign-in to be here.
    fn pin(&self) {
        self.linchpin.0.pins.set(self.key().clone(), (self.kind, self.why.clone()));
    }

    /// Signs out: revokes at the provider, then deletes.
    ///
    /// # Errors
    /// The lock's and the store's.
    pub async fn sign_out(&self) -> Result<SignOut, CredentialError> {
        self.credential.sign_out().await
    }
}

/// The secrets of a sign-in.
fn secrets(record: &Record) -> Vec<Secret> {
    let client = record.client.secret.iter();
    [&record.access_token].into_iter().chain(&record.refresh_token).chain(client).cloned().collect()
}

/// The scopes that a challenge finds lacking; none when it is about something else.
fn lacking(challenge: &str) -> Vec<String> {
    let challenges = Challenges::parse_text(challenge);
    let bearer = challenges.bearer().filter(|bearer| bearer.error() == Some("insufficient_scope"));
    let scope = bearer.and_then(Challenge::scope).unwrap_or_default();
    scope.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Both, in order, each once.
fn united(granted: Vec<String>, asked: Vec<String>) -> Vec<String> {
    let mut scopes = granted;
    for scope in asked {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

#[cfg(test)]
mod tests;
