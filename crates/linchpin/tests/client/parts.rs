//! A program's own parts in place of the library's: everything that they are written with is in `linchpin`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linchpin::http::header::{ACCEPT, CONTENT_TYPE};
use linchpin::http::{HeaderMap, HeaderValue, Method, StatusCode};
use linchpin::provider::{Exchange, HttpOptions, Provider, Revocation, TokenAnswer, TokenEndpoint};
use linchpin::rmcp::service::serve_client;
use linchpin::store::{
    CredentialGuard, CredentialKey, LockError, LockRequest, Record, Store, StoreError, StoreKind,
    StoredRecord,
};
use linchpin::transport::rmcp::transport;
use linchpin::transport::{Allowance, Answer, Outgoing, ReadError, Recovery};
use linchpin::{CredentialError, Linchpin, PlainHttp, Profile, Server, Wait, async_trait};

use crate::world::{World, url};

/// Records in a map, and one lock for all of them.
#[derive(Debug, Default)]
struct Shelf {
    records: Mutex<BTreeMap<CredentialKey, Record>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

#[async_trait]
impl Store for Shelf {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn location(&self) -> String {
        "a shelf".to_owned()
    }

    async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        Ok(self.records.lock().expect("whole").get(key).cloned())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save(&self, guard: &CredentialGuard, record: &Record) -> Result<(), StoreError> {
        guard.still_excludes()?;
        self.records.lock().expect("whole").insert(guard.key().clone(), record.clone());
        Ok(())
    }

    async fn delete(&self, guard: &CredentialGuard) -> Result<bool, StoreError> {
        Ok(self.records.lock().expect("whole").remove(guard.key()).is_some())
    }

    async fn list(&self) -> Result<Vec<StoredRecord>, StoreError> {
        let records = self.records.lock().expect("whole");
        Ok(records.iter().map(|(key, record)| (key.clone(), Ok(record.clone()))).collect())
    }

    async fn lock(&self, key: &CredentialKey, request: LockRequest) -> Result<CredentialGuard, LockError> {
        let held = tokio::time::timeout(request.within, Arc::clone(&self.lock).lock_owned()).await;
        let timed_out =
            |_| LockError::TimedOut { path: key.entry().into(), waited: request.within, holder: None };
        Ok(CredentialGuard::new(key.clone(), held.map_err(timed_out)?))
    }
}

/// Asks the provider, and counts what it brought.
#[derive(Debug)]
struct Counting {
    provider: Provider,
    rotated: AtomicU64,
}

#[async_trait]
impl TokenEndpoint for Counting {
    async fn refresh(&self, record: &Record) -> Exchange {
        match self.provider.refresh(record).await {
            Exchange::Rotated(answer @ TokenAnswer { refresh_token: Some(_), .. }) => {
                self.rotated.fetch_add(1, Ordering::Relaxed);
                Exchange::Rotated(answer)
            }
            other => other,
        }
    }

    async fn revoke(&self, record: &Record) -> Revocation {
        self.provider.revoke(record).await
    }
}

/// A server whose sign-in is on a shelf, with an access token that has ended.
async fn on_a_shelf(world: &World) -> (Server, Arc<Shelf>, Arc<Counting>) {
    let http = HttpOptions::new(PlainHttp::LoopbackOnly);
    let provider = Provider::new(http.clone());
    let endpoint = Arc::new(Counting { provider, rotated: AtomicU64::new(0) });
    let shelf = Arc::new(Shelf::default());
    let linchpin =
        Linchpin::builder().store(shelf.clone()).token_endpoint(endpoint.clone()).http(http).build();
    let server = linchpin.server(url(&world.kit.mcp_url()), Profile::default()).await;
    let record = world.record(Duration::ZERO);
    shelf.records.lock().expect("whole").insert(server.key().clone(), record);
    (server, shelf, endpoint)
}

fn initialize(wait: Wait) -> Outgoing {
    let json = HeaderValue::from_static("application/json");
    let either = HeaderValue::from_static("application/json, text/event-stream");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"parts","version":"1"}}}"#;
    Outgoing {
        method: Method::POST,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (ACCEPT, either)]),
        body: body.into(),
        wait,
        recovery: Recovery::Once,
    }
}

async fn body_of(mut answer: Answer) -> Result<String, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_store_and_a_token_endpoint_of_ones_own_serve_an_endpoint() {
    let world = World::signed_out(|_| {}).await;
    let (server, shelf, provider) = on_a_shelf(&world).await;
    let before = shelf.load(server.key()).await.expect("read").expect("there");
    let endpoint = server.endpoint(HeaderMap::new()).expect("set up");
    let allowance = Allowance::within(Duration::from_secs(20));
    let answer = endpoint.send_for(&initialize(allowance.wait()), &allowance).await.expect("answered");
    assert_eq!((answer.status(), answer.recovery()), (StatusCode::OK, Recovery::Once));
    assert!(body_of(answer).await.expect("whole").contains("linchpin-testkit"));
    let kept = shelf.load(server.key()).await.expect("read").expect("there");
    assert_ne!(kept.refresh_fingerprint(), before.refresh_fingerprint());
    assert_eq!((provider.rotated.load(Ordering::Relaxed), world.exchanges()), (1, 1));
    world.finish(&[]);
}

#[tokio::test]
async fn rmcp_speaks_over_an_endpoint_without_seeing_a_token() {
    let world = World::signed_out(|_| {}).await;
    let (server, _, provider) = on_a_shelf(&world).await;
    let endpoint = server.endpoint(HeaderMap::new()).expect("set up");
    let service = serve_client((), transport(endpoint)).await.expect("connected");
    let tools = service.list_all_tools().await.expect("listed");
    assert!(tools.iter().any(|tool| tool.name == "count"));
    service.cancel().await.expect("ended");
    assert_eq!(provider.rotated.load(Ordering::Relaxed), 1);
    world.finish(&[]);
}

#[tokio::test]
async fn p04_a_move_that_has_no_store_to_go_from_or_to_is_an_error_and_one_to_where_it_is_changes_nothing() {
    let world = World::new().await;
    let key = world.server().await.key().clone();
    let single = Linchpin::builder().build();
    for (linchpin, from, to) in [
        (&world.linchpin, StoreKind::Memory, StoreKind::File),
        (&world.linchpin, StoreKind::File, StoreKind::Memory),
        (&single, StoreKind::Memory, StoreKind::File),
    ] {
        let error = linchpin.move_sign_in(key.clone(), from, to).await.expect_err("no such store");
        let CredentialError::Store(error) = error else { panic!("{error:?}") };
        assert!(matches!(*error, StoreError::Other(_)), "{error:?}");
    }
    let moved = world.linchpin.move_sign_in(key, StoreKind::File, StoreKind::File).await.expect("no failure");
    assert!(moved.is_none());
    assert!(world.server().await.record().await.expect("read").is_some());
    world.finish(&[]);
}
