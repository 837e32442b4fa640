//! `cargo xtask faults`: builds the command with kill points, and the campaign that uses them, and runs it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, check, command, root};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What the campaign is told; `--help` says what it knows
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let options: Vec<_> = options.options.iter().map(String::as_str).collect();
    campaign(&options)
}

/// Runs the campaign with these options.
pub(crate) fn campaign(options: &[&str]) -> Result<()> {
    let built = build()?;
    let report = root().join("bench/FAULTS.md");
    let [program, linchpin] = ["linchpin-faults", "linchpin"].map(|name| built.join(name));
    let mut campaign = command(&program.to_string_lossy(), options);
    campaign.arg("--linchpin").arg(linchpin).arg("--report").arg(report);
    check(campaign)
}

/// Builds both; where they lie. Copied, and the command built again without kill points, so that none that obeys
/// `LINCHPIN_AT` is left where others look for the command.
fn build() -> Result<PathBuf> {
    let both = ["build", "--locked", "-p", "linchpin-cli", "-p", "linchpin-faults"];
    check(cargo(&[&both[..], &["--features", "linchpin-cli/kill-points"]].concat()))?;
    let (built, kept) = (root().join("target/debug"), root().join("target/faults"));
    std::fs::create_dir_all(&kept)?;
    for name in ["linchpin", "linchpin-faults"] {
        let (from, to) = (built.join(name), kept.join(name));
        // Not over one that a campaign is running.
        let _ = std::fs::remove_file(&to);
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    check(cargo(&["build", "--locked", "-p", "linchpin-cli"]))?;
    if !obeys(&kept.join("linchpin"))? || obeys(&built.join("linchpin"))? {
        bail!("kill points are where they must not be, or not where they must: see `LINCHPIN_AT`");
    }
    Ok(kept)
}

/// Whether this command has kill points: nothing of them is compiled into one that was built without the feature.
fn obeys(linchpin: &Path) -> Result<bool> {
    const VARIABLE: &[u8] = b"LINCHPIN_AT";
    let bytes = std::fs::read(linchpin).with_context(|| format!("cannot read {}", linchpin.display()))?;
    Ok(bytes.windows(VARIABLE.len()).any(|found| found == VARIABLE))
}
