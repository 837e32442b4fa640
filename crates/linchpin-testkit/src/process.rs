//! Real processes that speak JSON-RPC lines on stdio, driven and watched.

use std::collections::HashMap;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// A running stdio server, as a client sees it. Dropping it kills the process.
#[derive(Debug)]
pub struct StdioServer {
    child: Child,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    next_id: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// Every line that was no answer to a request: notifications, requests of the server, unknown ids.
    others: Mutex<Vec<String>>,
    stdout: Mutex<Vec<u8>>,
    stderr: Mutex<Vec<u8>>,
}

impl StdioServer {
    /// Starts `command`, whose stdio is taken over.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let shared = Arc::new(Shared::default());
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let reading = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut lines = BufReader::with_capacity(64 << 10, stdout);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
                reading.line(&line);
                line.clear();
            }
            lock(&reading.waiting).clear();
        });
        let reading = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                lock(&reading.stderr).extend_from_slice(&chunk[..count]);
            }
        });
        Ok(Self { child, stdin: tokio::sync::Mutex::new(stdin), shared, next_id: 1.into() })
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends one line as it is.
    pub async fn send_line(&self, line: &str) -> io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        let stdin = stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        stdin.write_all(&bytes).await?;
        stdin.flush().await
    }

    /// Sends a request and waits for its answer: the whole message, result or error.
    pub async fn request(&self, method: &str, params: Value, within: Duration) -> io::Result<Value> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.waiting).insert(id, sender);
        self.send_line(
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string(),
        )
        .await?;
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the process ended")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {method}"))),
        }
    }

    /// The handshake of 2025-11-25: `initialize`, then `notifications/initialized`.
    pub async fn initialize(&self, within: Duration) -> io::Result<Value> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "testkit", "version": "0" },
        });
        let answer = self.request("initialize", params, within).await?;
        if answer.get("result").is_some() {
            self.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await?;
        }
        Ok(answer)
    }

    /// Calls a tool: the text of its answer, or the error message.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Value,
        within: Duration,
    ) -> io::Result<Result<String, String>> {
        let answer =
            self.request("tools/call", json!({ "name": tool, "arguments": arguments }), within).await?;
        if let Some(error) = answer.get("error") {
            return Ok(Err(error["message"].as_str().unwrap_or_default().to_owned()));
        }
        Ok(Ok(answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()))
    }

    /// Lines that were no answer to a request of ours, so far.
    pub fn others(&self) -> Vec<String> {
        lock(&self.shared.others).clone()
    }

    /// Everything it wrote so far, both outputs: for the secret scan.
    pub fn output(&self) -> String {
        let mut output = lock(&self.shared.stdout).clone();
        output.extend_from_slice(&lock(&self.shared.stderr));
        String::from_utf8_lossy(&output).into_owned()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&lock(&self.shared.stderr)).into_owned()
    }

    /// Its resident memory in KiB (Linux).
    pub fn rss_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Kills it without warning (SIGKILL) and waits for its end.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Closes its standard input and waits for its end: how, and after how long.
    pub async fn close(&mut self, within: Duration) -> io::Result<(ExitStatus, Duration)> {
        let begun = now();
        drop(self.stdin.lock().await.take());
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok((status?, begun.elapsed())),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end")),
        }
    }
}

impl Shared {
    fn line(&self, line: &[u8]) {
        lock(&self.stdout).extend_from_slice(line);
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let is_answer = message.get("result").is_some() || message.get("error").is_some();
        let waiting =
            message["id"].as_u64().filter(|_| is_answer).and_then(|id| lock(&self.waiting).remove(&id));
        match waiting {
            Some(waiting) => drop(waiting.send(message)),
            None => lock(&self.others).push(String::from_utf8_lossy(line).trim_end().to_owned()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Instant {
    Instant::now()
}
