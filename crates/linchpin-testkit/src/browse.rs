//! What a browser does with a sign-in page: GET, and follow where it is sent.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const MAX_HOPS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a visit ended.
#[derive(Debug, Clone)]
pub struct Page {
    /// The address.
    pub url: String,
    /// The status of its answer.
    pub status: u16,
    /// The headers of its answer, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it shows.
    pub body: String,
}

/// Visits a plain http URL and follows redirects as a browser would.
pub async fn browse(url: &str) -> io::Result<Page> {
    tokio::time::timeout(PATIENCE, follow(url)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn follow(url: &str) -> io::Result<Page> {
    let mut url = url.to_owned();
    for _ in 0..MAX_HOPS {
        let uri: Uri = url.parse().map_err(io::Error::other)?;
        let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?.to_string();
        let stream = TcpStream::connect(&authority).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let request = Request::get(path).header(HOST, &authority).body(Empty::<Bytes>::new());
        let request = request.map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        let location =
            answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(location) = location.filter(|_| status.is_redirection()) {
            url = location;
            connection.abort();
            continue;
        }
        let headers = answer
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let headers = headers.collect();
        let body = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        let body = String::from_utf8_lossy(&body).into_owned();
        return Ok(Page { url, status: status.as_u16(), headers, body });
    }
    Err(io::Error::other("redirected too often"))
}
