//! Sign-ins through rmcp's own flow.

use std::sync::Arc;
use std::time::Duration;

use linchpin::rmcp_auth::RmcpAuth;
use linchpin::{Registration, Wait};
use linchpin_testkit::browse;
use rmcp::transport::auth::{AuthError, AuthorizationRequest, OAuthState};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::world::{World, call};

/// A callback where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/callback";

/// rmcp's flow up to the page that a person is sent to.
async fn begin(auth: &RmcpAuth, redirect_uri: &str) -> (OAuthState, String) {
    let client = Arc::new(auth.clone());
    let mut flow = OAuthState::new_with_oauth_http_client(auth.url(), client).await.expect("a flow");
    if let OAuthState::Unauthorized(manager) = &mut flow {
        manager.set_credential_store(auth.clone());
    }
    flow.start_authorization(AuthorizationRequest::new(redirect_uri)).await.expect("begun");
    let page = flow.get_authorization_url().await.expect("a page");
    (flow, page)
}

/// The flow with the address that the browser was sent back to.
async fn begin_and_approve(auth: &RmcpAuth) -> (OAuthState, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let (flow, page) = begin(auth, &format!("{origin}/callback")).await;
    let callback = async {
        let (mut browser, _) = listener.accept().await.expect("a browser");
        let mut line = String::new();
        BufReader::new(&mut browser).read_line(&mut line).await.expect("a request");
        browser.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
        let path = line.split(' ').nth(1).expect("a path").to_owned();
        format!("{origin}{path}")
    };
    let (visited, callback) = tokio::join!(browse(&page), callback);
    assert_eq!(visited.expect("visited").status, 200);
    (flow, callback)
}

/// An answer of a provider that nobody asked, to the flow that waits.
fn made_up(page: &str, issuer: &str) -> String {
    let page: url::Url = page.parse().expect("a URL");
    let state = page.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    format!("{NOWHERE}?code=made-up&state={state}&iss={issuer}")
}

async fn finish(mut flow: OAuthState, callback: &str) -> Result<OAuthState, AuthError> {
    flow.handle_callback_url(callback).await?;
    Ok(flow)
}

#[tokio::test]
async fn p12_a_sign_in_through_rmcp_is_the_sign_in_of_the_machine() {
    for method in ["none", "client_secret_basic"] {
        let world = World::new(|config| method.clone_into(&mut config.client_auth)).await;
        let auth = world.server().await.rmcp_auth();
        let (flow, callback) = begin_and_approve(&auth).await;
        let flow = finish(flow, &callback).await.expect("signed in");

        let record = world.record().await.expect("kept");
        let refresh_token = record.refresh_token.as_ref().expect("one").expose().to_owned();
        assert_eq!(
            (record.issuer.as_str(), record.client.registration),
            (world.kit.issuer(), Registration::Dynamic)
        );
        assert_eq!(
            (record.client.secret.is_some(), record.scopes.as_slice()),
            (method != "none", &["tools".to_owned()][..])
        );
        assert!(record.revocation_endpoint.is_some() && record.signed_in_at_ms.is_some());
        // rmcp has none of it but the access token (P15).
        let (_, tokens) = flow.get_credentials().await.expect("credentials");
        let tokens = serde_json::to_string(&tokens).expect("JSON");
        assert!(tokens.contains(record.access_token.expose()) && !tokens.contains(&refresh_token));

        // What `linchpin token` does, in another process, after the end of the token.
        world.kit.refuse_access_tokens();
        let server = world.server().await;
        let token = server.access_token(Wait::Transaction).await.expect("a token");
        let renewed = server.rejected(&token, Wait::within(Duration::from_secs(10))).await.expect("renewed");
        assert_ne!(token, renewed);
        // The manager that signed in goes on with what the other process obtained.
        let manager = flow.into_authorization_manager().expect("authorized");
        let program = world.connect(manager).await;
        call(&program, "a").await.expect("called");
        assert_eq!((world.kit.counts().exchanges, world.kit.counts().code_exchanges), (1, 1));
        world.finish(&[]);
    }
}

#[tokio::test]
async fn p13_a_sign_in_that_cannot_be_kept_sends_no_code_and_says_what_to_run() {
    let world = World::new(|config| {
        config.metadata.insert("code_challenge_methods_supported".to_owned(), json!(null));
    })
    .await;
    let auth = world.server().await.rmcp_auth();
    let (flow, callback) = begin_and_approve(&auth).await;
    let error = finish(flow, &callback).await.err().expect("refused");
    let AuthError::TokenExchangeFailed(told) = &error else { panic!("{error:?}") };
    assert!(told.contains("PKCE") && told.contains("run `linchpin login"), "{told}");
    assert_eq!((world.kit.counts().code_exchanges, world.record().await), (0, None));
    world.finish(&[error.to_string()]);
}

#[tokio::test]
async fn p13_a_sign_in_at_another_provider_keeps_the_one_that_is_there() {
    let world = World::new(|_| {}).await;
    let planted = world.plant(false).await;
    let other = World::new(|_| {}).await;
    let issuer = other.kit.issuer().to_owned();
    world.kit.configure(|config| {
        config.resource_metadata.insert("authorization_servers".to_owned(), json!([issuer]));
    });
    let auth = world.server().await.rmcp_auth();
    let (flow, page) = begin(&auth, NOWHERE).await;
    let told = finish(flow, &made_up(&page, other.kit.issuer())).await.err().expect("refused").to_string();
    assert!(told.contains(world.kit.issuer()) && told.contains(other.kit.issuer()), "{told}");
    assert!(told.contains("linchpin logout"), "{told}");
    assert_eq!(other.kit.counts().code_exchanges, 0);
    assert_eq!(world.record().await.expect("kept").refresh_token, planted.refresh_token);
    world.finish(&[told]);
}
