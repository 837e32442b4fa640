//! What a call through `McpClient` costs, against the same call through rmcp with a fixed token: same server, same
//! run, both eras of the protocol. rmcp is measured twice, with its own default client and with one that keeps its
//! connections, as Linchpin's does; the latter is the fair one.
//!
//! `cargo bench -p linchpin --bench call`, on a quiet machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use linchpin::rmcp;
use linchpin::{
    Clock as _, HttpOptions, Linchpin, McpClient, MemoryStore, PlainHttp, Profile, Record, ServerUrl,
    SystemClock,
};
use linchpin_testkit::{Kit, KitThread, Options, SignedIn};
use rmcp::model::{CallToolRequestParams, ClientConfig, JsonObject, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, RoleClient, RunningService, serve_client_with_lifecycle};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::runtime::{Builder, Runtime};

fn record(signed_in: &SignedIn) -> Record {
    Record::from_json(&signed_in.record(SystemClock.now().0, Duration::from_secs(3600))).expect("a record")
}

async fn linchpin_client(kit: &Kit, signed_in: &SignedIn, revision: ProtocolVersion) -> McpClient {
    let linchpin = Linchpin::builder()
        .store(Arc::new(MemoryStore::new()))
        .http(HttpOptions::new(PlainHttp::LoopbackOnly))
        .build();
    let url = ServerUrl::parse(&kit.mcp_url(), PlainHttp::LoopbackOnly).expect("a URL");
    let server = linchpin.server(url, Profile::default()).await;
    server.credential().sign_in(record(signed_in)).await.expect("saved");
    McpClient::builder().revision(revision).connect(&server).await.expect("connected")
}

type Plain = RunningService<RoleClient, ClientConfig>;

async fn rmcp_client(kit: &Kit, token: &str, revision: ProtocolVersion, keeps: bool) -> Plain {
    let config = StreamableHttpClientTransportConfig::with_uri(kit.mcp_url()).auth_header(token);
    #[expect(clippy::disallowed_methods, reason = "what it is measured against")]
    let transport = if keeps {
        StreamableHttpClientTransport::with_client(reqwest::Client::new(), config)
    } else {
        StreamableHttpClientTransport::from_config(config)
    };
    let about = ClientConfig::default().with_protocol_version(revision.clone());
    let lifecycle = if revision.has_initialize() {
        ClientLifecycleMode::Initialize
    } else {
        ClientLifecycleMode::Discover { preferred_versions: vec![revision] }
    };
    serve_client_with_lifecycle(about, transport, lifecycle).await.expect("connected")
}

fn arguments() -> JsonObject {
    let mut arguments = JsonObject::new();
    arguments.insert("text".to_owned(), "as much as one says to a tool".into());
    arguments
}

fn calls(criterion: &mut Criterion) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kit: KitThread = Kit::spawn(Options::default()).expect("the kit starts");
    let signed_in = kit.sign_in().expect("the kit signs in");
    let runtime: Runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("call");
    for revision in [ProtocolVersion::V_2026_07_28, ProtocolVersion::V_2025_11_25] {
        let client = runtime.block_on(linchpin_client(&kit, &signed_in, revision.clone()));
        group.bench_function(BenchmarkId::new("McpClient", &revision), |bencher| {
            bencher.iter(|| {
                let result = runtime.block_on(client.call_tool("echo", arguments()).into_future());
                black_box(result.expect("called"))
            });
        });
        runtime.block_on(client.close());
        for (name, keeps) in [("rmcp, fixed token", true), ("rmcp's default client, fixed token", false)] {
            let token = &signed_in.access_token;
            let plain = runtime.block_on(rmcp_client(&kit, token, revision.clone(), keeps));
            group.bench_function(BenchmarkId::new(name, &revision), |bencher| {
                bencher.iter(|| {
                    let params = CallToolRequestParams::new("echo").with_arguments(arguments());
                    black_box(runtime.block_on(plain.call_tool(params)).expect("called"))
                });
            });
            let _ = runtime.block_on(plain.cancel());
        }
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
