//! rmcp's own client as a stdio server: JSON-RPC lines on one side, its `AuthClient` on the other.
//!
//! It is used as its documentation shows: credentials in a file, read back with `initialize_from_store`, the
//! transport over `AuthClient`. The file is replaced atomically and read at every request, so that processes that
//! share it see each other's tokens. rmcp ships no refresh guard; [`Setup::guarded`] gives it the best one that its
//! hooks allow: an operating system's lock on a file, held from before the read until after the save, a save that is
//! whole and synced, and a rejected token forgotten only where it is still the one that is kept. What rmcp does with
//! tokens is its own affair; nothing is added and nothing is held back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest};
use rmcp::service::{ClientInitializeError, PeerRequestOptions, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthError, AuthorizationManager, OAuthClientConfig};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{Peer, RoleClient};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, mpsc, oneshot};

mod guard;
mod store;

use store::CredentialsFile;
pub use store::{forget, plant};

/// The error of a request that needs a sign-in; the bridge answers with the same.
const SIGN_IN_REQUIRED: i64 = -32001;
/// Any other error.
const FAILED: i64 = -32000;

/// How rmcp's client is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The MCP server's URL.
    pub url: String,
    /// The file that its processes share.
    pub credentials: PathBuf,
    /// Whether a lock across processes is held over every refresh.
    pub guarded: bool,
    /// The secret of its client, for programs that keep it themselves: rmcp's stored credentials have no place for it.
    pub client_secret: Option<String>,
}

/// Serves lines until `input` ends: `initialize` connects to the MCP server, `tools/call` is passed on, a
/// cancellation cancels it, and anything else has no answer. Calls run at once. A connection that failed is tried again
/// by the next `initialize`.
///
/// # Errors
/// Those of `input` and `output`. What goes wrong with a request is its answer.
pub async fn serve(
    setup: Setup,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<()> {
    // rmcp builds its clients itself, so the choice of cryptography has to be the process's. Already made is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (answers, mut queue) = mpsc::channel::<String>(64);
    let writer = tokio::spawn(async move {
        while let Some(line) = queue.recv().await {
            output.write_all(line.as_bytes()).await?;
            output.flush().await?;
        }
        std::io::Result::Ok(())
    });
    let client = Arc::new(Client { setup, connection: Mutex::default(), under_way: Calls::default() });
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await? {
        let Ok(Request { id, method, params }) = serde_json::from_str(&line) else { continue };
        let Some(id) = id else {
            if method == "notifications/cancelled" {
                client.under_way.cancel(&params["requestId"]);
            }
            continue;
        };
        let cancelled = client.under_way.begin(&id);
        let (client, answers) = (Arc::clone(&client), answers.clone());
        tokio::spawn(async move {
            let outcome = match method.as_str() {
                "initialize" => client.initialize().await,
                "tools/call" => client.call(params, cancelled).await,
                _ => Err(Failed::because("this method is not part of the contrast")),
            };
            client.under_way.end(&id);
            let answer = match outcome {
                Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                Err(failed) => json!({ "jsonrpc": "2.0", "id": id, "error": failed.into_error() }),
            };
            let _ = answers.send(format!("{answer}\n")).await;
        });
    }
    client.close().await;
    drop(answers);
    writer.await.unwrap_or(Ok(()))
}

#[derive(Deserialize)]
struct Request {
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Why a request has no result. rmcp's own text may quote what a provider answered, so it goes no further.
#[derive(Debug)]
struct Failed {
    sign_in_required: bool,
    message: &'static str,
}

impl Failed {
    fn because(message: &'static str) -> Self {
        Self { sign_in_required: false, message }
    }

    fn unauthorized(sign_in_required: bool, otherwise: &'static str) -> Self {
        let message = if sign_in_required { "sign-in required" } else { otherwise };
        Self { sign_in_required, message }
    }

    fn into_error(self) -> Value {
        let code = if self.sign_in_required { SIGN_IN_REQUIRED } else { FAILED };
        json!({ "code": code, "message": self.message })
    }
}

impl From<AuthError> for Failed {
    fn from(error: AuthError) -> Self {
        let required = matches!(error, AuthError::AuthorizationRequired | AuthError::TokenRefreshRejected(_));
        Self::unauthorized(required, "the sign-in could not be read")
    }
}

impl From<ClientInitializeError> for Failed {
    fn from(error: ClientInitializeError) -> Self {
        Self::unauthorized(error.is_authorization_required(), "the server could not be connected to")
    }
}

impl From<ServiceError> for Failed {
    fn from(error: ServiceError) -> Self {
        Self::unauthorized(error.is_authorization_required(), "the call failed")
    }
}

/// A client that connects when it is asked to.
struct Client {
    setup: Setup,
    connection: Mutex<Option<RunningService<RoleClient, ()>>>,
    under_way: Calls,
}

impl Client {
    async fn initialize(&self) -> Result<Value, Failed> {
        let mut connection = self.connection.lock().await;
        let service = self.connect().await?;
        let server = service.peer_info().map(|info| json!(*info)).unwrap_or_default();
        *connection = Some(service);
        Ok(server)
    }

    async fn connect(&self) -> Result<RunningService<RoleClient, ()>, Failed> {
        let Setup { url, credentials, guarded, client_secret } = &self.setup;
        let store = CredentialsFile::new(credentials.clone(), *guarded);
        let mut manager = AuthorizationManager::new(url.as_str()).await?;
        let client_id = store.client_id()?;
        manager.set_credential_store(store);
        if !manager.initialize_from_store().await? {
            return Err(AuthError::AuthorizationRequired.into());
        }
        if let (Some(secret), Some(id)) = (client_secret, client_id) {
            // What `initialize_from_store` set up has no secret; a program that kept it says it again.
            manager.configure_client(OAuthClientConfig::new(id, url.as_str()).with_client_secret(secret))?;
        }
        let client = AuthClient::new(reqwest::Client::default(), manager);
        let config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
        Ok(serve_client((), StreamableHttpClientTransport::with_client(client, config)).await?)
    }

    /// Calls a tool, until that is cancelled, which rmcp is told in its own way.
    async fn call(&self, params: Value, cancelled: oneshot::Receiver<()>) -> Result<Value, Failed> {
        let params: CallToolRequestParams = serde_json::from_value(params)
            .map_err(|_| Failed::because("these are no parameters of a call"))?;
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let peer = self.peer().await?;
        let mut handle = peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
        let result = tokio::select! {
            result = &mut handle.rx => result.unwrap_or(Err(ServiceError::TransportClosed))?,
            Ok(()) = cancelled => {
                handle.cancel(None).await?;
                return Err(Failed::because("cancelled"));
            }
        };
        serde_json::to_value(result).map_err(|_| Failed::because("the result cannot be passed on"))
    }

    async fn peer(&self) -> Result<Peer<RoleClient>, Failed> {
        let connection = self.connection.lock().await;
        connection.as_ref().map(|service| service.peer().clone()).ok_or(Failed::because("not connected"))
    }

    async fn close(&self) {
        if let Some(service) = self.connection.lock().await.take() {
            let _ = service.cancel().await;
        }
    }
}

/// The requests under way, by their id as text, with what cancels each.
#[derive(Default)]
struct Calls(std::sync::Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Calls {
    fn begin(&self, id: &Value) -> oneshot::Receiver<()> {
        let (cancel, cancelled) = oneshot::channel();
        self.calls().insert(id.to_string(), cancel);
        cancelled
    }

    fn end(&self, id: &Value) {
        self.calls().remove(&id.to_string());
    }

    fn cancel(&self, id: &Value) {
        if let Some(cancel) = self.calls().remove(&id.to_string()) {
            let _ = cancel.send(());
        }
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
