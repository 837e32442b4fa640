//! The subcommands, a file each.

mod add;
mod bridge;
mod call;
mod demo;
mod doctor;
mod generate;
mod list;
mod log;
mod login;
mod logout;
mod remove;
mod status;
mod store;
mod token;
mod tools;

use std::time::Duration;

use linchpin::Disposition;

use crate::app::App;
use crate::args::{Command, Store};
use crate::failure::Failure;

/// How long a command waits for the end of its session; what is not done by then is left to the server.
const CLOSING: Duration = Duration::from_secs(2);

/// Runs a command: its exit code.
pub(crate) async fn run(app: &App, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Login(args) => login::run(app, args).await,
        Command::Logout(args) => logout::run(app, args).await,
        Command::Status(args) => status::run(app, args).await,
        Command::Log(args) => log::run(args).await,
        Command::Token(args) => token::run(app, args).await,
        Command::Tools(args) => tools::run(app, args).await,
        Command::Call(args) => call::run(app, args).await,
        Command::Bridge(args) => bridge::run(app, args).await,
        Command::Add(args) => add::run(&args),
        Command::List(args) => list::run(&args),
        Command::Remove(args) => remove::run(&args),
        Command::Store(args) => store::run(app, args).await,
        Command::Doctor(args) => doctor::run(app, &args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::DemoPeer(args) => demo::peer(args).await,
    }
}

impl Command {
    /// Whether the answer, and so a failure, is to be JSON.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Login(args) => args.output.json,
            Self::Logout(args) => args.output.json,
            Self::Status(args) => args.output.json,
            Self::Log(args) => args.json,
            Self::Token(args) => args.output.json,
            Self::Tools(args) => args.output.json,
            Self::Call(args) => args.output.json,
            Self::Add(args) => args.output.json,
            Self::List(args) => args.output.json,
            Self::Remove(args) => args.output.json,
            Self::Store(Store::Show(args)) => args.output.json,
            Self::Store(Store::Move(args)) => args.output.json,
            Self::Doctor(args) => args.output.json,
            Self::Demo(args) => args.output.json,
            Self::Bridge(_) | Self::Completions(_) | Self::Man(_) | Self::DemoPeer(_) => false,
        }
    }
}

/// The errors of the library as failures.
macro_rules! failures {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.disposition(), error.to_string())
            }
        })+
    };
}

failures!(
    linchpin::ClientError,
    linchpin::CredentialError,
    linchpin::LockError,
    linchpin::SendError,
    linchpin::SignInError,
    linchpin::SignInFailed,
    linchpin::StoreError,
);

impl From<linchpin::HttpSetupError> for Failure {
    fn from(error: linchpin::HttpSetupError) -> Self {
        Self::new(Disposition::Configuration, error.to_string())
    }
}
