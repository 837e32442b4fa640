//! `linchpin status`: one row per sign-in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use linchpin::history::Event;
use linchpin::{
    ClientRemedy, Clock as _, CredentialKey, Disposition, Linchpin, PlainHttp, Record, Refused, StoreError,
    StoreKind, StorePolicy, SystemClock, UnixMs,
};
use serde::Serialize;

use super::log;
use crate::app::{self, App, Wanted};
use crate::args::Status;
use crate::failure::Failure;
use crate::output;

const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    server: String,
    profile: String,
    store: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    scopes: Vec<String>,
    expires_at_ms: Option<u64>,
    renewable: bool,
    last_event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_refused: Option<ClientRefused>,
}

/// That the provider refused the client, and nothing was renewed since.
#[derive(Debug, Serialize)]
struct ClientRefused {
    code: String,
    at_ms: u64,
    remedy: String,
    /// The command in it, as the words to start it with; `null` when it lacks what only a person knows.
    remedy_command: Option<Vec<String>>,
}

pub(super) async fn run(app: &App, args: Status) -> Result<u8, Failure> {
    loop {
        let (rows, unreadable) = rows(app, &args).await?;
        if args.watch && !args.output.json {
            let _ = std::io::Write::write_all(&mut anstream::stdout(), b"\x1b[2J\x1b[H");
        }
        // A store that could not be listed may well have some.
        if !rows.is_empty() || unreadable.is_empty() || args.output.json {
            show(&args, &rows)?;
        }
        // Each is a line on stderr; with --json the rows are the one document on stdout.
        let failures: Vec<Failure> = unreadable.into_iter().map(Failure::from).collect();
        for failure in &failures {
            output::failure(failure, false);
        }
        if !args.watch {
            let missing = args.server.is_some() && rows.is_empty();
            return match failures.first() {
                Some(failure) => Ok(failure.disposition.exit_code()),
                None if missing => Ok(Disposition::SignIn.exit_code()),
                None => Ok(0),
            };
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The rows, and what could not be read.
async fn rows(app: &App, args: &Status) -> Result<(Vec<Row>, Vec<StoreError>), Failure> {
    let wanted = Wanted::new(args.server.as_deref(), args.profile.as_deref())?;
    let linchpin = app.linchpin(PlainHttp::LoopbackOnly)?;
    let named = app::config()?.servers()?;
    let (listed, mut unreadable) = linchpin.sign_ins().await?;
    let events = last_events(&linchpin).await;
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for (store, key, record) in listed {
        // Of a sign-in in several stores the first is the one in use; `linchpin store show` has them all.
        if !wanted.includes(&key) || !seen.insert(key.clone()) {
            continue;
        }
        if let Some(last) = drifted(&linchpin, &key, store).await {
            output::note(format!(
                "{key}: the sign-in was last read from the {last} store, now from the {store} store"
            ));
        }
        let store = store.to_string();
        let name = named
            .iter()
            .find(|named| named.url == key.server.as_str() && named.profile == key.profile.as_str())
            .map(|named| named.name.clone());
        match record {
            Ok(record) => rows.push(row(name, &key, &record, events.get(&key.digest()), store)),
            Err(error) => {
                rows.push(damaged(name, &key, store));
                unreadable.push(error);
            }
        }
    }
    Ok((rows, unreadable))
}

/// The last event of each sign-in. A history that cannot be read is as good as none: `linchpin log` says why.
async fn last_events(linchpin: &Linchpin) -> HashMap<String, Event> {
    let Some(stores) = linchpin.stores() else { return HashMap::new() };
    let events = log::all(stores.history()).await.unwrap_or_default();
    let news = events.into_iter().filter(|entry| log::is_news(&entry.event.what));
    news.map(|entry| (entry.event.key.clone(), entry.event)).collect()
}

/// The store of the last time, when `auto` finds the sign-in in another one now (P5).
async fn drifted(linchpin: &Linchpin, key: &CredentialKey, now: StoreKind) -> Option<StoreKind> {
    let (policy, last) = linchpin.stores()?.last_resolution(key).await?;
    (policy == StorePolicy::Auto && linchpin.stores()?.policy() == policy && last != now).then_some(last)
}

fn damaged(name: Option<String>, key: &CredentialKey, store: String) -> Row {
    Row {
        name,
        server: key.server.to_string(),
        profile: key.profile.to_string(),
        store,
        state: "damaged",
        issuer: None,
        scopes: Vec::new(),
        expires_at_ms: None,
        renewable: false,
        last_event: "cannot be read".to_owned(),
        client_refused: None,
    }
}

fn row(
    name: Option<String>,
    key: &CredentialKey,
    record: &Record,
    event: Option<&Event>,
    store: String,
) -> Row {
    let client_refused = client_refused(key, record);
    let state = match (record.is_usable(SystemClock.now()), record.is_renewable()) {
        (true, _) => "valid",
        (false, true) => match client_refused.as_ref().map(|refused| Refused::by(&refused.code)) {
            Some(Refused::Client) => "client refused",
            Some(Refused::Request) => "request refused",
            None => "renews at next use",
        },
        (false, false) => "sign-in required",
    };
    Row {
        name,
        server: key.server.to_string(),
        profile: key.profile.to_string(),
        store,
        state,
        issuer: Some(record.issuer.clone()),
        scopes: record.scopes.clone(),
        expires_at_ms: record.expires_at_ms.map(|at| at.0),
        renewable: record.is_renewable(),
        last_event: last_event(record, event),
        client_refused,
    }
}

/// Of a sign-in that cannot be renewed, what its client is to the provider makes no difference.
fn client_refused(key: &CredentialKey, record: &Record) -> Option<ClientRefused> {
    let refused = record.client_refusal().filter(|_| record.is_renewable())?;
    let remedy = ClientRemedy::of(key, &record.client, Refused::by(&refused.code));
    Some(ClientRefused {
        code: refused.code.clone(),
        at_ms: refused.at_ms.0,
        remedy: format!("the tokens are kept; {remedy}"),
        remedy_command: remedy.command,
    })
}

/// The last thing that happened, from the history or, when that is older or says nothing, from the record.
fn last_event(record: &Record, event: Option<&Event>) -> String {
    let (at, what) = match (&record.dead, &record.exchange, record.client_refusal()) {
        (Some(dead), ..) if !record.is_renewable() => {
            (dead.at_ms, format!("ended by the provider ({})", dead.reason))
        }
        (_, Some(mark), _) => (mark.at_ms, "a refresh without a known outcome".to_owned()),
        (.., Some(refused)) => {
            (refused.at_ms, format!("the provider refused {} ({})", Refused::by(&refused.code), refused.code))
        }
        _ => (record.obtained_at_ms, "token obtained".to_owned()),
    };
    match event.filter(|event| event.at_ms >= at) {
        Some(event) => format!("{}: {} (process {})", ago(event.at_ms), log::brief(&event.what), event.pid),
        None => format!("{}: {what}", ago(at)),
    }
}

fn show(args: &Status, rows: &[Row]) -> Result<(), Failure> {
    if args.output.json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        return output::line(match &args.server {
            Some(server) => format!("{}: not signed in", output::shown(&output::clipped(server))),
            None => "no sign-ins; `linchpin login URL` makes one".to_owned(),
        });
    }
    let cells = rows.iter().map(|row| {
        let server = match &row.name {
            Some(name) => format!("{name} ({})", row.server),
            None => row.server.clone(),
        };
        let until = until(row.expires_at_ms.map(UnixMs));
        let renewable = if row.renewable { "yes" } else { "no" };
        vec![
            server,
            row.profile.clone(),
            row.store.clone(),
            row.scopes.join(" "),
            row.state.to_owned(),
            until,
            renewable.to_owned(),
            row.last_event.clone(),
        ]
    });
    let header = ["SERVER", "PROFILE", "STORE", "SCOPES", "STATE", "VALID UNTIL", "RENEWABLE", "LAST EVENT"];
    output::table(&header, cells.collect())?;
    for row in rows {
        if let Some(ClientRefused { code, at_ms, remedy, .. }) = &row.client_refused {
            let at = until(Some(UnixMs(*at_ms)));
            let told = format!(
                "{}: the provider refused {} ({code}) at {at}; {remedy}",
                row.server,
                Refused::by(code)
            );
            output::line(output::shown(&told))?;
        }
    }
    Ok(())
}

/// A moment for people, in UTC.
pub(super) fn until(at: Option<UnixMs>) -> String {
    let Some(UnixMs(at)) = at else { return "when the server refuses it".to_owned() };
    let timestamp = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    timestamp.map_or_else(|| "the far future".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn ago(at: UnixMs) -> String {
    let seconds = SystemClock.now().since(at).as_secs();
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
