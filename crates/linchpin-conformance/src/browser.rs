//! A browser that shows nothing and follows nothing: it visits a sign-in page and tells where that sends it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read for its head, in bytes.
const MAX_HEAD: u64 = 64 << 10;

/// Visits a plain http page; the `Location` of its answer.
pub(crate) async fn visit(page: &Url) -> Result<String> {
    let answer =
        tokio::time::timeout(PATIENCE, get(page)).await.context("the sign-in page does not answer")??;
    location(&answer).with_context(|| format!("the sign-in page sends nobody back: {}", first_line(&answer)))
}

async fn get(page: &Url) -> Result<String> {
    let (Some(host), Some(port)) = (page.host_str(), page.port_or_known_default()) else { bail!("no host") };
    if page.scheme() != "http" {
        bail!("only plain http pages are visited");
    }
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let target = &page[url::Position::BeforePath..url::Position::AfterQuery];
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_HEAD).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn location(answer: &str) -> Option<String> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
    Some(value.trim().to_owned())
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_head_and_no_other() {
        let answer = "HTTP/1.1 302 Found\r\nX: location: /no\r\nlocation:  http://127.0.0.1:1/callback?code=c \r\n\r\nLocation: /no";
        assert_eq!(location(answer).as_deref(), Some("http://127.0.0.1:1/callback?code=c"));
        for nothing in ["HTTP/1.1 200 OK\r\n\r\nLocation: /no", "HTTP/1.1 302 Found\r\nLocation: /cut", ""] {
            assert_eq!(location(nothing), None, "{nothing:?}");
        }
    }
}
