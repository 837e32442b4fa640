//! Running other programs, and saying what is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Whether this is a CI run, where a missing tool is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// A line that stands out.
#[expect(clippy::print_stdout, reason = "a program for developers")]
pub(crate) fn say(text: &str) {
    println!("\n==> {text}");
}

/// A command in the root of the repository.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Cargo, the one that runs this, without what it said about the package of this program: ring's build script asks
/// for that, and would be run again after every change between this cargo and one that is run by hand.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments);
    for (name, _) in std::env::vars_os() {
        let about = name.to_string_lossy();
        if about.starts_with("CARGO_PKG_") || about.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds a package; where its executable of that name lies is for cargo to say.
pub(crate) fn build(package: &str, name: &str) -> Result<PathBuf> {
    let arguments = ["build", "--package", package, "--locked", "--message-format=json-render-diagnostics"];
    say(&format!("cargo {}", arguments.join(" ")));
    let output = cargo(&arguments).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{package} does not build ({})", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    executable(&messages, name).context("cargo did not say where the executable is")
}

/// The executable of a binary target among cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == name);
    built.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Runs it to its end; a failure is an error that names it.
pub(crate) fn check(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    say(&shown);
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub(crate) fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// A command as it would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages_of_cargo() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"linchpin"},"executable":null}
not JSON
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"linchpin"},"executable":"/t/debug/linchpin"}"#;
        assert_eq!(executable(messages, "linchpin"), Some("/t/debug/linchpin".into()));
        assert_eq!(executable("", "linchpin"), None);
    }
}
