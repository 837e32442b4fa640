//! The programs that users would pick instead: which versions, where they are, how they are installed.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::run::{cargo, check, command};

/// A peer, found or not.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// The program and its first arguments.
    pub(super) program: Option<(PathBuf, Vec<PathBuf>)>,
}

const MCP_REMOTE: &str = "mcp-remote@0.15.1";
const MCP_STDIO: &str = "mcp-stdio==0.45.2";
const HYPER_VERSION: &str = "0.5.0";

/// Every peer; one that is not in `directory` is looked for on PATH.
pub(super) fn all(directory: &Path) -> [Peer; 3] {
    let script = directory.join("npm/node_modules/mcp-remote/dist/proxy.js");
    // Run by node itself: a wrapper's process would be measured in its place.
    let mcp_remote = match (script.is_file(), on_path("node")) {
        (true, Some(node)) => Some((node, vec![script])),
        _ => on_path("mcp-remote").map(|program| (program, Vec::new())),
    };
    let installed = |path: &str, name: &str| {
        let program = directory.join(path);
        let program = if program.is_file() { Some(program) } else { on_path(name) };
        program.map(|program| (program, Vec::new()))
    };
    [
        Peer {
            name: "hyper-mcp-remote",
            program: installed("hyper/bin/hyper-mcp-remote", "hyper-mcp-remote"),
        },
        Peer { name: "mcp-stdio", program: installed("py/bin/mcp-stdio", "mcp-stdio") },
        Peer { name: "mcp-remote", program: mcp_remote },
    ]
}

/// Installs them into `directory`, each by the means of its own ecosystem.
pub(super) fn install(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = |name: &str| directory.join(name).display().to_string();
    check(command("npm", &["install", "--no-audit", "--no-fund", "--prefix", &path("npm"), MCP_REMOTE]))?;
    check(command("python3", &["-m", "venv", &path("py")]))?;
    check(command(&path("py/bin/pip"), &["install", "--quiet", MCP_STDIO]))?;
    let root = path("hyper");
    check(cargo(&["install", "hyper-mcp-remote", "--version", HYPER_VERSION, "--locked", "--root", &root]))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}
