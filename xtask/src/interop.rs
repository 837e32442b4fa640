//! `cargo xtask interop`: the built command against parts that nobody here wrote (`interop/README.md`).

use std::process::Command;

use anyhow::Result;

use crate::node::{install, node};
use crate::run::{build, check, root};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only checks whose name contains this
    #[arg(value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let linchpin = build("linchpin-cli", "linchpin")?;
    let directory = root().join("interop");
    install(&directory)?;
    let mut checks = Command::new(node(&directory)?);
    checks.arg("run.mjs").arg("--linchpin").arg(linchpin).args(&options.only).current_dir(directory);
    check(checks)
}
