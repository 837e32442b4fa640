//! Answers that are slow, endless, or larger than they look (F16): given up in time, read to a bound, in little memory,
//! and the lock given back.

use std::io;
use std::time::{Duration, Instant};

use linchpin_testkit::{Action, Endpoint, Fault};
use serde_json::json;

use crate::machine_faults::Shim;
use crate::raw::{Raw, Wire};
use crate::world::{Ran, World};

/// The bound of one exchange, the seconds until a server that drips notices its end, and a margin for a busy machine.
const EXCHANGE: Duration = Duration::from_secs(35);
/// What the system itself keeps between the two sides of a connection on loopback, at most (`Raw` has it keep little),
/// and the 408 KiB that the HTTP library takes for a head.
const BUFFERS: u64 = 1 << 20;

/// What is bounded by time and memory only.
const FLOOD: &str = "a flood of 103";

type Script = fn(&mut Wire) -> io::Result<()>;

fn endless_body(wire: &mut Wire) -> io::Result<()> {
    wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        wire.chunk(&[b' '; 16 << 10])?;
    }
}

fn body_larger_than_said(wire: &mut Wire) -> io::Result<()> {
    wire.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000000\r\n\r\n",
    )?;
    loop {
        wire.write(&[b'{'; 16 << 10])?;
    }
}

/// A hundred megabytes of zeros in a hundred kilobytes.
fn gzip_bomb(wire: &mut Wire) -> io::Result<()> {
    // Stored blocks would be honest; these are back-references, a thousandth of what they stand for.
    let mut bomb =
        vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xec, 0xc0, 0x81, 0, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0x9e];
    bomb.resize(100 << 10, 0);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    wire.write(head.as_bytes())?;
    wire.write(&bomb)
}

fn broken_chunks(wire: &mut Wire) -> io::Result<()> {
    wire.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    )?;
    wire.write(b"ffffffffffffffffffff\r\n{\"access_token\":\"planted-chunk\"}\r\n")
}

fn chunk_that_is_cut(wire: &mut Wire) -> io::Result<()> {
    wire.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{}",
    )
}

fn endless_head(wire: &mut Wire) -> io::Result<()> {
    wire.write(b"HTTP/1.1 200 OK\r\n")?;
    loop {
        wire.write(format!("x-more: {}\r\n", "y".repeat(8 << 10)).as_bytes())?;
    }
}

fn no_http(wire: &mut Wire) -> io::Result<()> {
    wire.write(&[0; 4096])
}

fn informational_flood(wire: &mut Wire) -> io::Result<()> {
    loop {
        wire.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")?;
    }
}

/// Interim answers have no bound but time: the HTTP library reads on until the real one comes (LIMITS.md).
fn floods(what: &str) -> bool {
    what == FLOOD
}

fn slow_head(wire: &mut Wire) -> io::Result<()> {
    wire.write(b"HTTP/1.1 200 OK\r\nx-slow: ")?;
    wire.drip(b'x', Duration::from_secs(1))
}

fn slow_body(wire: &mut Wire) -> io::Result<()> {
    wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{")?;
    wire.drip(b' ', Duration::from_secs(1))
}

fn silence(wire: &mut Wire) -> io::Result<()> {
    // Longer than anybody waits.
    std::thread::sleep(Duration::from_secs(70));
    wire.write(b"\r\n")
}

/// What a token endpoint does at its worst, and the memory that `linchpin token` took beyond an ordinary failure.
async fn at_the_token_endpoint(what: &'static str, script: Script) -> Option<String> {
    let world = World::signed_in(|_| {}).await;
    let shim = Shim::of(&world)?;
    world.expire();
    let home = world.record().expect("a record")["token_endpoint"].clone();
    let before = world.tokens();
    let token = async || -> Ran {
        let mut command = shim.under(world.command(&["token", &world.url(), "--timeout", "200s"]));
        command.env_remove("LINCHPIN_LOG").stdin(std::process::Stdio::null());
        world.finish_within(command, Duration::from_secs(150)).await
    };
    world.kit.fault(Fault::replace(Endpoint::Token, 503, &[("retry-after", "30")], "").times(1));
    assert_eq!(token().await.code, 4);
    let ordinary = shim.peak_kib();

    let raw = Raw::serving(move |_, wire| script(wire));
    world.change_record(|record| {
        record["token_endpoint"] = json!(format!("{}/token", raw.origin));
        record["retry_at_ms"] = json!(1);
    });
    let begun = Instant::now();
    let ran = token().await;
    let (took, peak) = (begun.elapsed(), shim.peak_kib());
    assert!([3, 4].contains(&ran.code), "{what}: {ran:?}");
    assert!(!ran.stderr.contains("planted-"), "{what}: {ran:?}");
    let (asked, written) = (raw.connections(), raw.written());
    // The exchange, and its one repeat (P10).
    assert_eq!(asked, 2, "{what}: {ran:?}");
    assert!(took < EXCHANGE * 2, "{what}: {took:?}");
    assert!(raw.longest() < EXCHANGE, "{what}: {:?}", raw.longest());
    assert!(written < asked * ((64 << 10) + BUFFERS) || floods(what), "{what}: {written} bytes");
    let more = peak.saturating_sub(ordinary);
    assert!(more < 5 << 10, "{what}: {more} KiB more than for a 503");
    assert_eq!(world.tokens(), before, "{what}: the tokens are kept");

    // The lock is free: what comes next is not kept waiting.
    world.change_record(|record| {
        record["token_endpoint"] = home;
        record["retry_at_ms"] = json!(1);
        record.as_object_mut().expect("an object").remove("exchange");
    });
    let begun = Instant::now();
    assert_eq!(token().await.code, 0, "{what}");
    Some(format!(
        "f16: {what}: exit {} after {} s, {asked} presentations of at most {} s, {written} bytes sent to us, {more} KiB \
         more memory than for a 503, the lock free ({} ms for the next)",
        ran.code,
        took.as_secs(),
        raw.longest().as_secs(),
        begun.elapsed().as_millis()
    ))
}

#[tokio::test]
async fn f16_a_token_endpoint_that_never_ends_is_given_up_in_little_memory() {
    let rows: [(&str, Script); 7] = [
        ("an endless body", endless_body),
        ("a body of a terabyte", body_larger_than_said),
        ("a gzip bomb", gzip_bomb),
        ("broken chunks", broken_chunks),
        ("a chunk that is cut", chunk_that_is_cut),
        ("an endless head", endless_head),
        ("no HTTP", no_http),
    ];
    let rows = rows.map(|(what, script)| at_the_token_endpoint(what, script));
    for line in futures::future::join_all(rows).await.into_iter().flatten() {
        println!("{line}");
    }
}

#[tokio::test]
#[ignore = "70 s: `cargo test -p linchpin-cli --test cli -- --ignored f16 --nocapture`"]
async fn f16_a_token_endpoint_that_is_slow_is_given_up_after_thirty_seconds() {
    let rows: [(&str, Script); 4] = [
        ("a head of 1 B/s", slow_head),
        ("a body of 1 B/s", slow_body),
        (FLOOD, informational_flood),
        ("silence", silence),
    ];
    let rows = rows.map(|(what, script)| at_the_token_endpoint(what, script));
    for line in futures::future::join_all(rows).await.into_iter().flatten() {
        println!("{line}");
    }
}

/// What metadata and registration do at their worst, at a sign-in that was there before.
async fn at_a_sign_in(what: &'static str, where_: &'static str, script: Script) -> Option<String> {
    let world = World::signed_in(|_| {}).await;
    let shim = Shim::of(&world)?;
    let before = world.files();
    let login = async || -> Ran {
        let mut command = shim.under(world.command(&["login", &world.url(), "--timeout", "100ms"]));
        command.env_remove("LINCHPIN_LOG").stdin(std::process::Stdio::null());
        world.finish_within(command, Duration::from_secs(100)).await
    };
    let ordinary = {
        let ran = login().await;
        assert_eq!(ran.code, 6, "{ran:?}");
        shim.peak_kib()
    };
    let raw = Raw::serving(move |_, wire| script(wire));
    let elsewhere = json!(raw.origin);
    world.kit.configure(|config| match where_ {
        "resource metadata" => {}
        "metadata" => {
            drop(config.resource_metadata.insert("authorization_servers".to_owned(), json!([elsewhere])));
        }
        _ => drop(config.metadata.insert("registration_endpoint".to_owned(), elsewhere)),
    });
    if where_ == "resource metadata" {
        let slow = Action::Stall { after: 120, every_ms: Some(1_000) };
        world.kit.fault(Fault { action: slow, ..Fault::new(Endpoint::ResourceMetadata) });
    }
    let begun = Instant::now();
    let ran = login().await;
    let (took, peak) = (begun.elapsed(), shim.peak_kib());
    assert!([1, 2, 4].contains(&ran.code), "{what} at the {where_}: {ran:?}");
    assert!(took < EXCHANGE, "{what} at the {where_}: {took:?}");
    let limit = if where_ == "registration" { 64 << 10 } else { 1 << 20 };
    let most = raw.connections() * (limit + BUFFERS);
    assert!(raw.written() <= most || floods(what), "{what}: {} bytes", raw.written());
    let more = peak.saturating_sub(ordinary);
    assert!(more < 5 << 10, "{what} at the {where_}: {more} KiB more");
    assert_eq!(world.files(), before, "{what} at the {where_}");
    Some(format!(
        "f16: {what} at the {where_}: exit {} after {} ms, {} requests, {} bytes sent to us, {more} KiB more memory than \
         for an ordinary login, nothing changed",
        ran.code,
        took.as_millis(),
        raw.connections(),
        raw.written()
    ))
}

#[tokio::test]
async fn f16_metadata_and_registrations_that_never_end_are_given_up_in_little_memory() {
    let rows: [(&str, &str, Script); 6] = [
        ("an endless body", "metadata", endless_body),
        ("an endless head", "metadata", endless_head),
        ("broken chunks", "metadata", broken_chunks),
        ("an endless body", "registration", endless_body),
        ("a gzip bomb", "registration", gzip_bomb),
        ("no HTTP", "registration", no_http),
    ];
    let rows = rows.map(|(what, where_, script)| at_a_sign_in(what, where_, script));
    for line in futures::future::join_all(rows).await.into_iter().flatten() {
        println!("{line}");
    }
}

#[tokio::test]
#[ignore = "30 s: `cargo test -p linchpin-cli --test cli -- --ignored f16 --nocapture`"]
async fn f16_metadata_and_registrations_that_are_slow_are_given_up_within_thirty_seconds() {
    let rows: [(&str, &str, Script); 7] = [
        ("a body of 1 B/s", "resource metadata", silence),
        ("a head of 1 B/s", "metadata", slow_head),
        ("a body of 1 B/s", "metadata", slow_body),
        ("silence", "metadata", silence),
        (FLOOD, "metadata", informational_flood),
        ("a head of 1 B/s", "registration", slow_head),
        ("a body of 1 B/s", "registration", slow_body),
    ];
    let rows = rows.map(|(what, where_, script)| at_a_sign_in(what, where_, script));
    for line in futures::future::join_all(rows).await.into_iter().flatten() {
        println!("{line}");
    }
}
