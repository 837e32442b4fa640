//! Connecting: renewed before anything is sent, recovered once, and in the store that was pinned.

use std::time::Duration;

use linchpin::{ClientError, Disposition, McpClient};
use linchpin_testkit::{AuthMode, Endpoint as At, Fault};

use crate::world::{LEGACY, World, call};

const CHALLENGE: (&str, &str) = ("www-authenticate", "Bearer error=\"invalid_token\"");

#[tokio::test]
async fn p14_an_ended_token_is_renewed_before_anything_is_sent() {
    for revision in [None, Some(LEGACY)] {
        let world = World::signed_out(|_| {}).await;
        world.sign_in_until(Duration::ZERO).await;
        let builder = McpClient::builder();
        let builder = if let Some(revision) = revision { builder.revision(revision) } else { builder };
        let client = world.connect(builder).await;
        call(&client, "a").await.expect("called");
        assert_eq!((world.exchanges(), world.kit.counts().unauthorized), (1, 0));
        world.finish(&[]);
    }
}

#[tokio::test]
async fn p17_a_handshake_that_is_refused_is_recovered_once() {
    for (revision, method) in [(None, "server/discover"), (Some(LEGACY), "initialize")] {
        let world = World::new().await;
        world.kit.refuse_access_tokens();
        let builder = McpClient::builder();
        let builder = if let Some(revision) = revision { builder.revision(revision) } else { builder };
        let client = world.connect(builder).await;
        call(&client, "a").await.expect("called");
        assert_eq!((world.exchanges(), world.requests(&format!("POST {method}"))), (1, 2));
        world.finish(&[]);
    }
}

#[tokio::test]
async fn p17_a_handshake_that_is_refused_again_ends_in_authentication_required() {
    // Refused with the token that it had, and with the renewed one.
    let world = World::new().await;
    world.kit.fault(Fault::replace(At::McpPost, 401, &[CHALLENGE], ""));
    let error = McpClient::connect(&world.server().await).await.expect_err("refused");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
    assert_eq!((error.challenge(), error.disposition()), (Some(CHALLENGE.1), Disposition::SignIn));
    assert_eq!((world.exchanges(), world.requests("POST server/discover")), (1, 2));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_a_token_renewed_at_the_start_that_is_refused_has_its_one_recovery_and_then_none() {
    let world = World::signed_out(|_| {}).await;
    world.sign_in_until(Duration::ZERO).await;
    world.kit.fault(Fault::replace(At::McpPost, 401, &[CHALLENGE], ""));
    // The renewal, the recovery; the third time nothing is left to try.
    for (exchanges, handshakes) in [(2, 2), (2, 3)] {
        let error = McpClient::connect(&world.server().await).await.expect_err("refused");
        assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
        assert_eq!(error.challenge(), Some(CHALLENGE.1));
        assert_eq!((world.exchanges(), world.requests("POST server/discover")), (exchanges, handshakes));
        world.finish(&[format!("{error} {error:?}")]);
    }
}

#[tokio::test]
async fn a_server_of_either_era_is_spoken_to_in_its_own() {
    for (legacy, modern, expected) in
        [(true, true, "2026-07-28"), (true, false, "2025-11-25"), (false, true, "2026-07-28")]
    {
        let world = World::signed_out(|config| (config.legacy, config.modern) = (legacy, modern)).await;
        world.sign_in().await;
        let client = world.connect(McpClient::builder()).await;
        assert_eq!(client.revision().as_str(), expected);
        call(&client, "a").await.expect("called");
        client.close().await;
        world.finish(&[]);
    }
}

#[tokio::test]
async fn a_server_that_answers_any_method_with_nothing_is_one_of_an_older_era() {
    let world = World::signed_out(|config| config.modern = false).await;
    world.sign_in().await;
    let nothing = r#"{"jsonrpc":"2.0","id":0,"result":{}}"#;
    let json = ("content-type", "application/json");
    world.kit.fault(Fault::replace(At::McpPost, 200, &[json], nothing).of_method("server/discover"));
    let client = world.connect(McpClient::builder()).await;
    assert_eq!(client.revision().as_str(), "2025-11-25");
    call(&client, "a").await.expect("called");
    client.close().await;
    world.finish(&[]);
}

#[tokio::test]
async fn a_server_that_needs_no_sign_in_is_spoken_to_without_one() {
    let world = World::signed_out(|config| config.auth = AuthMode::Open).await;
    let client = world.legacy().await;
    call(&client, "a").await.expect("called");
    assert!(world.kit.seen().iter().all(|seen| seen.header("authorization").is_none()));
    world.finish(&[]);
}

#[tokio::test]
async fn somebody_who_is_not_signed_in_is_told_so_with_the_challenge() {
    let world = World::signed_out(|_| {}).await;
    let error = McpClient::connect(&world.server().await).await.expect_err("not signed in");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
    assert!(error.challenge().is_some_and(|challenge| challenge.contains("resource_metadata=")), "{error:?}");
    assert!(error.to_string().contains("linchpin login"), "{error}");
    world.finish(&[format!("{error} {error:?}")]);
}
