//! The history: what happened can be told from it afterwards, and nothing depends on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::machine_faults::Shim;
use crate::world::{PATIENCE, World, initialize, storm, until};

const ENOSPC: i32 = 28;

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

/// The parts of an event that tell the story.
fn told(event: &Value, fields: &[&str]) -> Value {
    let parts = fields.iter().filter_map(|field| Some(((*field).to_owned(), event.get(*field)?.clone())));
    Value::Object(parts.collect())
}

impl World {
    /// What happened since the sign-in.
    fn events_since_sign_in(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.remove(0)["kind"], "signed_in", "{events:?}");
        events
    }

    fn append_to_history(&self, bytes: &[u8]) {
        let path = self.linchpin_home().join("events.jsonl");
        let mut file = fs::File::options().append(true).create(true).open(path).expect("opened");
        file.write_all(bytes).expect("written");
    }
}

#[tokio::test]
async fn p06_the_history_of_a_storm_is_one_exchange_and_seven_adoptions() {
    let world = World::signed_in(|_| {}).await;
    world.kit.fault(Fault::delay(Endpoint::Token, Duration::from_millis(300)));
    let bridges = world.bridges(8);
    initialize(&bridges).await;
    world.kit.refuse_access_tokens();
    assert_eq!(storm(&bridges, 1, "history").await.answered, 8);
    world.close(bridges).await;

    let events = world.events_since_sign_in();
    let (begun, ended) = (of_kind(&events, "exchange_begun"), of_kind(&events, "exchange_ended"));
    let (renewed, adopted) = (of_kind(&events, "renewed"), of_kind(&events, "adopted"));
    println!("p06: {} events of a storm: {:?}", events.len(), kinds(&events));
    assert_eq!((begun.len(), ended.len(), renewed.len(), adopted.len(), events.len()), (1, 1, 1, 7, 10));
    assert_eq!((&begun[0]["cause"], &begun[0]["presentations"]), (&json!("refused"), &json!(1)));
    assert_eq!((&ended[0]["outcome"], &ended[0]["next"]), (&json!("rotated"), &json!("save")));
    for adopted in &adopted {
        assert_eq!(
            (&adopted["access"], &adopted["instead_of"]),
            (&renewed[0]["access"], &begun[0]["access"])
        );
        assert_eq!(adopted["generation"], renewed[0]["generation"]);
    }
    let pids: std::collections::HashSet<_> = adopted.iter().map(|event| event["pid"].as_u64()).collect();
    assert!(pids.len() == 7 && !pids.contains(&renewed[0]["pid"].as_u64()), "{pids:?}");

    let ran = world.run(&["log", &world.url()]).await;
    let who = format!(", which process {} obtained", renewed[0]["pid"]);
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.matches(&who).count()), (0, "", 7), "{ran:?}");
}

/// F5: why a person is asked to sign in again is a chain, and the last line tells it.
#[tokio::test]
async fn p10_the_history_tells_why_a_lost_answer_ended_a_sign_in() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.fault(Fault::lose(Endpoint::Token).times(1));
    assert_eq!(world.run(&["token", &world.url()]).await.code, 3);

    let events = world.events_since_sign_in();
    let fields = ["kind", "cause", "presentations", "outcome", "code", "next", "reason"];
    let chain: Vec<_> = events.iter().map(|event| told(event, &fields)).collect();
    assert_eq!(
        chain,
        [
            json!({ "kind": "exchange_begun", "cause": "ended", "presentations": 1 }),
            json!({ "kind": "exchange_ended", "presentations": 1, "outcome": "unknown", "next": "repeat" }),
            json!({ "kind": "exchange_begun", "cause": "ended", "presentations": 2 }),
            json!({ "kind": "exchange_ended", "presentations": 2, "outcome": "refused", "code": "invalid_grant",
                "next": "bury" }),
            json!({ "kind": "sign_in_required", "reason": "refused", "code": "invalid_grant" }),
        ]
    );
    let token = &events[0]["token"];
    assert!(events.iter().all(|event| event["token"] == *token), "one refresh token all along");
    assert_eq!((&events[2]["earlier"]["pid"], &events[4]["generation"]), (&events[0]["pid"], &json!(4)));

    // The next process asks nobody, and has nothing to add.
    assert_eq!(world.run(&["token", &world.url()]).await.code, 3);
    assert_eq!(world.events().len(), events.len() + 1);
    let ran = world.run(&["log", &world.url(), "-n", "1"]).await;
    let expected = format!(
        "sign-in required: the provider refused refresh token {} (invalid_grant) after this process had presented it at ",
        token.as_str().expect("a name"),
    );
    println!("p10: {}", ran.stdout.trim_end());
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.stdout.contains(&expected) && ran.stdout.contains("closed the connection"), "{ran:?}");
    let status = world.run(&["status", "--json"]).await.json();
    let last = status[0]["last_event"].as_str().expect("a text");
    assert!(last.contains("ended by the provider (invalid_grant)"), "{last}");

    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(kinds(&world.events()).last(), Some(&"signed_in"));
    let status = world.run(&["status", "--json"]).await.json();
    assert!(status[0]["last_event"].as_str().expect("a text").contains(": signed in (process "), "{status}");
}

/// F13: a gateway ate the answer to a request that spent the token.
#[tokio::test]
async fn p10_the_history_blames_nobody_else_when_a_gateway_ate_the_answer() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let fault = json!({ "endpoint": "token", "times": 1,
        "action": { "replace": { "status": 503, "effect": true } } });
    world.kit.fault(serde_json::from_value(fault).expect("a fault"));
    assert_eq!(world.run(&["token", &world.url()]).await.code, 3);
    let ran = world.run(&["log", &world.url(), "-n", "1"]).await;
    assert!(ran.stdout.contains("; an answer of the provider or of a gateway before it"), "{ran:?}");
    assert!(ran.stdout.contains("answered 503") && !ran.stdout.contains("once"), "{ran:?}");
    let events = world.events();
    let evidence = &events.last().expect("an event")["evidence"];
    assert_eq!((&evidence["tries"], &evidence["unavailable"]), (&json!(2), &json!(1)), "{evidence}");
}

/// A client that starts a process whenever it wants a token pushes nothing out.
#[tokio::test]
async fn what_does_not_change_is_told_once_by_all_processes() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.revoke_grants();
    for _ in 0..40 {
        assert_eq!(world.run(&["token", &world.url()]).await.code, 3);
    }
    let chain = ["exchange_begun", "exchange_ended", "sign_in_required"];
    assert_eq!(kinds(&world.events_since_sign_in()), chain);
    // A new sign-in that ends like the one before it is news.
    assert_eq!(world.login(&[]).await.code, 0);
    world.expire();
    world.kit.revoke_grants();
    for _ in 0..2 {
        assert_eq!(world.run(&["token", &world.url()]).await.code, 3);
    }
    let events = world.events_since_sign_in();
    assert_eq!(kinds(&events), [&chain[..], &["signed_in"], &chain].concat());
    // Another reason is, too.
    world.run(&["logout", &world.url()]).await;
    for _ in 0..2 {
        assert_eq!(world.run(&["token", &world.url()]).await.code, 3);
    }
    let events = world.events_since_sign_in();
    assert_eq!(kinds(&events[7..]), ["signed_out", "sign_in_required"]);
    assert_eq!(events[8]["reason"], "not_signed_in");
}

/// A client that asks again and again for a sign-in that has ended is told of once.
#[tokio::test]
async fn what_does_not_change_is_told_once_per_process() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    world.kit.revoke_grants();
    let bridges = world.bridges(1);
    for _ in 0..20 {
        bridges[0].initialize(PATIENCE).await.expect("answered");
    }
    world.close(bridges).await;
    let events = world.events_since_sign_in();
    assert_eq!(kinds(&events), ["exchange_begun", "exchange_ended", "sign_in_required"]);
}

/// The process in the middle of its exchange is killed; the next one says whose presentation it repeats.
#[tokio::test]
async fn p10_the_history_names_the_process_that_was_killed_in_its_exchange() {
    let world = World::signed_in(|config| config.grace_ms = 30_000).await;
    world.expire();
    world.kit.fault(Fault::hold(Endpoint::Token).times(1));
    let mut killed = world.command(&["token", &world.url()]).stdout(Stdio::null()).spawn().expect("started");
    let pid = killed.id().expect("it runs");
    until("the exchange is held", || world.kit.held() > 0).await;
    kill_process(Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero"), Signal::KILL)
        .expect("killed");
    killed.wait().await.expect("it ended");
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
    world.kit.release();
    let events = world.events_since_sign_in();
    let repeat = of_kind(&events, "exchange_begun").pop().expect("begun");
    assert_eq!((&repeat["presentations"], &repeat["earlier"]["pid"]), (&json!(2), &json!(pid)), "{events:?}");
    assert_eq!(kinds(&events).last(), Some(&"renewed"));
}

#[tokio::test]
async fn p12_the_history_tells_of_a_sign_out_and_what_the_provider_said() {
    for (fault, revocation, sentence) in [
        (None, "revoked", "signed out; the provider has revoked the tokens"),
        (
            Some(Fault::status(Endpoint::Revoke, 503)),
            "unavailable",
            "signed out; not revoked: the provider answered 503",
        ),
    ] {
        let world = World::signed_in(|_| {}).await;
        if let Some(fault) = fault {
            world.kit.fault(fault);
        }
        world.run(&["logout", &world.url()]).await;
        let events = world.events_since_sign_in();
        assert_eq!((kinds(&events), &events[0]["revocation"]), (vec!["signed_out"], &json!(revocation)));
        let ran = world.run(&["log"]).await;
        assert!(ran.stdout.trim_end().ends_with(sentence), "{ran:?}");
    }
}

/// F23: the warning is not all that is left of it.
#[tokio::test]
async fn p13_the_history_names_both_providers() {
    let world = World::signed_in(|_| {}).await;
    let other = World::new();
    world.kit.configure(|config| {
        config.resource_metadata.insert("authorization_servers".to_owned(), json!([other.kit.issuer()]));
    });
    assert_eq!(world.run(&["login", &world.url()]).await.code, 1);
    let events = world.events_since_sign_in();
    assert_eq!(kinds(&events), ["other_provider"]);
    let issuers = [world.kit.issuer(), other.kit.issuer()].map(|issuer| json!(issuer.trim_end_matches('/')));
    let told = ["before", "named"]
        .map(|field| json!(events[0][field].as_str().expect("a URL").trim_end_matches('/')));
    assert_eq!(told, issuers);
}

#[tokio::test]
async fn a_long_wait_for_a_lock_is_told() {
    let world = World::signed_in(|_| {}).await;
    world.expire();
    let locks = fs::read_dir(world.linchpin_home().join("locks")).expect("there");
    let mut paths = locks.map(|entry| entry.expect("an entry").path());
    let lock = paths.find(|path| path.file_stem().is_some_and(|stem| stem.len() == 32)).expect("the lock");
    let file = fs::File::options().read(true).write(true).open(lock).expect("opened");
    file.try_lock().expect("free");
    let token = ["token", &world.url()];
    let release = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        drop(file);
    };
    let (ran, ()) = tokio::join!(world.run(&token), release);
    assert_eq!(ran.code, 0, "{ran:?}");
    let events = world.events_since_sign_in();
    assert_eq!(kinds(&events), ["lock_waited", "exchange_begun", "exchange_ended", "renewed"]);
    assert!(events[0]["waited_ms"].as_u64().expect("a number") >= 1_000, "{events:?}");
}

/// What cannot be written down costs no call, and nobody hears of it who did not ask.
#[tokio::test]
async fn f06_a_history_that_cannot_be_written_costs_no_call() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    let path = world.linchpin_home().join("events.jsonl");
    let elsewhere = world.scratch().join("elsewhere");
    fs::write(&elsewhere, "theirs").expect("written");
    let mut exchanges = 0;
    for what in ["a full disk", "a directory", "a link", "a FIFO"] {
        let _ = fs::remove_file(&path);
        match what {
            "a directory" => fs::create_dir(&path).expect("made"),
            "a link" => symlink(&elsewhere, &path).expect("linked"),
            "a FIFO" => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let fifo = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0);
                fifo.expect("made");
            }
            _ => shim.fail("write", ENOSPC),
        }
        let bridges: Vec<_> = (0..2)
            .map(|_| {
                let mut command = shim.under(world.command(&["bridge", &world.url()]));
                command.env_remove("LINCHPIN_LOG").env("SHIM_BELOW", &path);
                StdioServer::start(command).expect("started")
            })
            .collect();
        initialize(&bridges).await;
        world.kit.refuse_access_tokens();
        let tally = storm(&bridges, 10, what).await;
        exchanges += 1;
        assert_eq!((tally.answered, world.kit.counts().exchanges), (20, exchanges), "{what}: {tally:?}");
        for bridge in &bridges {
            assert_eq!(bridge.stderr(), "", "{what}");
        }
        world.close(bridges).await;
        assert_eq!(fs::read(&elsewhere).expect("there"), b"theirs");
        if what == "a full disk" {
            assert_eq!(fs::read(&path).expect("there"), b"");
            shim.heal();
        } else {
            let ran = world.run(&["log"]).await;
            assert_eq!(ran.code, 5, "{what}: {ran:?}");
            assert!(ran.one_line_error().contains("events.jsonl"), "{ran:?}");
            let ran = world.run(&["status"]).await;
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}: it decides nothing");
        }
        if what == "a directory" {
            fs::remove_dir(&path).expect("removed");
        }
    }
    // The scan for secrets reads the history, and would wait for the FIFO's other end.
    fs::remove_file(&path).expect("removed");
    println!("f06: 4 histories that cannot be written, 80 of 80 calls answered, {exchanges} exchanges");
}

#[tokio::test]
async fn log_follows_what_other_processes_do_across_a_new_file() {
    let world = World::signed_in(|_| {}).await;
    let following = world.start(&["log", "-f"]);
    following.answers("signed in at").await;
    world.expire();
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
    let renewed = following.answers("renewed and saved").await;
    assert!(renewed.contains(&world.url()), "{renewed}");

    // Full: the next one to tell something begins a new file.
    let filler = world.history().lines().next().expect("a line").to_owned() + "\n";
    world.append_to_history(filler.repeat((1 << 20) / filler.len() + 1).as_bytes());
    let seen = world.events().len();
    assert_eq!(world.run(&["logout", &world.url()]).await.code, 0);
    following.answers("signed out;").await;
    assert!(world.linchpin_home().join("events.jsonl.1").exists() && world.events().len() == seen + 1);

    following.interrupt().await;
    let ran = following.ended().await;
    assert_eq!((ran.code, ran.stderr.as_str()), (130, ""), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), seen + 1, "each event once");
}

/// As with `| head -1`: it ends although nothing happens that it could fail to write.
#[tokio::test]
async fn log_ends_when_nobody_reads_it_any_more() {
    let world = World::signed_in(|_| {}).await;
    let mut command = world.command(&["log", "--follow", "--json"]);
    command.env_remove("LINCHPIN_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next_line().await.expect("read").expect("a line");
    assert_eq!(serde_json::from_str::<Value>(&first).expect("JSON"), world.events()[0]);
    drop(lines);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends");
    let output = output.expect("it can be waited for");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[tokio::test]
async fn log_shows_what_is_asked_for() {
    let world = World::new();
    let ran = world.run(&["log"]).await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "no such events\n", ""));
    assert_eq!(world.run(&["log", "--json"]).await.stdout, "");

    let other = World::new();
    assert_eq!(world.login(&[]).await.code, 0);
    assert_eq!(world.login(&["--profile", "work"]).await.code, 0);
    assert_eq!(world.login_at(&other, &[]).await.code, 0);
    assert_eq!(world.run(&["add", "named", &world.url(), "--profile", "work"]).await.code, 0);
    let all = world.run(&["log", "--json"]).await;
    assert_eq!((all.code, all.stdout.as_str()), (0, world.history().as_str()), "as they were written");

    let (url, profile) = (world.url(), |event: &Value| event["profile"].as_str().map(str::to_owned));
    for (arguments, expected) in [
        (&[url.as_str()][..], &["default", "work"][..]),
        (&[&url, "--profile", "work"], &["work"]),
        (&["named"], &["work"]),
        (&["--profile", "default"], &["default", "default"]),
        (&["-n", "2"], &["work", "default"]),
        (&["-n", "0"], &[]),
        (&["--since", "1h"], &["default", "work", "default"]),
        (&["--since", "2999-01-01"], &[]),
        (&["--since", "2020-01-01T00:00:00Z", "-n", "1", &url], &["work"]),
        (&["https://elsewhere.example.com/mcp"], &[]),
    ] {
        let ran = world.run(&[&["log", "--json"], arguments].concat()).await;
        let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let found: Vec<_> = events.filter_map(|event| profile(&event)).collect();
        assert_eq!(
            (ran.code, found.as_slice()),
            (0, &expected.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..]),
            "{arguments:?}"
        );
    }
    for arguments in [&["unknown"][..], &["--since", "yesterday"], &["-n", "x"], &["--profile", "a b"]] {
        let ran = world.run(&[&["log"], arguments].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
    }
    let ran = world.run(&["log", "-n", "1"]).await;
    let year = ran.stdout.split('-').next().expect("a date").parse::<u16>();
    assert!(year.is_ok_and(|year| year >= 2024) && ran.stdout.contains("Z "), "the time in UTC: {ran:?}");
}

/// F25: whoever can write to the file still cannot move the cursor of whoever reads it.
#[tokio::test]
async fn f25_foreign_text_in_the_history_does_nothing_to_a_terminal() {
    let world = World::signed_in(|_| {}).await;
    let mut line = world.events()[0].clone();
    line["kind"] = json!("teleported\u{1b}[2J\u{9b}1m\u{202e}");
    line["server"] = json!("https://x\u{1b}]0;owned\u{7}\r\n");
    world.append_to_history(format!("{line}\n").as_bytes());
    world.append_to_history(b"\x1b[2J no event\n{\"v\":1,\"kind\"");
    for format in [&["log"][..], &["log", "--json"]] {
        let ran = world.run(format).await;
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 2), "{ran:?}");
        assert_eq!(ran.stderr, "2 damaged lines were passed over\n");
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(ran.stdout.contains("teleported") && !ran.stdout.contains(acts), "{ran:?}");
    }
}
