//! Signing a program in as itself: the client credentials grant (RFC 6749 section 4.4), as the MCP extension
//! `io.modelcontextprotocol/oauth-client-credentials` has it (SEP-1046). No browser, no person, no refresh token: the
//! next token is got like the first.

use linchpin_store::{Client, ClientAuthMethod, Clock, Record, Registration, Secret, ServerUrl};

use super::discover::{Discovered, discover, shown};
use super::{CODE_EXCHANGE, SignInError, auth_method, not_exchanged, record, same_provider};
use crate::Exchange;
use crate::assertion::Signer;
use crate::http::{HttpOptions, Reach};
use crate::provider::{Asking, client_credentials};

/// A program that signs in as itself: [`ClientCredentials::new`], and whatever is set in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientCredentials {
    /// `client_id`, as the provider registered it.
    pub id: String,
    /// How it proves who it is.
    pub proof: ClientProof,
    /// Scopes to ask for in place of those that the server names.
    pub scopes: Vec<String>,
    /// The `WWW-Authenticate` of the refusal that calls for this sign-in; without one the server is asked.
    pub challenge: Option<String>,
    /// The provider that the client is registered at: to another one nothing is sent (P13).
    pub issuer: Option<String>,
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientProof {
    /// By a secret that the provider knows too (`client_secret_basic`, `client_secret_post`).
    Secret(Secret),
    /// By signatures of a private key in PEM, PKCS #8 (`private_key_jwt`, RFC 7523): P-256, Ed25519 or RSA.
    PrivateKey(Secret),
}

impl ClientCredentials {
    /// The client of that identifier, with everything else as the server and the provider say.
    pub fn new(id: impl Into<String>, proof: ClientProof) -> Self {
        Self { id: id.into(), proof, scopes: Vec::new(), challenge: None, issuer: None }
    }

    /// Finds the provider and gets a first token. The record that comes of it renews itself with the same credentials,
    /// which are kept in it.
    ///
    /// Dropping the future leaves nothing behind but a token that nobody has.
    ///
    /// # Errors
    /// [`SignInError`], but for those that concern a browser.
    pub async fn sign_in(
        &self,
        server: &ServerUrl,
        http: &HttpOptions,
        clock: &dyn Clock,
    ) -> Result<Record, SignInError> {
        let reach = Reach::of(server.url()).await;
        let provider = discover(server, self.challenge.as_deref(), reach, http).await?;
        same_provider(server, self.issuer.as_ref(), &provider)?;
        let (secret, method) = self.proof.at(&provider)?;
        let client = Client {
            id: self.id.clone(),
            secret: Some(secret),
            secret_expires_at_ms: None,
            registration: Registration::ClientCredentials,
            redirect_uri: None,
        };
        let scopes = if self.scopes.is_empty() { provider.scopes.clone() } else { self.scopes.clone() };
        let begun = clock.now();
        let asking = Asking {
            client: &client,
            method,
            issuer: &provider.issuer,
            reach,
            options: http,
            access_token: None,
        };
        let asked =
            client_credentials(&provider.token_endpoint, &provider.resource, &scopes, asking, CODE_EXCHANGE);
        match asked.await {
            Exchange::Rotated(answer) => Ok(record(provider, (client, method), scopes, answer, begun)),
            failed => Err(not_exchanged(failed, &client)),
        }
    }
}

impl ClientProof {
    /// What is presented to that provider, and how; an error when the provider takes no such proof.
    fn at(&self, provider: &Discovered) -> Result<(Secret, ClientAuthMethod), SignInError> {
        let issuer = || shown(&provider.issuer);
        match self {
            Self::Secret(secret) => Ok((secret.clone(), auth_method(provider.auth_methods.as_deref(), true))),
            Self::PrivateKey(key) => {
                let signer = Signer::from_pem(key).map_err(SignInError::Key)?;
                let takes = |listed: &Option<Vec<String>>, what: &str| {
                    listed.as_ref().is_none_or(|listed| listed.iter().any(|known| known == what))
                };
                if !takes(&provider.auth_methods, "private_key_jwt") {
                    return Err(SignInError::ProofNotTaken { issuer: issuer(), proof: "private_key_jwt" });
                }
                if !takes(&provider.signing_algorithms, signer.algorithm()) {
                    return Err(SignInError::ProofNotTaken { issuer: issuer(), proof: signer.algorithm() });
                }
                Ok((key.clone(), ClientAuthMethod::PrivateKeyJwt))
            }
        }
    }
}

#[cfg(test)]
mod tests;
