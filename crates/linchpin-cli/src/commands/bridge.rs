//! `linchpin bridge`: stdio on this side, the remote server on the other.

use std::path::Path;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use linchpin::{Authorization, Bridge, Disposition, Endpoint, Server, SignInOptions};
use tokio_util::sync::CancellationToken;

use super::login::{self, Beside, How};
use crate::app::{App, variable};
use crate::args;
use crate::failure::Failure;
use crate::stdio;

/// Headers that the bridge sets itself.
const OURS: [&str; 8] = [
    "accept",
    "content-type",
    "content-length",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

pub(super) async fn run(app: &App, args: args::Bridge) -> Result<u8, Failure> {
    let server = app.server(&args.target).await?;
    let headers = headers(&args)?;
    if args.login && !headers.contains_key(AUTHORIZATION) && !login::is_signed_in(&server).await? {
        let mut options = SignInOptions::default();
        options.callback_port = args.callback_port;
        let timeout = std::time::Duration::from_secs(300);
        login::sign_in(&server, &options, How::Browser, Beside::Nobody, timeout).await?;
    }
    let bridge = Bridge::new(endpoint(&server, headers)?);
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        crate::interrupted().await;
        on_signal.cancel();
    });
    bridge
        .run(stdio::input(), stdio::output(), cancel)
        .await
        .map_err(|error| Failure::new(Disposition::Configuration, error.to_string()))?;
    Ok(0)
}

/// An Authorization header that the user configured is theirs: no sign-in, no recovery (P19).
fn endpoint(server: &Server, headers: HeaderMap) -> Result<Endpoint, Failure> {
    if headers.contains_key(AUTHORIZATION) {
        return Ok(Endpoint::new(server.url().clone(), Authorization::Configured, headers)?);
    }
    Ok(server.endpoint(headers)?)
}

fn headers(args: &args::Bridge) -> Result<HeaderMap, Failure> {
    let from_file = args.header_file.as_deref().map(header_file).transpose()?.unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in from_file.iter().chain(&args.headers) {
        let (name, value) = header(line)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header_file(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// `Name: value`. The value may be a secret, so no error quotes it.
fn header(line: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let malformed = || Failure::usage("a header is written `Name: value`");
    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| malformed())?;
    if OURS.contains(&name.as_str()) {
        return Err(Failure::usage(format!(
            "the header `{name}` is set by the bridge and cannot be configured"
        )));
    }
    let value = expanded(value.trim())?;
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Failure::usage(format!("the value of the header `{name}` has characters that a header cannot have"))
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// `${NAME}` becomes the variable's value.
fn expanded(text: &str) -> Result<String, Failure> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) =
            after.split_once('}').ok_or_else(|| Failure::usage("a `${` in a header has no `}`"))?;
        expanded.push_str(before);
        expanded.push_str(
            &variable(name)
                .ok_or_else(|| Failure::usage(format!("the environment variable `{name}` is not set")))?,
        );
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p19_headers_are_read_and_none_is_quoted_in_an_error() {
        let (name, value) = header("X-Team: a: b").expect("a header");
        assert_eq!((name.as_str(), value.to_str().expect("ASCII")), ("x-team", "a: b"));
        for line in [
            "planted-no-colon",
            "bad name: planted-x",
            "Mcp-Session-Id: planted-x",
            "X: planted-\u{7}",
            "X: ${UNSET_VARIABLE_X}",
        ] {
            let failure = header(line).expect_err(line);
            assert!(!failure.to_string().contains("planted"), "{failure}");
            assert_eq!(failure.disposition, Disposition::Usage);
        }
    }
}
