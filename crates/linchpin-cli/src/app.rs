//! What commands share: the environment, the configuration, the library.

use std::cell::OnceCell;

use linchpin::history::Event;
use linchpin::{
    CredentialKey, Environment, HttpOptions, Linchpin, PlainHttp, Profile, Server, ServerUrl, SetupError,
    UserFile, UserFileGuard,
};
use tracing_subscriber::EnvFilter;

use crate::args::{Command, Target};
use crate::config::{Config, NamedServer, check_name};
use crate::failure::Failure;
use crate::output;

/// What commands share. The store is opened by the first command that needs it, and only once.
#[derive(Debug, Default)]
pub(crate) struct App {
    opened: OnceCell<Linchpin>,
}

impl App {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The library, if a command has opened it.
    pub(crate) fn opened(&self) -> Option<&Linchpin> {
        self.opened.get()
    }

    /// The library, with the store that the environment names.
    pub(crate) fn linchpin(&self, plain_http: PlainHttp) -> Result<Linchpin, Failure> {
        if let Some(linchpin) = self.opened.get() {
            return Ok(linchpin.clone());
        }
        let linchpin =
            Linchpin::builder().stores(environment()?.stores()).http(HttpOptions::new(plain_http)).build();
        Ok(self.opened.get_or_init(|| linchpin).clone())
    }

    /// The server that the command line names, by URL or by name, with the store of its sign-in pinned.
    pub(crate) async fn server(&self, target: &Target) -> Result<Server, Failure> {
        let (url, profile, plain_http) = named_server(target)?;
        Ok(self.linchpin(plain_http)?.server(url, profile).await)
    }
}

/// Which server the command line names, by URL or by name, as whom, and whether plain http may leave this machine.
pub(crate) fn named_server(target: &Target) -> Result<(ServerUrl, Profile, PlainHttp), Failure> {
    let plain_http = if target.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
    let profile = target
        .profile
        .as_deref()
        .map(Profile::parse)
        .transpose()
        .map_err(|error| Failure::quoting(target.profile.as_deref().unwrap_or_default(), &error))?;
    if looks_like_a_url(&target.server) {
        let url = ServerUrl::parse(&target.server, plain_http)
            .map_err(|error| Failure::quoting(&target.server, &error))?;
        return Ok((url, profile.unwrap_or_default(), plain_http));
    }
    let named = named(&target.server)?;
    let plain_http = if target.allow_http { plain_http } else { named.plain_http };
    let url = ServerUrl::parse(&named.url, plain_http).map_err(|error| Failure::usage(error.to_string()))?;
    let profile = match profile {
        Some(profile) => profile,
        None => Profile::parse(&named.profile).map_err(|error| Failure::configuration(error.to_string()))?,
    };
    Ok((url, profile, plain_http))
}

/// Which sign-ins a command is asked about.
pub(crate) struct Wanted {
    server: Option<ServerUrl>,
    profile: Option<Profile>,
}

impl Wanted {
    /// A URL stands for all accounts on it, a name for the one account that it means.
    pub(crate) fn new(server: Option<&str>, profile: Option<&str>) -> Result<Self, Failure> {
        let Some(server) = server else {
            let parsed = profile.map(Profile::parse).transpose();
            let parsed = parsed.map_err(|error| Failure::quoting(profile.unwrap_or_default(), &error))?;
            return Ok(Self { server: None, profile: parsed });
        };
        // Nothing is sent there, so plain http is no danger.
        let target =
            Target { server: server.to_owned(), profile: profile.map(str::to_owned), allow_http: true };
        let (server_url, account, _) = named_server(&target)?;
        let any = looks_like_a_url(server) && profile.is_none();
        Ok(Self { server: Some(server_url), profile: Some(account).filter(|_| !any) })
    }

    pub(crate) fn includes(&self, key: &CredentialKey) -> bool {
        self.server.as_ref().is_none_or(|server| *server == key.server)
            && self.profile.as_ref().is_none_or(|profile| *profile == key.profile)
    }

    /// Whether an event is about one of them. It names its server without the query, and its key in full.
    pub(crate) fn includes_event(&self, event: &Event) -> bool {
        let is_of =
            |server: &ServerUrl| event.is_about(&CredentialKey::new(event.profile.clone(), server.clone()));
        self.server.as_ref().is_none_or(is_of)
            && self.profile.as_ref().is_none_or(|profile| *profile == event.profile)
    }
}

/// The configuration.
pub(crate) fn config() -> Result<Config, Failure> {
    Config::read(UserFile::config(&environment()?.directories))
}

/// The configuration, to be changed while the guard is held.
pub(crate) fn config_to_change(purpose: &'static str) -> Result<(Config, UserFileGuard), Failure> {
    Config::read_to_change(UserFile::config(&environment()?.directories), purpose)
}

/// What the environment asks for.
pub(crate) fn environment() -> Result<Environment, Failure> {
    Environment::read().map_err(|error: SetupError| Failure::new(error.disposition(), error.to_string()))
}

/// A URL has a scheme; a name has neither colon nor slash nor dot.
pub(crate) fn looks_like_a_url(text: &str) -> bool {
    text.contains(':') || text.contains('/') || text.contains('.')
}

fn named(name: &str) -> Result<NamedServer, Failure> {
    if check_name(name).is_err() {
        return Err(Failure::usage(format!(
            "`{}` is neither a URL nor a name; give one like https://mcp.example.com/mcp, or a name from `linchpin list`",
            output::shown(&output::clipped(name))
        )));
    }
    let config = config()?;
    if let Some(server) = config.find(name)? {
        return Ok(server);
    }
    let known: Vec<_> = config.servers()?.into_iter().map(|server| server.name).collect();
    let known = if known.is_empty() { "no server has a name yet".to_owned() } else { known.join(", ") };
    Err(Failure::usage(format!(
        "there is no server named `{name}` ({known}); give a URL, or `linchpin add {name} URL`"
    )))
}

/// A variable of the environment that is set to something.
#[expect(clippy::disallowed_methods, reason = "the one home of the command's environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Diagnostics go to stderr: warnings, or what `LINCHPIN_LOG` asks for. Other crates' logs stay out unless they are
/// named, and rmcp's in any case: at debug it writes down authorization codes (P20).
pub(crate) fn log_to_stderr(command: &Command) {
    const OURS: [&str; 6] = [
        "linchpin",
        "linchpin_store",
        "linchpin_oauth",
        "linchpin_authority",
        "linchpin_transport",
        "linchpin_proxy",
    ];
    let ours = |level: &str| OURS.map(|name| format!("{name}={level}")).join(",");
    let wanted = match command {
        Command::Bridge(bridge) if bridge.silent => ours("error"),
        Command::Bridge(bridge) if bridge.debug => ours("debug"),
        _ => variable("LINCHPIN_LOG").unwrap_or_else(|| ours("warn")),
    };
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        output::note(format!(
            "LINCHPIN_LOG is `{}`, which says nothing ({}); write it like `linchpin=debug`",
            output::shown(&output::clipped(&wanted)),
            output::shown(&output::clipped(&error.to_string()))
        ));
        EnvFilter::new(ours("warn"))
    });
    let Ok(no_rmcp) = "rmcp=off".parse() else { return };
    tracing_subscriber::fmt()
        .with_env_filter(filter.add_directive(no_rmcp))
        .with_writer(std::io::stderr)
        .with_ansi(output::is_interactive())
        .without_time()
        .with_target(false)
        .compact()
        .init();
}
