//! One recovery per request, charged to the token that was sent (P16, P17, P18, P19).

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use linchpin_authority::{CredentialError, SignInReason, Wait};
use linchpin_store::Disposition;
use linchpin_testkit::{AuthMode, Endpoint as At, Fault};
use linchpin_transport::{Authorization, Endpoint, Outgoing, Recovery, SendError};
use tokio::time::Instant;

use crate::world::{World, call};

fn refuse() -> Fault {
    Fault::status(At::McpPost, 401).of_method("tools/call")
}

#[tokio::test]
async fn f02_fifty_refused_requests_make_one_exchange_and_each_is_sent_twice_at_most() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(At::Token, Duration::from_millis(50)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let endpoint = endpoint.clone();
        tasks.spawn(async move {
            endpoint.send(&call(&format!("n{number}"))).await.map(|answer| answer.status())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        assert_eq!(outcome.expect("no panic").expect("an answer"), StatusCode::OK);
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.most_presentations()), (1, 1));
    assert_eq!((counts.tool_calls.len(), counts.calls_run()), (50, 50));
    assert!(world.sent() <= 100 && counts.unauthorized == world.sent() - 50);
    world.finish(&[]);
}

#[tokio::test]
async fn p16_a_late_401_adopts_what_is_current_by_then() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::McpPost).times(1));
    let late = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.send(&call("late")).await.map(|answer| (answer.status(), answer.recovery())) }
    });
    world.until("its 401 is under way", || world.kit.held() == 1).await;
    let soon = endpoint.send(&call("soon")).await.expect("an answer");
    assert_eq!((soon.status(), soon.recovery()), (StatusCode::OK, Recovery::Spent));
    world.kit.release();
    assert_eq!(late.await.expect("no panic").expect("an answer"), (StatusCode::OK, Recovery::Spent));
    assert_eq!((world.kit.counts().exchanges, world.sent()), (1, 4));
    world.finish(&[]);
}

#[tokio::test]
async fn p16_what_another_process_renewed_is_adopted_without_an_exchange() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    endpoint.send(&call("a")).await.expect("an answer");
    world.kit.refuse_access_tokens();
    world.plant().await;
    endpoint.send(&call("b")).await.expect("an answer");
    assert_eq!((world.kit.counts().exchanges, world.sent(), world.kit.counts().calls_run()), (0, 3, 2));
    world.finish(&[]);
}

#[tokio::test]
async fn p17_a_request_refused_again_keeps_its_challenge_and_makes_no_further_exchange() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let challenge = [("www-authenticate", "Bearer error=\"invalid_token\", scope=\"x\"")];
    world.kit.fault(Fault::replace(At::McpPost, 401, &challenge, ""));
    let error = endpoint.send(&call("a")).await.expect_err("refused");
    assert_eq!(error.disposition(), Disposition::SignIn);
    let SendError::AuthenticationRequired { challenge: kept, command, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (kept.as_str(), command),
        (challenge[0].1, &format!("linchpin login {}", world.kit.mcp_url()))
    );
    assert_eq!((world.kit.counts().exchanges, world.sent()), (1, 2));
    for _ in 0..3 {
        let again = endpoint.send(&call("a")).await.expect_err("refused");
        let SendError::SignInRequired { error, challenge: kept } = &again else { panic!("{again:?}") };
        let CredentialError::SignInRequired { reason, .. } = error else { panic!("{error:?}") };
        assert_eq!((reason, kept.as_str()), (&SignInReason::RefusedAfterExchange, challenge[0].1));
    }
    assert_eq!((world.kit.counts().exchanges, world.sent()), (1, 5));
    world.finish(&[format!("{error} {error:?}")]);
}

#[tokio::test]
async fn p17_an_operation_that_had_its_recovery_gets_none() {
    let world = World::new().await;
    world.kit.fault(refuse().times(1));
    let outgoing = Outgoing { recovery: Recovery::Spent, ..call("a") };
    let error = world.endpoint().send(&outgoing).await.expect_err("refused");
    assert!(matches!(error, SendError::AuthenticationRequired { ref challenge, .. } if challenge.is_empty()));
    assert_eq!((world.kit.counts().exchanges, world.sent()), (0, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p17_missing_rights_are_an_error_that_names_them_and_any_other_403_an_answer() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    for (challenge, scope, option) in [
        ("Bearer error=\"insufficient_scope\", scope=\"a b\"", Some("a b"), "--scope 'a b'"),
        ("Basic realm=\"x\", Bearer error=insufficient_scope", None, "linchpin login"),
        (
            "Bearer scope=\"a' ; rm -rf b\", error=\"insufficient_scope\"",
            Some("a' ; rm -rf b"),
            "linchpin login",
        ),
    ] {
        world.kit.fault(Fault::replace(At::McpPost, 403, &[("www-authenticate", challenge)], "").times(1));
        let error = endpoint.send(&call("a")).await.expect_err("refused");
        let SendError::InsufficientScope { scope: named, command, challenge: kept, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((named.as_deref(), kept.as_str()), (scope, challenge));
        assert!(command.contains(option) && !command.contains(';'), "{command}");
    }
    world.kit.fault(Fault::status(At::McpPost, 403).times(1));
    assert_eq!(endpoint.send(&call("a")).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    assert_eq!((world.kit.counts().exchanges, world.sent()), (0, 4));
    world.finish(&[]);
}

#[tokio::test]
async fn p20_a_challenge_that_repeats_the_token_is_kept_without_it() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    let token = world
        .credential()
        .access_token(Wait::Transaction)
        .await
        .expect("signed in")
        .secret()
        .expose()
        .to_owned();
    let escaped: String = token.chars().flat_map(|c| ['\\', c]).collect();
    for (status, scopes, left) in [
        (403, format!("read x{token}y write"), Some("read write")),
        (403, token.to_ascii_uppercase(), None),
        (403, format!("read {escaped}"), Some("read")),
        (401, format!("read {token}"), Some("read")),
    ] {
        let challenge = format!(
            "{token} a=b, Bearer error=\"insufficient_scope\", scope=\"{scopes}\", realm=\"{token}\""
        );
        let fault = Fault::replace(At::McpPost, status, &[("www-authenticate", &challenge)], "");
        world.kit.fault(fault.times(1));
        let outgoing = Outgoing { recovery: Recovery::Spent, ..call("a") };
        let error = endpoint.send(&outgoing).await.expect_err("refused");
        let kept = match &error {
            SendError::InsufficientScope { scope, challenge, command, .. } => {
                assert_eq!(scope.as_deref(), left);
                assert_eq!(command.contains("--scope"), left.is_some(), "{command}");
                challenge
            }
            SendError::AuthenticationRequired { challenge, .. } => challenge,
            other => panic!("{other:?}"),
        };
        let scope = left.map(|left| format!("scope=\"{left}\", ")).unwrap_or_default();
        assert_eq!(*kept, format!("Bearer {scope}error=\"insufficient_scope\""));
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.to_ascii_lowercase().contains(&token.to_ascii_lowercase()), "{text}");
        }
    }
    world.finish(&[]);
}

#[tokio::test]
async fn p18_a_caller_waits_no_longer_than_it_said_and_is_not_resent_after_it() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::delay(At::Token, Duration::from_millis(400)).times(1));
    let begun = Instant::now();
    let outgoing = Outgoing { wait: Wait::within(Duration::from_millis(100)), ..call("a") };
    let error = endpoint.send(&outgoing).await.expect_err("it took too long");
    assert_eq!(error.disposition(), Disposition::TimedOut);
    assert!(begun.elapsed() < Duration::from_millis(350), "{:?}", begun.elapsed());
    assert_eq!(world.sent(), 1, "not resent");
    // The transaction goes on for the next.
    assert_eq!(endpoint.send(&call("b")).await.expect("an answer").status(), StatusCode::OK);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.tool_calls.len(), counts.tool_calls["b"]), (1, 1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p18_a_request_that_is_dropped_ends_no_refresh() {
    let world = World::new().await;
    let endpoint = world.endpoint();
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::Token).times(1));
    let request = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.send(&call("a")).await.map(|_| ()) }
    });
    world.until("the exchange is under way", || world.kit.held() == 1).await;
    request.abort();
    world.kit.release();
    assert_eq!(endpoint.send(&call("b")).await.expect("an answer").status(), StatusCode::OK);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.calls_run()), (1, 0, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p19_an_authorization_of_the_user_is_sent_as_it_is_and_its_challenge_passes() {
    let world = World::signed_out(|config| config.auth = AuthMode::Static("planted-mine".to_owned())).await;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer planted-theirs"));
    let endpoint =
        Endpoint::new(world.key.server.clone(), Authorization::Configured, headers).expect("an endpoint");
    let answer = endpoint.send(&call("a")).await.expect("an answer");
    assert_eq!((answer.status(), answer.recovery()), (StatusCode::UNAUTHORIZED, Recovery::Once));
    assert!(answer.challenge().contains("resource_metadata="), "{}", answer.challenge());
    let two = [("www-authenticate", "Basic realm=\"ä\"")];
    world.kit.fault(Fault::replace(At::McpPost, 401, &two, "").times(1));
    assert_eq!(endpoint.send(&call("a")).await.expect("an answer").challenge(), two[0].1);
    let counts = world.kit.counts();
    assert_eq!((counts.token_requests.len(), world.sent()), (0, 2));
    assert!(
        world.kit.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer planted-theirs"))
    );
    let shown = format!("{endpoint:?} {answer:?}");
    assert!(!shown.contains("planted"), "{shown}");
    world.finish(&[]);
}

#[tokio::test]
async fn p18_without_a_sign_in_the_server_decides() {
    let world = World::signed_out(|_| {}).await;
    let endpoint = world.endpoint();
    let error = endpoint.send(&call("a")).await.expect_err("not signed in");
    assert_eq!(error.disposition(), Disposition::SignIn);
    assert!(error.to_string().contains("linchpin login"), "{error}");
    // What a sign-in is to ask for is in the challenge.
    let SendError::SignInRequired { challenge, .. } = &error else { panic!("{error:?}") };
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    world.kit.configure(|config| config.auth = AuthMode::Open);
    assert_eq!(endpoint.send(&call("a")).await.expect("an answer").status(), StatusCode::OK);
    world.kit.configure(|config| config.auth = AuthMode::Provider);
    world.plant().await;
    assert_eq!(endpoint.send(&call("b")).await.expect("an answer").status(), StatusCode::OK);
    assert_eq!((world.kit.counts().calls_run(), world.sent()), (2, 3));
    world.finish(&[]);
}
