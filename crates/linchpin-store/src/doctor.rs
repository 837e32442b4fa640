//! Looks at everything a store depends on, and says what is wrong and what to do.
//!
//! Nothing is trusted that can be tried: locks are taken twice, and a record is written, read and deleted.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::aggregate_file::blocking;
use crate::history::History;
use crate::lock::{LockHolder, holder_of, try_out};
use crate::permissions::{open_private, private_dir};
use crate::{
    CredentialKey, Directories, IdentityPlace, KeyringError, LockRequest, PlainHttp, Profile, Record,
    ServerUrl, Store, StoreError, StoreKind, Stores,
};

/// With less than this free, in bytes, a save may fail.
const LITTLE_SPACE: u64 = 16 << 20;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when it is fine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, and is worth knowing.
    Note,
    /// It does not work.
    Wrong,
}

impl Check {
    fn new(what: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, found: found.into(), remedy: String::new() }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

/// Looks at the directories, the files, the locks and every store of an installation.
///
/// Writes a record of a server that does not exist into every store in use, and deletes it again.
pub async fn check(directories: &Directories, stores: &Stores) -> Vec<Check> {
    let mut checks = vec![Check::new("policy", Verdict::Fine, stores.policy().to_string())];
    let places = directories.clone();
    checks.extend(blocking(move || Ok(places_of(&places))).await.unwrap_or_default());
    checks.push(identity(stores).await);
    for store in stores.all() {
        checks.push(probe(stores, store).await);
    }
    for (key, before, now) in stores.drifts().await {
        let what = format!("sign-in {key}");
        checks.push(if before == now {
            Check::new(what, Verdict::Fine, format!("read from the {now} store, as before"))
        } else {
            Check::new(
                what,
                Verdict::Note,
                format!("last read from the {before} store, now from the {now} store"),
            )
            .remedy("an explicit LINCHPIN_STORE ends the guessing")
        });
    }
    checks
}

fn places_of(directories: &Directories) -> Vec<Check> {
    let data = directories.credentials_file().parent().map(Path::to_owned).unwrap_or_default();
    let locks = directories.locks();
    let mut checks = vec![directory("data directory", &data), directory("lock directory", &locks)];
    for path in [directories.credentials_file(), directories.secrets_file(), directories.identity_file()] {
        checks.extend(file(&path));
    }
    let is_sound = checks.iter().all(|check| check.verdict != Verdict::Wrong);
    checks.extend(history(directories));
    if is_sound {
        checks.extend(file_system(&locks));
        checks.push(exclusion(&locks));
        checks.push(space(&data));
        checks.extend(held(&locks));
    }
    checks
}

fn directory(what: &str, path: &Path) -> Check {
    match private_dir(path) {
        Ok(()) => Check::new(what, Verdict::Fine, format!("{}{}", path.display(), mode(path))),
        Err(error) => {
            Check::new(what, Verdict::Wrong, error.to_string()).remedy("do what it says, then run this again")
        }
    }
}

/// A file that is there: opened as a store would, which repairs a mode that lets others in.
fn file(path: &Path) -> Option<Check> {
    let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match open_private(path) {
        Ok(None) => None,
        Ok(Some(file)) => {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let found = format!("{length} bytes{}", mode(path));
            Some(match other_names(&file) {
                0 => Check::new(what, Verdict::Fine, found),
                // A save replaces the file under this name, so the other keeps what was there.
                _ => Check::new(what, Verdict::Note, format!("{found}, a hard link")).remedy(
                    "its other name keeps a copy of the sign-ins; remove it if it is no backup of yours",
                ),
            })
        }
        Err(error) => Some(
            Check::new(what, Verdict::Wrong, error.to_string())
                .remedy("do what it says, then run this again"),
        ),
    }
}

/// The files of the history. No sign-in depends on them, so nothing else tells that they cannot be written.
fn history(directories: &Directories) -> Option<Check> {
    match History::new(directories).try_out() {
        Ok(length) => {
            length.map(|length| Check::new("history", Verdict::Fine, format!("{length} bytes")))
        }
        Err(error) => Some(Check::new("history", Verdict::Wrong, error.to_string()).remedy(format!(
            "nothing is written down for `linchpin log`, and sign-ins go on; move {} and events.jsonl.1 away, then \
             run this again",
            directories.events_file().display()
        ))),
    }
}

/// Hard links to it beside the one at its path.
#[cfg(unix)]
fn other_names(file: &File) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().map_or(0, |metadata| metadata.nlink().saturating_sub(1))
}

#[cfg(not(unix))]
fn other_names(_: &File) -> u64 {
    0
}

#[cfg(unix)]
fn mode(path: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777);
    mode.map(|mode| format!(", mode {mode:o}")).unwrap_or_default()
}

#[cfg(not(unix))]
fn mode(_: &Path) -> String {
    String::new()
}

/// The kind of file system. A network one is worth knowing; whether its locks work was tried, not believed.
#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<Check> {
    let found = rustix::fs::statfs(path).ok()?;
    let (name, network) = match found.f_type {
        0xEF53 => ("ext", false),
        0x5846_5342 => ("xfs", false),
        0x9123_683E => ("btrfs", false),
        0x0102_1994 => ("tmpfs", false),
        0x794C_7630 => ("overlayfs", false),
        0x6969 => ("NFS", true),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => ("SMB", true),
        0x0102_1997 => ("9p", true),
        0x6573_5546 => ("FUSE", true),
        _ => return Some(Check::new("file system", Verdict::Fine, format!("type {:#x}", found.f_type))),
    };
    let verdict = if network { Verdict::Note } else { Verdict::Fine };
    let check = Check::new("file system", verdict, name);
    Some(if network {
        check.remedy("locks of a network file system may not reach other machines; use a local LINCHPIN_HOME")
    } else {
        check
    })
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<Check> {
    None
}

fn exclusion(locks: &Path) -> Check {
    match try_out(&locks.join("doctor.lock")) {
        Ok(()) => Check::new("locks", Verdict::Fine, "a second taker is kept out"),
        Err(error) => Check::new("locks", Verdict::Wrong, error.to_string()),
    }
}

#[cfg(unix)]
fn space(path: &Path) -> Check {
    let free = rustix::fs::statvfs(path).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    match free {
        Ok(free) if free < LITTLE_SPACE => {
            Check::new("free space", Verdict::Wrong, format!("{} KiB", free >> 10)).remedy("free some space")
        }
        Ok(free) => Check::new("free space", Verdict::Fine, format!("{} MiB", free >> 20)),
        Err(error) => Check::new("free space", Verdict::Note, io::Error::from(error).to_string()),
    }
}

#[cfg(not(unix))]
fn space(_: &Path) -> Check {
    Check::new("free space", Verdict::Note, "not looked at on this platform")
}

/// Locks that somebody holds at this moment.
fn held(locks: &Path) -> Vec<Check> {
    let Ok(entries) = fs::read_dir(locks) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let held = paths.filter_map(|path| {
        let holder = holder_of(&path)?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        let LockHolder { pid, purpose, .. } = holder;
        Some(Check::new("lock in use", Verdict::Note, format!("{name}: process {pid} ({purpose})")))
    });
    held.collect()
}

async fn identity(stores: &Stores) -> Check {
    let what = "identity of the secrets store";
    match stores.secrets().identity().await {
        Ok(Some(place @ IdentityPlace::Given)) => {
            Check::new(what, Verdict::Fine, format!("given in {place}"))
        }
        Ok(Some(place)) => Check::new(what, Verdict::Fine, format!("in {place}")),
        Ok(None) if File::open(stores.secrets().path()).is_ok() => {
            Check::new(what, Verdict::Wrong, "missing")
                .remedy("put back LINCHPIN_IDENTITY, the identity file, or the keyring that holds it")
        }
        Ok(None) => Check::new(what, Verdict::Fine, "none yet; the first save makes one"),
        Err(error) => Check::new(what, Verdict::Wrong, error.to_string()),
    }
}

/// A write, a read and a delete in one store.
async fn probe(stores: &Stores, store: Arc<dyn Store>) -> Check {
    let kind = store.kind();
    let what = format!("store {kind}");
    let is_wanted = match stores.policy().kind() {
        Some(wanted) => wanted == kind,
        None => kind != StoreKind::Secrets,
    };
    // Probing an unused encrypted store would make an identity for it.
    let is_there = kind != StoreKind::Secrets || File::open(stores.secrets().path()).is_ok();
    if !is_wanted && !is_there {
        return Check::new(what, Verdict::Fine, "not in use");
    }
    match write_read_delete(&*store).await {
        Ok(()) => Check::new(
            what,
            Verdict::Fine,
            format!("{}: kept, gave back and forgot a record", store.location()),
        ),
        Err(error) => {
            let absent =
                matches!(error, StoreError::Keyring(KeyringError::Unavailable(_) | KeyringError::NotBuilt));
            // Under `auto` a machine without a keyring is an ordinary machine.
            let verdict =
                if absent && stores.policy().kind() != Some(kind) { Verdict::Note } else { Verdict::Wrong };
            Check::new(what, verdict, error.to_string())
        }
    }
}

async fn write_read_delete(store: &dyn Store) -> Result<(), StoreError> {
    let url = format!("https://doctor.linchpin.invalid/{}", std::process::id());
    let server = ServerUrl::parse(&url, PlainHttp::LoopbackOnly).expect("a URL");
    let key = CredentialKey::new(Profile::default(), server);
    let request = LockRequest { purpose: "doctor", within: std::time::Duration::from_secs(5) };
    let guard = store.lock(&key, request).await?;
    let record = sample();
    store.save(&guard, &record).await?;
    let read = store.load(&key).await;
    store.delete(&guard).await?;
    if read?.as_ref() != Some(&record) {
        return Err(StoreError::Other("it does not give back what it was given"));
    }
    Ok(())
}

/// A record of nobody's, with no secret in it.
fn sample() -> Record {
    let json = r#"{"version":1,"generation":1,"issuer":"https://doctor.linchpin.invalid",
        "token_endpoint":"https://doctor.linchpin.invalid/token","token_endpoint_auth_method":"none",
        "resource":"https://doctor.linchpin.invalid","client":{"id":"doctor","registration":"preregistered"},
        "access_token":"none","obtained_at_ms":0}"#;
    Record::from_json(json).expect("the sample is a record")
}

#[cfg(all(test, unix))]
mod tests;
