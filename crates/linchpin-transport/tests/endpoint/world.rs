//! A kit, a store and an authority over it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use linchpin_authority::{Authority, Credential, Wait};
use linchpin_oauth::Provider;
use linchpin_oauth::http::HttpOptions;
use linchpin_store::{
    Clock as _, CredentialKey, LockRequest, MemoryStore, PlainHttp, Profile, Record, ServerUrl, Store as _,
    SystemClock,
};
use linchpin_testkit::{CapturedLog, Config, Kit, Options, captured_log};
use linchpin_transport::{Authorization, Endpoint, Outgoing, Recovery};

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) store: MemoryStore,
    pub(crate) authority: Authority,
    pub(crate) key: CredentialKey,
}

impl World {
    /// Signed in. The server speaks 2026-07-28, where every request stands for itself.
    pub(crate) async fn new() -> Self {
        let world = Self::signed_out(|_| {}).await;
        world.plant().await;
        world
    }

    pub(crate) async fn signed_out(change: impl FnOnce(&mut Config)) -> Self {
        log();
        let mut config = Config { record: true, ..Config::default() };
        change(&mut config);
        let kit = Kit::start(Options { config, ..Options::default() }).await.expect("the kit starts");
        let store = MemoryStore::new();
        let provider = Provider::new(HttpOptions::new(PlainHttp::LoopbackOnly));
        let authority = Authority::new(Arc::new(store.clone()), Arc::new(provider), Arc::new(SystemClock));
        let server = server(&kit.mcp_url());
        Self { kit, store, authority, key: CredentialKey::new(Profile::default(), server) }
    }

    pub(crate) async fn plant(&self) {
        let signed_in = self.kit.sign_in().expect("the kit signs in");
        let (now, lives) = (SystemClock.now(), Duration::from_millis(signed_in.access_lifetime_ms));
        let record = Record::from_json(&signed_in.record(now.0, lives)).expect("a record");
        let request = LockRequest { purpose: "test", within: Duration::from_secs(5) };
        let guard = self.store.lock(&self.key, request).await.expect("the lock");
        self.store.save(&guard, &record).await.expect("saved");
    }

    pub(crate) fn credential(&self) -> Credential {
        self.authority.credential(self.key.clone())
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint_with(HeaderMap::new())
    }

    pub(crate) fn endpoint_with(&self, headers: HeaderMap) -> Endpoint {
        let authorization = Authorization::SignIn(self.credential());
        Endpoint::new(self.key.server.clone(), authorization, headers).expect("an endpoint")
    }

    /// How often the tool was called over HTTP.
    pub(crate) fn sent(&self) -> u64 {
        self.kit.counts().mcp_requests.get("POST tools/call").copied().unwrap_or(0)
    }

    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; {:#?}", self.kit.counts());
    }

    /// What holds for every test: no secret in the logs at TRACE, nor in what the test wrote down (P20).
    pub(crate) fn finish(&self, texts: &[String]) {
        let logged = log().bytes();
        let logged = String::from_utf8_lossy(&logged);
        for secret in self.kit.planted_secrets() {
            assert!(!logged.contains(&secret), "a secret is in the log");
            assert!(texts.iter().all(|text| !text.contains(&secret)), "a secret is in {texts:?}");
        }
    }
}

pub(crate) fn server(url: &str) -> ServerUrl {
    ServerUrl::parse(url, PlainHttp::LoopbackOnly).expect("a server's URL")
}

/// A call of the tool `count`.
pub(crate) fn call(nonce: &str) -> Outgoing {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"count","arguments":{{"nonce":"{nonce}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
    headers.insert("mcp-name", HeaderValue::from_static("count"));
    let body = Bytes::from(body);
    Outgoing { method: Method::POST, headers, body, wait: Wait::Transaction, recovery: Recovery::Once }
}

fn log() -> &'static CapturedLog {
    captured_log("linchpin=trace")
}
