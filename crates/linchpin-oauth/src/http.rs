//! The one home of HTTP clients: what may be connected to, what is followed, and how much is read.
//!
//! Redirects are never followed by the client itself (P20). Names that metadata supplied are resolved through a
//! filter, so that a public server cannot point Linchpin at this machine or its network (F22).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use linchpin_store::{PlainHttp, ServerUrl};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error;
use url::{Host, Url};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept. Node's servers close theirs after 5 s, and a request sent into a closing
/// connection cannot be told from one that was processed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What all clients of a program share.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Whether plain http may leave this machine.
    pub plain_http: PlainHttp,
}

impl HttpOptions {
    /// Plain http as far as that, and everything else as it is by default.
    pub fn new(plain_http: PlainHttp) -> Self {
        Self { plain_http }
    }
}

/// Why there is no HTTP client.
#[derive(Debug, Error)]
#[error("cannot set up TLS: {0}; check the certificates of this machine")]
pub struct HttpSetupError(String);

/// Which addresses a URL that metadata supplied may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The MCP server is on the public Internet; so must be its provider.
    Public,
    /// The MCP server itself is on this machine or in a private network.
    Private,
}

impl Reach {
    /// The reach that follows from where `server` is. A name that cannot be resolved counts as public: whatever
    /// comes next fails to connect anyway.
    pub async fn of(server: &Url) -> Self {
        let private = match server.host() {
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            Some(Host::Domain(name)) => {
                let port = server.port_or_known_default().unwrap_or(443);
                match tokio::net::lookup_host((name, port)).await {
                    Ok(mut addresses) => addresses.any(|address| !is_public(address.ip())),
                    Err(_) => false,
                }
            }
            None => false,
        };
        if private { Self::Private } else { Self::Public }
    }

    fn admits(self, address: IpAddr) -> bool {
        // Link-local addresses carry the metadata services of clouds: no provider lives there.
        !is_link_local(address) && (self == Self::Private || is_public(address))
    }
}

/// Why a URL that metadata supplied is not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlRefused {
    /// Not https, and not http to this machine.
    #[error("is not https")]
    NotHttps,
    /// It carries a user name or a fragment.
    #[error("carries a user name or a fragment")]
    Adorned,
    /// An address in this machine or its network, for a server that is neither.
    #[error("leads into a private network, which the server is not in")]
    Private,
    /// Longer than [`LONGEST_URL`].
    #[error("is longer than {LONGEST_URL} characters")]
    TooLong,
}

/// The longest URL that metadata may supply, in bytes: it is shown to people and given to a browser.
pub const LONGEST_URL: usize = 4096;

/// Checks a URL that metadata supplied before anything is sent there (F22).
pub fn check_url(url: &Url, reach: Reach, options: &HttpOptions) -> Result<(), UrlRefused> {
    if url.as_str().len() > LONGEST_URL {
        return Err(UrlRefused::TooLong);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(UrlRefused::Adorned);
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
        Some(Host::Domain(name)) if is_localhost(name) => Some(IpAddr::from([127, 0, 0, 1])),
        Some(Host::Domain(_)) => None,
        None => return Err(UrlRefused::NotHttps),
    };
    let loopback = literal.is_some_and(|address| address.to_canonical().is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if loopback || options.plain_http == PlainHttp::Allowed => {}
        _ => return Err(UrlRefused::NotHttps),
    }
    if literal.is_some_and(|address| !reach.admits(address)) {
        return Err(UrlRefused::Private);
    }
    Ok(())
}

/// A client for tokens, metadata and registration: every request over a connection opened for it, nothing followed.
pub fn credential_client(url: &Url, reach: Reach) -> Result<Client, HttpSetupError> {
    base(url)?
        .pool_max_idle_per_host(0)
        .dns_resolver(FilteredResolver(reach))
        .redirect(Policy::none())
        .build()
        .map_err(|error| HttpSetupError(error.to_string()))
}

/// A client for an MCP server: connections are kept for 4 s, no total timeout, nothing followed.
pub fn transport_client(server: &ServerUrl) -> Result<Client, HttpSetupError> {
    base(server.url())?
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::none())
        // A request is sent again by whoever knows what it does (P17); reqwest would copy each for its own retries.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .build()
        .map_err(|error| HttpSetupError(error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "the one home of HTTP clients")]
fn base(url: &Url) -> Result<ClientBuilder, HttpSetupError> {
    let mut builder = Client::builder()
        .user_agent(concat!("linchpin/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .referer(false)
        .tls_backend_preconfigured(tls(url)?);
    if is_loopback(url) {
        // A proxy cannot reach this machine.
        builder = builder.no_proxy();
    }
    Ok(builder)
}

/// TLS with ring and the platform's verifier. Loading the platform's roots takes milliseconds, so a plain http
/// client gets a configuration that trusts nobody instead.
fn tls(url: &Url) -> Result<ClientConfig, HttpSetupError> {
    let failed = |error: rustls::Error| HttpSetupError(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    if url.scheme() == "https" {
        return Ok(builder.with_platform_verifier().map_err(failed)?.with_no_client_auth());
    }
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

struct FilteredResolver(Reach);

impl Resolve for FilteredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let admitted: Vec<_> =
                addresses.iter().copied().filter(|address| reach.admits(address.ip())).collect();
            if admitted.is_empty() && !addresses.is_empty() {
                return Err(UrlRefused::Private.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// Why there is no answer to a request of somebody else's OAuth code.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL is none, or not one that may be asked.
    #[error("it {0}")]
    Refused(#[from] UrlRefused),
    /// There is no HTTP client.
    #[error(transparent)]
    Setup(#[from] HttpSetupError),
    /// It could not be connected to, or broke off before it answered.
    #[error("it could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The body.
    #[error("it {0}")]
    Body(#[from] BodyError),
}

/// One request of OAuth traffic as it is: to a URL that is checked, over a connection opened for it, nothing followed, at
/// most `timeout` and `limit` bytes.
///
/// # Errors
/// [`FetchError`]. An answer of any status is an answer.
pub async fn fetch(
    request: http::Request<Vec<u8>>,
    reach: Reach,
    options: &HttpOptions,
    timeout: Duration,
    limit: usize,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    let (head, body) = request.into_parts();
    let url = Url::parse(&head.uri.to_string()).map_err(|_| UrlRefused::NotHttps)?;
    check_url(&url, reach, options)?;
    let request = credential_client(&url, reach)?.request(head.method, url).headers(head.headers).body(body);
    let response = request.timeout(timeout).send().await.map_err(unreachable)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut answer = http::Response::new(read_body(response, limit).await?);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// A refusal of the resolver's keeps its type; anything else loses its URL.
fn unreachable(error: reqwest::Error) -> FetchError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<UrlRefused>() {
            return refused.clone().into();
        }
        source = cause.source();
    }
    FetchError::Unreachable(error.without_url())
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Longer than allowed.
    #[error("sent more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("cut its answer short")]
    Cut,
}

/// Reads a body of at most `limit` bytes.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::Cut)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => is_localhost(name),
        None => false,
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether an address is on the public Internet, by the registries of special-purpose addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmarking = a == 198 && (b == 18 || b == 19);
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || shared
                || benchmarking
                || a == 0
                || a >= 240)
        }
        IpAddr::V6(address) => {
            // Addresses that carry an IPv4 address are as public as that one: NAT64, 6to4, IPv4-compatible.
            let carried = match address.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low]
                | [0, 0, 0, 0, 0, 0, high, low]
                | [0x2002, high, low, ..] => Some(ipv4(high, low)),
                _ => None,
            };
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || carried.is_some_and(|carried| !is_public(carried.into())))
        }
    }
}

fn ipv4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f22_urls_from_metadata_are_checked_before_use() {
        let strict = HttpOptions::default();
        for (url, reach, expected) in [
            ("https://as.example.com/token", Reach::Public, Ok(())),
            ("http://as.example.com/token", Reach::Public, Err(UrlRefused::NotHttps)),
            ("http://as.example.com/token", Reach::Private, Err(UrlRefused::NotHttps)),
            ("https://127.0.0.1/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://localhost/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://169.254.169.254/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://169.254.169.254/token", Reach::Private, Err(UrlRefused::Private)),
            ("https://[::ffff:127.0.0.1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[::ffff:10.0.0.1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[fd00::1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[64:ff9b::a00:1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[2002:a00:1::1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[::a00:1]/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://[64:ff9b::808:808]/token", Reach::Public, Ok(())),
            ("https://0.0.0.0/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://2130706433/token", Reach::Public, Err(UrlRefused::Private)),
            ("https://10.0.0.1/token", Reach::Private, Ok(())),
            ("http://127.0.0.1:9/token", Reach::Private, Ok(())),
            ("http://[::1]:9/token", Reach::Private, Ok(())),
            ("http://10.0.0.1/token", Reach::Private, Err(UrlRefused::NotHttps)),
            ("https://me@as.example.com/token", Reach::Public, Err(UrlRefused::Adorned)),
            ("https://as.example.com/token#x", Reach::Public, Err(UrlRefused::Adorned)),
            ("javascript:alert(1)", Reach::Public, Err(UrlRefused::NotHttps)),
            ("file:///etc/passwd", Reach::Public, Err(UrlRefused::NotHttps)),
        ] {
            let parsed = Url::parse(url).expect(url);
            assert_eq!(check_url(&parsed, reach, &strict), expected, "{url} {reach:?}");
        }
        let allowed = HttpOptions { plain_http: PlainHttp::Allowed };
        let url = Url::parse("http://as.example.com/token").expect("a URL");
        assert_eq!(check_url(&url, Reach::Public, &allowed), Ok(()));
        for (length, expected) in [(LONGEST_URL, Ok(())), (LONGEST_URL + 1, Err(UrlRefused::TooLong))] {
            let url =
                format!("https://as.example.com/{}", "a".repeat(length - "https://as.example.com/".len()));
            assert_eq!(check_url(&url.parse().expect("a URL"), Reach::Public, &allowed), expected);
        }
    }

    #[tokio::test]
    async fn f22_a_name_that_resolves_to_this_machine_is_not_connected_to() {
        let url = Url::parse("http://localhost:9/").expect("a URL");
        let client = credential_client(&url, Reach::Public).expect("a client");
        let error = client.get(url).send().await.expect_err("refused");
        assert!(error.is_connect() && format!("{error:?}").contains("Private"), "{error:?}");
    }
}
