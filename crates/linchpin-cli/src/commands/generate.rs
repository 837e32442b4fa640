//! `linchpin completions` and `linchpin man`: made from the command line's own definition.

use clap::CommandFactory as _;

use crate::args::{Cli, Completions, Man};
use crate::failure::Failure;
use crate::output;

/// The command line without what is hidden: completion scripts would offer it.
fn command() -> clap::Command {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect::<Vec<_>>();
    let mut command = clap::Command::new("linchpin")
        .subcommands(shown)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true);
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    if let Some(more) = whole.get_after_help() {
        command = command.after_help(more.clone());
    }
    command
}

pub(super) fn completions(args: &Completions) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "linchpin", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}

pub(super) fn man(args: &Man) -> Result<u8, Failure> {
    clap_mangen::generate_to(command(), &args.directory).map_err(|error| {
        Failure::configuration(format!("cannot write to {}: {error}", args.directory.display()))
    })?;
    output::line(format!("the manual pages are in {}", args.directory.display()))?;
    Ok(0)
}
