//! A command that runs while the test acts, and requests written by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use url::Url;

use crate::world::{PATIENCE, Ran, World, until};

impl World {
    /// The next page that a browser is opened for, not visited.
    pub(crate) async fn next_page(&self, seen: usize) -> Url {
        until("a browser is opened", || self.opened().len() > seen).await;
        self.opened()[seen].parse().expect("a browser gets a URL")
    }

    /// A command that runs while the test acts, with its standard input open.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running<'_> {
        self.start_command(self.command(arguments))
    }

    /// The same for a command that was changed.
    pub(crate) fn start_command(&self, mut command: Command) -> Running<'_> {
        command.env_remove("LINCHPIN_LOG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        self.note_process(child.id());
        let stdin = child.stdin.take();
        let stdout = Collected::from(child.stdout.take().expect("piped"));
        let stderr = Collected::from(child.stderr.take().expect("piped"));
        Running { world: self, child, stdin, stdout, stderr }
    }

    /// Every file below `LINCHPIN_HOME` but the locks, the drift notes and the history, for "nothing changed".
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.linchpin_home()).into_iter().flatten();
        let paths = entries.map(|entry| entry.expect("listed").path());
        let files = paths.filter(|path| {
            path.is_file() && !path.ends_with("store-resolutions.json") && !path.ends_with("events.jsonl")
        });
        files.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
    }
}

/// A command that runs.
pub(crate) struct Running<'a> {
    world: &'a World,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
}

impl Running<'_> {
    /// Types a line.
    pub(crate) async fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("still open");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("written");
    }

    /// Ctrl-C.
    pub(crate) async fn interrupt(&self) {
        self.signal("INT").await;
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs");
        let killed = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await;
        assert!(killed.expect("there is a shell").success());
    }

    /// The first line on stderr that contains `part`.
    pub(crate) async fn says(&self, part: &str) -> String {
        self.stderr.line_with(part).await
    }

    /// The first line on stdout that contains `part`.
    pub(crate) async fn answers(&self, part: &str) -> String {
        self.stdout.line_with(part).await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_some()
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ran {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends");
        let code = status.expect("it can be waited for").code().unwrap_or(-1);
        drop(self.stdin.take());
        let ran = Ran { code, stdout: self.stdout.all().await, stderr: self.stderr.all().await };
        self.world.note(&ran.stdout);
        self.world.note(&ran.stderr);
        ran
    }
}

/// What comes out of a pipe, as it comes.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&text);
        let reading = tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
                collected.lock().expect("no panic").extend_from_slice(&chunk[..count]);
            }
        });
        Self { text, reading }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no panic")).into_owned()
    }

    async fn line_with(&self, part: &str) -> String {
        let find = || {
            let so_far = self.so_far();
            let mut lines = so_far.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.find(|line| line.contains(part)).map(|line| line.trim().to_owned())
        };
        until(&format!("a line with {part:?}"), || find().is_some()).await;
        find().expect("found just now")
    }

    async fn all(self) -> String {
        let Self { text, reading } = self;
        reading.await.expect("read");
        String::from_utf8_lossy(&text.lock().expect("no panic")).into_owned()
    }
}

/// An answer to a request written by hand.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// One GET, nothing followed, with the `Host` of the URL unless another is given.
pub(crate) async fn get(url: &str, host: Option<&str>) -> std::io::Result<Answer> {
    let url: Url = url.parse().expect("a URL");
    let address = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(80));
    let mut stream = tokio::net::TcpStream::connect(&address).await?;
    let target = url.as_str().split_once(&address).map_or("/", |(_, target)| target);
    let host = host.unwrap_or(&address);
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    // A server may refuse a request that is too long before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends");
    if answer.is_empty() {
        read?;
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A parameter of a URL.
pub(crate) fn parameter(url: &Url, name: &str) -> String {
    let value = url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    value.unwrap_or_else(|| panic!("{url} has no {name}"))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bound");
    listener.local_addr().expect("bound").port()
}
