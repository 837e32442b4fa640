//! A kit, a store on disk, and programs over it that know rmcp only.

use std::sync::Arc;
use std::time::Duration;

use linchpin::{
    Clock as _, CredentialKey, Directories, Environment, Linchpin, PlainHttp, Profile, Record, Server,
    ServerUrl, StorePolicy, SystemClock,
};
use linchpin_testkit::{CapturedLog, Config, Kit, Options, captured_log};
use rmcp::RoleClient;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationManager};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tempfile::TempDir;

pub(crate) type Program = RunningService<RoleClient, ()>;

pub(crate) struct World {
    pub(crate) kit: Kit,
    home: TempDir,
}

impl World {
    pub(crate) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        log();
        // rmcp's client is reqwest's own, so the choice of cryptography has to be the process's. Already made is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::default();
        change(&mut config);
        let kit = Kit::start(Options { config, ..Options::default() }).await.expect("the kit starts");
        Self { kit, home: TempDir::new().expect("a directory") }
    }

    /// The server as a program that starts now finds it: nothing is shared with an earlier one but the disk.
    pub(crate) async fn server(&self) -> Server {
        self.linchpin().server(self.key().server, Profile::default()).await
    }

    pub(crate) fn linchpin(&self) -> Linchpin {
        let directories = Directories::under(self.home.path()).expect("absolute");
        let environment = Environment::new(directories, StorePolicy::File);
        Linchpin::builder().stores(environment.stores()).build()
    }

    pub(crate) fn key(&self) -> CredentialKey {
        let url = ServerUrl::parse(&self.kit.mcp_url(), PlainHttp::LoopbackOnly).expect("a URL");
        CredentialKey::new(Profile::default(), url)
    }

    /// Signs in, the access token having ended or not.
    pub(crate) async fn plant(&self, ended: bool) -> Record {
        let signed_in = self.kit.sign_in().expect("the kit signs in");
        let lifetime = Duration::from_millis(signed_in.access_lifetime_ms);
        let now = SystemClock.now();
        let obtained = if ended { now.before(lifetime) } else { now };
        let record = Record::from_json(&signed_in.record(obtained.0, lifetime)).expect("a record");
        self.server().await.credential().sign_in(record.clone()).await.expect("saved");
        record
    }

    /// What the store has.
    pub(crate) async fn record(&self) -> Option<Record> {
        self.server().await.record().await.expect("readable")
    }

    /// A manager as a program makes its own: with rmcp's discovery at its start.
    pub(crate) async fn own_manager(&self) -> AuthorizationManager {
        let auth = self.server().await.rmcp_auth();
        let client = Arc::new(auth.clone());
        let mut manager =
            AuthorizationManager::new_with_oauth_http_client(auth.url(), client).await.expect("a manager");
        manager.set_credential_store(auth);
        assert!(manager.initialize_from_store().await.expect("initialized"), "signed in");
        manager
    }

    /// A program that starts now.
    pub(crate) async fn program(&self) -> Program {
        self.connect(self.own_manager().await).await
    }

    pub(crate) async fn connect(&self, manager: AuthorizationManager) -> Program {
        let client = AuthClient::new(reqwest::Client::default(), manager);
        let config = StreamableHttpClientTransportConfig::with_uri(self.kit.mcp_url());
        let transport = StreamableHttpClientTransport::with_client(client, config);
        serve_client((), transport).await.expect("connected")
    }

    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; {:#?}", self.kit.counts());
    }

    /// What holds for every test: no refresh token was presented twice, and no secret is in a log of Linchpin's at TRACE,
    /// nor in what the test wrote down (P20).
    pub(crate) fn finish(&self, texts: &[String]) {
        let counts = self.kit.counts();
        assert!(counts.most_presentations() <= 1 && counts.replays == 0, "{counts:#?}");
        let logged = log().bytes();
        let logged = String::from_utf8_lossy(&logged);
        for secret in self.kit.planted_secrets() {
            assert!(!logged.contains(&secret), "a secret is in the log");
            assert!(texts.iter().all(|text| !text.contains(&secret)), "a secret is in {texts:?}");
        }
    }
}

pub(crate) async fn call(program: &Program, nonce: &str) -> Result<(), ServiceError> {
    let mut arguments = serde_json::Map::new();
    arguments.insert("nonce".to_owned(), nonce.into());
    program.call_tool(CallToolRequestParams::new("count").with_arguments(arguments)).await.map(|_| ())
}

fn log() -> &'static CapturedLog {
    captured_log("linchpin=trace,rmcp=info")
}
