//! What the authority costs: the read of a valid token, and a transaction nobody contends for, beyond its exchange.
//!
//! `cargo bench -p linchpin-authority`; `cargo xtask bench` runs it and writes the figures down.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use linchpin_authority::{Authority, Credential, Wait};
use linchpin_oauth::{Exchange, Revocation, TokenAnswer, TokenEndpoint};
use linchpin_store::{
    Clock as _, CredentialKey, Directories, FileStore, MemoryStore, PlainHttp, Profile, Record, Secret,
    ServerUrl, Store, SystemClock,
};
use tokio::runtime::{Builder, Runtime};

/// Rotates at once: what a transaction costs without the network.
#[derive(Debug, Default)]
struct AtOnce(AtomicU64);

#[async_trait]
impl TokenEndpoint for AtOnce {
    async fn refresh(&self, _: &Record) -> Exchange {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Exchange::Rotated(TokenAnswer {
            access_token: Secret::new(format!("an access token of the usual length, number {number}")),
            refresh_token: Some(Secret::new(format!("a refresh token of the usual length, number {number}"))),
            expires_in: Some(Duration::from_secs(3600)),
            scopes: None,
        })
    }

    async fn revoke(&self, _: &Record) -> Revocation {
        Revocation::Revoked
    }
}

fn signed_in(runtime: &Runtime, store: Arc<dyn Store>) -> Credential {
    let url = ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL");
    let authority = Authority::new(store, Arc::new(AtOnce::default()), Arc::new(SystemClock));
    let credential = authority.credential(CredentialKey::new(Profile::default(), url));
    let now = SystemClock.now();
    let json = format!(
        r#"{{"version":1,"generation":1,"issuer":"https://as.example.com","token_endpoint":"https://as.example.com/t",
        "token_endpoint_auth_method":"none","resource":"https://mcp.example.com/mcp",
        "client":{{"id":"c","registration":"dynamic"}},"access_token":"A","refresh_token":"R",
        "obtained_at_ms":{},"expires_at_ms":{}}}"#,
        now.0,
        now.after(Duration::from_secs(3600)).0
    );
    let record = Record::from_json(&json).expect("a record");
    runtime.block_on(credential.sign_in(record)).expect("saved");
    credential
}

fn read(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let credential = signed_in(&runtime, Arc::new(MemoryStore::new()));
    let mut group = criterion.benchmark_group("read of a valid token");
    group.bench_function("current", |bencher| bencher.iter(|| black_box(credential.current())));
    group.bench_function("access_token", |bencher| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        bencher.iter(|| {
            let asked = std::pin::pin!(credential.access_token(Wait::Transaction));
            black_box(asked.poll(&mut context))
        });
    });
    group.finish();
}

fn transaction(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Beside the build, on a disk; a directory for temporary files may be memory.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let directories = Directories::under(home.path()).expect("an absolute path");
    let stores: [(&str, Arc<dyn Store>); 2] =
        [("file", Arc::new(FileStore::new(&directories))), ("memory", Arc::new(MemoryStore::new()))];
    let mut group = criterion.benchmark_group("refresh without contention, without the exchange");
    group.sample_size(50);
    for (name, store) in stores {
        let credential = signed_in(&runtime, store);
        let mut token = credential.current().expect("signed in");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                token = runtime.block_on(credential.recover(&token, Wait::Transaction)).expect("rotated");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read, transaction);
criterion_main!(benches);
