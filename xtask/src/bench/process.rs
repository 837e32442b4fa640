//! One contestant at work, driven by blocking reads and writes, and what the system says about it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest that a start, or a round of calls, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a contestant may take to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(3);
/// A clock tick of /proc/PID/stat: always a hundredth of a second to programs.
const TICK: Duration = Duration::from_millis(10);

/// A running contestant.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: String,
    last_id: u64,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    result: Option<IgnoredAny>,
}

impl Process {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdin = child.stdin.take().context("it has an input")?;
        let stdout = BufReader::new(child.stdout.take().context("it has an output")?);
        Ok(Self { child, stdin, stdout, line: String::new(), last_id: 0 })
    }

    /// Does `work`; a contestant that hangs in it is killed, which ends the read that waits for it.
    pub(super) fn within_patience<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let pid = self.child.id().to_string();
        let (done, hanging) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if hanging.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    let _ = Command::new("kill").args(["-KILL", &pid]).status();
                }
            });
            let outcome = work(self);
            drop(done);
            outcome
        })
    }

    /// The handshake; how long until `initialize` was answered.
    pub(super) fn initialize(&mut self, since: Instant) -> Result<Duration> {
        let id = self.next_id();
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"bench","version":"0"}}}}}}"#
        ))?;
        let (_, taken) = self.answer(since)?;
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)?;
        Ok(taken)
    }

    /// One call; how long until its answer was there.
    pub(super) fn call(&mut self) -> Result<Duration> {
        let request = self.next_call();
        let since = Instant::now();
        self.send(&request)?;
        let (answered, taken) = self.answer(since)?;
        if answered != self.last_id {
            bail!("the answer to {answered} came where {} was asked", self.last_id);
        }
        Ok(taken)
    }

    /// This many calls with `in_flight` of them under way all the time; how long they took together.
    pub(super) fn calls(&mut self, count: usize, in_flight: usize) -> Result<Duration> {
        let since = Instant::now();
        for _ in 0..in_flight.min(count) {
            let request = self.next_call();
            self.send(&request)?;
        }
        for answered in 1..=count {
            self.answer(since)?;
            if answered + in_flight <= count {
                let request = self.next_call();
                self.send(&request)?;
            }
        }
        Ok(since.elapsed())
    }

    /// Closes its input and waits for its end; kills it when it takes too long.
    pub(super) fn end(self) {
        let Self { mut child, stdin, stdout, .. } = self;
        drop(stdin);
        let since = Instant::now();
        while since.elapsed() < FAREWELL {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(stdout);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// A field of /proc/PID/status in KiB: `VmRSS`, `VmHWM`.
    pub(super) fn memory_kib(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line =
            status.lines().find(|line| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':')))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The processor time that it has used, all threads together.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The fields are counted from behind the name, which may hold blanks.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u32>().ok();
        Some(TICK * (ticks(11)? + ticks(12)?))
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn next_call(&mut self) -> String {
        let id = self.next_id();
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"a call of usual size, {id}"}}}}}}"#
        )
    }

    fn send(&mut self, message: &str) -> Result<()> {
        let mut line = String::with_capacity(message.len() + 1);
        line.push_str(message);
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).context("it takes no more input")
    }

    /// The next answer: to which request, and how long after `since` it was there. Whatever else it says is passed
    /// over; an answer that is an error ends the measurement.
    fn answer(&mut self, since: Instant) -> Result<(u64, Duration)> {
        loop {
            self.line.clear();
            if self.stdout.read_line(&mut self.line)? == 0 {
                bail!("it ended, or took more than {} s", PATIENCE.as_secs());
            }
            let taken = since.elapsed();
            let answer: Answer =
                serde_json::from_str(&self.line).context("it says something that is no message")?;
            match answer {
                Answer { id: Some(id), result: Some(_) } => return Ok((id, taken)),
                Answer { id: Some(_), result: None } => {
                    bail!("it answers with an error: {}", self.line.trim_end())
                }
                Answer { id: None, .. } => {}
            }
        }
    }
}
