//! What the user configured is theirs: no recovery, and the challenge as it came (P19).

use http::HeaderValue;
use http::header::AUTHORIZATION;
use linchpin::{ClientError, McpClient};
use linchpin_testkit::{AuthMode, Endpoint as At, Fault};

use crate::world::{LEGACY, World, call, url};

#[tokio::test]
async fn p19_a_401_to_a_configured_token_passes_with_its_challenge_and_without_an_exchange() {
    let token = "planted-static-token".to_owned();
    let world = World::signed_out(|config| config.auth = AuthMode::Static(token.clone())).await;
    // There is a sign-in, which is not touched.
    world.sign_in().await;
    let header = || HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    let at = url(&world.kit.mcp_url());
    for revision in ["2026-07-28", LEGACY.as_str()] {
        let builder = || {
            let revision = serde_json::from_value(revision.into()).expect("a revision");
            McpClient::builder().revision(revision).header(AUTHORIZATION, header())
        };
        let with_server = builder().connect(&world.server().await).await.expect("connected");
        let client = builder().connect_without_sign_in(at.clone()).await.expect("connected");
        for client in [&with_server, &client] {
            call(client, "a").await.expect("called");
            let challenge = "Bearer realm=\"mine\", error=\"invalid_token\"";
            let refusal = Fault::replace(At::McpPost, 401, &[("www-authenticate", challenge)], "");
            world.kit.fault(refusal.of_method("tools/call").times(1));
            let before = world.sent();
            let error = call(client, "b").await.expect_err("refused");
            assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
            assert_eq!((error.challenge(), world.sent()), (Some(challenge), before + 1));
            assert!(!format!("{error} {error:?}").contains(&token));
        }
        with_server.close().await;
        client.close().await;
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.token_requests.get("refresh_token")), (0, None));
    world.finish(&[]);
}
