//! The stores with real processes and a real keyring (P4, P5, F1, F20).

use std::time::Duration;

use linchpin_testkit::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, figures, initialize, storm};
use linchpin_testkit::session::Session;

/// The stores and sign-ins as `store show` has them: (store, used) of this world's server.
async fn kept(world: &World) -> Vec<(String, bool)> {
    let shown = world.run(&["store", "show", "--json"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let shown = shown.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let sign_ins = shown["sign_ins"].as_array().expect("rows");
    sign_ins.iter().map(|kept| (text(&kept["store"]), kept["used"].as_bool().expect("a flag"))).collect()
}

fn in_store(store: &str) -> Vec<(String, bool)> {
    vec![(store.to_owned(), true)]
}

#[tokio::test]
async fn p04_a_real_keyring_through_sign_in_storm_move_and_sign_out() {
    let Some(session) = Session::with_keyring() else { return };
    let world = World::new().on(&session);
    world.kit.configure(|config| config.access_lifetime_ms = 1_500);
    let login = world.login(&["--json"]).await;
    assert_eq!((login.code, &login.json()["store"]), (0, &json!("keyring")), "{login:?}");
    assert!(!world.credentials().exists(), "nothing lies in the file");
    assert_eq!(kept(&world).await, in_store("keyring"));

    // F1 over the keyring: eight processes, one expiry, one exchange.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    world.kit.configure(|config| config.access_lifetime_ms = 3_600_000);
    world.kit.reset_counts();
    world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_millis(300)));
    let bridges = world.bridges(8);
    initialize(&bridges).await;
    let tally = storm(&bridges, 10, "keyring").await;
    let counts = world.kit.counts();
    figures("f01: 8 processes on the keyring start with an expired token", &tally, &counts);
    assert_eq!((tally.answered, counts.exchanges, counts.replays), (80, 1, 0), "{:?}", tally.errors);
    world.kit.refuse_access_tokens();
    let tally = storm(&bridges, 5, "refused").await;
    assert_eq!((tally.answered, world.kit.counts().exchanges), (40, 2), "{:?}", tally.errors);
    world.close(bridges).await;

    let moved = world.run(&["store", "move", "--to", "secrets"]).await;
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.stderr.contains("set LINCHPIN_STORE=secrets"), "{moved:?}");
    let shown = world.run_in("secrets", &["store", "show", "--json"]).await.json();
    assert_eq!(
        (&shown["sign_ins"][0]["store"], &shown["sign_ins"][0]["used"]),
        (&json!("secrets"), &json!(true))
    );
    assert_eq!(shown["sign_ins"].as_array().map(Vec::len), Some(1), "{shown}");
    let call = world.run_in("secrets", &["call", &world.url(), "echo", r#"{"a":1}"#]).await;
    assert_eq!((call.code, call.stdout.trim_end()), (0, r#"{"a":1}"#), "{call:?}");
    let sealed = std::fs::read(world.linchpin_home().join("credentials.age")).expect("written");
    assert!(
        sealed.starts_with(b"age-encryption.org/v1") && !sealed.windows(8).any(|text| text == b"planted-")
    );
    assert!(!world.linchpin_home().join("identity").exists(), "the identity is in the keyring");

    let moved = world.run(&["store", "move", "--to", "keyring"]).await;
    assert_eq!(moved.code, 0, "{moved:?}");
    assert_eq!(kept(&world).await, in_store("keyring"));
    assert_eq!(world.run(&["call", &world.url(), "echo", "{}"]).await.code, 0);

    let out = world.run(&["logout", &world.url(), "--json"]).await;
    let answer = out.json();
    assert_eq!(
        (out.code, &answer["revocation"], &answer["not_removed_from"]),
        (0, &json!("revoked"), &json!([]))
    );
    assert_eq!((kept(&world).await, world.kit.living_grants()), (vec![], 0));
}

/// The keyring of a running client dies between two refreshes. A perfectly good sign-in lies in the file meanwhile,
/// and is not touched: no token of it is ever presented.
#[tokio::test]
async fn p04_a_pinned_keyring_that_dies_is_an_error_and_the_file_is_not_asked() {
    let Some(mut session) = Session::with_keyring() else { return };
    let world = World::new().on(&session);
    assert_eq!(world.login(&[]).await.code, 0);
    let bridges = world.bridges(2);
    initialize(&bridges).await;
    world.kit.refuse_access_tokens();
    assert_eq!(storm(&bridges, 2, "before").await.answered, 4);
    let login = world.run_login_in("file").await;
    assert_eq!(login.code, 0, "{login:?}");
    let before = std::fs::read(world.credentials()).expect("there");
    world.kit.reset_counts();

    session.kill_keyring();
    world.kit.refuse_access_tokens();
    for bridge in &bridges {
        let error =
            bridge.call("echo", json!({}), PATIENCE).await.expect("answered").expect_err("no keyring");
        assert!(error.starts_with("keyring: "), "{error}");
    }
    let counts = world.kit.counts();
    assert_eq!((counts.exchanges, counts.presentations.len()), (0, 0), "{counts:?}");
    assert_eq!(std::fs::read(world.credentials()).expect("there"), before);

    // It comes back, and the same processes go on.
    session.start_keyring();
    assert_eq!(storm(&bridges, 3, "after").await.answered, 6);
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
    world.close(bridges).await;
}

#[tokio::test]
async fn p05_a_locked_keyring_is_told_once_and_read_again_when_it_is_unlocked() {
    let Some(mut session) = Session::with_keyring() else { return };
    let world = World::new().on(&session);
    assert_eq!(world.login(&[]).await.code, 0);
    session.lock();
    let url = world.url();
    let drifted = world.run(&["token", &url]).await;
    assert_eq!(drifted.code, 3, "{drifted:?}");
    assert!(
        drifted.stderr.contains("read from the keyring store") && drifted.stderr.contains("locked"),
        "{drifted:?}"
    );
    let again = world.run(&["token", &url]).await;
    assert_eq!((again.code, again.stderr.lines().count()), (3, 1), "told once: {again:?}");
    let locked = world.run_in("keyring", &["token", &url]).await;
    assert_eq!(locked.code, 5, "{locked:?}");
    assert!(locked.one_line_error().starts_with("keyring: it is locked"), "{locked:?}");
    let doctor = world.run(&["doctor", "--json"]).await;
    assert_eq!(doctor.code, 5, "{doctor:?}");
    let keyring = doctor
        .json()
        .as_array()
        .expect("checks")
        .iter()
        .find(|check| check["what"] == "store keyring")
        .cloned();
    assert_eq!(keyring.expect("looked at")["verdict"], "wrong");

    // Unlocking is what a new session does.
    session.kill_keyring();
    session.start_keyring();
    let token = world.run(&["token", &url]).await;
    assert_eq!(token.code, 0, "{token:?}");
    assert_eq!(world.kit.counts().replays, 0);
    let events = world.events();
    let drifts = events.iter().filter(|event| event["kind"] == "store_drift");
    let drifts: Vec<_> = drifts.map(|event| (event["before"].clone(), event["store"].clone())).collect();
    // Another policy in between was a new beginning.
    assert_eq!(drifts, [("keyring".into(), "file".into())], "{events:?}");
}

#[tokio::test]
async fn p04_a_sign_in_moves_to_the_keyring_when_there_is_one() {
    let Some(mut session) = Session::start() else { return };
    let world = World::new().on(&session);
    let login = world.login(&[]).await;
    assert!(login.stdout.contains("store: file, since the keyring is not there"), "{login:?}");
    assert_eq!(kept(&world).await, in_store("file"));

    session.start_keyring();
    assert_eq!(kept(&world).await, in_store("file"), "what is in the file stays in use");
    let login = world.login(&[]).await;
    assert!(login.stdout.contains("store: keyring; "), "{login:?}");
    assert_eq!(kept(&world).await, in_store("keyring"), "and no copy is left in the file");
    let token = world.run(&["token", &world.url()]).await;
    assert_eq!((token.code, token.stderr.as_str()), (0, ""), "a migration by sign-in is no drift: {token:?}");
}

#[tokio::test]
async fn f09_the_secrets_store_without_a_keyring() {
    let world = World::new();
    let login = world.run_login_in("secrets").await;
    assert_eq!(login.code, 0, "{login:?}");
    assert!(login.stdout.contains("(store: secrets; "), "{login:?}");
    world.kit.refuse_access_tokens();
    let url = world.url();
    let call = world.run_in("secrets", &["call", &url, "echo", "{}"]).await;
    assert_eq!((call.code, world.kit.counts().exchanges), (0, 1), "{call:?}");
    let doctor = world.run_in("secrets", &["doctor"]).await;
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(doctor.stdout.contains("linchpin/identity"), "{doctor:?}");

    let identity = world.linchpin_home().join("identity");
    let sealed = std::fs::read(world.linchpin_home().join("credentials.age")).expect("there");
    std::fs::rename(&identity, world.scratch().join("aside")).expect("moved");
    for command in [&["token", &url][..], &["status"], &["logout", &url], &["login", &url]] {
        let ran = world.run_in("secrets", command).await;
        assert_eq!(ran.code, 5, "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("identity is missing"), "{command:?}: {ran:?}");
    }
    assert_eq!(world.run_in("secrets", &["doctor"]).await.code, 5);
    assert_eq!(std::fs::read(world.linchpin_home().join("credentials.age")).expect("there"), sealed);
    std::fs::rename(world.scratch().join("aside"), &identity).expect("moved back");
    assert_eq!(world.run_in("secrets", &["token", &url]).await.code, 0);
}

/// Counts what is opened or read below a directory, by any process.
struct Watched(std::os::fd::OwnedFd);

impl Watched {
    fn file(path: &std::path::Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("made");
        add_watch(&watch, path, WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::MODIFY).expect("watched");
        Self(watch)
    }

    fn events(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(drop)).count()
    }
}

/// The keyring dies, is locked, comes back: the pinned client asks it and nothing else, and a new client is told once.
#[tokio::test]
async fn f20_a_pinned_client_reads_no_other_store_whatever_the_keyring_does() {
    let Some(mut session) = Session::with_keyring() else { return };
    let world = World::new().on(&session);
    assert_eq!(world.login(&[]).await.code, 0);
    let bridges = world.bridges(2);
    initialize(&bridges).await;
    // A good sign-in in the file, for whoever would look there.
    assert_eq!(world.run_login_in("file").await.code, 0);
    let watched = Watched::file(&world.credentials());
    drop(std::fs::File::open(world.credentials()).expect("there"));
    assert_eq!(watched.events(), 1, "the watch sees an open");
    world.kit.reset_counts();

    let (mut answered, mut refused) = (0, 0);
    for step in ["dies", "comes back", "is locked", "dies locked", "comes back unlocked"] {
        match step {
            "dies" | "dies locked" => session.kill_keyring(),
            "is locked" => session.lock(),
            _ => session.start_keyring(),
        }
        world.kit.refuse_access_tokens();
        for bridge in &bridges {
            match bridge.call("echo", json!({}), PATIENCE).await.expect("answered") {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert!(error.starts_with("keyring: "), "{step}: {error}");
                    refused += 1;
                }
            }
        }
    }
    let (reads, counts) = (watched.events(), world.kit.counts());
    println!(
        "f20: keyring dead, back, locked, dead, back: {answered} calls answered, {refused} refused by name, \
         {reads} reads of the file store, {} exchanges, {} replays",
        counts.exchanges, counts.replays
    );
    assert_eq!((answered, refused, reads), (4, 6, 0));
    assert_eq!((counts.exchanges, counts.replays), (2, 0), "{counts:?}");

    // The sign-in under another policy began a new baseline.
    let told = |ran: &crate::world::Ran| ran.stderr.matches("was read from the keyring store").count();
    let before = told(&world.run(&["token", &world.url()]).await);
    session.lock();
    let first = told(&world.run(&["token", &world.url()]).await);
    let later =
        told(&world.run(&["token", &world.url()]).await) + told(&world.run(&["token", &world.url()]).await);
    println!(
        "f20: the drift of new clients told {before} times before, {first} once it is locked, {later} later"
    );
    assert_eq!((before, first, later), (0, 1, 0));
    world.close(bridges).await;
}
