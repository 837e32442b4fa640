//! `cargo xtask bench`: the bridge beside a forwarder without logic and the peers that are installed, in one run.
//!
//! Every figure of one run was taken against the same server process, in rounds that take turns (A B C, B C A, ...),
//! so that whatever else the machine does falls on all of them; what counts are medians over rounds and ratios
//! within a round. The driver blocks in plain reads and writes on one thread: a runtime of its own would add its
//! hand-overs to every call and flatter whoever is slower than the floor.

mod contestant;
mod kit;
mod measure;
mod micro;
mod peers;
mod process;
mod report;
mod stores;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::kit::{Grounds, Kit};
use self::measure::Plan;
pub(crate) use self::report::{circumstances, load};
use crate::run::{cargo, check, root, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the peers are installed; those that are not there are looked for on PATH
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    peers: PathBuf,
    /// Install the peers there first (npm, pip and cargo)
    #[arg(long)]
    install_peers: bool,
    /// A short run, for the tool's own sake; its figures go to standard output only
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let peers = root().join(&options.peers);
    if options.install_peers {
        peers::install(&peers)?;
    }
    check(cargo(&["build", "--release", "--locked", "-p", "linchpin-cli", "-p", "linchpin-testkit"]))?;
    let built = root().join("target/release");
    let grounds = Grounds::clear(&root().join("target/bench"))?;
    let kit = Kit::start(&built.join("linchpin-testkit"))?;
    kit.login(&built.join("linchpin"), &grounds)?;
    let contestants = contestant::all(&built, &peers, &kit, &grounds)?;
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let load = load();
    let measured = measure::all(contestants, &plan);
    let stores = if options.quick { Vec::new() } else { stores::measure()? };
    let operations = if options.quick { Vec::new() } else { micro::measure()? };
    let text = report::text(&measured, &stores, &operations, &plan, &load);
    say(&text);
    if !options.quick {
        write(&root().join("bench/RESULTS.md"), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().context("a file in a directory")?;
    std::fs::create_dir_all(directory)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
