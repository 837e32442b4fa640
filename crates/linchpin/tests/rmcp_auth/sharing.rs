//! One sign-in among managers that each think that it is theirs. rmcp 3.11 by itself, over a store with a guard: eight
//! exchanges for one expiry, ten for ten refusals, and the sign-in lost to one cancelled request.

use std::sync::Arc;

use linchpin_testkit::{Endpoint as At, Fault, Kit, Options};
use rmcp::transport::auth::{AuthError, AuthorizationManager, CredentialStore as _, StoredCredentials};
use serde_json::json;

use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p06_eight_managers_with_an_ended_token_make_one_exchange() {
    let world = Arc::new(World::new(|_| {}).await);
    world.plant(true).await;
    world.kit.fault(Fault::delay(At::Token, std::time::Duration::from_millis(200)));
    let mut programs = tokio::task::JoinSet::new();
    for number in 0..8 {
        let world = Arc::clone(&world);
        programs.spawn(async move {
            let program = world.program().await;
            for nonce in 0..5 {
                call(&program, &format!("{number}-{nonce}")).await.expect("called");
            }
        });
    }
    while let Some(program) = programs.join_next().await {
        program.expect("no panic");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.calls_doubled()), (1, 40, 0));
    world.finish(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p16_eight_managers_and_one_refusal_make_one_exchange() {
    let world = Arc::new(World::new(|_| {}).await);
    world.plant(false).await;
    let mut connected = Vec::new();
    for _ in 0..8 {
        connected.push(world.program().await);
    }
    world.kit.refuse_access_tokens();
    let mut programs = tokio::task::JoinSet::new();
    for (number, program) in connected.into_iter().enumerate() {
        programs.spawn(async move {
            for nonce in 0..5 {
                call(&program, &format!("{number}-{nonce}")).await.expect("called");
            }
        });
    }
    while let Some(program) = programs.join_next().await {
        program.expect("no panic");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.calls_doubled()), (1, 40, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn p16_ten_refusals_at_once_make_one_exchange() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let program = world.program().await;
    world.kit.refuse_access_tokens();
    let calls = (0..10).map(|number| {
        let program = &program;
        async move { call(program, &format!("n{number}")).await.expect("called") }
    });
    futures::future::join_all(calls).await;
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.calls_run(), counts.calls_doubled()), (1, 10, 0));
    world.finish(&[]);
}

#[tokio::test]
async fn p16_a_late_refusal_adopts_what_is_current_by_then() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let program = Arc::new(world.program().await);
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::McpPost).of_method("tools/call").times(1));
    let late = tokio::spawn({
        let program = Arc::clone(&program);
        async move { call(&program, "late").await }
    });
    world.until("its 401 is under way", || world.kit.held() == 1).await;
    for nonce in ["a", "b", "c"] {
        call(&program, nonce).await.expect("called");
    }
    world.kit.release();
    late.await.expect("no panic").expect("called");
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().calls_run()), (1, 4));
    world.finish(&[]);
}

#[tokio::test]
async fn p07_a_request_cancelled_in_the_middle_of_a_refresh_loses_nothing() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let program = Arc::new(world.program().await);
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::hold(At::Token).times(1));
    let cancelled = tokio::spawn({
        let program = Arc::clone(&program);
        async move { call(&program, "cancelled").await }
    });
    world.until("the exchange is under way", || world.kit.held() == 1).await;
    cancelled.abort();
    assert!(cancelled.await.expect_err("aborted").is_cancelled());
    world.kit.release();
    call(&program, "next").await.expect("called");
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.tool_calls["next"], world.kit.living_grants()), (1, 1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p07_a_manager_dropped_in_the_middle_of_a_refresh_loses_nothing() {
    let world = World::new(|_| {}).await;
    world.plant(true).await;
    world.kit.fault(Fault::hold(At::Token).times(1));
    let manager = Arc::new(world.server().await.rmcp_auth());
    let load = tokio::spawn(async move { manager.load().await });
    world.until("the exchange is under way", || world.kit.held() == 1).await;
    load.abort();
    assert!(load.await.is_err());
    world.kit.release();
    call(&world.program().await, "next").await.expect("called");
    assert_eq!((world.kit.counts().exchanges, world.kit.living_grants()), (1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn a_confidential_client_renews_after_a_restart() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let world = World::new(|config| method.clone_into(&mut config.client_auth)).await;
        world.plant(true).await;
        call(&world.program().await, "a").await.expect("called");
        world.kit.refuse_access_tokens();
        call(&world.program().await, "b").await.expect("called");
        assert_eq!((world.kit.counts().exchanges, world.kit.counts().calls_run()), (2, 2), "{method}");
        world.finish(&[]);
    }
}

#[tokio::test]
async fn p13_a_manager_starts_without_asking_anybody() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let manager = world.server().await.rmcp_auth().manager().await.expect("a manager");
    assert_eq!(world.kit.counts().metadata_requests, 0);
    let program = world.connect(manager).await;
    world.kit.refuse_access_tokens();
    call(&program, "a").await.expect("called");
    let counts = world.kit.counts();
    assert_eq!((counts.metadata_requests, counts.exchanges, counts.calls_run()), (0, 1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn p11_a_definite_refusal_reaches_rmcp_as_one_and_deletes_nothing() {
    let world = World::new(|_| {}).await;
    let planted = world.plant(false).await;
    let program = world.program().await;
    world.kit.revoke_grants();
    for _ in 0..3 {
        let error = call(&program, "a").await.expect_err("refused");
        assert!(error.is_authorization_required(), "{error:?}");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.token_requests["refresh_token"], counts.calls_run()), (1, 0));
    let record = world.record().await.expect("kept");
    assert_eq!(record.refresh_token, planted.refresh_token);
    assert!(record.dead.is_some(), "noted");

    // Whoever starts now is told at once, and a new sign-in is found without a restart.
    let later = world.server().await.rmcp_auth();
    assert!(matches!(later.manager().await, Err(AuthError::AuthorizationRequired)));
    assert!(later.load().await.expect("loaded").is_none());
    world.plant(false).await;
    assert!(later.load().await.expect("loaded").is_some());
    call(&program, "b").await.expect("called");
    assert_eq!(world.kit.counts().token_requests["refresh_token"], 1);
    world.finish(&[]);
}

#[tokio::test]
async fn p11_an_outage_is_told_as_one_and_costs_nothing() {
    let world = World::new(|_| {}).await;
    world.plant(false).await;
    let program = world.program().await;
    let manager = world.own_manager().await;
    world.kit.refuse_access_tokens();
    world.kit.fault(Fault::replace(At::Token, 503, &[("retry-after", "1")], ""));
    let error = call(&program, "a").await.expect_err("out of order");
    assert!(!error.is_authorization_required(), "{error:?}");
    // Looked up to be sent, and then refused.
    let token = manager.get_access_token().await.expect("a token");
    let told = manager.refresh_token().await.expect_err("out of order");
    let AuthError::TokenRefreshFailed(told) = told else { panic!("{told:?}") };
    assert!(told.contains("the sign-in is kept") && !told.contains(&token), "{told}");
    world.kit.clear_faults();
    let again = async { while call(&program, "b").await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), again)
        .await
        .expect("the provider is asked again");
    assert_eq!((world.kit.counts().exchanges, world.kit.living_grants()), (1, 1));
}

#[tokio::test]
async fn p13_a_server_that_names_another_provider_deletes_nothing() {
    let world = World::new(|_| {}).await;
    let planted = world.plant(false).await;
    let other = Kit::start(Options::default()).await.expect("another provider");
    let issuer = other.issuer().to_owned();
    world.kit.configure(|config| {
        config.resource_metadata.insert("authorization_servers".to_owned(), json!([issuer]));
    });
    let auth = world.server().await.rmcp_auth();
    let mut manager = AuthorizationManager::new_with_oauth_http_client(auth.url(), Arc::new(auth.clone()))
        .await
        .expect("one");
    manager.set_credential_store(auth.clone());
    assert!(!manager.initialize_from_store().await.expect("initialized"), "rmcp drops what it has");
    assert!(auth.load().await.expect("loaded").is_none(), "this program gave it up");
    let kept = world.record().await.expect("kept");
    assert_eq!((&kept.access_token, &kept.refresh_token), (&planted.access_token, &planted.refresh_token));
    assert!(world.server().await.rmcp_auth().load().await.expect("loaded").is_some(), "others have it");
    assert!(other.counts().token_requests.is_empty(), "nothing is sent to the other provider");

    // How rmcp drops the tokens of a client that is known everywhere by its URL.
    let dropped = StoredCredentials::new("https://app.example.com/c.json".to_owned(), None, Vec::new(), None);
    let auth = world.server().await.rmcp_auth();
    auth.save(dropped).await.expect("understood");
    assert!(auth.load().await.expect("loaded").is_none());
    assert!(world.record().await.is_some(), "kept");
    // A new sign-in is no longer the one that was given up.
    world.plant(false).await;
    assert!(auth.load().await.expect("loaded").is_some());
    world.finish(&[]);
}

#[tokio::test]
async fn p15_rmcp_has_no_refresh_token_and_a_real_one_is_not_spent_by_it() {
    let world = World::new(|_| {}).await;
    let planted = world.plant(false).await;
    let real = planted.refresh_token.as_ref().expect("one").expose().to_owned();
    let auth = world.server().await.rmcp_auth();
    let loaded = auth.load().await.expect("loaded").expect("signed in");
    let loaded = serde_json::to_value(loaded).expect("JSON");
    assert_eq!(loaded["token_response"]["access_token"], planted.access_token.expose());
    assert!(
        loaded["token_response"]["expires_in"].as_u64().is_some_and(|left| (3_590..=3_600).contains(&left))
    );
    assert!(
        loaded["token_response"]["refresh_token"]
            .as_str()
            .is_some_and(|text| text.starts_with("linchpin-stand-in-"))
    );
    assert!(!loaded.to_string().contains(&real));
    assert_eq!(
        (&loaded["issuer"], &loaded["granted_scopes"]),
        (&json!(world.kit.issuer()), &json!(["tools"]))
    );

    // A program that has the real one from somewhere, and a store that it does not know.
    let mut manager = world.own_manager().await;
    let other = rmcp::transport::auth::InMemoryCredentialStore::new();
    let answer = json!({ "access_token": "x", "token_type": "bearer", "refresh_token": real });
    let answer = serde_json::from_value(answer).expect("an answer");
    let stolen = StoredCredentials::new(planted.client.id.clone(), Some(answer), Vec::new(), None);
    other.save(stolen.clone()).await.expect("saved");
    manager.set_credential_store(other);
    let told = manager.refresh_token().await.expect_err("not spent").to_string();
    assert!(told.contains("not Linchpin's") && told.contains("linchpin login"), "{told}");
    let told = auth.save(stolen).await.expect_err("not kept").to_string();
    assert!(told.contains("linchpin login"), "{told}");
    assert!(!world.kit.counts().token_requests.contains_key("refresh_token"));
    assert_eq!(world.record().await.expect("kept").access_token, planted.access_token);
    world.finish(&[told]);
}
