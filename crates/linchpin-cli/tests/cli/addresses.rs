//! Addresses that metadata may not lead to, and names that resolve there (F22): not one connection is opened.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::machine_faults::{Shim, skipped};
use crate::raw::{Raw, authority};
use crate::world::World;

/// The metadata service of a cloud in the forms that a URL allows, and other addresses of a link.
const BLOCKED: [&str; 8] = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
];

/// One field of the metadata after the other leads there; how many connections were opened in all, and there.
async fn logins_under_trace(whose: &'static str, field: &'static str) -> (usize, usize, usize) {
    let world = World::signed_in(|_| {}).await;
    let before = world.files();
    let log = world.scratch().join("connects");
    let (mut all, mut blocked) = (0, 0);
    for host in BLOCKED {
        let url = format!("https://{host}/planted");
        let value = if field == "authorization_servers" { json!([url]) } else { json!(url) };
        world.kit.configure(|config| {
            let document =
                if whose == "server" { &mut config.resource_metadata } else { &mut config.metadata };
            document.clear();
            document.insert(field.to_owned(), value);
        });
        let tracer = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", log.to_str().expect("UTF-8")];
        let mut command = world.under(&tracer, &["login", &world.url(), "--timeout", "100ms"]);
        command.env_remove("LINCHPIN_LOG").stdin(Stdio::null());
        let ran = world.finish(command).await;
        assert_eq!(ran.code, 1, "{field} {host}: {ran:?}");
        let text = fs::read_to_string(&log).expect("traced");
        let connects: Vec<_> = text.lines().filter(|line| line.contains("connect(")).collect();
        all += connects.len();
        blocked += connects
            .iter()
            .filter(|line| ["169.254.", "a9fe", "fe80"].iter().any(|part| line.contains(part)))
            .count();
        assert_eq!(world.files(), before, "{field} {host}");
    }
    (BLOCKED.len(), all, blocked)
}

#[tokio::test]
async fn f22_metadata_opens_no_connection_to_a_blocked_address() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skipped("there is no strace");
    }
    let runs = [
        ("server", "authorization_servers"),
        ("provider", "token_endpoint"),
        ("provider", "registration_endpoint"),
        ("provider", "revocation_endpoint"),
    ]
    .map(|(whose, field)| logins_under_trace(whose, field));
    let totals = futures::future::join_all(runs).await;
    let (logins, all, blocked) =
        totals.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    println!("f22: {logins} logins, {all} connections opened, {blocked} of them to a blocked address");
    assert!(all >= logins, "the trace sees connections");
    assert_eq!(blocked, 0);
}

/// A server whose name is public when it is looked at and this machine when its metadata is asked for; and a provider
/// whose name leads here although the server is public.
#[tokio::test]
async fn f22_a_name_that_is_rebound_to_this_machine_gets_nothing() {
    let world = World::signed_in(|_| {}).await;
    let Some(shim) = Shim::of(&world) else { return };
    let secure = Raw::serving_tls(|_, wire| wire.answer(401, &[], ""));
    let port = secure.port();
    let run = async |hosts: &str, arguments: &[&str]| {
        let mut command = shim.under(world.command(arguments));
        command.env("SHIM_HOSTS", hosts).env("SSL_CERT_FILE", authority());
        command.env_remove("LINCHPIN_LOG").stdin(Stdio::null());
        world.finish_within(command, Duration::from_secs(60)).await
    };
    // The first look decides what metadata may lead to; the connection is what is filtered.
    let url = format!("https://mcp.test:{port}/mcp");
    let login = run("mcp.test=203.0.113.7,127.0.0.1", &["login", &url, "--timeout", "100ms"]).await;
    assert!([1, 2, 4].contains(&login.code), "{login:?}");
    let probes = secure.received();
    println!(
        "f22: a server rebound to this machine: exit {}, {} request there, without a token: {}",
        login.code,
        probes.len(),
        login.stderr.trim_end()
    );
    assert!(probes.iter().all(|request| request.starts_with("POST /mcp ")), "{probes:?}");
    assert!(
        probes.iter().all(|request| !request.to_ascii_lowercase().contains("authorization:")),
        "{probes:?}"
    );

    // Where the name leads to this machine from the start, the server is here, and so may its metadata be.
    let before = secure.received().len();
    let here = run("mcp.test=127.0.0.1", &["login", &url, "--timeout", "100ms"]).await;
    assert!(secure.received().len() > before + 1, "what the filter lets through arrives: {here:?}");

    // A record of a public server whose provider's name leads here.
    let connections = secure.connections();
    world.expire();
    let home = world.record().expect("a record");
    world.change_record(|record| {
        record["resource"] = json!("https://mcp.test/mcp");
        record["token_endpoint"] = json!(format!("https://provider.test:{port}/token"));
    });
    let rebound = run("mcp.test=203.0.113.7;provider.test=127.0.0.1", &["token", &world.url()]).await;
    println!(
        "f22: a provider rebound to this machine: exit {}, {} connections, 0 tokens sent: {}",
        rebound.code,
        secure.connections() - connections,
        rebound.stderr.trim_end()
    );
    assert_eq!((rebound.code, secure.connections()), (4, connections), "{rebound:?}");
    assert!(rebound.stderr.contains("private network"), "{rebound:?}");
    world.change_record(|record| *record = home);
    assert_eq!(world.run(&["token", &world.url()]).await.code, 0);
}
