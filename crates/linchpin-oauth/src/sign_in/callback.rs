//! The callback on this machine (RFC 8252 section 7.3): one route on the loopback address, while a sign-in waits.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use linchpin_store::history::Code;
use linchpin_store::{Secret, ServerUrl};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::SignInError;
use super::page::{self, Told};

/// The longest query of a callback, in bytes.
const MAX_QUERY: usize = 8 << 10;
/// How long the browser's request is held until the sign-in is known to have worked: the exchange of the code, the
/// wait for a refresh in flight, and a margin.
const HOLD: Duration = Duration::from_secs(100);

/// What the browser is told whose answer is not used.
const NOT_OURS: &str = "This answer does not belong to the sign-in that is waiting, so it was not used.";

/// What came back from the browser, checked.
#[derive(Debug)]
pub struct Callback {
    pub(super) code: Secret,
    pub(super) waiting: Waiting,
}

/// What a callback has to carry to belong to this sign-in.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) state: Secret,
    pub(super) issuer: String,
    /// Whether the provider promises to name itself (RFC 9207 section 3).
    pub(super) issuer_due: bool,
}

impl Expected {
    /// Checks state, then issuer, and only then looks at anything else (RFC 9207 section 2.4).
    pub(super) fn check(&self, query: &str, waiting: Waiting) -> Result<Callback, SignInError> {
        if query.len() > MAX_QUERY {
            return Err(SignInError::NotACallback);
        }
        let mut pairs: HashMap<String, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // A parameter that repeats is nobody's (RFC 6749 section 3.1).
            if pairs.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(SignInError::NotACallback);
            }
        }
        if !pairs.contains_key("code") && !pairs.contains_key("error") {
            return Err(SignInError::NotACallback);
        }
        // Digests are compared, so that the time it takes tells nothing of the state.
        let state = pairs.remove("state").map(|state| Secret::new(state).fingerprint());
        if state != Some(self.state.fingerprint()) {
            return Err(SignInError::WrongState);
        }
        let issuer = pairs.get("iss");
        if issuer.map_or(self.issuer_due, |issuer| *issuer != self.issuer) {
            return Err(SignInError::WrongIssuer { expected: self.issuer.clone() });
        }
        if let Some(error) = pairs.get("error") {
            let secrets: Vec<_> =
                pairs.get("code").map(Secret::new).into_iter().chain([self.state.clone()]).collect();
            let code = Code::of_answer(error, &secrets).as_str().to_owned();
            return Err(SignInError::Denied { code });
        }
        let code = pairs.remove("code").filter(|code| !code.is_empty()).ok_or(SignInError::NotACallback)?;
        Ok(Callback { code: Secret::new(code), waiting })
    }
}

/// A browser that waits to be told how the sign-in ended.
#[derive(Debug)]
pub(super) struct Waiting(Option<oneshot::Sender<Told>>);

impl Waiting {
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    pub(super) fn tell(self, told: Told) {
        if let Some(browser) = self.0 {
            let _ = browser.send(told);
        }
    }

    /// Tells it, and gives the page a moment to arrive.
    pub(super) async fn failed(self, why: &'static str) {
        let somebody = self.0.is_some();
        self.tell(Told::Failed(why));
        if somebody {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

type Arrived = (String, oneshot::Sender<Told>);

/// The listener. Dropping it frees the port.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrived>,
    stop: CancellationToken,
    server: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Clone)]
struct Route {
    host: String,
    server: String,
    arrivals: mpsc::Sender<Arrived>,
}

impl Listener {
    pub(super) async fn bind(port: u16, server: &ServerUrl) -> Result<Self, SignInError> {
        let taken = |error: std::io::Error| SignInError::CallbackPort { port, problem: error.to_string() };
        let listener =
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (sender, arrivals) = mpsc::channel(1);
        let route = Route {
            host: address.to_string(),
            server: server.url().host_str().unwrap_or_default().to_owned(),
            arrivals: sender,
        };
        let app = Router::new().route("/callback", get(arrive)).with_state(route);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            // It ends when it is told to; a client that misbehaves ends only its own connection.
            let _ = axum::serve(listener, app).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { address, arrivals, stop, server: Some(server) })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    /// The first callback that carries the state of this sign-in. One without it does not belong here, and anybody on the
    /// machine, or any page, can send it: it is turned away, and the sign-in goes on.
    pub(super) async fn callback(
        &mut self,
        expected: &Expected,
        within: Duration,
    ) -> Result<Callback, SignInError> {
        let mut strangers = false;
        let first = async {
            loop {
                let Some((query, browser)) = self.arrivals.recv().await else {
                    return std::future::pending().await;
                };
                match expected.check(&query, Waiting::nobody()) {
                    Ok(callback) => {
                        self.turn_away();
                        return Ok(Callback { waiting: Waiting(Some(browser)), ..callback });
                    }
                    Err(SignInError::WrongState) => {
                        if !std::mem::replace(&mut strangers, true) {
                            tracing::warn!(
                                "a callback with a wrong state was turned away; the sign-in still waits"
                            );
                        }
                        Waiting(Some(browser)).tell(Told::Failed(NOT_OURS));
                    }
                    // Browsers ask for other things too.
                    Err(SignInError::NotACallback) => {
                        Waiting(Some(browser)).tell(Told::Failed("This is not the answer to a sign-in."));
                    }
                    Err(error) => {
                        let why = match error {
                            SignInError::Denied { .. } => "The provider did not sign you in.",
                            _ => NOT_OURS,
                        };
                        Waiting(Some(browser)).failed(why).await;
                        return Err(error);
                    }
                }
            }
        };
        match tokio::time::timeout(within, first).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SignInError::TimedOut(within)),
        }
    }

    /// Whoever comes now is told at once that nobody waits.
    fn turn_away(&mut self) {
        self.arrivals.close();
        while let Ok((_, browser)) = self.arrivals.try_recv() {
            let _ = browser.send(Told::TooLate);
        }
    }

    /// Stops after the answers under way were sent, within a bound.
    pub(super) async fn close(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn arrive(State(route): State<Route>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    // A page elsewhere that resolves its own name to this address sends its own host (DNS rebinding).
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if host != Some(route.host.as_str()) {
        return html(StatusCode::FORBIDDEN, page::failed("The request does not come from the sign-in."));
    }
    // A sign-in ends in a page of its own. A picture or a script in another page that points here is not one, and
    // must not end a sign-in that waits (Fetch Metadata).
    let destination = headers.get("sec-fetch-dest").and_then(|value| value.to_str().ok());
    if destination.is_some_and(|destination| destination != "document") {
        return html(StatusCode::FORBIDDEN, page::failed("The request does not come from the sign-in."));
    }
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        return html(StatusCode::URI_TOO_LONG, page::failed("The address is too long."));
    }
    let (browser, told) = oneshot::channel();
    if route.arrivals.send((query, browser)).await.is_err() {
        return html(StatusCode::GONE, page::too_late());
    }
    match tokio::time::timeout(HOLD, told).await {
        Ok(Ok(Told::SignedIn)) => html(StatusCode::OK, page::signed_in(&route.server)),
        Ok(Ok(Told::TooLate)) => html(StatusCode::GONE, page::too_late()),
        Ok(Ok(Told::Failed(why))) => html(StatusCode::BAD_REQUEST, page::failed(why)),
        _ => html(StatusCode::BAD_GATEWAY, page::failed("The sign-in was not completed.")),
    }
}

fn html(status: StatusCode, page: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    let more =
        [("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff"), ("connection", "close")];
    (status, headers, more, page).into_response()
}

#[cfg(feature = "fuzzing")]
pub(crate) fn fuzzed(query: &str, issuer_due: bool) {
    const ISSUER: &str = "https://as.example.com";
    let expected = Expected { state: Secret::new("s1"), issuer: ISSUER.to_owned(), issuer_due };
    let has = |name: &str, value: &str| {
        form_urlencoded::parse(query.as_bytes()).filter(|pair| *pair == (name.into(), value.into())).count()
    };
    match expected.check(query, Waiting::nobody()) {
        Ok(callback) => {
            assert!(has("state", "s1") == 1 && has("code", callback.code.expose()) == 1, "another's code");
            assert!(!issuer_due || has("iss", ISSUER) == 1, "of another issuer");
        }
        Err(SignInError::Denied { code }) => {
            assert!(has("state", "s1") == 1, "another's error");
            assert_eq!(Code::new(&code).as_str(), code, "not to be shown");
        }
        Err(SignInError::WrongState | SignInError::WrongIssuer { .. } | SignInError::NotACallback) => {}
        Err(other) => panic!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(query: &str, issuer_due: bool) -> String {
        let expected =
            Expected { state: Secret::new("s1"), issuer: "https://as.example.com".to_owned(), issuer_due };
        match expected.check(query, Waiting::nobody()) {
            Ok(callback) => format!("code {}", callback.code.expose()),
            Err(SignInError::WrongState) => "state".to_owned(),
            Err(SignInError::WrongIssuer { .. }) => "issuer".to_owned(),
            Err(SignInError::Denied { code }) => format!("denied {code}"),
            Err(SignInError::NotACallback) => "none".to_owned(),
            Err(other) => format!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn f24_no_query_panics_and_none_passes_without_the_state(query in "[ -~]{0,60}|(code|state|iss|error|=|&|%[0-9a-f]{0,2}|s1){0,12}") {
            let has_state = form_urlencoded::parse(query.as_bytes()).any(|pair| pair == ("state".into(), "s1".into()));
            let outcome = check(&query, false);
            prop_assert!(has_state || outcome == "state" || outcome == "none", "{query}: {outcome}");
        }

        #[test]
        fn f24_what_a_provider_sends_back_is_read_back(code in "\\PC{1,40}", extra in "[a-z]{8}", value in "\\PC{0,20}", due in any::<bool>()) {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair(&extra, &value)
                .append_pair("iss", "https://as.example.com")
                .append_pair("code", &code)
                .append_pair("state", "s1")
                .finish();
            prop_assert_eq!(check(&query, due), format!("code {code}"));
            // Anything else in place of the state ends it, whatever the rest says.
            prop_assert_eq!(check(&query.replace("state=s1", &format!("state=s1{extra}")), due), "state");
        }

        #[test]
        fn f25_an_error_is_told_in_one_word(error in any::<String>()) {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("error", &error).append_pair("state", "s1").finish();
            if query.len() <= MAX_QUERY {
                let told = check(&query, false);
                let code = told.strip_prefix("denied ").expect("an error");
                let kept = Code::new(code);
                prop_assert_eq!(kept.as_str(), code);
            }
        }
    }

    #[test]
    fn f24_state_then_issuer_then_the_rest() {
        let iss = "iss=https%3A%2F%2Fas.example.com";
        for (query, issuer_due, expected) in [
            (format!("code=c&state=s1&{iss}"), true, "code c"),
            ("code=c&state=s1".to_owned(), false, "code c"),
            ("code=c&state=s1".to_owned(), true, "issuer"),
            ("code=c&state=s1&iss=https%3A%2F%2Fas.example.com%2F".to_owned(), false, "issuer"),
            ("code=c&state=s1&iss=https%3A%2F%2Fevil.example.com".to_owned(), true, "issuer"),
            ("code=c&state=s2".to_owned(), false, "state"),
            ("code=c".to_owned(), false, "state"),
            (format!("error=access_denied&state=s1&{iss}"), true, "denied access_denied"),
            ("error=access_denied&state=s1".to_owned(), true, "issuer"),
            ("error=access_denied&state=s2".to_owned(), false, "state"),
            ("error=%1b[2Jx&state=s1".to_owned(), false, "denied unrecognised_error"),
            ("error=planted-code-x&state=s1".to_owned(), false, "denied unrecognised_error"),
            ("error=9f8e7d6c5b&code=9f8e7d6c5b&state=s1".to_owned(), false, "denied unrecognised_error"),
            ("error=9f8e7d6c5b&state=s1".to_owned(), false, "denied 9f8e7d6c5b"),
            ("code=c&code=d&state=s1".to_owned(), false, "none"),
            ("code=&state=s1".to_owned(), false, "none"),
            ("state=s1".to_owned(), false, "none"),
            (String::new(), false, "none"),
            (format!("code={}&state=s1", "c".repeat(1 << 20)), false, "none"),
        ] {
            assert_eq!(check(&query, issuer_due), expected, "{}", &query[..query.len().min(80)]);
        }
    }
}
