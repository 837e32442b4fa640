//! `linchpin store`: where sign-ins are kept, and moving them.

use std::collections::HashSet;

use linchpin::{
    CredentialKey, Disposition, Linchpin, PlainHttp, ServerUrl, StoreError, StoreKind, StorePolicy, Stores,
};
use serde::Serialize;

use crate::app::{self, App};
use crate::args::{self, MoveTo, StoreMove, StoreShow, Target};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(app: &App, args: args::Store) -> Result<u8, Failure> {
    match args {
        args::Store::Show(args) => show(app, &args).await,
        args::Store::Move(args) => move_to(app, &args).await,
    }
}

/// One store.
#[derive(Debug, Serialize)]
struct Shown {
    store: StoreKind,
    location: String,
    /// Whether the policy looks at it.
    in_use: bool,
    sign_ins: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// One sign-in in one store.
#[derive(Debug, Serialize)]
struct Kept {
    server: String,
    profile: String,
    store: StoreKind,
    /// Whether this one is used; another store may have an older copy.
    used: bool,
    why: String,
}

#[derive(Debug, Serialize)]
struct Everything {
    policy: StorePolicy,
    stores: Vec<Shown>,
    sign_ins: Vec<Kept>,
}

async fn show(app: &App, args: &StoreShow) -> Result<u8, Failure> {
    let (linchpin, stores) = stores(app)?;
    let only = args.server.as_deref().map(server_url).transpose()?;
    let mut everything = Everything { policy: stores.policy(), stores: Vec::new(), sign_ins: Vec::new() };
    let in_use: Vec<_> = stores.in_use().iter().map(|store| store.kind()).collect();
    let mut keys = Vec::new();
    for store in stores.all() {
        let listed = store.list().await;
        let problem = listed.as_ref().err().map(StoreError::to_string);
        let sign_ins = listed.as_ref().ok().map(Vec::len);
        let kind = store.kind();
        let in_use = in_use.contains(&kind);
        everything.stores.push(Shown { store: kind, location: store.location(), in_use, sign_ins, problem });
        keys.extend(listed.into_iter().flatten().map(|(key, _)| (key, kind)));
    }
    keys.retain(|(key, _)| only.as_ref().is_none_or(|only| *only == key.server));
    keys.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, kind) in keys {
        let server = linchpin.server(key.server.clone(), key.profile.clone()).await;
        let (pinned, why) = server.store();
        let used = pinned == kind;
        let why = if used { why.to_string() } else { format!("not used: the {pinned} store is, {why}") };
        everything.sign_ins.push(Kept {
            server: key.server.to_string(),
            profile: key.profile.to_string(),
            store: kind,
            used,
            why,
        });
    }
    if args.output.json {
        output::json(&everything)?;
    } else {
        print(&everything)?;
    }
    Ok(0)
}

fn print(everything: &Everything) -> Result<(), Failure> {
    output::line(format!("policy: {}", everything.policy))?;
    let rows = everything.stores.iter().map(|store| {
        let used = if store.in_use { "yes" } else { "no" };
        let count = store.sign_ins.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let note = store.problem.clone().unwrap_or_else(|| store.location.clone());
        vec![store.store.to_string(), used.to_owned(), count, note]
    });
    output::table(&["STORE", "IN USE", "SIGN-INS", "WHERE"], rows.collect())?;
    if everything.sign_ins.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let rows = everything.sign_ins.iter().map(|kept| {
        vec![kept.server.clone(), kept.profile.clone(), kept.store.to_string(), kept.why.clone()]
    });
    output::table(&["SERVER", "PROFILE", "STORE", "WHY"], rows.collect())
}

/// What became of one sign-in.
#[derive(Debug, Serialize)]
struct Moving {
    server: String,
    profile: String,
    from: StoreKind,
    to: StoreKind,
    moved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

async fn move_to(app: &App, args: &StoreMove) -> Result<u8, Failure> {
    let (linchpin, stores) = stores(app)?;
    let to = match args.to {
        MoveTo::Keyring => StoreKind::Keyring,
        MoveTo::Secrets => StoreKind::Secrets,
        MoveTo::File => StoreKind::File,
    };
    let wanted = args.servers.iter().map(|server| server_url(server)).collect::<Result<HashSet<_>, _>>()?;
    let chosen = to_move(&stores, to, &wanted).await?;
    let mut moving = Vec::new();
    let mut worst = None;
    for (key, from) in chosen {
        let outcome = linchpin.move_sign_in(key.clone(), from, to).await;
        let problem = match outcome {
            Ok(Some(moved)) => moved.leftover.map(|leftover| {
                let told = format!(
                    "moved, but the copy could not be removed from the {} store: {}",
                    leftover.store, leftover.error
                );
                (true, told, Disposition::Configuration)
            }),
            Ok(None) => Some((false, "it is gone".to_owned(), Disposition::Configuration)),
            Err(error) => Some((false, error.to_string(), error.disposition())),
        };
        worst = worst.or(problem.as_ref().map(|(_, _, disposition)| *disposition));
        moving.push(Moving {
            server: key.server.to_string(),
            profile: key.profile.to_string(),
            from,
            to,
            moved: problem.as_ref().is_none_or(|(moved, ..)| *moved),
            problem: problem.map(|(_, told, _)| told),
        });
    }
    if args.output.json {
        output::json(&moving)?;
    } else {
        tell(&stores, to, &moving)?;
    }
    Ok(worst.map_or(0, Disposition::exit_code))
}

fn tell(stores: &Stores, to: StoreKind, moving: &[Moving]) -> Result<(), Failure> {
    if moving.is_empty() {
        output::line(format!("nothing to move: no other store has a sign-in that the {to} store has not"))?;
    }
    for Moving { server, profile, from, problem, .. } in moving {
        match problem {
            None => output::line(format!("{server} (profile {profile}): moved from {from} to {to}"))?,
            Some(problem) => output::note(format!("{server} (profile {profile}): {problem}")),
        }
    }
    let seen = stores.in_use().iter().any(|store| store.kind() == to);
    if moving.iter().any(|moving| moving.moved) && !seen {
        output::note(format!(
            "LINCHPIN_STORE={} does not look there; set LINCHPIN_STORE={to}",
            stores.policy()
        ));
    }
    Ok(())
}

/// The sign-ins to move: of one that lies in several stores, the one that is in use, else the first.
async fn to_move(
    stores: &Stores,
    to: StoreKind,
    wanted: &HashSet<ServerUrl>,
) -> Result<Vec<(CredentialKey, StoreKind)>, Failure> {
    let mut chosen: Vec<(CredentialKey, StoreKind)> = Vec::new();
    let in_use = stores.in_use();
    let others =
        stores.all().into_iter().filter(|store| !in_use.iter().any(|used| used.kind() == store.kind()));
    for store in in_use.iter().cloned().chain(others).filter(|store| store.kind() != to) {
        let listed = match store.list().await {
            Ok(listed) => listed,
            // A store that the policy does not look at, or a keyring that is not there, has nothing to move.
            Err(StoreError::Keyring(_)) if stores.policy().kind() != Some(StoreKind::Keyring) => continue,
            Err(error) => return Err(error.into()),
        };
        for (key, record) in listed {
            let asked_for = wanted.is_empty() || wanted.contains(&key.server);
            if asked_for && record.is_ok() && chosen.iter().all(|(known, _)| *known != key) {
                chosen.push((key, store.kind()));
            }
        }
    }
    chosen.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(chosen)
}

fn stores(app: &App) -> Result<(Linchpin, Stores), Failure> {
    let linchpin = app.linchpin(PlainHttp::LoopbackOnly)?;
    let stores = linchpin.stores().cloned();
    let stores = stores.ok_or_else(|| Failure::configuration("there is only one store"))?;
    Ok((linchpin, stores))
}

fn server_url(server: &str) -> Result<ServerUrl, Failure> {
    // Nothing is sent there, so plain http is no danger.
    let target = Target { server: server.to_owned(), profile: None, allow_http: true };
    Ok(app::named_server(&target)?.0)
}
