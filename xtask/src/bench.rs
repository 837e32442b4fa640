//! `cargo xtask bench`: the bridge beside a forwarder without logic and the peers that are installed, in one run.

use anyhow::{Result, bail};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> Result<()> {
    bail!("not written yet")
}
