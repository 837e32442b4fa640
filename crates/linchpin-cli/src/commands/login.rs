//! `linchpin login`: signs in.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use linchpin::{
    ClientError, Disposition, LockHolder, McpClient, PendingSignIn, PreregisteredClient, Record, Secret,
    Server, SignInError, SignInOptions, SignedIn, Turn, Wait, Why,
};
use serde::Serialize;
use tokio::io::AsyncBufReadExt as _;
use url::Url;

use super::status;
use crate::app::{App, variable};
use crate::args::Login;
use crate::browser::Started;
use crate::failure::Failure;
use crate::{browser, output};

/// How long the first authenticated request may take.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

pub(super) async fn run(app: &App, args: Login) -> Result<u8, Failure> {
    let server = app.server(&args.target).await?;
    let options = options(&args)?;
    let how = if args.no_browser { How::Paste } else { How::Browser };
    let beside = if args.force { Beside::Others } else { Beside::Nobody };
    let signed_in = sign_in(&server, &options, how, beside, args.timeout).await?;
    for leftover in &signed_in.leftovers {
        output::note(format!(
            "a copy of an older sign-in could not be removed from the {} store: {}; `linchpin logout` tries again",
            leftover.store, leftover.error
        ));
    }

    // The sign-in is saved. Whether the server takes it is worth knowing now, not at the first use.
    let spinner = spinner("asking the server");
    let checked = check(&signed_in.server).await;
    spinner.finish_and_clear();
    // With --json there is one document on stdout: the answer or the failure.
    if checked.is_ok() || !args.output.json {
        answer(&args, &signed_in)?;
    }
    checked.map(|()| 0).map_err(|error| {
        let told = format!("the sign-in is saved, but the first request with it failed: {error}");
        Failure::new(error.disposition(), told)
    })
}

/// How the person gets to the page and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A browser on this machine.
    Browser,
    /// A browser elsewhere; the address it ends at is pasted.
    Paste,
}

/// Beside whom a sign-in goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// One process signs in to a server at a time; the others wait and find its result.
    Nobody,
    /// Whoever else is at it: the person wants this one.
    Others,
}

/// Signs in and saves. Shows what it waits for on a terminal, and nothing elsewhere.
pub(super) async fn sign_in(
    server: &Server,
    options: &SignInOptions,
    how: How,
    beside: Beside,
    timeout: Duration,
) -> Result<SignedIn, Failure> {
    let begun = tokio::time::Instant::now();
    server.for_sign_in().await.credential().ready_for_sign_in().await?;
    // Kept to the end, so that others find this sign-in rather than open a page of their own.
    let _turn = match beside {
        Beside::Nobody => match turn(server, options, timeout).await? {
            Turn::Served(signed_in) => return Ok(signed_in),
            Turn::Taken(turn) => Some(turn),
            _ => None,
        },
        Beside::Others => match server.sign_in_turn(&options.scopes, Duration::ZERO, |_| {}).await {
            Ok(Turn::Taken(turn)) => Some(turn),
            _ => None,
        },
    };
    let left = timeout.saturating_sub(begun.elapsed());
    let looking = spinner(&format!("asking {} how to sign in", server.url()));
    let pending = server.begin_sign_in(options).await;
    looking.finish_and_clear();
    let mut pending = pending?;
    let url = pending.authorization_url().clone();
    let begun_here = server.sign_in_begun();
    let callback = match how {
        How::Browser => {
            let browser = show_page(&url);
            let waiting = spinner("waiting for the browser (Ctrl-C gives up)");
            let callback = from_browser(&mut pending, &url, browser, left).await;
            waiting.finish_and_clear();
            callback
        }
        How::Paste => paste(&mut pending, &url, left).await,
    };
    begun_here.over();
    let callback = callback.map_err(|error| match error {
        // What was left of it is of no interest.
        SignInError::TimedOut(_) => SignInError::TimedOut(timeout),
        error => error,
    });
    let callback = callback.inspect_err(|error| server.sign_in_failed(error))?;
    Ok(server.finish_sign_in(pending, callback).await?)
}

/// Waits while another process signs in here, and takes over what it brought, unless that is by another client than
/// the one that was asked for.
async fn turn(server: &Server, options: &SignInOptions, timeout: Duration) -> Result<Turn, Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let waiting = RefCell::new(None);
        let busy = |holder: Option<&LockHolder>| {
            let who = holder
                .map_or_else(|| "another process".to_owned(), |holder| format!("process {}", holder.pid));
            output::note(format!(
                "{who} is signing in to {} already; waiting for it (--force signs in beside it)",
                server.key()
            ));
            waiting.replace(Some((spinner("waiting for the other sign-in (Ctrl-C gives up)"), who)));
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let turn = server.sign_in_turn(&options.scopes, left, busy).await;
        let who = waiting.take().map(|(spinner, who)| {
            spinner.finish_and_clear();
            who
        });
        match turn? {
            Turn::Served(signed_in) if is_by_its_client(&signed_in.record, options) => {
                output::note(format!(
                    "{} signed in; its sign-in is taken over (scopes: {})",
                    who.as_deref().unwrap_or("another process"),
                    signed_in.record.scopes.join(" ")
                ));
                signed_in.server.sign_in_adopted(&signed_in.record);
                return Ok(Turn::Served(signed_in));
            }
            Turn::Served(_) => {}
            turn => return Ok(turn),
        }
    }
}

/// Whether a sign-in is by the client that was asked for, if one was.
fn is_by_its_client(record: &Record, options: &SignInOptions) -> bool {
    let wanted = match (&options.client, &options.client_metadata_url) {
        (Some(client), _) => Some(client.id.as_str()),
        (None, Some(url)) => Some(url.as_str()),
        (None, None) => None,
    };
    wanted.is_none_or(|wanted| wanted == record.client.id)
}

/// Waits for the browser to come back. Where the page was not shown yet, a browser that ends at once with an error
/// shows it.
async fn from_browser(
    pending: &mut PendingSignIn,
    url: &Url,
    browser: Option<Started>,
    timeout: Duration,
) -> Result<linchpin::Callback, SignInError> {
    let mut callback = std::pin::pin!(pending.callback(timeout));
    let Some(browser) = browser.filter(|_| !output::is_interactive()) else { return callback.await };
    tokio::select! {
        callback = &mut callback => callback,
        status = browser.failed() => {
            output::note(format!("The browser ended at once ({status}; see BROWSER). Open this page:\n  {url}"));
            callback.await
        }
    }
}

/// Opens the page in a browser: the one that was started, if there is one.
fn show_page(url: &Url) -> Option<Started> {
    let interactive = output::is_interactive();
    match browser::open(variable("BROWSER").as_deref(), url) {
        Ok(started) => {
            if interactive {
                output::note(format!(
                    "Your browser opens the sign-in page. If it does not, open it yourself:\n  {url}"
                ));
            }
            Some(started)
        }
        Err(error) => {
            let mut why = error.to_string();
            if !why.contains("BROWSER") {
                why.push_str("; see BROWSER");
            }
            output::note(format!("No browser could be opened ({why}). Open this page:\n  {url}"));
            None
        }
    }
}

/// Takes the address that the browser ended at, which fails to load when the browser is on another machine.
async fn paste(
    pending: &mut PendingSignIn,
    url: &Url,
    timeout: Duration,
) -> Result<linchpin::Callback, SignInError> {
    output::note(format!(
        "Open this page in a browser:\n  {url}\n\
         When it ends at an address that begins with http://127.0.0.1, paste that address here:"
    ));
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let deadline = linchpin::moment_in(timeout);
    let mut input_open = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if input_open => match line {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => match pending.pasted(&line) {
                    Err(error @ SignInError::NotACallback) if std::io::stdin().is_terminal() => output::note(error.to_string()),
                    outcome => return outcome,
                },
                // A browser on this machine may still come back by itself.
                Ok(None) | Err(_) => input_open = false,
            },
            callback = pending.callback(deadline.saturating_duration_since(tokio::time::Instant::now())) => {
                return callback;
            }
        }
    }
}

async fn check(server: &Server) -> Result<(), ClientError> {
    let client = McpClient::builder().within(FIRST_REQUEST).connect(server).await?;
    client.close_within(super::CLOSING).await;
    Ok(())
}

fn answer(args: &Login, signed_in: &SignedIn) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Answer<'a> {
        server: &'a str,
        profile: &'a str,
        issuer: &'a str,
        store: String,
        store_reason: String,
        scopes: &'a [String],
        expires_at_ms: Option<u64>,
        renewable: bool,
    }
    let SignedIn { server, record, .. } = signed_in;
    let (store, why) = server.store();
    if args.output.json {
        return output::json(&Answer {
            server: server.url().as_str(),
            profile: server.key().profile.as_str(),
            issuer: &record.issuer,
            store: store.to_string(),
            store_reason: why.to_string(),
            scopes: &record.scopes,
            expires_at_ms: record.expires_at_ms.map(|at| at.0),
            renewable: record.is_renewable(),
        });
    }
    let renews = if record.is_renewable() {
        "renews itself".to_owned()
    } else {
        format!("cannot be renewed, ends {}", status::until(record.expires_at_ms))
    };
    let why = match why {
        Why::KeyringFails(error) => format!(", since the keyring {}", error.in_brief()),
        _ => String::new(),
    };
    output::line(format!("signed in to {} (store: {store}{why}; {renews})", server.key()))
}

fn options(args: &Login) -> Result<SignInOptions, Failure> {
    let secret = args
        .client_secret_file
        .as_ref()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            if text.trim().is_empty() {
                return Err(Failure::usage(format!(
                    "{} is empty; put the client's secret there",
                    path.display()
                )));
            }
            Ok::<_, Failure>(Secret::new(text.trim()))
        })
        .transpose()?;
    let client_metadata_url = args
        .client_metadata_url
        .as_deref()
        .map(|text| {
            Url::parse(text)
                .ok()
                .filter(|url| url.scheme() == "https" && url.path().len() > 1)
                .ok_or_else(|| Failure::usage("--client-metadata-url takes an https URL with a path"))
        })
        .transpose()?;
    let scopes = args.scopes.iter().flat_map(|scopes| scopes.split_whitespace());
    let mut options = SignInOptions::default();
    options.scopes = scopes.map(str::to_owned).collect();
    options.client = args.client_id.clone().map(|id| PreregisteredClient { id, secret });
    options.client_metadata_url = client_metadata_url;
    options.callback_port = args.callback_port;
    Ok(options)
}

/// A spinner on a terminal, which leaves no trace however it ends; nothing elsewhere.
pub(super) fn spinner(text: &str) -> ProgressBar {
    if !output::is_interactive() {
        return ProgressBar::hidden();
    }
    let spinner =
        ProgressBar::new_spinner().with_message(text.to_owned()).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Whether a sign-in is there that serves without a person, for `bridge --login`. A provider that refused the client is
/// asked again when its pause is over.
pub(super) async fn is_signed_in(server: &Server) -> Result<bool, Failure> {
    let Some(record) = server.record().await? else { return Ok(false) };
    let now = linchpin::Clock::now(&linchpin::SystemClock);
    if record.is_usable(now) || !record.is_renewable() {
        return Ok(record.is_usable(now));
    }
    if record.client_refusal().is_none() {
        return Ok(true);
    }
    match server.access_token(Wait::within(FIRST_REQUEST)).await {
        Err(error) if error.disposition() == Disposition::SignIn => {
            output::note(error.to_string());
            Ok(false)
        }
        // Whatever else is the matter, a page would not mend it.
        _ => Ok(true),
    }
}
