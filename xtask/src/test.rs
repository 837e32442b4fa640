//! `cargo xtask test`: everything that has to pass. What only Node's checks need is skipped, and said so, on a machine
//! without it; with `CI=true` a missing tool is a failure.

use anyhow::{Result, bail};

use crate::run::{cargo, check, is_ci, is_there, say};
use crate::{conformance, faults, interop, node};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave interop and conformance out
    #[arg(long)]
    no_interop: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    check(cargo(&["fmt", "--all", "--check"]))?;
    check(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    check(docs)?;
    missing_programs()?;
    // One binary after the other, so that storms of processes have the machine to themselves.
    check(cargo(&["test", "--workspace", "--locked"]))?;
    // Apart from the others, so that no command is built with points at which it kills itself.
    let killed =
        ["test", "-p", "linchpin-store", "--locked", "--features", "kill-points", "--test", "processes"];
    check(cargo(&[&killed[..], &["--", "f03_killed_at_any_point", "f13_a_directory_swapped"]].concat()))?;
    // Short forms: what counts is kept in bench/FAULTS.md by the full ones.
    faults::campaign(&[])?;
    faults::campaign(&["--soak", "60s"])?;
    if options.no_interop {
        if is_ci() {
            bail!("interop and conformance cannot be left out in CI");
        }
        say("interop and conformance: left out (--no-interop)");
        return Ok(());
    }
    match node::missing().or_else(interop::missing) {
        Some(what) if is_ci() => bail!("interop and conformance need {what}"),
        Some(what) => say(&format!("interop and conformance: SKIPPED, they need {what}")),
        None => {
            interop::run(&interop::Options::default())?;
            conformance::run(&conformance::Options::default())?;
        }
    }
    Ok(())
}

/// Programs that some tests run beside the command; without them those tests say that they were skipped.
fn missing_programs() -> Result<()> {
    let missing: Vec<_> = ["gnome-keyring-daemon", "dbus-daemon", "dbus-send"]
        .into_iter()
        .filter(|program| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    if is_ci() {
        bail!("the keyring tests need {missing} (Debian: gnome-keyring, dbus)");
    }
    say(&format!("keyring tests: SKIPPED, they need {missing} (Debian: gnome-keyring, dbus)"));
    Ok(())
}
