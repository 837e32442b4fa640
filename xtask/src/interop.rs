//! `cargo xtask interop`: the built command against parts that nobody here wrote (`interop/README.md`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::node::{install, node};
use crate::run::{build, check, root};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only checks whose name contains this
    #[arg(value_name = "NAME")]
    only: Option<String>,
}

/// What is missing on this machine beside Node, if anything: a Python that can make an environment with pip in it.
pub(crate) fn missing() -> Option<&'static str> {
    let modules = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    let python = Command::new("python3").args(["-c", modules]).stderr(Stdio::null()).status();
    let found = python.is_ok_and(|status| status.success());
    (!found).then_some("Python 3.10 or newer with venv (Debian: python3-venv)")
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let linchpin = build("linchpin-cli", "linchpin")?;
    let driver = build("linchpin-interop", "linchpin-driver")?;
    let directory = root().join("interop");
    install(&directory)?;
    let python = environment(&directory)?;
    let mut checks = Command::new(node(&directory)?);
    checks.arg("run.mjs").arg("--linchpin").arg(linchpin).arg("--driver").arg(driver);
    checks.arg("--python").arg(python).args(&options.only).current_dir(directory);
    check(checks)
}

/// An environment of Python with the official SDK, its packages pinned, made anew when the pins change.
fn environment(directory: &Path) -> Result<PathBuf> {
    let (venv, pins) = (directory.join(".venv"), directory.join("python/requirements.txt"));
    let (python, installed) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let wanted = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    check(create)?;
    let mut pip = Command::new(&python);
    let quietly = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"];
    pip.args(quietly).arg(&pins);
    check(pip)?;
    fs::copy(&pins, &installed).context("cannot note what was installed")?;
    Ok(python)
}
