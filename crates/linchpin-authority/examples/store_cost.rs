//! What the aggregate stores cost as they fill: a load, a save, and a refresh without its exchange, for 10, 1,000 and
//! 10,000 sign-ins in one file. Prints one JSON line per row; `cargo xtask bench` reads them.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use linchpin_authority::{Authority, Wait};
use linchpin_oauth::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
use linchpin_store::{
    CredentialKey, Directories, FileStore, KeyringStore, LockRequest, PlainHttp, Profile, Record, Secret,
    SecretsStore, ServerUrl, Store, SystemClock,
};
use serde_json::{Map, json};

const TIMES: usize = 15;

/// A provider that takes no time.
#[derive(Debug)]
struct AtOnce;

#[async_trait]
impl TokenEndpoint for AtOnce {
    async fn refresh(&self, _: &Record) -> Exchange {
        Exchange::Rotated(TokenAnswer {
            access_token: Secret::new(format!("a{:0>600}", "x")),
            refresh_token: Some(Secret::new(format!("r{:0>300}", "x"))),
            // Ended at once, so that the next request renews again.
            expires_in: Some(Duration::from_nanos(1)),
            scopes: None,
        })
    }

    async fn revoke(&self, _: &Record) -> Revocation {
        Revocation::NotOffered
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for records in [10, 1_000, 10_000] {
        for kind in ["file", "secrets"] {
            let home = tempfile::tempdir().expect("a directory");
            let directories = Directories::under(home.path().join("home")).expect("absolute");
            let store = planted(kind, records, &directories).await;
            let key = key(records / 2);
            let guard = store.lock(&key, request()).await.expect("free");
            let record = store.load(&key).await.expect("readable").expect("there");
            let (mut loads, mut saves, mut refreshes) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..TIMES {
                loads.push(timed(async { drop(store.load(&key).await.expect("readable")) }).await);
                saves.push(timed(async { store.save(&guard, &record).await.expect("saved") }).await);
            }
            drop(guard);
            for _ in 0..TIMES {
                let authority = Authority::new(Arc::clone(&store), Arc::new(AtOnce), Arc::new(SystemClock));
                let credential = authority.credential(key.clone());
                let token =
                    async { drop(credential.access_token(Wait::Transaction).await.expect("renewed")) };
                refreshes.push(timed(token).await);
            }
            println!(
                "{}",
                json!({ "store": kind, "records": records, "load_ms": median(loads), "save_ms": median(saves),
                    "refresh_ms": median(refreshes) })
            );
        }
    }
}

/// A store with so many sign-ins, planted by one write rather than one each.
async fn planted(kind: &str, records: usize, directories: &Directories) -> Arc<dyn Store> {
    if kind == "secrets" {
        let identity = age::x25519::Identity::generate().to_string();
        let identity = Secret::new(secrecy::ExposeSecret::expose_secret(&identity));
        let store = SecretsStore::new(directories, Some(identity.clone()), &KeyringStore::new(directories));
        return plant_sealed(store, identity, records, directories).await;
    }
    let store: Arc<dyn Store> = Arc::new(FileStore::new(directories));
    // The first save makes the file and its directory; its content is then replaced.
    save_one(&*store).await;
    std::fs::write(directories.credentials_file(), aggregate(records)).expect("written");
    store
}

async fn plant_sealed(
    store: SecretsStore,
    identity: Secret,
    records: usize,
    directories: &Directories,
) -> Arc<dyn Store> {
    save_one(&store).await;
    let identity: age::x25519::Identity = identity.expose().parse().expect("an identity");
    let sealed = age::encrypt(&identity.to_public(), aggregate(records).as_bytes()).expect("encrypted");
    std::fs::write(directories.secrets_file(), sealed).expect("written");
    Arc::new(store)
}

async fn save_one(store: &dyn Store) {
    let guard = store.lock(&key(0), request()).await.expect("free");
    store.save(&guard, &record()).await.expect("saved");
}

fn aggregate(records: usize) -> String {
    let one: serde_json::Value = serde_json::from_str(&record().to_json()).expect("a record");
    let credentials: Map<_, _> = (0..records).map(|number| (key(number).entry(), one.clone())).collect();
    json!({ "version": 1, "credentials": credentials }).to_string()
}

fn request() -> LockRequest {
    LockRequest { purpose: "measure", within: Duration::from_secs(5) }
}

fn key(number: usize) -> CredentialKey {
    let url = format!("https://mcp{number:05}.example.com/mcp");
    CredentialKey::new(Profile::default(), ServerUrl::parse(&url, PlainHttp::LoopbackOnly).expect("a URL"))
}

/// Of a usual size: tokens of 600 and 300 bytes. Its access token has ended.
fn record() -> Record {
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"https://as.example.com/t",
        "token_endpoint_auth_method":"none","resource":"https://mcp.example.com/mcp",
        "client":{{"id":"c","registration":"dynamic"}},"access_token":"a{:0>600}","refresh_token":"r{:0>300}",
        "scopes":["tools","offline_access"],"obtained_at_ms":1,"expires_at_ms":2}}"#,
        "x", "x"
    );
    Record::from_json(&json).expect("a record")
}

async fn timed(work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    begun.elapsed().as_secs_f64() * 1000.0
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
