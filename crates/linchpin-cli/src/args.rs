//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use linchpin::UnixMs;

const AFTER_HELP: &str = "\
With --json the answer is one JSON document on standard output; a failure is {error, disposition,
exit_code} there, and a line on standard error in any case.

Exit codes: 0 done; 1 the server or tool answered with an error, or logout could not revoke; 2 wrong
usage; 3 sign-in required; 4 temporary, try again; 5 store or configuration, or the answer could not
be written; 6 a wait ran out; 130 interrupted.

Environment: LINCHPIN_HOME (everything under one directory), LINCHPIN_STORE (auto, keyring, secrets, file),
BROWSER (the program that opens sign-in pages), LINCHPIN_LOG (for example `linchpin=debug`).";

/// One sign-in per MCP server, shared by every process on the machine.
#[derive(Debug, Parser)]
#[command(name = "linchpin", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
#[command(propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in to a server, in the browser
    Login(Login),
    /// Sign out: revoke at the provider (else exit code 1), then forget
    Logout(Logout),
    /// Show the sign-ins of this machine
    Status(Status),
    /// Show what was decided about sign-ins, and why
    Log(Log),
    /// Print a valid access token
    Token(Token),
    /// List a server's tools
    Tools(Tools),
    /// Call a server's tool
    Call(Call),
    /// Bridge a stdio client to a remote server
    Bridge(Bridge),
    /// Give a server a name
    Add(Add),
    /// List the named servers
    List(List),
    /// Remove a name
    Remove(Remove),
    /// Show where sign-ins are kept, or move them
    #[command(subcommand)]
    Store(Store),
    /// Check this machine: directories, permissions, locks, stores
    Doctor(Doctor),
    /// Show the main job on an embedded provider: a storm of processes, one sign-in
    Demo(Demo),
    /// Print a shell's completion script
    Completions(Completions),
    /// Write the manual pages into a directory
    Man(Man),
    /// One process of the demo's contrast: rmcp's own client
    #[command(hide = true)]
    DemoPeer(DemoPeer),
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// A server's URL, or a name from `linchpin list`
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
    /// Which account on that server
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Accept plain http to other machines
    #[arg(long)]
    pub(crate) allow_http: bool,
}

/// Machine-readable output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Print the URL instead of opening a browser, and take the callback URL from standard input
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Sign in also while another process signs in to the same server
    #[arg(long)]
    pub(crate) force: bool,
    /// Ask for these scopes, and those granted before, instead of those that the server names (repeat, or
    /// separate by blanks)
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// A client registered beforehand
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A file with the secret of that client (never given on the command line)
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// The URL of a client metadata document, used as the client id where the provider supports it
    #[arg(long, value_name = "URL", conflicts_with = "client_id")]
    pub(crate) client_metadata_url: Option<String>,
    /// The port of the callback on this machine; any free one unless given
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) callback_port: u16,
    /// How long to wait for the browser
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this server: a URL for all its accounts, or a name for the one account that it means
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// Only this account
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Show again every two seconds until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only this server: a URL for all its accounts, or a name for the one account that it means
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// Only this account
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Only the last N events; 10 unless given with --follow
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only what happened since: a time ago (90s, 5m, 1h, 3d), or a date in UTC (2026-11-24, 2026-11-24T10:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,
    /// Print the events as they were written: JSON, one per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// A moment that somebody names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(UnixMs),
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        let at = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
        if let Ok(at) = at.map(jiff::Timestamp::as_millisecond) {
            return Ok(Self::At(UnixMs(u64::try_from(at).unwrap_or_default())));
        }
        let ago = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
        let ago = ago.map(|days| Duration::from_secs(days.saturating_mul(86_400)));
        let ago = ago.or_else(|| duration(text).ok()).map(Self::Ago);
        ago.ok_or_else(|| {
            "use a time ago like 90s, 5m, 1h or 3d, or a date like 2026-11-24T10:00:00Z".to_owned()
        })
    }

    /// When that is, now.
    pub(crate) fn moment(self, now: UnixMs) -> UnixMs {
        match self {
            Self::Ago(ago) => now.before(ago),
            Self::At(at) => at,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Renew first unless the token lives this much longer; in the first half of its life a token is
    /// never renewed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) min_valid: Duration,
    /// How long to wait for a renewal
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The tool
    #[arg(value_name = "TOOL")]
    pub(crate) tool: String,
    /// Its arguments, a JSON object; `-` reads them from standard input
    #[arg(value_name = "JSON", default_value = "{}", hide_default_value = true)]
    pub(crate) arguments: String,
    #[command(flatten)]
    pub(crate) output: Output,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Bridge {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The port of the sign-in callback, for --login
    #[arg(value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) callback_port: u16,
    /// Sign in first, in the browser, when there is no sign-in
    #[arg(long)]
    pub(crate) login: bool,
    /// A header to send with every request, `Name: value`; `${VAR}` is taken from the environment.
    /// An Authorization header replaces the sign-in
    #[arg(long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// A file with such headers, one per line, which keeps secrets off the command line
    #[arg(long, value_name = "FILE")]
    pub(crate) header_file: Option<PathBuf>,
    /// Accepted for mcp-remote's sake; there is only Streamable HTTP here
    #[arg(long, value_enum, default_value_t = Transport::HttpOnly, hide_default_value = true)]
    pub(crate) transport: Transport,
    /// Only errors on standard error
    #[arg(long, conflicts_with = "debug")]
    pub(crate) silent: bool,
    /// Everything on standard error, secrets excepted
    #[arg(long)]
    pub(crate) debug: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    HttpOnly,
    HttpFirst,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The server's URL
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Which account on that server
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Accept plain http to other machines
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Replace a server of that name
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Show the stores, and which sign-in is in which and why
    Show(StoreShow),
    /// Move sign-ins to another store; a copy is removed only after the new one was read back
    Move(StoreMove),
}

#[derive(Debug, Args)]
pub(crate) struct StoreShow {
    /// Only this server
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct StoreMove {
    /// The store to move to
    #[arg(long, value_enum, value_name = "STORE")]
    pub(crate) to: MoveTo,
    /// Only these servers; all sign-ins unless given
    #[arg(value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MoveTo {
    Keyring,
    Secrets,
    File,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many bridge processes
    #[arg(long, short = 'n', value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) processes: u16,
    /// How many calls each makes in every round
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) calls: u16,
    /// Leave out the contrast with rmcp's own client
    #[arg(long)]
    pub(crate) no_contrast: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// An existing directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoPeer {
    /// The server's URL
    pub(crate) url: String,
    /// The file that rmcp's credentials are kept in
    pub(crate) credentials: PathBuf,
    /// Hold a lock across processes over every refresh
    #[arg(long)]
    pub(crate) guarded: bool,
    /// The client's secret, kept by the program since rmcp does not
    #[arg(long, value_name = "FILE")]
    pub(crate) client_secret_file: Option<PathBuf>,
}

/// Parses `90s`, `5m`, `1h`, `250ms`, or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "use a number and a unit, like 90s or 5m".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err("use a number and a unit of ms, s, m or h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(Since::parse("3d"), Ok(Since::Ago(Duration::from_secs(259_200))));
        assert_eq!(Since::parse("1970-01-02").map(|at| at.moment(UnixMs(5))), Ok(UnixMs(86_400_000)));
        assert_eq!(Since::parse("1970-01-01T00:00:01.5Z"), Ok(Since::At(UnixMs(1_500))));
        assert_eq!(Since::Ago(Duration::from_secs(2)).moment(UnixMs(5_000)), UnixMs(3_000));
        assert!(
            Since::parse("yesterday").is_err() && Since::parse("").is_err() && Since::parse("d").is_err()
        );
        assert!(duration("m").is_err() && duration("5 days").is_err() && duration("-1s").is_err());
    }
}
