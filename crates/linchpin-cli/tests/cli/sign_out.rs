//! Signing out, and sign-ins that meet others: the last one wins, a sign-out is final (P12, F19).

use std::time::{Duration, Instant};

use linchpin_testkit::{Endpoint, Fault, browse};
use serde_json::{Value, json};

use crate::running::Running;
use crate::world::{PATIENCE, World, initialize, storm, until};

#[tokio::test]
async fn p12_a_second_login_wins() {
    let world = World::signed_in(|_| {}).await;
    let first = world.record().expect("saved");
    assert_eq!(world.login(&[]).await.code, 0);
    let second = world.record().expect("saved");
    assert_eq!((&first["generation"], &second["generation"]), (&json!(1), &json!(2)));
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(world.run(&["tools", &world.url()]).await.code, 0);
}

#[tokio::test]
async fn p12_two_logins_at_once_both_end_well_and_the_last_one_stays() {
    let world = World::new();
    let url = world.url();
    // Neither waits for the other's result, which is what logins do otherwise (`turns.rs`).
    let login = ["login", &url, "--force"];
    let (one, other) = (world.start(&login), world.start(&login));
    let (page, other_page) = (world.next_page(0).await, world.next_page(1).await);
    let visits = [browse(page.as_str()), browse(other_page.as_str())];
    let pages = futures::future::join_all(visits).await;
    assert!(pages.into_iter().all(|page| page.expect("visited").status == 200));
    let (one, other) = (one.ended().await, other.ended().await);
    assert_eq!((one.code, other.code), (0, 0), "{one:?} {other:?}");
    assert_eq!(world.record().expect("saved")["generation"], json!(2));
    assert_eq!(world.run(&["tools", &url]).await.code, 0);
    assert_eq!((world.kit.counts().code_exchanges, world.kit.counts().exchanges), (2, 0));
}

#[tokio::test]
async fn p12_a_running_bridge_picks_up_a_sign_in_and_a_newer_one() {
    let world = World::new();
    let bridge = world.bridge();
    let answer = bridge.initialize(PATIENCE).await.expect("answered");
    let told = answer["error"]["message"].as_str().expect("an error").to_owned();
    assert!(told.contains(&format!("linchpin login {}", world.url())), "{told}");
    assert_eq!(world.login(&[]).await.code, 0);
    let bridges = vec![bridge];
    initialize(&bridges).await;
    assert_eq!(storm(&bridges, 3, "first").await.answered, 3);
    // A newer sign-in, after the older one was ended by the provider.
    world.kit.revoke_grants();
    assert_eq!(world.login(&[]).await.code, 0);
    let tally = storm(&bridges, 3, "second").await;
    assert_eq!(tally.answered, 3, "{:?}", tally.errors);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.presented_dead, counts.calls_doubled()), (0, 0, 0), "{counts:?}");
    world.close(bridges).await;
}

/// A refresh whose answer is kept back by the provider.
async fn refresh_in_flight(world: &World) -> Running<'_> {
    world.expire();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let url = world.url();
    let refreshing = world.start(&["tools", &url]);
    until("the exchange is held", || world.kit.held() > 0).await;
    refreshing
}

#[tokio::test]
async fn f19_a_login_during_a_refresh_wins() {
    let world = World::signed_in(|_| {}).await;
    let refreshing = refresh_in_flight(&world).await;
    let url = world.url();
    let mut login = world.start(&["login", &url]);
    let visit = tokio::spawn({
        let page = world.next_page(1).await;
        async move { browse(page.as_str()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!login.has_ended(), "it waits for the refresh");
    world.kit.release();
    let (login, refreshing) = (login.ended().await, refreshing.ended().await);
    assert_eq!((login.code, refreshing.code), (0, 0), "{login:?} {refreshing:?}");
    assert_eq!(visit.await.expect("no panic").expect("visited").status, 200);
    let record = world.record().expect("saved");
    assert_eq!(record["client"]["id"], json!("client-2"), "the sign-in's record");
    assert_eq!(record["exchange"], Value::Null);
    assert_eq!(world.run(&["tools", &url]).await.code, 0);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.presented_dead), (1, 0, 0), "{counts:?}");
}

#[tokio::test]
async fn f19_a_logout_during_a_refresh_wins() {
    let world = World::signed_in(|_| {}).await;
    let refreshing = refresh_in_flight(&world).await;
    let url = world.url();
    let mut logout = world.start(&["logout", &url]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!logout.has_ended(), "it waits for the refresh");
    world.kit.release();
    let logout = logout.ended().await;
    assert_eq!(logout.code, 0, "{logout:?}");
    let _either = refreshing.ended().await;
    assert_eq!(world.record(), None, "nothing comes back");
    assert_eq!(world.kit.living_grants(), 0, "what the refresh obtained is revoked");
    assert_eq!(world.run(&["tools", &url]).await.code, 3);
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.replays, counts.presented_dead), (1, 0, 0), "{counts:?}");
}

#[tokio::test]
async fn p12_a_logout_revokes_and_forgets() {
    let world = World::signed_in(|_| {}).await;
    let ran = world.run(&["logout", &world.url()]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout, format!("{}: signed out; the provider has revoked the tokens\n", world.url()));
    assert_eq!((world.record(), world.kit.living_grants(), world.kit.counts().revocations), (None, 0, 2));
    let ran = world.run(&["logout", &world.url()]).await;
    assert_eq!((ran.code, ran.stdout), (0, format!("{}: was not signed in\n", world.url())));
    let ran = world.run(&["logout", &world.url(), "--json"]).await;
    assert_eq!(
        ran.json(),
        json!({ "server": world.url(), "profile": "default", "signed_out": false, "revocation": "none",
            "not_removed_from": [] })
    );
}

#[tokio::test]
async fn p12_a_logout_forgets_also_when_the_provider_does_not_revoke() {
    let unsupported = r#"{"error":"unsupported_token_type"}"#;
    for (fault, word, code, part) in [
        (None, "not_offered", 0, "offers no revocation"),
        (Some(Fault::status(Endpoint::Revoke, 503)), "unavailable", 1, "answered 503"),
        (Some(Fault::lose(Endpoint::Revoke)), "unavailable", 1, "closed the connection"),
        (
            Some(Fault::replace(Endpoint::Revoke, 400, &[], unsupported)),
            "refused",
            1,
            "unsupported_token_type",
        ),
        (Some(Fault::stall(Endpoint::Revoke, 0, None)), "unavailable", 1, "did not answer within 10 s"),
    ] {
        let world = World::signed_in(|config| config.revocation = fault.is_some()).await;
        assert_eq!(world.login(&["--profile", "json"]).await.code, 0);
        let hangs = part.contains("10 s");
        if let Some(fault) = fault {
            world.kit.fault(fault);
        }
        let begun = Instant::now();
        let ran = world.run(&["logout", &world.url()]).await;
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{word}: {ran:?}");
        assert!(ran.stdout.contains("signed out here") && ran.stdout.contains(part), "{word}: {ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
        assert_eq!(world.record(), None);
        if !hangs {
            let ran = world.run(&["logout", &world.url(), "--profile", "json", "--json"]).await;
            let expected = json!({ "server": world.url(), "profile": "json", "signed_out": true, "revocation": word,
                    "not_removed_from": [] });
            assert_eq!((ran.code, ran.json()), (code, expected));
        }
    }
}
