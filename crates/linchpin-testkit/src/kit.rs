//! The kit: three servers on loopback and their controls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigChange, Options};
use crate::counts::Counts;
use crate::fault::{Action, Endpoint, Fault, Faults};
use crate::grants::Grants;
use crate::mcp::Sessions;
use crate::respond::{self, Answer};
use crate::serve::{WireControl, serve};
use crate::{admin, mcp, provider};

/// A running provider and MCP server. Dropping it stops them.
#[derive(Debug)]
pub struct Kit {
    shared: Arc<Shared>,
    _servers: JoinSet<()>,
}

/// What a complete sign-in gives: what a test plants into a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedIn {
    /// The issuer.
    pub issuer: String,
    /// Where tokens are exchanged.
    pub token_endpoint: String,
    /// Where tokens are revoked.
    pub revocation_endpoint: String,
    /// The resource, which is the MCP URL.
    pub resource: String,
    /// The client.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<String>,
    /// How it authenticates.
    pub client_auth: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The scopes, separated by blanks.
    pub scope: String,
    /// How long the access token lives, in ms.
    pub access_lifetime_ms: u64,
}

impl SignedIn {
    /// The sign-in as a store keeps it (a record of version 1, as JSON): obtained then, in ms since 1970, and with an
    /// access token that by the clock of this machine lives for so long, whatever the provider thinks.
    #[must_use]
    pub fn record(&self, obtained_at_ms: u64, lives: Duration) -> String {
        let lives_ms = u64::try_from(lives.as_millis()).unwrap_or(u64::MAX);
        let mut client = serde_json::json!({ "id": self.client_id, "registration": "dynamic" });
        if let Some(secret) = &self.client_secret {
            client["secret"] = secret.as_str().into();
        }
        serde_json::json!({
            "version": 1, "generation": 1,
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint,
            "revocation_endpoint": self.revocation_endpoint,
            "token_endpoint_auth_method": self.client_auth,
            "resource": self.resource,
            "client": client,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "scopes": self.scope.split(' ').collect::<Vec<_>>(),
            "obtained_at_ms": obtained_at_ms,
            "expires_at_ms": obtained_at_ms.saturating_add(lives_ms),
        })
        .to_string()
    }
}

/// A request to the MCP endpoint as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// POST, GET or DELETE.
    pub method: Method,
    /// Every header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Kit {
    /// Starts provider, server and admin interface on this runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let [provider_port, mcp_port, admin_port] = options.ports;
        let (provider, server, admin) =
            (bind(provider_port).await?, bind(mcp_port).await?, bind(admin_port).await?);
        let shared = Arc::new(Shared {
            issuer: format!("http://{}", provider.local_addr()?),
            mcp_origin: format!("http://{}", server.local_addr()?),
            admin_origin: format!("http://{}", admin.local_addr()?),
            config: Mutex::new(options.config),
            counts: Mutex::default(),
            faults: Mutex::default(),
            grants: Mutex::default(),
            sessions: Mutex::default(),
            seen: Mutex::default(),
            streams: Arc::default(),
            held: AtomicU64::new(0),
            release: Notify::new(),
        });
        let mut servers = JoinSet::new();
        let state = Arc::clone(&shared);
        servers.spawn(serve(provider, move |asked| provider::handle(Arc::clone(&state), asked)));
        let state = Arc::clone(&shared);
        servers.spawn(serve(server, move |asked| mcp::handle(Arc::clone(&state), asked)));
        let state = Arc::clone(&shared);
        servers.spawn(serve(admin, move |asked| std::future::ready(admin::handle(&state, asked))));
        Ok(Self { shared, _servers: servers })
    }

    /// Starts it on a thread with a runtime of its own, for synchronous callers.
    pub fn spawn(options: Options) -> io::Result<KitThread> {
        let (started, start) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("testkit".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async move {
                match Self::start(options).await {
                    Ok(kit) => {
                        let handle = Self { shared: Arc::clone(&kit.shared), _servers: JoinSet::new() };
                        let _ = started.send(Ok(handle));
                        let _ = stopped.await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        })?;
        let kit = start.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        Ok(KitThread { kit, stop: Some(stop), thread: Some(thread) })
    }

    /// The provider's issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The MCP server's URL.
    pub fn mcp_url(&self) -> String {
        self.shared.mcp_url()
    }

    /// The admin interface's origin.
    pub fn admin_url(&self) -> &str {
        &self.shared.admin_origin
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        *self.shared.counts() = Counts::default();
    }

    /// Changes the behaviour.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.shared.config());
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults().add(fault);
    }

    /// Removes all faults; answers kept back are released.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
        self.release();
    }

    /// How many answers are kept back.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// How many event streams are open.
    pub fn streams(&self) -> u64 {
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// Lets the answers go that are kept back.
    pub fn release(&self) {
        self.shared.release.notify_waiters();
    }

    /// From now on the server refuses every access token issued until now; refreshing works.
    pub fn refuse_access_tokens(&self) {
        self.shared.grants().refuse_access_tokens();
    }

    /// From now on the provider refuses every client registered until now, as if it had lost their registrations.
    pub fn forget_clients(&self) {
        self.shared.grants().forget_clients();
    }

    /// It knows them again.
    pub fn restore_clients(&self) {
        self.shared.grants().restore_clients();
    }

    /// Revokes every grant.
    pub fn revoke_grants(&self) {
        self.shared.grants().revoke_all();
    }

    /// Grants that are not revoked.
    pub fn living_grants(&self) -> usize {
        self.shared.grants().living()
    }

    /// Which sign-in an access or refresh token came from, counted from 0 in the order in which they were made.
    pub fn grant_of(&self, token: &str) -> Option<usize> {
        self.shared.grants().grant_of(token)
    }

    /// Forgets every session.
    pub fn drop_sessions(&self) {
        self.shared.sessions().clear();
    }

    /// Ends every connection of a standalone stream. The streams go on for whoever asks again.
    pub fn end_streams(&self) {
        self.shared.sessions().interrupt();
    }

    /// Sends a message to every session's standalone stream.
    pub fn push(&self, message: &serde_json::Value) {
        self.shared.sessions().push(&message.to_string());
    }

    /// The requests to the MCP endpoint so far, in the order they arrived, while [`Config::record`] is on.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Every token, code, verifier and secret that was issued or seen.
    pub fn planted_secrets(&self) -> Vec<String> {
        self.shared.grants().planted()
    }

    /// Registers a client by hand, as an operator would: its secret, unless `auth_method` is `none`.
    pub fn add_client(&self, id: &str, auth_method: &str, redirect_uri: &str) -> Option<String> {
        provider::add_client(&self.shared, id, auth_method, redirect_uri)
    }

    /// A complete sign-in as a client of its own.
    pub fn sign_in(&self) -> io::Result<SignedIn> {
        provider::sign_in(&self.shared)
    }
}

/// A kit on a thread of its own. Dropping it stops the thread.
#[derive(Debug)]
pub struct KitThread {
    kit: Kit,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::ops::Deref for KitThread {
    type Target = Kit;

    fn deref(&self) -> &Kit {
        &self.kit
    }
}

impl Drop for KitThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the servers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) issuer: String,
    pub(crate) mcp_origin: String,
    pub(crate) admin_origin: String,
    config: Mutex<Config>,
    counts: Mutex<Counts>,
    faults: Mutex<Faults>,
    grants: Mutex<Grants>,
    sessions: Mutex<Sessions>,
    seen: Mutex<Vec<Seen>>,
    streams: Arc<AtomicU64>,
    held: AtomicU64,
    release: Notify,
}

impl Shared {
    pub(crate) fn mcp_url(&self) -> String {
        format!("{}/mcp", self.mcp_origin)
    }

    pub(crate) fn config(&self) -> MutexGuard<'_, Config> {
        lock(&self.config)
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn grants(&self) -> MutexGuard<'_, Grants> {
        lock(&self.grants)
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(crate) fn see(&self, request: &Request<Bytes>) {
        if self.config().record {
            let (method, headers) = (request.method().clone(), request.headers().clone());
            lock(&self.seen).push(Seen { method, headers, body: request.body().clone() });
        }
    }

    /// An answer of these events, counted as open until it ends or its connection does.
    pub(crate) fn stream(&self, events: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
        let open = OpenStream::new(&self.streams);
        respond::events(events.inspect(move |_| {
            let _ = &open;
        }))
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.release.notify_waiters();
    }

    /// Merges the named fields into the configuration.
    pub(crate) fn merge_config(&self, change: ConfigChange) -> Result<(), serde_json::Error> {
        let mut config = self.config();
        let mut merged = serde_json::to_value(&*config)?;
        if let Some(fields) = merged.as_object_mut() {
            fields.extend(change);
        }
        *config = serde_json::from_value(merged)?;
        Ok(())
    }

    /// Answers with whatever fault is due for this endpoint.
    pub(crate) async fn answer(
        &self,
        endpoint: Endpoint,
        method: Option<&str>,
        wire: &WireControl,
        effect: impl Future<Output = Answer>,
    ) -> Answer {
        let fault = self.faults().take(endpoint, method);
        let Some(fault) = fault else { return effect.await };
        pause(fault.delay_before_ms).await;
        let answer = match fault.action {
            Action::Replace { status, headers, body, effect: takes_effect } => {
                if takes_effect {
                    drop(effect.await);
                }
                wire.set(Action::None);
                replacement(status, headers, body)
            }
            action => {
                let answer = effect.await;
                wire.set(action);
                answer
            }
        };
        if fault.hold {
            let _held = Held::new(&self.held);
            self.release.notified().await;
        }
        pause(fault.delay_ms).await;
        answer
    }
}

struct OpenStream(Arc<AtomicU64>);

impl OpenStream {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn replacement(status: u16, headers: std::collections::BTreeMap<String, String>, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_str(&value))
        {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
