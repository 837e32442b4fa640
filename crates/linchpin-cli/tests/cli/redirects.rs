//! Redirects from every endpoint, to another origin and from https to http: not one byte goes there (F21, P20).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;

use crate::raw::{Raw, authority};
use crate::world::{PATIENCE, World, until};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// Every endpoint redirects with this status, one after the other; how many answers did.
async fn every_endpoint_redirects(status: u16, other: &Raw) -> u64 {
    let world = World::signed_in(|_| {}).await;
    let port = other.port();
    let places = [
        format!("{}/elsewhere", other.origin),
        format!("//127.0.0.1:{port}/elsewhere"),
        format!("http://localhost:{port}/elsewhere"),
        format!("http://user:planted-password@127.0.0.1:{port}/elsewhere"),
    ];
    let mut redirected = 0;
    for (number, place) in places.iter().enumerate() {
        let redirect = |at| Fault::replace(at, status, &[("location", place.as_str())], "");

        // The server: a call, the stream of a session, its end. With a header of the user's own.
        let mut command = world.command(&["bridge", &world.url(), "--header", "x-api-key: planted-custom"]);
        command.env_remove("LINCHPIN_LOG");
        let bridge = StdioServer::start(command).expect("started");
        world.kit.fault(redirect(Endpoint::McpGet));
        world.kit.fault(redirect(Endpoint::McpDelete));
        let answer = bridge.initialize(PATIENCE).await.expect("answered");
        assert!(answer.get("result").is_some(), "{status} {place}: {answer}");
        until("the stream is asked for", || world.kit.counts().mcp_requests.contains_key("GET")).await;
        world.kit.fault(redirect(Endpoint::McpPost).of_method("tools/call"));
        let call =
            bridge.call("count", json!({ "nonce": "planted-body" }), PATIENCE).await.expect("answered");
        assert!(call.is_err(), "{status} {place}: {call:?}");
        world.close(vec![bridge]).await;
        world.kit.clear_faults();
        redirected += 3;

        // The provider, by an exchange. Its tries are paused for, so one place stands for all of them.
        if number == 0 {
            world.expire();
            world.kit.fault(redirect(Endpoint::Token));
            let ran = world.run(&["token", &world.url()]).await;
            assert_eq!(ran.code, 4, "{status} {place}: {ran:?}");
            redirected += 3;
            world.kit.clear_faults();
            world.change_record(|record| record["retry_at_ms"] = json!(1));
        }

        // And by everything that a sign-in asks.
        for at in [Endpoint::ResourceMetadata, Endpoint::Metadata, Endpoint::Register] {
            world.kit.fault(redirect(at));
            let ran = world.run(&["login", &world.url(), "--timeout", "100ms"]).await;
            assert!([1, 2, 4].contains(&ran.code), "{status} {place} {at:?}: {ran:?}");
            world.kit.clear_faults();
            redirected += 1;
        }
        world.kit.fault(redirect(Endpoint::Token));
        let ran = world.login(&[]).await;
        assert_eq!(ran.code, 4, "{status} {place}: {ran:?}");
        world.kit.clear_faults();
        redirected += 1;
    }
    let place = places[0].as_str();
    world.kit.fault(Fault::replace(Endpoint::Revoke, status, &[("location", place)], ""));
    let ran = world.run(&["logout", &world.url()]).await;
    assert_eq!(ran.code, 1, "{status}: {ran:?}");
    redirected + 1
}

#[tokio::test]
async fn f21_no_redirect_of_any_endpoint_takes_a_byte_to_another_origin() {
    let other = Raw::elsewhere();
    let runs = STATUSES.map(|status| every_endpoint_redirects(status, &other));
    let redirected: u64 = futures::future::join_all(runs).await.into_iter().sum();
    let received: usize = other.received().iter().map(String::len).sum();
    println!(
        "f21: {redirected} redirects to another origin from 8 endpoints, {} connections there, {received} bytes",
        other.connections()
    );
    assert_eq!((other.connections(), received), (0, 0), "{:?}", other.received());
    // It would have been seen.
    drop(std::net::TcpStream::connect(("127.0.0.1", other.port())).expect("it listens"));
    until("a connection is seen", || other.connections() == 1).await;
}

/// From https to http: a server, its metadata, a provider. Whoever listens there learns nothing.
#[tokio::test]
async fn f21_no_redirect_leads_from_https_to_http() {
    let other = Raw::elsewhere();
    let status = Arc::new(AtomicU16::new(0));
    let (now, to) = (Arc::clone(&status), other.origin.clone());
    let secure = Raw::serving_tls(move |_, wire| {
        let place = format!("{to}/elsewhere");
        wire.answer(now.load(Ordering::SeqCst), &[("location", &place)], "")
    });
    let challenge =
        format!("Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource\"", secure.origin);
    let guarded =
        Raw::serving_tls(move |_, wire| wire.answer(401, &[("www-authenticate", challenge.as_str())], ""));
    let world = World::signed_in(|_| {}).await;
    let home = world.record().expect("a record")["token_endpoint"].clone();
    let url = format!("{}/mcp", secure.origin);
    for code in STATUSES {
        status.store(code, Ordering::SeqCst);
        let headers =
            ["--header", "Authorization: Bearer planted-static", "--header", "x-api-key: planted-custom"];
        let mut command = world.command(&[&["bridge", &url][..], &headers].concat());
        command.env("SSL_CERT_FILE", authority());
        let bridge = StdioServer::start(command).expect("started");
        let answer = bridge.initialize(PATIENCE).await.expect("answered");
        assert!(answer.get("error").is_some(), "{code}: {answer}");
        let asked = secure.received();
        assert!(asked.last().is_some_and(|request| request.contains("planted-static")), "{code}: {answer}");
        drop(bridge);

        let mut command = world.command(&["login", &format!("{}/mcp", guarded.origin), "--timeout", "100ms"]);
        command.env_remove("LINCHPIN_LOG").env("SSL_CERT_FILE", authority());
        let ran = world.finish(command).await;
        assert_ne!(ran.code, 0, "{code}: {ran:?}");

        world.expire();
        world.change_record(|record| {
            record["token_endpoint"] = json!(format!("{}/token", secure.origin));
            record["retry_at_ms"] = json!(1);
        });
        let mut command = world.command(&["token", &world.url()]);
        command.env_remove("LINCHPIN_LOG").env("SSL_CERT_FILE", authority());
        let ran = world.finish(command).await;
        assert_eq!(ran.code, 4, "{code}: {ran:?}");
        world.change_record(|record| record["token_endpoint"] = home.clone());
    }
    let metadata = secure.received().iter().filter(|request| request.contains("/.well-known/")).count();
    let exchanges =
        secure.received().iter().filter(|request| request.contains("refresh_token=planted-")).count();
    println!(
        "f21: https to http by {} answers ({metadata} for metadata, {exchanges} for an exchange): {} connections there, \
         {} bytes",
        secure.received().len(),
        other.connections(),
        other.received().concat().len()
    );
    assert!(metadata >= 5 && exchanges >= 5, "{:?}", secure.received().len());
    assert_eq!((other.connections(), other.received()), (0, Vec::new()));

    // Without the authority nobody is spoken to at all (F15: TLS fails).
    let before = secure.received().len();
    world.expire();
    world.change_record(|record| {
        record["token_endpoint"] = json!(format!("{}/token", secure.origin));
        record["retry_at_ms"] = json!(1);
    });
    let ran = world.run(&["token", &world.url()]).await;
    println!("f15: an untrusted certificate: exit {}, 0 requests, the sign-in kept", ran.code);
    assert_eq!((ran.code, secure.received().len()), (4, before), "{ran:?}");
    world.change_record(|record| {
        record["token_endpoint"] = home;
        record["retry_at_ms"] = json!(1);
    });
    assert_eq!((world.run(&["token", &world.url()]).await.code, world.kit.counts().exchanges), (0, 1));
}
