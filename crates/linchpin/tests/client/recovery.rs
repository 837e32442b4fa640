//! One recovery of the sign-in and one of the session per operation, in whichever order (P16, P17).

use std::time::Duration;

use linchpin::{ClientError, CredentialError, Disposition, SignInReason, Wait};
use linchpin_testkit::{Endpoint as At, Fault};

use crate::world::{World, call};

fn refuse() -> Fault {
    Fault::status(At::McpPost, 401).of_method("tools/call")
}

fn forget() -> Fault {
    Fault::status(At::McpPost, 404).of_method("tools/call")
}

#[tokio::test]
async fn p16_a_refusal_of_a_that_comes_after_b_was_installed_adopts_b() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::McpPost).of_method("tools/call").times(1));
    let (late, ()) = tokio::join!(call(&client, "late"), async {
        world.until("its 401 is under way", || world.kit.held() == 1).await;
        call(&client, "soon").await.expect("recovered");
        assert_eq!(world.exchanges(), 1);
        world.kit.release();
    });
    late.expect("adopted");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, world.sent(), counts.calls_run(), counts.calls_doubled()), (1, 4, 2, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn p17_a_lost_session_and_then_a_refused_token_are_recovered_once_each() {
    let world = World::new().await;
    let client = world.legacy().await;
    // A session that the server forgot, then a token that it refuses in the new one.
    world.kit.drop_sessions();
    world.kit.fault(refuse().skip(1).times(1));
    call(&client, "a").await.expect("recovered twice");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, world.sent()), (1, 2, 3));
    assert_eq!(counts.tool_calls["a"], 1);
    world.finish(&[]);
}

#[tokio::test]
async fn p17_a_refused_token_and_then_a_lost_session_are_recovered_once_each() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.fault(refuse().times(1));
    world.kit.fault(forget().times(1));
    call(&client, "a").await.expect("recovered twice");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, world.sent()), (1, 2, 3));
    assert_eq!(counts.tool_calls["a"], 1);
    world.finish(&[]);
}

#[tokio::test]
async fn p17_lost_refused_lost_is_one_recovery_of_each_and_then_the_error() {
    let world = World::new().await;
    let client = world.legacy().await;
    for fault in [forget(), refuse(), forget()] {
        world.kit.fault(fault.times(1));
    }
    let error = call(&client, "a").await.expect_err("the session is lost for good");
    assert_eq!(error.disposition(), Disposition::Retry, "{error:?}");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, world.sent(), counts.calls_run()), (1, 2, 3, 0));
    call(&client, "b").await.expect("the next operation has its own");
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_refused_lost_refused_is_one_recovery_of_each_and_then_authentication_required() {
    let world = World::new().await;
    let client = world.legacy().await;
    let challenge = "Bearer error=\"invalid_token\"";
    for fault in [refuse(), forget()] {
        world.kit.fault(fault.times(1));
    }
    let last = Fault::replace(At::McpPost, 401, &[("www-authenticate", challenge)], "");
    world.kit.fault(last.of_method("tools/call").times(1));
    let error = call(&client, "a").await.expect_err("refused");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
    assert_eq!(error.challenge(), Some(challenge));
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.sessions_opened, world.sent(), counts.calls_run()), (1, 2, 3, 0));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_an_operation_that_is_refused_again_ends_in_authentication_required() {
    let world = World::new().await;
    let client = world.modern().await;
    let challenge = "Bearer error=\"invalid_token\", scope=\"x\"";
    let refusal = Fault::replace(At::McpPost, 401, &[("www-authenticate", challenge)], "");
    world.kit.fault(refusal.of_method("tools/call"));
    let error = call(&client, "a").await.expect_err("refused");
    let ClientError::AuthenticationRequired { command, .. } = &error else { panic!("{error:?}") };
    assert_eq!((error.challenge(), error.disposition()), (Some(challenge), Disposition::SignIn));
    assert!(command.contains(&world.kit.mcp_url()), "{command}");
    assert_eq!((world.exchanges(), world.sent()), (1, 2));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_the_pages_of_one_list_share_one_recovery() {
    let world = World::signed_out(|config| config.endless_tools = true).await;
    world.sign_in().await;
    let client = world.modern().await;
    let refusal = || Fault::status(At::McpPost, 401).of_method("tools/list").times(1);
    world.kit.fault(refusal());
    world.kit.fault(refusal().skip(1));
    let error = client.list_tools().await.expect_err("refused on the second page");
    assert!(matches!(error, ClientError::AuthenticationRequired { .. }), "{error:?}");
    assert_eq!((world.exchanges(), world.requests("POST tools/list")), (1, 3));
    world.finish(&[]);
}

#[tokio::test]
async fn insufficient_scope_names_what_the_server_asks_for() {
    let world = World::new().await;
    let client = world.modern().await;
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"files:read files:write\"";
    let refusal = Fault::replace(At::McpPost, 403, &[("www-authenticate", challenge)], "");
    world.kit.fault(refusal.of_method("tools/call").times(1));
    let error = call(&client, "a").await.expect_err("refused");
    let ClientError::InsufficientScope { scopes, command, .. } = &error else { panic!("{error:?}") };
    assert_eq!(scopes, &["files:read", "files:write"]);
    assert!(command.ends_with("--scope 'files:read files:write'"), "{command}");
    assert_eq!((error.disposition(), error.challenge()), (Disposition::SignIn, Some(challenge)));
    assert_eq!((world.exchanges(), world.sent()), (0, 1));
    call(&client, "b").await.expect("the sign-in is kept");
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn f02_two_hundred_calls_of_one_client_survive_one_refusal() {
    let world = World::new().await;
    let client = world.legacy().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(At::Token, Duration::from_millis(50)));
    let calls = (0..200).map(|number| {
        let client = &client;
        async move { call(client, &format!("n{number}")).await }
    });
    for outcome in futures::future::join_all(calls).await {
        outcome.expect("answered");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.calls_doubled()), (1, 200, 0));
    assert!(world.sent() <= 400, "{} sent", world.sent());
    world.finish(&[]);
}

#[tokio::test]
async fn p17_a_program_that_tells_of_both_refusals_makes_one_exchange() {
    let world = World::new().await;
    let server = world.server().await;
    let token = server.access_token(Wait::Transaction).await.expect("a token");
    let renewed = server.rejected(&token, Wait::Transaction).await.expect("renewed");
    server.rejected_again(&renewed);
    for _ in 0..3 {
        let error = server.rejected(&renewed, Wait::Transaction).await.expect_err("a person has to look");
        let CredentialError::SignInRequired { reason, .. } = error else { panic!("{error:?}") };
        assert_eq!(reason, SignInReason::RefusedAfterExchange);
    }
    // A refusal of the old one that comes late is answered with what there is by now.
    let current = server.rejected(&token, Wait::Transaction).await.expect("adopted");
    assert_eq!(current, renewed);
    assert_eq!(world.exchanges(), 1);
    world.finish(&[]);
}
