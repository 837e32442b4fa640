//! What a sign-in is bound to, and what must not undo it (P3, P7, P11, P12, P13).

use std::time::{Duration, Instant};

use linchpin_testkit::{Endpoint, Fault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::{PATIENCE, World};

/// F23: the server names another provider later. It gets nothing, nothing is deleted, and both are named.
#[tokio::test]
async fn p13_another_provider_gets_nothing_and_is_named_beside_the_one_before() {
    let world = World::signed_in(|_| {}).await;
    let other = World::new();
    let before = std::fs::read(world.credentials()).expect("there");
    world.kit.configure(|config| {
        config.resource_metadata.insert("authorization_servers".to_owned(), json!([other.kit.issuer()]));
    });
    let ran = world.run(&["login", &world.url()]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = ran.one_line_error();
    assert!(told.contains(world.kit.issuer()) && told.contains(other.kit.issuer()), "{told}");
    assert!(told.contains("linchpin logout"), "{told}");
    let counts = other.kit.counts();
    assert_eq!(
        (counts.registrations, counts.authorizations, counts.token_requests.len()),
        (0, 0, 0),
        "{counts:?}"
    );
    assert_eq!((world.opened().len(), std::fs::read(world.credentials()).expect("there")), (1, before));

    // A refresh meanwhile goes to the provider in the record.
    world.kit.refuse_access_tokens();
    let ran = world.run(&["call", &world.url(), "echo", "{}"]).await;
    assert_eq!((ran.code, world.kit.counts().exchanges), (0, 1), "{ran:?}");
    assert!(other.kit.counts().token_requests.is_empty());
}

/// A terminal that closes in the middle of an exchange.
#[tokio::test]
async fn p07_a_hangup_lets_a_running_exchange_end() {
    for signal in [Signal::HUP, Signal::TERM, Signal::QUIT] {
        let world = World::signed_in(|_| {}).await;
        world.expire();
        world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_millis(1_200)).times(1));
        let bridge = world.bridge();
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        bridge.send_line(line).await.expect("sent");
        let begun = Instant::now();
        while world.kit.counts().exchanges == 0 {
            assert!(begun.elapsed() < PATIENCE, "nothing was exchanged");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pid = bridge.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("it runs");
        kill_process(pid, signal).expect("sent");
        world.close(vec![bridge]).await;
        assert!(world.record().expect("a record").get("exchange").is_none(), "{signal:?}: it was finished");
        let ran = world.run(&["call", &world.url(), "echo", "{}"]).await;
        assert_eq!(
            (ran.code, world.kit.counts().exchanges, world.kit.counts().replays),
            (0, 1, 0),
            "{ran:?}"
        );
    }
}

/// Somebody else holds the lock and does not end. The deadline is the caller's; nothing was begun, so nothing is
/// waited for at the end.
#[tokio::test]
async fn p18_a_lock_that_nobody_gives_back_ends_no_later_than_the_deadline() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let locks = world.linchpin_home().join("locks");
    let paths = std::fs::read_dir(&locks).expect("there").map(|entry| entry.expect("an entry").path());
    let held: Vec<_> = paths
        .filter(|path| {
            // The others are locks of files, and the turn to sign in.
            path.file_stem().is_some_and(|name| name.len() == 32)
        })
        .map(|path| {
            let file = std::fs::File::options().read(true).write(true).open(path).expect("opened");
            file.try_lock().expect("free");
            file
        })
        .collect();
    assert!(!held.is_empty(), "the credential lock, and whatever else belongs to the sign-in");
    let begun = Instant::now();
    let ran = world.run(&["tools", &world.url(), "--timeout", "1s"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(!ran.stderr.contains("finishing a refresh"), "{ran:?}");
    let bridge = world.bridge();
    bridge.send_line(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.close(vec![bridge]).await;
    assert_eq!(world.kit.counts().token_requests.get("refresh_token"), None);
}

/// A hotel's page in the place of the provider's answer: nothing happened to the sign-in.
#[tokio::test]
async fn p11_a_captive_portal_costs_no_sign_in() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let headers = [("content-type", "text/html; charset=utf-8")];
    world.kit.fault(Fault::replace(Endpoint::Token, 200, &headers, "<html>welcome</html>"));
    let ran = world.run(&["token", &world.url()]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.one_line_error().contains("the sign-in is kept"), "{ran:?}");
    world.kit.clear_faults();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
}

/// A record of a newer Linchpin is neither used nor overwritten.
#[tokio::test]
async fn p03_a_record_of_a_newer_version_is_left_alone() {
    let world = World::signed_in(|_| {}).await;
    world.change_record(|record| record["version"] = json!(2));
    let before = std::fs::read(world.credentials()).expect("there");
    for command in [&["token", &world.url()][..], &["login", &world.url()], &["logout", &world.url()]] {
        let ran = world.run(command).await;
        assert_eq!(ran.code, 5, "{command:?}: {ran:?}");
        let told = ran.one_line_error();
        assert!(told.contains("version 2") && told.ends_with("update linchpin"), "{told}");
        assert_eq!(std::fs::read(world.credentials()).expect("there"), before, "{command:?}");
    }
    assert_eq!((world.opened().len(), world.kit.counts().revocations), (1, 0));
}

/// F25: a server whose list of tools has no end.
#[tokio::test]
async fn f25_tools_without_end_are_an_error() {
    let tool = |number| json!({ "name": format!("t{number}"), "inputSchema": { "type": "object" } });
    let more_tools: Vec<_> = (0..1_000).map(tool).collect();
    for modern in [true, false] {
        let world = World::signed_in(|config| {
            config.more_tools.clone_from(&more_tools);
            config.endless_tools = true;
            config.modern = modern;
        })
        .await;
        let ran = world.run(&["tools", &world.url()]).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.one_line_error().contains("without end"), "{ran:?}");
    }
}
