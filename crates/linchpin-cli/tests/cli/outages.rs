//! A provider that is out of order, or that cannot be reached (F15): asked a few times, left alone, the sign-in kept.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::raw::Raw;
use crate::running::free_port;
use crate::world::World;

/// A provider that is out of order, or that cannot be reached, for as long as it lasts.
struct Outage {
    what: &'static str,
    at: At,
    /// Requests that reach it while it lasts.
    requests: u64,
    /// How long a transaction at least takes, in ms: its pauses.
    at_least_ms: u64,
    /// Whether every other process keeps away for a while.
    left_alone: bool,
}

enum At {
    /// A provider that answers this, with this `Retry-After`.
    Answering(u16, Option<&'static str>),
    /// A place where there is none.
    Nobody(String),
}

impl Outage {
    fn status(what: &'static str, status: u16, retry_after: Option<&'static str>) -> Self {
        Self {
            what,
            at: At::Answering(status, retry_after),
            requests: 3,
            at_least_ms: 1_250,
            left_alone: true,
        }
    }

    fn unreachable(what: &'static str, endpoint: String) -> Self {
        Self { at: At::Nobody(endpoint), requests: 0, ..Self::status(what, 503, None) }
    }

    async fn happens(self) -> String {
        let Self { what, at, .. } = self;
        let world = World::signed_in(|_| {}).await;
        world.expire();
        let before = world.tokens();
        let home = world.record().expect("a record")["token_endpoint"].clone();
        let answer =
            if let At::Answering(status, retry_after) = at { Some((status, retry_after)) } else { None };
        let provider = Raw::serving(move |_, wire| {
            let Some((status, retry_after)) = answer else { return Ok(()) };
            let header = retry_after.map(|value| ("retry-after", value));
            wire.answer(status, header.as_slice(), "")
        });
        let endpoint = match at {
            At::Answering(..) => format!("{}/token", provider.origin),
            At::Nobody(endpoint) => endpoint,
        };
        world.change_record(|record| record["token_endpoint"] = json!(endpoint));
        let begun = Instant::now();
        let ran = world.ask_for_a_token().await;
        let took = begun.elapsed();
        let requests = provider.connections();
        assert_eq!(ran.code, 4, "{what}: {ran:?}");
        assert!(ran.one_line_error().contains("the sign-in is kept, try again"), "{what}: {ran:?}");
        assert_eq!(requests, self.requests, "{what}: {ran:?}");
        assert!(took >= Duration::from_millis(self.at_least_ms), "{what}: {took:?}");
        assert_eq!(world.tokens(), before, "{what}: the sign-in is kept");
        let wait_ms = {
            let record = world.record().expect("a record");
            assert!(record.get("dead").is_none() && record.get("exchange").is_none(), "{what}: {record}");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            let at = u128::from(record["retry_at_ms"].as_u64().expect("noted for everybody"));
            at.saturating_sub(now.as_millis())
        };
        assert!(wait_ms <= 60_000, "{what}: {wait_ms}");
        if self.left_alone && wait_ms > 1_000 {
            let again = world.ask_for_a_token().await;
            assert_eq!(
                (again.code, provider.connections()),
                (4, requests),
                "{what}: every process keeps to it"
            );
        }
        // It ends, and so does the time that the provider asked for.
        world.change_record(|record| {
            record["token_endpoint"] = home;
            record["retry_at_ms"] = json!(1);
        });
        let healed = world.ask_for_a_token().await;
        let counts = world.kit.counts();
        assert_eq!((healed.code, counts.exchanges, counts.replays), (0, 1, 0), "{what}: {healed:?}");
        format!(
            "f15: {what}: exit 4 after {requests} requests and {} ms, asked again in {} s at the earliest, tokens kept; \
             then 1 exchange",
            took.as_millis(),
            wait_ms.div_ceil(1000)
        )
    }
}

#[tokio::test]
async fn f15_a_provider_out_of_order_is_asked_three_times_and_keeps_the_sign_in() {
    let closed = free_port();
    let plain = World::new();
    let no_tls = plain.kit.issuer().replace("http://", "https://");
    let once = |outage| Outage { requests: 1, at_least_ms: 0, ..outage };
    let rows = [
        Outage::status("500", 500, None),
        Outage::status("502", 502, None),
        Outage::status("503", 503, None),
        Outage::status("429", 429, None),
        Outage::status("408", 408, None),
        Outage { at_least_ms: 2_000, ..Outage::status("503, Retry-After 1", 503, Some("1")) },
        Outage { left_alone: false, at_least_ms: 0, ..Outage::status("429, Retry-After 0", 429, Some("0")) },
        once(Outage::status("503, Retry-After 20", 503, Some("20"))),
        once(Outage::status("429, Retry-After 86400", 429, Some("86400"))),
        once(Outage::status("503, Retry-After in 2099", 503, Some("Thu, 01 Jan 2099 00:00:00 GMT"))),
        Outage::unreachable("the connection refused", format!("http://127.0.0.1:{closed}/token")),
        Outage::unreachable("no TLS where there should be", format!("{no_tls}/token")),
        Outage::unreachable("a name that does not resolve", "https://provider.invalid/token".to_owned()),
    ];
    for line in futures::future::join_all(rows.map(Outage::happens)).await {
        println!("{line}");
    }
}
