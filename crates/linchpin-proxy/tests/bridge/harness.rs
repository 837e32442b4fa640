//! A world with a kit and a store, and a client that drives a bridge over pipes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use linchpin_authority::{Authority, Credential};
use linchpin_oauth::Provider;
use linchpin_oauth::http::HttpOptions;
use linchpin_proxy::{Bridge, BridgeError, Ended};
use linchpin_store::{
    Clock as _, CredentialKey, LockRequest, MemoryStore, PlainHttp, Profile, Record, ServerUrl, Store as _,
    SystemClock,
};
use linchpin_testkit::{CapturedLog, Config, Kit, Options, SignedIn, captured_log};
use linchpin_transport::{Authorization, Endpoint};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer than this on purpose.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// What a pipe of the operating system holds.
const PIPE: usize = 64 << 10;
/// How much of the begin and of the end of a line is searched for secrets.
const EDGE: usize = 256 << 10;

/// A kit, a store and an authority over it.
pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) store: MemoryStore,
    pub(crate) authority: Authority,
    pub(crate) key: CredentialKey,
}

impl World {
    /// Signed in.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Signed in, with a kit that behaves so.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let world = Self::signed_out(change).await;
        world.plant().await;
        world
    }

    /// With an empty store.
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

    /// What `linchpin login` in another process does: a new record appears in the store.
    pub(crate) async fn plant(&self) {
        let signed_in = self.kit.sign_in().expect("the kit signs in");
        self.save(&record(&signed_in)).await;
    }

    pub(crate) async fn save(&self, record: &Record) {
        let request = LockRequest { purpose: "test", within: PATIENCE };
        let guard = self.store.lock(&self.key, request).await.expect("the lock");
        self.store.save(&guard, record).await.expect("saved");
    }

    pub(crate) fn credential(&self) -> Credential {
        self.authority.credential(self.key.clone())
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let authorization = Authorization::SignIn(self.credential());
        Endpoint::new(self.key.server.clone(), authorization, HeaderMap::new()).expect("an endpoint")
    }

    /// A client whose bridge has just started.
    pub(crate) fn client(&self) -> Client {
        Client::over(self.endpoint())
    }

    /// A client that has initialized its session and is listening.
    pub(crate) async fn initialized(&self) -> Client {
        let mut client = self.client();
        client.initialize().await;
        self.until("the stream of the session is open", || self.posts("GET") == 1).await;
        client
    }

    /// How often the server got `POST tools/call` and the like.
    pub(crate) fn posts(&self, what: &str) -> u64 {
        self.kit.counts().mcp_requests.get(what).copied().unwrap_or(0)
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let waited = timeout(PATIENCE, async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; {:#?}", self.kit.counts());
    }
}

pub(crate) fn server(url: &str) -> ServerUrl {
    ServerUrl::parse(url, PlainHttp::LoopbackOnly).expect("a server's URL")
}

/// The record of a sign-in.
pub(crate) fn record(signed_in: &SignedIn) -> Record {
    let lives = Duration::from_millis(signed_in.access_lifetime_ms);
    Record::from_json(&signed_in.record(SystemClock.now().0, lives)).expect("a record")
}

/// A program that speaks MCP over stdio to a bridge.
pub(crate) struct Client {
    input: Option<DuplexStream>,
    output: BufReader<DuplexStream>,
    running: JoinHandle<Result<Ended, BridgeError>>,
    cancel: CancellationToken,
    stdout: Vec<u8>,
    /// Lines that were read while another was looked for.
    passed: Vec<String>,
    /// Ids of requests that are owed an answer, and how many came.
    owed: BTreeMap<String, u32>,
    /// Ids of requests that were given up.
    forgiven: HashSet<String>,
    next_id: u32,
}

impl Client {
    pub(crate) fn over(endpoint: Endpoint) -> Self {
        Self::with_pipe(endpoint, PIPE)
    }

    /// With so many bytes between the bridge's output and the client.
    pub(crate) fn with_pipe(endpoint: Endpoint, pipe: usize) -> Self {
        log();
        let (input, stdin) = tokio::io::duplex(PIPE);
        let (stdout, output) = tokio::io::duplex(pipe);
        let cancel = CancellationToken::new();
        let running = tokio::spawn(Bridge::new(endpoint).run(stdin, stdout, cancel.clone()));
        Self {
            input: Some(input),
            output: BufReader::new(output),
            running,
            cancel,
            stdout: Vec::new(),
            passed: Vec::new(),
            owed: BTreeMap::new(),
            forgiven: HashSet::new(),
            next_id: 100,
        }
    }

    /// Writes bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("the input is open");
        timeout(PATIENCE, input.write_all(bytes)).await.expect("the bridge reads").expect("a pipe");
    }

    /// Writes a line as it is.
    pub(crate) async fn send_line(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    /// Writes a request with this id, which is JSON text.
    pub(crate) async fn send(&mut self, id: &str, method: &str, params: &str) {
        self.owe(id);
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.send_line(&line).await;
    }

    /// The answer to `id` is owed exactly once.
    pub(crate) fn owe(&mut self, id: &str) {
        self.owed.entry(id.to_owned()).or_default();
    }

    /// No answer to this request is expected any more.
    pub(crate) fn forgive(&mut self, id: &str) {
        self.forgiven.insert(id.to_owned());
    }

    /// The test itself counted the answers to this id.
    pub(crate) fn forget(&mut self, id: &str) {
        self.owed.remove(id);
    }

    pub(crate) fn new_id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(&mut self, method: &str, params: &str) -> Reply {
        let id = self.new_id();
        self.send(&id, method, params).await;
        self.answer(&id).await
    }

    /// Calls a tool and waits for its answer.
    pub(crate) async fn call(&mut self, tool: &str, arguments: &str) -> Reply {
        self.request("tools/call", &format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#)).await
    }

    pub(crate) async fn initialize(&mut self) {
        let reply = self.request("initialize", INITIALIZE).await;
        reply.result();
        self.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    }

    /// The next line.
    pub(crate) async fn next_line(&mut self) -> String {
        if !self.passed.is_empty() {
            return self.passed.remove(0);
        }
        self.read().await.expect("a line, not the end")
    }

    /// The next line if one comes within this time.
    pub(crate) async fn line_within(&mut self, time: Duration) -> Option<String> {
        if !self.passed.is_empty() {
            return Some(self.passed.remove(0));
        }
        let waited = timeout(time, self.output.fill_buf()).await;
        match waited {
            Ok(Ok(more)) if !more.is_empty() => self.read().await,
            _ => None,
        }
    }

    /// The answer to the request `id`, which is JSON text; other lines are kept.
    pub(crate) async fn answer(&mut self, id: &str) -> Reply {
        let is_answer = |head: &Head| head.id == id && head.method.is_none();
        if let Some(at) = self.passed.iter().position(|line| Head::of(line).as_ref().is_some_and(is_answer)) {
            return Reply(self.passed.remove(at));
        }
        loop {
            let read = self.read_with_head().await;
            let (line, head) = read.unwrap_or_else(|| panic!("the output ended before the answer to {id}"));
            if head.as_ref().is_some_and(is_answer) {
                return Reply(line);
            }
            self.passed.push(line);
        }
    }

    /// Lines that were passed over so far: what is no answer that was looked for.
    pub(crate) fn take_passed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.passed)
    }

    async fn read(&mut self) -> Option<String> {
        self.read_with_head().await.map(|(line, _)| line)
    }

    async fn read_with_head(&mut self) -> Option<(String, Option<Head>)> {
        let mut line = Vec::new();
        let read = timeout(PATIENCE, self.output.read_until(b'\n', &mut line)).await;
        read.expect("a line in time").expect("a pipe");
        if line.is_empty() {
            return None;
        }
        // What a test itself made up by the megabyte need not be searched for secrets.
        let (begin, end) = (line.len().min(EDGE), line.len().saturating_sub(EDGE).max(line.len().min(EDGE)));
        self.stdout.extend_from_slice(&line[..begin]);
        self.stdout.extend_from_slice(&line[end..]);
        assert_eq!(line.pop(), Some(b'\n'), "a line is whole");
        let line = String::from_utf8(line).expect("UTF-8");
        let head = Head::of(&line);
        let is_json = head.is_some() || serde_json::from_str::<&RawValue>(&line).is_ok();
        assert!(is_json, "a line of JSON: {}", line.chars().take(200).collect::<String>());
        if let Some(Head { id, method: None }) = &head
            && let Some(answers) = self.owed.get_mut(id)
        {
            *answers += 1;
        }
        Some((line, head))
    }

    /// Reads until a line says this.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.next_line().await;
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Closes the input only.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Closes the input, waits for the end and checks what holds for every test. The lines that were left.
    pub(crate) async fn close(self, world: &World) -> Vec<String> {
        let (ended, rest) = self.end(world).await;
        assert_eq!(ended, Ended::InputClosed);
        rest
    }

    /// Tells the bridge to end while its input stays open; like [`Client::close`] otherwise.
    pub(crate) async fn cancel(self, world: &World) -> Vec<String> {
        self.cancel.cancel();
        let (ended, rest) = self.end(world).await;
        assert_eq!(ended, Ended::Cancelled);
        rest
    }

    async fn end(mut self, world: &World) -> (Ended, Vec<String>) {
        if !self.cancel.is_cancelled() {
            self.close_input();
        }
        let closed = Instant::now();
        while let Some(line) = self.read().await {
            self.passed.push(line);
        }
        let ended = timeout(PATIENCE, &mut self.running).await.expect("it ends").expect("no panic");
        let took = closed.elapsed();
        assert!(took < Duration::from_secs(2), "it took {took:?} to end");
        for (id, answers) in &self.owed {
            let expected = u32::from(!self.forgiven.contains(id));
            assert_eq!(*answers, expected, "answers to {id}\n{}", self.story());
        }
        assert_no_secret(world, &self.stdout);
        (ended.expect("no input error"), self.passed)
    }

    /// Drops the output: the client is gone.
    pub(crate) async fn hang_up(self, world: &World) -> Ended {
        let Self { input, output, running, stdout, .. } = self;
        drop(output);
        let ended = timeout(Duration::from_secs(2), running).await.expect("in time").expect("no panic");
        drop(input);
        assert_no_secret(world, &stdout);
        ended.expect("no input error")
    }

    /// Closes the input while nobody reads the output.
    pub(crate) async fn stop_without_reading(self, world: &World) -> Ended {
        let Self { input, output, running, stdout, .. } = self;
        drop(input);
        let ended = timeout(Duration::from_secs(2), running).await.expect("in time").expect("no panic");
        drop(output);
        assert_no_secret(world, &stdout);
        ended.expect("no input error")
    }

    fn story(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        let lines: Vec<_> = text.lines().map(|line| line.chars().take(300).collect::<String>()).collect();
        lines.join("\n")
    }
}

pub(crate) const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"bridge test","version":"0"}}"#;

/// What a line is.
struct Head {
    /// The id as JSON text.
    id: String,
    method: Option<String>,
}

impl Head {
    fn of(line: &str) -> Option<Self> {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(line).ok()?;
        let id = fields.get("id").map_or("null", |id| id.get()).to_owned();
        let method = fields.get("method").and_then(|method| serde_json::from_str(method.get()).ok());
        Some(Self { id, method })
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply(pub(crate) String);

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.0).expect("JSON")
    }

    /// The result; an error fails the test.
    pub(crate) fn result(&self) -> Value {
        let json = self.json();
        assert!(json.get("result").is_some(), "not a result: {}", self.0);
        json["result"].clone()
    }

    /// The text that a tool answered with.
    pub(crate) fn text(&self) -> String {
        let result = self.result();
        result["content"][0]["text"].as_str().expect("a text").to_owned()
    }

    /// Code and message of an error; a result fails the test.
    pub(crate) fn error(&self) -> (i64, String) {
        let json = self.json();
        let error = json.get("error").unwrap_or_else(|| panic!("not an error: {}", self.0));
        (error["code"].as_i64().expect("a code"), error["message"].as_str().expect("a message").to_owned())
    }

    /// The word that says what can be done about an error of the bridge.
    pub(crate) fn disposition(&self) -> String {
        let json = self.json();
        json["error"]["data"]["linchpin"]["disposition"].as_str().expect("a disposition").to_owned()
    }
}

/// What the linchpin crates log at TRACE, of all tests of this binary.
fn log() -> &'static CapturedLog {
    captured_log("linchpin=trace")
}

pub(crate) fn logged(text: &str) -> bool {
    finds(&log().bytes(), text)
}

fn assert_no_secret(world: &World, stdout: &[u8]) {
    let logged = log().bytes();
    // A session id lets anyone speak in the session, so it counts as a secret here.
    let sessions =
        world.kit.seen().into_iter().filter_map(|seen| seen.header("mcp-session-id").map(str::to_owned));
    let sessions: HashSet<_> = sessions.collect();
    for secret in world.kit.planted_secrets().into_iter().chain(sessions) {
        let kind: String = secret.chars().take(12).collect();
        for form in [secret.clone(), STANDARD.encode(&secret)] {
            assert!(!finds(stdout, &form), "a secret {kind}… is in the output");
            assert!(!finds(&logged, &form), "a secret {kind}… is in the log");
        }
    }
}

fn finds(bytes: &[u8], text: &str) -> bool {
    let (first, text) = (text.as_bytes()[0], text.as_bytes());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[tokio::test]
async fn f27_the_search_finds_what_is_there() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    world.kit.refuse_access_tokens();
    client.call("echo", "{}").await.text();
    client.close(&world).await;
    assert!(logged("refreshed"), "the log holds what a refresh says");
    assert!(finds(b"ab planted-x", "planted-x") && !finds(b"ab planted-", "planted-x"));
    let leak = std::panic::AssertUnwindSafe(|| {
        assert_no_secret(&world, world.kit.planted_secrets()[0].as_bytes());
    });
    assert!(std::panic::catch_unwind(leak).is_err(), "a leak fails");
}
