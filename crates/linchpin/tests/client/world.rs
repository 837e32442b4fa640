//! A kit, and an installation with a home of its own.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linchpin::rmcp::ClientHandler;
use linchpin::rmcp::model::{
    CallToolResult, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ElicitationCapability, ErrorData, Implementation, ProtocolVersion,
};
use linchpin::rmcp::service::{NotificationContext, RequestContext, RoleClient};
use linchpin::{
    ClientError, Clock as _, Directories, HttpOptions, Linchpin, McpClient, McpClientBuilder, PlainHttp,
    Profile, Record, Server, ServerUrl, StorePolicy, Stores, SystemClock,
};
use linchpin_testkit::{CapturedLog, Config, Kit, Options, captured_log};
use serde_json::{Map, Value, json};

pub(crate) const LEGACY: ProtocolVersion = ProtocolVersion::V_2025_11_25;

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) linchpin: Linchpin,
    home: tempfile::TempDir,
}

impl World {
    /// Signed in.
    pub(crate) async fn new() -> Self {
        let world = Self::signed_out(|_| {}).await;
        world.sign_in().await;
        world
    }

    pub(crate) async fn signed_out(change: impl FnOnce(&mut Config)) -> Self {
        log();
        let mut config = Config { record: true, ..Config::default() };
        change(&mut config);
        let kit = Kit::start(Options { config, ..Options::default() }).await.expect("the kit starts");
        let home = tempfile::tempdir().expect("a directory");
        Self { kit, linchpin: installation(home.path()), home }
    }

    /// The installation as a process that has just started has it.
    pub(crate) fn another_process(&self) -> Linchpin {
        installation(self.home.path())
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Puts a new sign-in into the store, as another process does it.
    pub(crate) async fn sign_in(&self) {
        self.sign_in_until(Duration::from_secs(3600)).await;
    }

    /// A sign-in whose access token ends in so long by the clock of this machine.
    pub(crate) async fn sign_in_until(&self, left: Duration) {
        let server = server(&self.another_process(), &self.kit.mcp_url()).await;
        server.credential().sign_in(self.record(left)).await.expect("saved");
    }

    /// A sign-in that no store has yet.
    pub(crate) fn record(&self, left: Duration) -> Record {
        let signed_in = self.kit.sign_in().expect("the kit signs in");
        Record::from_json(&signed_in.record(SystemClock.now().0, left)).expect("a record")
    }

    pub(crate) async fn server(&self) -> Server {
        server(&self.linchpin, &self.kit.mcp_url()).await
    }

    /// A client of 2026-07-28, where every request stands for itself.
    pub(crate) async fn modern(&self) -> McpClient {
        self.connect(McpClient::builder()).await
    }

    /// A client with a session, which listens.
    pub(crate) async fn legacy(&self) -> McpClient {
        let client = self.connect(McpClient::builder().revision(LEGACY)).await;
        self.until("it listens", || self.kit.streams() > 0).await;
        client
    }

    pub(crate) async fn connect(&self, builder: McpClientBuilder) -> McpClient {
        builder.connect(&self.server().await).await.expect("connected")
    }

    /// Requests to the MCP endpoint of that kind, `POST tools/call` or `GET`.
    pub(crate) fn requests(&self, kind: &str) -> u64 {
        self.kit.counts().mcp_requests.get(kind).copied().unwrap_or(0)
    }

    /// Calls over HTTP.
    pub(crate) fn sent(&self) -> u64 {
        self.requests("POST tools/call")
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.kit.counts().exchanges
    }

    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; {:#?}", self.kit.counts());
    }

    /// What holds for every test: no refresh token was presented twice after a success, and no secret is in the logs
    /// at TRACE, rmcp's at INFO included, nor in what the test wrote down (P20).
    pub(crate) fn finish(&self, texts: &[String]) {
        assert_eq!(self.kit.counts().replays, 0, "a spent refresh token came back");
        let logged = log().bytes();
        let logged = String::from_utf8_lossy(&logged);
        for secret in self.kit.planted_secrets() {
            assert!(!logged.contains(&secret), "a secret is in the log");
            assert!(texts.iter().all(|text| !text.contains(&secret)), "a secret is in {texts:?}");
        }
    }
}

fn installation(home: &Path) -> Linchpin {
    let directories = Directories::under(home.to_owned()).expect("absolute");
    Linchpin::builder()
        .stores(Stores::new(&directories, StorePolicy::File, None))
        .http(HttpOptions::new(PlainHttp::LoopbackOnly))
        .build()
}

pub(crate) fn url(text: &str) -> ServerUrl {
    ServerUrl::parse(text, PlainHttp::LoopbackOnly).expect("a server's URL")
}

/// In the home of another process.
pub(crate) async fn server_in(home: &Path, mcp_url: &str) -> Server {
    server(&installation(home), mcp_url).await
}

async fn server(linchpin: &Linchpin, mcp_url: &str) -> Server {
    linchpin.server(url(mcp_url), Profile::default()).await
}

pub(crate) fn arguments(value: Value) -> Map<String, Value> {
    let Value::Object(arguments) = value else { panic!("{value} is no object") };
    arguments
}

/// Calls the tool `count`.
pub(crate) async fn call(client: &McpClient, nonce: &str) -> Result<(), ClientError> {
    client.call_tool("count", arguments(json!({ "nonce": nonce }))).await.map(drop)
}

/// The text of a tool's result.
pub(crate) fn text(result: &CallToolResult) -> &str {
    result.content.first().and_then(|block| block.as_text()).map_or("", |text| &text.text)
}

/// Accepts what it is asked, and fills in a name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accepting {
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl ClientHandler for Accepting {
    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let message = match request {
            ElicitRequestParams::FormElicitationParams { message, .. } => message,
            other => format!("{other:?}"),
        };
        self.heard.lock().expect("whole").push(message);
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.heard.lock().expect("whole").push("tools changed".to_owned());
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        ClientConfig::new(capabilities, Implementation::new("accepting", "1"))
    }
}

fn log() -> &'static CapturedLog {
    captured_log("linchpin=trace,rmcp=info")
}
