//! The person at the program: does what a program can only ask of somebody.

use anyhow::{Context as _, Result};
use linchpin::{ClientCredentials, ClientProof, PreregisteredClient, Server, SignInError, SignInOptions};
use url::Url;

use crate::browser;
use crate::task::Given;

/// The address of a client metadata document that the suite's providers know.
const METADATA_DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// Somebody who signs in whenever that is asked for.
#[derive(Debug)]
pub(crate) struct Person {
    client: Option<PreregisteredClient>,
    document: Url,
    /// Credentials of the program's own, where nobody is to be asked.
    own: Option<ClientCredentials>,
}

impl Person {
    /// A person who uses what the suite gave in that scenario.
    pub(crate) fn with(scenario: &str, given: &Given) -> Result<Self> {
        let own = scenario.starts_with("auth/client-credentials-").then(|| own(given)).flatten();
        let secret = given.client_secret.clone();
        let client = given.client_id.clone().map(|id| PreregisteredClient { id, secret });
        Ok(Self { client, document: METADATA_DOCUMENT.parse()?, own })
    }

    /// Signs in to `server`, which refused a request with `challenge` and lacks `scopes`.
    pub(crate) async fn sign_in(
        &self,
        server: &Server,
        challenge: Option<String>,
        scopes: Vec<String>,
    ) -> Result<()> {
        if let Some(own) = &self.own {
            let mut credentials = own.clone();
            (credentials.scopes, credentials.challenge) = (scopes, challenge);
            server.sign_in_with_client_credentials(&credentials).await?;
            return Ok(());
        }
        let mut options = SignInOptions::default();
        (options.scopes, options.challenge) = (scopes, challenge);
        options.client = self.client.clone();
        options.client_metadata_url = Some(self.document.clone());
        let pending = match server.begin_sign_in(&options).await {
            // Told that the server names another provider now, and which, this person agrees.
            Err(SignInError::OtherProvider { now, .. }) => {
                options.issuer = Some(now);
                server.begin_sign_in(&options).await
            }
            begun => begun,
        }?;
        let address = browser::visit(pending.authorization_url()).await?;
        let callback = pending.pasted(&address)?;
        server.finish_sign_in(pending, callback).await.context("signing in")?;
        Ok(())
    }
}

/// The program's own credentials, if it was given any.
fn own(given: &Given) -> Option<ClientCredentials> {
    let key = given.private_key_pem.clone().map(ClientProof::PrivateKey);
    let proof = key.or_else(|| given.client_secret.clone().map(ClientProof::Secret))?;
    Some(ClientCredentials::new(given.client_id.clone()?, proof))
}
