//! How a command fails: one line that says what to do, and an exit code.

use std::fmt;

use linchpin::Disposition;

/// A failed command. `Display` is one line without a full stop.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) disposition: Disposition,
    message: String,
}

impl Failure {
    pub(crate) fn new(disposition: Disposition, message: impl Into<String>) -> Self {
        Self { disposition, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Disposition::Usage, message)
    }

    /// Wrong usage that quotes `typed`, of which nobody wants to see all when it is long.
    pub(crate) fn quoting(typed: &str, error: &impl fmt::Display) -> Self {
        let clipped = crate::output::clipped(typed);
        let message = error.to_string();
        Self::usage(if clipped.len() == typed.len() { message } else { message.replace(typed, &clipped) })
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(Disposition::Configuration, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::output::shown(&self.message))
    }
}
