//! `cargo xtask interop`: the built command against parts that nobody here wrote.

use anyhow::{Result, bail};

use crate::run::has;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only scenarios whose name contains this
    #[arg(value_name = "NAME")]
    only: Option<String>,
}

/// What is missing on this machine, if anything.
pub(crate) fn missing() -> Option<&'static str> {
    (!has("npm", "--version")).then_some("npm")
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let _ = &options.only;
    bail!("not written yet")
}
