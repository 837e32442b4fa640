//! What clap answers by itself: help, the version, and wrong usage.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::ErrorKind;

use crate::failure::Failure;
use crate::output;

/// Prints it and says the exit code: help and version go to stdout, mistakes to stderr with the usage, and with
/// `--json` as an object to stdout.
pub(crate) fn tell(error: &clap::Error) -> u8 {
    let text = clip_arguments(&error.render().ansi().to_string());
    if !error.use_stderr() {
        return match output::line(text.trim_end()) {
            Ok(()) => 0,
            Err(failure) => {
                output::failure(&failure, false);
                failure.disposition.exit_code()
            }
        };
    }
    let failure = Failure::usage(match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a command is missing; `linchpin --help` shows them".to_owned()
        }
        _ => in_one_line(&clip_arguments(&error.render().to_string())),
    });
    if arguments().take_while(|argument| argument != "--").any(|argument| argument == "--json") {
        output::failure_object(&failure);
    }
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    failure.disposition.exit_code()
}

/// The text of clap, which repeats arguments whole, with long ones clipped.
fn clip_arguments(text: &str) -> String {
    arguments().fold(text.to_owned(), |text, argument| {
        let argument = argument.to_string_lossy();
        // Of `--option=value` it repeats the value alone.
        let value = argument.split_once('=').map_or(&*argument, |(_, value)| value);
        let clipped = output::clipped(value);
        if clipped.len() == value.len() { text } else { text.replace(value, &clipped) }
    })
}

/// What clap says before the usage, in one line.
fn in_one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let mut told = String::new();
    for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
        let between = if line.starts_with("tip:") { "; " } else { " " };
        if !told.is_empty() {
            told.push_str(between);
        }
        told.push_str(line.strip_prefix("error: ").unwrap_or(line));
    }
    told
}

fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}
