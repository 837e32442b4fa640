//! A machine of its own for a test: a home, a provider and MCP server, processes of the command, and a person.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use linchpin_testkit::process::StdioServer;
use linchpin_testkit::session::Session;
use linchpin_testkit::{Config, Counts, Kit, KitThread, Options, Page, browse};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::secrets::{FORMS, find_secret};

/// Longer than anything here takes, and shorter than a person watches a test hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so, which it is within [`PATIENCE`] unless the code is broken.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waited = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "never: {what}");
}

/// A machine with one provider and MCP server. When it goes, everything that was printed is searched for secrets.
pub(crate) struct World {
    pub(crate) kit: KitThread,
    home: TempDir,
    /// The session bus that commands are told of.
    bus: String,
    /// Everything that processes printed, for the secret scan.
    printed: Mutex<Vec<String>>,
}

/// What a command that ended left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Exactly one line on stderr and nothing on stdout, as an error has to be.
    pub(crate) fn one_line_error(&self) -> &str {
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr.trim_end().strip_prefix("error: ").unwrap_or_else(|| panic!("{self:?}"))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let kit = Kit::spawn(Options { config, ..Options::default() }).expect("loopback can be bound");
        let home = tempfile::tempdir().expect("a directory");
        let browser = home.path().join("browser");
        let script =
            format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >>'{}'\n", home.path().join("opened").display());
        fs::write(&browser, script).expect("written");
        fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
        // Never the keyring of the person who runs the tests.
        let bus = format!("unix:path={}/no-bus", home.path().display());
        Self { kit, home, bus, printed: Mutex::default() }
    }

    /// The same world in a desktop session.
    pub(crate) fn on(mut self, session: &Session) -> Self {
        session.address().clone_into(&mut self.bus);
        self
    }

    /// Runs a command with an explicit store.
    pub(crate) async fn run_in(&self, store: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env_remove("LINCHPIN_LOG").env("LINCHPIN_STORE", store).stdin(Stdio::null());
        self.finish(command).await
    }

    /// Signs in with an explicit store.
    pub(crate) async fn run_login_in(&self, store: &str) -> Ran {
        let seen = self.opened().len();
        let login = ["login", &self.url()];
        let (ran, _) = tokio::join!(self.run_in(store, &login), self.person(seen));
        ran
    }

    /// A world with a sign-in.
    pub(crate) async fn signed_in(configure: impl FnOnce(&mut Config)) -> Self {
        let world = Self::with(configure);
        let ran = world.login(&[]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        world.kit.reset_counts();
        world
    }

    pub(crate) fn url(&self) -> String {
        self.kit.mcp_url()
    }

    /// `LINCHPIN_HOME`.
    pub(crate) fn linchpin_home(&self) -> PathBuf {
        self.home.path().join("linchpin")
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.linchpin_home().join("credentials.json")
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.home.path()
    }

    /// The command, in an environment of this world alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.under(&[], arguments)
    }

    /// The same, run by another program.
    pub(crate) fn under(&self, program: &[&str], arguments: &[&str]) -> Command {
        let mut words = program.iter().chain(&[env!("CARGO_BIN_EXE_linchpin")]).chain(arguments);
        let mut command = Command::new(words.next().expect("the command"));
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("LINCHPIN_HOME", self.linchpin_home())
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("BROWSER", self.home.path().join("browser"))
            // Everything that can be logged is, and searched.
            .env("LINCHPIN_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, quietly.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env_remove("LINCHPIN_LOG").stdin(Stdio::null());
        self.finish(command).await
    }

    /// The same with something on standard input.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command
            .env_remove("LINCHPIN_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).await.expect("written");
        self.ran(child, PATIENCE).await
    }

    pub(crate) async fn finish(&self, command: Command) -> Ran {
        self.finish_within(command, PATIENCE).await
    }

    /// The same for what may take longer.
    pub(crate) async fn finish_within(&self, mut command: Command, within: Duration) -> Ran {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        self.ran(child, within).await
    }

    async fn ran(&self, child: tokio::process::Child, within: Duration) -> Ran {
        let output = tokio::time::timeout(within, child.wait_with_output()).await.expect("it ends");
        let output = output.expect("it can be waited for");
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let prints_a_token = ran.stdout.starts_with("planted-at-") || ran.stdout.contains("\"access_token\"");
        self.note(if prints_a_token { &ran.stderr } else { &ran.stdout });
        self.note(&ran.stderr);
        ran
    }

    /// `linchpin login`, and the person who goes through the browser.
    pub(crate) async fn login(&self, more: &[&str]) -> Ran {
        self.login_and_page(more).await.0
    }

    /// The same, with the page that the browser ended on.
    pub(crate) async fn login_and_page(&self, more: &[&str]) -> (Ran, Option<Page>) {
        let url = self.url();
        let arguments: Vec<_> = ["login", &url].into_iter().chain(more.iter().copied()).collect();
        let seen = self.opened().len();
        let mut running = std::pin::pin!(self.run(&arguments));
        let mut person = std::pin::pin!(self.person(seen));
        tokio::select! {
            ran = &mut running => (ran, None),
            page = &mut person => (running.await, Some(page)),
        }
    }

    /// Signs in to another world's server, on this machine.
    pub(crate) async fn login_at(&self, other: &Self, more: &[&str]) -> Ran {
        let url = other.url();
        let arguments: Vec<_> = ["login", &url].into_iter().chain(more.iter().copied()).collect();
        let seen = self.opened().len();
        let (ran, _) = tokio::join!(self.run(&arguments), self.person(seen));
        ran
    }

    /// Visits the next page that a browser is opened for.
    pub(crate) async fn person(&self, seen: usize) -> Page {
        let page = self.next_page(seen).await;
        browse(page.as_str()).await.expect("the sign-in page can be visited")
    }

    /// Every URL that a browser was opened for.
    pub(crate) fn opened(&self) -> Vec<String> {
        let opened = fs::read_to_string(self.home.path().join("opened")).unwrap_or_default();
        opened.lines().map(str::to_owned).collect()
    }

    /// A bridge to this world's server.
    pub(crate) fn bridge(&self) -> StdioServer {
        self.bridge_to(&self.url())
    }

    pub(crate) fn bridge_to(&self, url: &str) -> StdioServer {
        StdioServer::start(self.command(&["bridge", url])).expect("started")
    }

    pub(crate) fn bridges(&self, count: usize) -> Vec<StdioServer> {
        (0..count).map(|_| self.bridge()).collect()
    }

    /// The stored record of this world's server.
    pub(crate) fn record(&self) -> Option<Value> {
        let text = fs::read_to_string(self.credentials()).ok()?;
        let aggregate: Value = serde_json::from_str(&text).expect("the store parses");
        aggregate["credentials"].get(format!("default {}", self.url())).cloned()
    }

    /// Changes the stored record behind everybody's back.
    pub(crate) fn change_record(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.credentials()).expect("there is a store");
        let mut aggregate: Value = serde_json::from_str(&text).expect("the store parses");
        change(&mut aggregate["credentials"][format!("default {}", self.url())]);
        fs::write(self.credentials(), aggregate.to_string()).expect("written");
    }

    /// The access token has ended, here and at the server.
    pub(crate) fn expire(&self) {
        self.kit.refuse_access_tokens();
        self.change_record(|record| {
            record["obtained_at_ms"] = json!(1_000);
            record["expires_at_ms"] = json!(2_000);
        });
    }

    /// The pauses that the record notes are over: the provider may be asked again.
    pub(crate) fn end_pauses(&self) {
        self.change_record(|record| {
            record["retry_at_ms"] = json!(1);
            if let Some(refused) = record.get_mut("client_refused") {
                refused["at_ms"] = json!(1);
            }
        });
    }

    pub(crate) fn note(&self, printed: &str) {
        self.printed.lock().expect("no panic").push(printed.to_owned());
    }

    /// What any user of the machine may see of a process: its command line, and what its environment holds.
    pub(crate) fn note_process(&self, pid: Option<u32>) {
        for file in ["cmdline", "environ", "comm"] {
            let Some(pid) = pid else { return };
            let seen = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            self.note(&String::from_utf8_lossy(&seen));
        }
    }

    /// Closes bridges: each ends by itself within 2 s.
    pub(crate) async fn close(&self, bridges: Vec<StdioServer>) {
        for mut bridge in bridges {
            self.note_process(bridge.pid());
            let (status, took) = bridge.close(PATIENCE).await.expect("it ends");
            assert!(status.success(), "{status}: {}", bridge.stderr());
            assert!(took < Duration::from_secs(2), "a bridge took {took:?} to end");
            self.note(&bridge.output());
        }
    }

    /// The history, its older file first: one JSON object per line.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.history();
        let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines.lines().filter(|line| !line.is_empty()).map(event).collect()
    }

    /// The same as text.
    pub(crate) fn history(&self) -> String {
        let files = ["events.jsonl.1", "events.jsonl"].map(|name| self.linchpin_home().join(name));
        files.map(|path| fs::read_to_string(path).unwrap_or_default()).concat()
    }

    /// P20, F27: no secret, in whatever form, in anything that was printed or could be seen so far, nor in the history.
    fn scan(&self) {
        let mut printed = self.printed.lock().expect("no panic").join("\n");
        // What a browser is started with, anybody can see.
        printed.push_str(&self.opened().join("\n"));
        // The identity of the encrypted store.
        let identity = fs::read_to_string(self.linchpin_home().join("identity")).unwrap_or_default();
        let identities =
            identity.lines().filter(|line| line.starts_with("AGE-SECRET-KEY-")).map(str::to_owned);
        let secrets: Vec<_> = self.kit.planted_secrets().into_iter().chain(identities).collect();
        if let Some((secret, form)) = find_secret(&printed, &secrets) {
            panic!("p20: {secret} was printed ({form}):\n{printed}");
        }
        let history = self.history();
        if let Some((secret, form)) = find_secret(&history, &secrets) {
            panic!("p20: {secret} is in the history ({form}):\n{history}");
        }
        println!(
            "f27: {} secrets in {FORMS} forms looked for in {} bytes: 0 hits",
            secrets.len(),
            printed.len() + history.len()
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.scan();
        }
    }
}

#[tokio::test]
#[should_panic(expected = "p20: ")]
async fn p20_a_world_that_saw_a_secret_printed_fails_its_test() {
    let world = World::signed_in(|_| {}).await;
    let record = world.record().expect("saved");
    world.note(record["access_token"].as_str().expect("a text"));
}

#[tokio::test]
#[should_panic(expected = "is in the history")]
async fn p20_a_world_whose_history_has_a_secret_fails_its_test() {
    let world = World::signed_in(|_| {}).await;
    let record = world.record().expect("saved");
    let secret = record["refresh_token"].as_str().expect("a text");
    fs::write(world.linchpin_home().join("events.jsonl.1"), secret).expect("written");
}

/// One line per storm for whoever asks for the figures (`--nocapture`).
pub(crate) fn figures(what: &str, tally: &Tally, counts: &Counts) {
    println!(
        "{what}: {}/{} calls answered, {} exchanges, {} repeats, {} replays, {} doubled",
        tally.answered,
        tally.made,
        counts.exchanges,
        counts.repeats,
        counts.replays,
        counts.calls_doubled()
    );
}

/// What a storm of calls came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) made: usize,
    pub(crate) answered: usize,
    pub(crate) errors: Vec<String>,
}

/// Every bridge makes `calls` calls, all bridges at once, one call after the other in each.
pub(crate) async fn storm(bridges: &[StdioServer], calls: usize, name: &str) -> Tally {
    let runs = bridges.iter().enumerate().map(|(index, bridge)| one_client(bridge, index, calls, name));
    let mut tally = Tally::default();
    for one in futures::future::join_all(runs).await {
        tally.add(&one);
    }
    tally
}

impl Tally {
    pub(crate) fn add(&mut self, more: &Self) {
        self.made += more.made;
        self.answered += more.answered;
        self.errors.extend(more.errors.iter().cloned());
    }
}

async fn one_client(bridge: &StdioServer, index: usize, calls: usize, name: &str) -> Tally {
    let mut tally = Tally { made: calls, ..Tally::default() };
    for call in 0..calls {
        let nonce = format!("{name}-{index}-{call}");
        match bridge.call("count", json!({ "nonce": nonce }), PATIENCE).await {
            Ok(Ok(text)) if text == nonce => tally.answered += 1,
            Ok(other) => tally.errors.push(format!("{nonce}: {other:?}")),
            Err(error) => tally.errors.push(format!("{nonce}: {error}")),
        }
    }
    tally
}

/// Opens a session in every bridge at once.
pub(crate) async fn initialize(bridges: &[StdioServer]) {
    let all = bridges.iter().map(|bridge| bridge.initialize(PATIENCE));
    for answer in futures::future::join_all(all).await {
        let answer = answer.expect("answered");
        assert!(answer.get("result").is_some(), "{answer}");
    }
}
