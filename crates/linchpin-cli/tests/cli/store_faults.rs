//! Disks and files that fail while tokens are renewed (F6, F7, F8).

use std::fs;
use std::time::{Duration, Instant};

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;

use crate::machine_faults::{Disk, NOBODY, Shim, is_root, skipped};
use crate::world::{PATIENCE, Ran, World};

const EIO: i32 = 5;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

/// Exit 5, in one line with these parts, within a second; and the token was not spent.
fn refused(world: &World, ran: &Ran, begun: Instant, parts: &[&str]) {
    let took = begun.elapsed();
    assert_eq!(ran.code, 5, "{ran:?}");
    let line = ran.one_line_error();
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    let requests = world.kit.counts().token_requests.get("refresh_token").copied();
    println!("{line} (exit 5, {took:.0?}, {} token requests)", requests.unwrap_or(0));
    assert_eq!(requests, None, "{line}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

impl World {
    async fn sign_in(&self) {
        let ran = self.login(&[]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        self.kit.reset_counts();
    }

    /// `linchpin token`, timed.
    async fn token(&self) -> (Ran, Instant) {
        let begun = Instant::now();
        (self.run(&["token", &self.url()]).await, begun)
    }

    async fn token_under(&self, shim: &Shim) -> (Ran, Instant) {
        let mut command = self.command(&["token", &self.url()]);
        command.env_remove("LINCHPIN_LOG").stdin(std::process::Stdio::null());
        let begun = Instant::now();
        (self.finish(shim.under(command)).await, begun)
    }
}

#[tokio::test]
async fn f06_a_full_disk_is_found_before_the_token_is_spent() {
    let world = World::new();
    let Some(disk) = Disk::under(&world) else { return };
    world.sign_in().await;
    world.expire();
    let before = fs::read(world.credentials()).expect("there");
    disk.fill();
    let (ran, begun) = world.token().await;
    refused(&world, &ran, begun, &["linchpin/credentials.json", "No space left", "free some space"]);
    assert_eq!(fs::read(world.credentials()).expect("there"), before, "untouched");
    disk.free();
    assert_eq!(world.token().await.0.code, 0);
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
}

/// What went wrong with the store while the provider's answer was on its way is put right.
async fn saved_once_the_store_works(
    world: &World,
    bridge: StdioServer,
    what: &str,
    breaks: impl Fn(),
    mend: impl Fn(),
) {
    world.expire();
    world.kit.reset_counts();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let call = async {
        let answer = bridge.initialize(PATIENCE).await.expect("answered");
        assert!(answer.get("result").is_some(), "{answer}");
        bridge.call("echo", json!({ "a": 1 }), PATIENCE).await.expect("answered").expect("a result")
    };
    let trouble = async {
        while world.kit.held() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let marked = fs::read_to_string(world.credentials()).expect("there");
        assert!(world.record().expect("a record").get("exchange").is_some(), "marked before it is spent");
        breaks();
        world.kit.release();
        // Several attempts to save fail meanwhile.
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(
                fs::read_to_string(world.credentials()).expect("there"),
                marked,
                "the old record is intact"
            );
        }
        mend();
        let mended = Instant::now();
        while world.record().expect("a record").get("exchange").is_some() {
            assert!(mended.elapsed() < Duration::from_secs(10), "not saved in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        mended.elapsed()
    };
    let (answer, saved_after) = tokio::join!(call, trouble);
    let counts = world.kit.counts();
    println!(
        "{what}: old record intact for 1.5 s, new one saved {saved_after:.1?} after it was mended, call answered \
         {answer:?}, {} exchange, {} replays",
        counts.exchanges, counts.replays
    );
    assert_eq!((counts.exchanges, counts.replays, counts.repeats), (1, 0, 0), "{counts:?}");
    // Another process finds the new token in the store.
    assert_eq!(world.token().await.0.code, 0);
    assert_eq!(world.kit.counts().exchanges, 1);
    world.close(vec![bridge]).await;
}

#[tokio::test]
async fn f06_a_disk_that_fills_up_during_the_exchange_costs_no_token() {
    let world = World::new();
    let Some(disk) = Disk::under(&world) else { return };
    world.sign_in().await;
    let bridge = world.bridge();
    saved_once_the_store_works(
        &world,
        bridge,
        "f06 disk full during the exchange",
        || disk.fill(),
        || disk.free(),
    )
    .await;
}

#[tokio::test]
async fn f07_a_failing_sync_during_the_exchange_costs_no_token() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    for (call, errno) in [("fsync", EIO), ("write", EDQUOT)] {
        let bridge =
            StdioServer::start(shim.under(world.command(&["bridge", &world.url()]))).expect("started");
        let what = format!("f07 {call} fails ({errno}) during the exchange");
        saved_once_the_store_works(&world, bridge, &what, || shim.fail(call, errno), || shim.heal()).await;
    }
}

#[tokio::test]
async fn f07_calls_that_fail_are_found_before_the_token_is_spent() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    world.expire();
    let before = fs::read(world.credentials()).expect("there");
    for (call, errno, text) in [
        ("write", EIO, "os error 5"),
        ("write", EDQUOT, "free some space"),
        ("fsync", EIO, "os error 5"),
        ("fsync", EDQUOT, "free some space"),
        ("fsync", EROFS, "LINCHPIN_HOME"),
    ] {
        shim.fail(call, errno);
        let (ran, begun) = world.token_under(&shim).await;
        print!("f07 {call} fails: ");
        refused(&world, &ran, begun, &["linchpin/credentials.json", text]);
        assert_eq!(fs::read(world.credentials()).expect("there"), before, "{call}");
    }
    shim.heal();
    assert_eq!(world.token_under(&shim).await.0.code, 0);
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
}

/// The mark is in place by then, and no request followed it: however often that happens, the token stays to be spent.
#[tokio::test]
async fn f07_a_directory_that_cannot_be_synced_counts_as_no_presentation() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    world.expire();
    shim.fail("syncdir", EIO);
    for _ in 0..4 {
        let (ran, begun) = world.token_under(&shim).await;
        refused(&world, &ran, begun, &["cannot sync", "linchpin", "os error 5"]);
    }
    shim.heal();
    let (ran, _) = world.token_under(&shim).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((world.kit.counts().exchanges, world.kit.counts().replays), (1, 0));
}

#[tokio::test]
async fn f07_a_read_only_file_system_is_found_before_the_token_is_spent() {
    let world = World::new();
    let Some(disk) = Disk::under(&world) else { return };
    world.sign_in().await;
    world.expire();
    disk.make_read_only();
    let (ran, begun) = world.token().await;
    refused(&world, &ran, begun, &["linchpin/", "Read-only file system", "LINCHPIN_HOME"]);
}

#[tokio::test]
async fn f07_a_read_only_directory_is_found_before_the_token_is_spent() {
    if !is_root() {
        return skipped("another user's files cannot be made here (it takes root)");
    }
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.give_home_to(NOBODY);
    world.set_mode("", 0o500);
    let mut command = world.command(&["token", &world.url()]);
    command.env_remove("LINCHPIN_LOG").uid(NOBODY).gid(NOBODY);
    let begun = Instant::now();
    let ran = world.finish(command).await;
    refused(&world, &ran, begun, &["linchpin", "ermission denied", "LINCHPIN_HOME"]);
}

/// Content that is not Linchpin's: refused by name, kept as it is, in little memory.
#[tokio::test]
async fn f08_damaged_stores_are_refused_in_little_memory() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    let good = fs::read_to_string(world.credentials()).expect("there");
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let entry = format!("\"default {}\":", world.url());
    let cases = [
        ("100 MB of zeros", Vec::new()),
        ("100,000 arrays deep", deep("[", "]").into_bytes()),
        ("100,000 objects deep", deep("{\"a\":", "}").into_bytes()),
        ("a server twice", good.replacen(&entry, &format!("{entry}{{}},{entry}"), 1).into_bytes()),
        ("64 KiB of NULs", vec![0; 64 << 10]),
        ("a good store and NULs", [good.as_bytes(), &[0; 512]].concat()),
        ("nothing", Vec::new()),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec()),
    ];
    let mut most = 0;
    for (what, content) in cases {
        fs::write(world.credentials(), &content).expect("written");
        if what.starts_with("100 MB") {
            let file = fs::File::options().write(true).open(world.credentials()).expect("open");
            file.set_len(100 << 20).expect("grown");
        }
        let before = fs::metadata(world.credentials()).expect("there").len();
        for command in
            [&["token", &*world.url()][..], &["login", &world.url()], &["logout", &world.url()], &["status"]]
        {
            let mut started = world.command(command);
            started.env_remove("LINCHPIN_LOG");
            let ran = world.finish(shim.under(started)).await;
            most = most.max(shim.peak_mib());
            assert_eq!(ran.code, 5, "{what}, {command:?}: {ran:?}");
            assert!(
                ran.stderr.contains("credentials.json") && !ran.stderr.contains("panic"),
                "{what}: {ran:?}"
            );
        }
        assert_eq!(fs::metadata(world.credentials()).expect("there").len(), before, "{what}");
        if before < 1 << 20 {
            assert_eq!(fs::read(world.credentials()).expect("there"), content, "{what}");
        }
    }
    println!("f08: 8 damaged stores x 4 commands: exit 5, none rewritten, at most {most} MiB resident");
    assert!(most <= 50, "{most} MiB");
    fs::write(world.credentials(), good).expect("written");
    assert_eq!(world.token().await.0.code, 0);
    assert_eq!((world.opened().len(), world.kit.counts().token_requests.len()), (1, 0));
}

/// One record that nests 100,000 deep is that server's trouble alone, and lies there as it was after the others change.
#[tokio::test]
async fn f08_a_record_that_nests_too_deep_costs_no_other_server_anything() {
    let world = World::signed_in(|_| {}).await;
    let good = fs::read_to_string(world.credentials()).expect("there");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let entry = format!("\"default https://deep.example.com/mcp\":{deep},");
    let planted = good.replacen("\"credentials\":{", &format!("\"credentials\":{{{entry}"), 1);
    fs::write(world.credentials(), planted).expect("written");
    world.kit.refuse_access_tokens();
    assert_eq!(world.run(&["call", &world.url(), "echo", "{}"]).await.code, 0);
    assert_eq!(world.kit.counts().exchanges, 1, "renewed, and saved beside it");
    assert!(fs::read_to_string(world.credentials()).expect("there").contains(&deep), "kept as it was");
    let ran = world.run(&["token", "https://deep.example.com/mcp"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.one_line_error().contains("https://deep.example.com/mcp"), "{ran:?}");
}
