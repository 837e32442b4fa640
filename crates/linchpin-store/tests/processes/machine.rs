//! A home of its own for a test, and the store in it as this process has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linchpin_store::{
    CredentialKey, Directories, LockRequest, PlainHttp, Profile, Record, Secret, ServerUrl, Store, StoreKind,
    StorePolicy, Stores,
};
use serde::{Deserialize, Serialize};

/// Waits for as long as a test may take.
pub(crate) const PATIENT: LockRequest = LockRequest { purpose: "test", within: Duration::from_secs(60) };

/// The identity that a user gave; of nobody's file.
pub(crate) const IDENTITY: &str =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// Which store, and how it gets its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    File,
    /// Encrypted to an identity that the user gave.
    SecretsGiven,
    /// Encrypted to an identity that the first save makes, in a file.
    SecretsMade,
}

/// The store of `home`, as a process that has just started has it.
pub(crate) fn open(home: PathBuf, kind: Kind) -> Arc<dyn Store> {
    let directories = Directories::under(home).expect("absolute");
    let (policy, store) = match kind {
        Kind::File => (StorePolicy::File, StoreKind::File),
        Kind::SecretsGiven | Kind::SecretsMade => (StorePolicy::Secrets, StoreKind::Secrets),
    };
    let given = (kind == Kind::SecretsGiven).then(|| Secret::new(IDENTITY));
    Stores::new(&directories, policy, given).store(store).expect("every installation has it")
}

/// A home that goes away with the test.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    pub(crate) kind: Kind,
}

impl Machine {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), kind }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        open(self.home(), self.kind)
    }

    /// The temporary files that lie in the home.
    pub(crate) fn temporaries(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.home()) else { return 0 };
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| is_temporary(&entry.file_name()))).count()
    }
}

fn is_temporary(name: &std::ffi::OsStr) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

/// The key of one of any number of servers.
pub(crate) fn key(number: usize) -> CredentialKey {
    let url = format!("https://mcp{number}.example.com/mcp");
    CredentialKey::new(Profile::default(), ServerUrl::parse(&url, PlainHttp::LoopbackOnly).expect("a URL"))
}

/// A record with this access token.
pub(crate) fn record(access: &str) -> Record {
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"https://as.example.com/t",
        "token_endpoint_auth_method":"none","resource":"https://mcp.example.com/mcp",
        "client":{{"id":"c","registration":"dynamic"}},"access_token":"{access}","obtained_at_ms":1}}"#
    );
    Record::from_json(&json).expect("a record")
}

/// Saves a record under its lock; how long the lock took.
pub(crate) async fn save(store: &dyn Store, number: usize, access: &str) -> Duration {
    let begun = std::time::Instant::now();
    let guard = store.lock(&key(number), PATIENT).await.expect("free");
    let took = begun.elapsed();
    store.save(&guard, &record(access)).await.expect("saved");
    took
}

/// The access token kept for a server.
pub(crate) async fn kept(store: &dyn Store, number: usize) -> Option<String> {
    let record = store.load(&key(number)).await.expect("the store parses");
    record.map(|record| record.access_token.expose().to_owned())
}
