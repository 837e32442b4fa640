//! `cargo xtask contrast` and `cargo xtask storms`: long runs of the command whose figures are kept in files.
//!
//! Each is a test of `linchpin-cli` that is ignored in ordinary runs, and gets the name of a file by its environment.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::{circumstances, load};
use crate::run::{cargo, check, root, say};

/// One run.
pub(crate) struct Figures {
    title: &'static str,
    task: &'static str,
    about: &'static str,
    test: &'static str,
    variable: &'static str,
    file: &'static str,
    /// Whether times are measured; counts are the same in any build.
    times: bool,
}

/// The faults of a refresh, beside rmcp's own client with a correct guard.
pub(crate) const CONTRAST: Figures = Figures {
    title: "What a fault of a refresh costs",
    task: "contrast",
    about: "`linchpin bridge` / rmcp 3.11's own client (`AuthClient` over Streamable HTTP), in one run, against the \
            same strict provider: it rotates at every exchange and ends the sign-in when a spent token comes back \
            outside its grace. rmcp ships no refresh guard; it is given the best that its hooks allow \
            (`crates/linchpin-testkit/src/contrast`): the operating system's lock on a file, held from before the \
            read until after the save; saves that are whole and synced; a rejected token forgotten only where it is \
            still the one that is kept.",
    test: "contrast::f05_and_others_beside_rmcp_with_a_correct_guard",
    variable: "LINCHPIN_CONTRAST",
    file: "bench/CONTRAST.md",
    times: false,
};

/// Storms of every size on every store.
pub(crate) const STORMS: Figures = Figures {
    title: "Storms: one expiry, many processes",
    task: "storms",
    about: "The processes run and have a session when their access token ends; then all call at once, so many calls \
            each, one after the other. The provider takes 300 ms for the exchange. A waiter is the first call of a \
            process, which has to wait for the new token.",
    test: "storm_sizes::f01_every_storm_on_every_store",
    variable: "LINCHPIN_STORMS",
    file: "bench/STORMS.md",
    times: true,
};

pub(crate) fn run(figures: &Figures) -> Result<()> {
    let &Figures { title, task, about, test, variable, file, times } = figures;
    let table = root().join("target").join(format!("{task}.md"));
    let load = load();
    let mut tests = cargo(&["test", "--locked", "-p", "linchpin-cli", "--test", "cli"]);
    if times {
        tests.arg("--release");
    }
    tests.args(["--", "--ignored", "--exact", test, "--nocapture"]).env(variable, &table);
    check(tests)?;
    let figures = std::fs::read_to_string(&table).with_context(|| format!("{test} wrote no figures"))?;
    let text = format!(
        "# {title}\n\nWritten by `cargo xtask {task}`; every figure is from one run of it.\n\n{}\n{about}\n\n{figures}",
        circumstances(&load)
    );
    write(&root().join(file), &text)?;
    say(&format!("written to {file}"));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
