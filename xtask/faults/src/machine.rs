//! A machine of its own: a home, a provider and MCP server, a store, and processes of the command in it.

use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use linchpin_store::{
    CredentialGuard, CredentialKey, Directories, LockRequest, PlainHttp, Profile, Record, Secret, ServerUrl,
    Store, StoreKind, StorePolicy, Stores,
};
use linchpin_testkit::{Config, Kit, KitThread, Options};
use tempfile::TempDir;

use crate::{Campaign, VARIABLE};

/// In the environment of the command, and so of the browser that it starts: this program visits the page and ends.
pub(crate) const VISITOR: &str = "LINCHPIN_FAULTS_VISITOR";

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a process is run that meets a keyring which is too busy to answer.
const AS_OFTEN: usize = 5;

/// How often a process is looked at.
const PAUSE: Duration = Duration::from_micros(300);

const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Secrets,
    Keyring,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Secrets => "secrets",
            Self::Keyring => "keyring",
        }
    }

    /// Whether a save goes through the steps of a file.
    pub(crate) fn is_a_file(self) -> bool {
        self != Self::Keyring
    }
}

/// See the module.
pub(crate) struct Machine {
    pub(crate) kit: KitThread,
    pub(crate) kind: Kind,
    linchpin: PathBuf,
    bus: String,
    silences: Arc<AtomicUsize>,
    home: TempDir,
    key: CredentialKey,
    stores: Stores,
    runtime: tokio::runtime::Runtime,
}

/// A planted sign-in.
pub(crate) struct Planted {
    /// Its refresh token.
    pub(crate) refresh_token: String,
    /// The provider's number for it.
    pub(crate) grant: usize,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Whether the keyring was too busy for it: the command tells so after 3 s, has sent nothing that it could not keep,
    /// and may be run again.
    pub(crate) fn met_silence(&self) -> bool {
        self.code() == Some(5) && self.stderr.contains("did not answer within")
    }
}

impl Machine {
    pub(crate) fn new(campaign: &Campaign, kind: Kind, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = Config::default();
        configure(&mut config);
        let kit = Kit::spawn(Options { config, ..Options::default() }).context("no provider")?;
        let home = tempfile::tempdir().context("no home")?;
        let bus = match &campaign.keyring {
            Some(session) if kind == Kind::Keyring => session.address().to_owned(),
            // Never the keyring of whoever runs this.
            _ => format!("unix:path={}/no-bus", home.path().display()),
        };
        let url = ServerUrl::parse(&kit.mcp_url(), PlainHttp::LoopbackOnly).context("the provider's URL")?;
        let key = CredentialKey::new(Profile::default(), url);
        let directories = Directories::under(home.path().join("linchpin")).context("the home")?;
        let stores = Stores::new(&directories, StorePolicy::File, Some(Secret::new(IDENTITY)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let linchpin = campaign.linchpin.clone();
        let silences = Arc::clone(&campaign.silences);
        Ok(Self { kit, kind, linchpin, bus, silences, home, key, stores, runtime })
    }

    /// Plants a sign-in whose access token has ended, in place of whatever was there, and counts from zero.
    pub(crate) fn plant(&self) -> Result<Planted> {
        // Whatever the run before left, however it ended.
        self.kit.clear_faults();
        let signed_in = self.kit.sign_in()?;
        let record = signed_in.record(1_000, Duration::from_secs(1));
        let record = Record::from_json(&record).context("the planted record")?;
        let store = self.store();
        let save = async {
            let guard = store.lock(&self.key, LockRequest { purpose: "plant", within: PATIENCE }).await?;
            anyhow::Ok(store.save(&guard, &record).await?)
        };
        self.runtime.block_on(save)?;
        if self.kind == Kind::Keyring {
            // Its bus is that of the command, not of this process.
            let moved = self.heard(|| {
                let mut command = self.command(&["store", "move", &self.url(), "--to", "keyring"]);
                command.env("LINCHPIN_STORE", "file");
                Running::start(command)?.end()
            })?;
            if moved.code() != Some(0) {
                bail!("the sign-in cannot be planted in the keyring: {}", moved.stderr);
            }
        }
        self.kit.reset_counts();
        let grant = self.kit.grant_of(&signed_in.refresh_token).context("it was signed in")?;
        Ok(Planted { refresh_token: signed_in.refresh_token, grant })
    }

    pub(crate) fn url(&self) -> String {
        self.kit.mcp_url()
    }

    /// A file of this machine that nobody else uses.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The command, in an environment of this machine alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.linchpin);
        let this = std::env::current_exe().unwrap_or_default();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("LINCHPIN_HOME", self.home.path().join("linchpin"))
            .env("LINCHPIN_STORE", self.kind.name())
            .env("LINCHPIN_IDENTITY", IDENTITY)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("BROWSER", this)
            .env(VISITOR, "1");
        command
    }

    /// A running command that does what `at` says at a step of its transaction.
    pub(crate) fn start(&self, arguments: &[&str], at: &str) -> Result<Running> {
        let mut command = self.command(arguments);
        if !at.is_empty() {
            command.env(VARIABLE, at);
        }
        Running::start(command)
    }

    /// `linchpin token`, to its end.
    pub(crate) fn token(&self) -> Result<Ran> {
        self.heard(|| self.start(&["token", &self.url()], "")?.end())
    }

    /// What `run` comes to once the keyring answers in time; how often it did not is counted. A keyring that stays silent
    /// is for whoever looks at the answer.
    fn heard(&self, run: impl Fn() -> Result<Ran>) -> Result<Ran> {
        for _ in 1..AS_OFTEN {
            let ran = run()?;
            if !self.was_silent(&ran) {
                return Ok(ran);
            }
        }
        run()
    }

    /// Whether the keyring was too busy for this process, which is then counted.
    pub(crate) fn was_silent(&self, ran: &Ran) -> bool {
        let silent = self.kind == Kind::Keyring && ran.met_silence();
        if silent {
            self.silences.fetch_add(1, Ordering::Relaxed);
        }
        silent
    }

    /// The credential lock as another process takes it that waits this long at most, and how long that took.
    pub(crate) fn lock(&self, within: Duration) -> Result<(CredentialGuard, Duration)> {
        let store = self.store();
        let begun = Instant::now();
        let request = LockRequest { purpose: "faults", within };
        let guard = self.runtime.block_on(store.lock(&self.key, request))?;
        Ok((guard, begun.elapsed()))
    }

    /// The record, where this process can read it: not in the keyring.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        Ok(self.runtime.block_on(self.store().load(&self.key))?)
    }

    /// The local store; for the keyring, the file that a sign-in is planted through.
    fn store(&self) -> Arc<dyn Store> {
        let kind = if self.kind == Kind::Secrets { StoreKind::Secrets } else { StoreKind::File };
        self.stores.store(kind).expect("every installation has it")
    }

    /// The process that took the credential lock last.
    pub(crate) fn lock_holder(&self) -> Option<u32> {
        let name = format!("linchpin/locks/{}.lock", self.key.digest());
        let text = std::fs::read(self.scratch(&name)).ok()?;
        let holder: serde_json::Value = serde_json::from_slice(&text).ok()?;
        u32::try_from(holder["pid"].as_u64()?).ok()
    }

    /// Requests to the token endpoint since the last planting.
    pub(crate) fn token_requests(&self) -> u64 {
        self.kit.counts().token_requests.values().sum()
    }
}

/// A process of the command. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the command does not start")?;
        Ok(Self { child, ended: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("a pid")?, signal)?)
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its standard error, to be read while it runs.
    pub(crate) fn stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Result<Ran> {
        let mut status = None;
        wait_for("the end of a process", || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        self.ended = true;
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout)?;
        }
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr)?;
        }
        Ok(Ran { status: status.context("it has ended")?, stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until something is so, which it is within [`PATIENCE`] unless the code is broken.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// A place at which a process waits: it makes one file when it is there, and goes on when there is another.
pub(crate) struct Barrier {
    file: PathBuf,
}

impl Barrier {
    pub(crate) fn new(machine: &Machine, name: &str) -> Self {
        let barrier = Self { file: machine.scratch(name) };
        for end in ["reached", "go"] {
            let _ = std::fs::remove_file(barrier.named(end));
        }
        barrier
    }

    /// What `LINCHPIN_AT` says for it.
    pub(crate) fn act(&self) -> String {
        format!("wait:{}", self.file.display())
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.named("reached").exists()
    }

    pub(crate) fn open(&self) -> Result<()> {
        std::fs::File::create(self.named("go")).context("no barrier")?;
        Ok(())
    }

    fn named(&self, end: &str) -> PathBuf {
        Path::new(&self.file).with_extension(end)
    }
}
