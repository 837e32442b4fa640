//! Who takes part, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::kit::{Grounds, Kit};
use super::peers;

/// One way to get from stdio to the server.
pub(super) struct Contestant {
    /// What its row is called.
    pub(super) name: &'static str,
    /// How it gets in: with a sign-in, or with a header that it is given.
    pub(super) authorization: &'static str,
    /// What it says its version is; `None` when it is not installed.
    pub(super) version: Option<String>,
    launch: Box<dyn Fn() -> Command>,
}

impl Contestant {
    pub(super) fn command(&self) -> Command {
        (self.launch)()
    }

    /// The same contestant is meant.
    pub(super) fn is(&self, name: &str, authorization: &str) -> bool {
        self.name == name && self.authorization == authorization
    }
}

pub(super) const FLOOR: &str = "no logic (the floor)";
pub(super) const LINCHPIN: &str = "linchpin";
pub(super) const HYPER: &str = "hyper-mcp-remote";
pub(super) const SIGNED_IN: &str = "sign-in";
pub(super) const HEADER: &str = "header";

/// Everybody, in the order of the table.
///
/// The peers are given a header, which spares them discovery, token store and browser: the best case for them.
/// Linchpin is measured that way too, and with the sign-in that it is made for.
pub(super) fn all(built: &Path, peers: &Path, kit: &Kit, grounds: &Grounds) -> Result<Vec<Contestant>> {
    let url = kit.mcp_url.clone();
    let token = kit.access_token()?;
    let header = format!("Authorization: Bearer {token}");
    let own = |name, authorization, program: &str, arguments: &[&str]| {
        contestant(name, authorization, Some((built.join(program), Vec::new())), arguments, grounds)
    };
    let mut all = vec![
        own(FLOOR, HEADER, "linchpin-floor", &[&url, &token]),
        own(LINCHPIN, SIGNED_IN, "linchpin", &["bridge", &url]),
        own(LINCHPIN, HEADER, "linchpin", &["bridge", &url, "--header", &header]),
    ];
    for peer in peers::all(peers) {
        let more: &[&str] = match peer.name {
            HYPER => &["--no-auth"],
            "mcp-remote" => &["--transport", "http-only", "--silent"],
            _ => &[],
        };
        let arguments: Vec<_> = [&[url.as_str(), "--header", &header], more].concat();
        all.push(contestant(peer.name, HEADER, peer.program, &arguments, grounds));
    }
    Ok(all)
}

fn contestant(
    name: &'static str,
    authorization: &'static str,
    program: Option<(PathBuf, Vec<PathBuf>)>,
    arguments: &[&str],
    grounds: &Grounds,
) -> Contestant {
    let Some((program, first)) = program else {
        return Contestant { name, authorization, version: None, launch: Box::new(|| Command::new("false")) };
    };
    let version = if name == FLOOR { String::new() } else { version(grounds, &program, &first) };
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let grounds = grounds.clone();
    let launch = move || {
        let mut command = grounds.command(&program);
        command.args(&first).args(&arguments);
        command
    };
    Contestant { name, authorization, version: Some(version), launch: Box::new(launch) }
}

/// What `--version` prints, without the program's name.
fn version(grounds: &Grounds, program: &Path, first: &[PathBuf]) -> String {
    let output = grounds.command(program).args(first).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().last().unwrap_or("?").to_owned()
}
