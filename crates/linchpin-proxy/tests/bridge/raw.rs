//! Servers that are no MCP servers: bytes in, bytes out.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A listener and everything that arrived at it. Dropping it ends it.
pub(crate) struct Raw {
    pub(crate) origin: String,
    received: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Raw {
    /// Answers each request with what `answer` makes of it.
    pub(crate) async fn scripted(answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> Self {
        Self::serving(move |mut stream, request| {
            let answer = answer(&request);
            async move {
                stream.write_all(answer.as_bytes()).await.ok()?;
                Some(stream)
            }
        })
        .await
    }

    /// Hands each request and its connection to `serve`, which gives the connection back for the next one.
    pub(crate) async fn serving<F>(
        serve: impl Fn(TcpStream, String) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<TcpStream>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&received);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, serve) = (Arc::clone(&log), serve.clone());
                connections.spawn(async move {
                    while let Some(request) = read_request(&mut stream, &log).await {
                        match serve(stream, request).await {
                            Some(next) => stream = next,
                            None => return,
                        }
                    }
                });
            }
        });
        Self { origin, received, _serving: serving }
    }

    /// The requests that arrived, each with its head and body.
    pub(crate) fn received(&self) -> Vec<String> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An answer with this body.
pub(crate) fn http(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// The id of the JSON-RPC message in a request.
pub(crate) fn id_in(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let message: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    message["id"].to_string()
}

/// Reads a request. Whatever arrives is logged, whole or not.
async fn read_request(stream: &mut TcpStream, log: &Mutex<Vec<String>>) -> Option<String> {
    let mut bytes = Vec::new();
    let whole = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                    .unwrap_or(0);
                if body.len() >= length {
                    return Some(text);
                }
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
    .await;
    if !bytes.is_empty() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
    whole
}
