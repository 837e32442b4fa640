//! What a person or program can do about an error. Each error of this workspace has exactly one disposition, and
//! each disposition one exit code.

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// The server or the tool answered with an error of its own. Exit code 1.
    Answered,
    /// The request was wrong: an argument, a URL. Exit code 2.
    Usage,
    /// A person has to sign in. Exit code 3.
    SignIn,
    /// It may work when tried again. Exit code 4.
    Retry,
    /// The store or the configuration needs repair. Exit code 5.
    Configuration,
    /// A wait ran out. Exit code 6.
    TimedOut,
}

impl Disposition {
    /// The exit code of a command that ends with it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Answered => 1,
            Self::Usage => 2,
            Self::SignIn => 3,
            Self::Retry => 4,
            Self::Configuration => 5,
            Self::TimedOut => 6,
        }
    }

    /// A stable word for scripts that read `--json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answered => "server_error",
            Self::Usage => "usage",
            Self::SignIn => "sign_in_required",
            Self::Retry => "temporary",
            Self::Configuration => "configuration",
            Self::TimedOut => "timed_out",
        }
    }
}
