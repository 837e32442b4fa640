//! What everybody is measured against: the kit as a process of its own, and one sign-in.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// Directories that a contestant may fill, emptied before every run: nobody's own settings or sign-ins are used.
#[derive(Clone)]
pub(super) struct Grounds(PathBuf);

impl Grounds {
    pub(super) fn clear(directory: &Path) -> Result<Self> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)?;
        Ok(Self(directory.to_owned()))
    }

    /// A command that sees these directories in place of the user's.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (variable, directory) in [
            ("LINCHPIN_HOME", "linchpin"),
            ("MCP_REMOTE_CONFIG_DIR", "mcp-remote"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(variable, self.0.join(directory));
        }
        command.env("LINCHPIN_STORE", "file").env_remove("LINCHPIN_LOG");
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command
    }
}

/// The running kit. It ends when its standard input closes, so also when this process dies.
pub(super) struct Kit {
    pub(super) mcp_url: String,
    admin_url: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Kit {
    pub(super) fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the test server")?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("it has an output")?).read_line(&mut line)?;
        let whereabouts: Value =
            serde_json::from_str(&line).context("the test server does not say where it is")?;
        let url = |name: &str| {
            whereabouts[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the test server names no {name}"))
        };
        Ok(Self { mcp_url: url("mcp_url")?, admin_url: url("admin_url")?, child, stdin })
    }

    /// An access token for contestants that are given a header. It lives for an hour.
    pub(super) fn access_token(&self) -> Result<String> {
        let answer = request("POST", &format!("{}/sign-in", self.admin_url))?;
        let signed_in: Value = serde_json::from_str(&answer.body)?;
        signed_in["access_token"].as_str().map(str::to_owned).context("the test server gives no token")
    }

    /// Signs in as a person would, with this program as the browser: it opens the page, and pastes where it ended.
    pub(super) fn login(&self, linchpin: &Path, grounds: &Grounds) -> Result<()> {
        let mut child = grounds
            .command(linchpin)
            .args(["login", "--no-browser", &self.mcp_url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start linchpin")?;
        let mut said = BufReader::new(child.stderr.take().context("it has an output")?);
        let mut text = String::new();
        let page = loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 {
                bail!("linchpin login shows no page: {text}");
            }
            if line.contains("response_type=") {
                break line.trim().to_owned();
            }
            text.push_str(&line);
        };
        let callback =
            request("GET", &page)?.location.context("the test server asks for more than a visit")?;
        let mut stdin = child.stdin.take().context("it has an input")?;
        writeln!(stdin, "{callback}")?;
        drop(stdin);
        said.read_to_string(&mut text)?;
        if !child.wait()?.success() {
            bail!("linchpin login failed: {text}");
        }
        Ok(())
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

struct Answer {
    location: Option<String>,
    body: String,
}

/// One request over a connection of its own, without a body: all that the kit's controls need.
fn request(method: &str, url: &str) -> Result<Answer> {
    let (authority, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("not an http URL")?;
    let mut stream = TcpStream::connect(authority)?;
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no answer from the test server"))?;
    let location = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("location"))
        .map(|(_, value)| value.trim().to_owned());
    Ok(Answer { location, body: body.to_owned() })
}
