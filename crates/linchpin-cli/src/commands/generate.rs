//! `linchpin completions` and `linchpin man`: made from the command line's own definition.

use clap::CommandFactory as _;

use crate::args::{Cli, Completions, Man};
use crate::failure::Failure;
use crate::output;

pub(super) fn completions(args: &Completions) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "linchpin", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    0
}

pub(super) fn man(args: &Man) -> Result<u8, Failure> {
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(|error| {
        Failure::configuration(format!("cannot write to {}: {error}", args.directory.display()))
    })?;
    output::line(format!("the manual pages are in {}", args.directory.display()));
    Ok(0)
}
