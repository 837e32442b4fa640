//! rmcp's own client as a stdio server: JSON-RPC lines on one side, its `AuthClient` on the other.
//!
//! It is used as its documentation shows: credentials in a file, read back with `initialize_from_store`, the
//! transport over `AuthClient`. The file is replaced atomically and read at every request, so that processes that
//! share it see each other's tokens. There is no refresh guard, since rmcp ships none. What it does with tokens is
//! its own affair; nothing is added and nothing is held back.

use std::path::PathBuf;
use std::sync::Arc;

use rmcp::model::CallToolRequestParams;
use rmcp::service::{ClientInitializeError, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthError, AuthorizationManager};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{Peer, RoleClient};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, mpsc};

mod store;

use store::CredentialsFile;
pub use store::plant;

/// The error of a request that needs a sign-in; the bridge answers with the same.
const SIGN_IN_REQUIRED: i64 = -32001;
/// Any other error.
const FAILED: i64 = -32000;

/// Serves lines until `input` ends: `initialize` connects to the MCP server at `url`, `tools/call` is passed on, and
/// anything else has no answer. Calls run at once. A connection that failed is tried again by the next `initialize`.
///
/// # Errors
/// Those of `input` and `output`. What goes wrong with a request is its answer.
pub async fn serve(
    url: &str,
    credentials: PathBuf,
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
    let client = Arc::new(Client { url: url.to_owned(), credentials, connection: Mutex::default() });
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await? {
        let Ok(Request { id: Some(id), method, params }) = serde_json::from_str(&line) else { continue };
        let (client, answers) = (Arc::clone(&client), answers.clone());
        tokio::spawn(async move {
            let outcome = match method.as_str() {
                "initialize" => client.initialize().await,
                "tools/call" => client.call(params).await,
                _ => Err(Failed::because("this method is not part of the contrast")),
            };
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
    url: String,
    credentials: PathBuf,
    connection: Mutex<Option<RunningService<RoleClient, ()>>>,
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
        let mut manager = AuthorizationManager::new(self.url.as_str()).await?;
        manager.set_credential_store(CredentialsFile::new(self.credentials.clone()));
        if !manager.initialize_from_store().await? {
            return Err(AuthError::AuthorizationRequired.into());
        }
        let client = AuthClient::new(reqwest::Client::default(), manager);
        let config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str());
        Ok(serve_client((), StreamableHttpClientTransport::with_client(client, config)).await?)
    }

    async fn call(&self, params: Value) -> Result<Value, Failed> {
        let params: CallToolRequestParams = serde_json::from_value(params)
            .map_err(|_| Failed::because("these are no parameters of a call"))?;
        let result = self.peer().await?.call_tool(params).await?;
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
