//! Finding the provider of a server, and refusing one that cannot be trusted (F22).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use http::header::LOCATION;
use linchpin_store::{PlainHttp, ServerUrl};
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadataResolution, AuthorizationMetadataSource,
    OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRedirectPolicy, OAuthHttpRequest,
};
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::probe::{Met, probe};
use super::{OFFLINE_ACCESS, SignInError};
use crate::http::{BodyError, FetchError, HttpOptions, Reach, check_url, fetch};

/// How long one request of discovery may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest metadata document, in bytes.
pub(super) const MAX_METADATA: usize = 1 << 20;
/// Redirects that discovery follows within one origin.
const MAX_REDIRECTS: usize = 3;

/// What a sign-in needs to know of the provider.
#[derive(Debug)]
pub(crate) struct Discovered {
    pub(crate) issuer: String,
    pub(crate) issuer_due: bool,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) registration_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    pub(crate) auth_methods: Option<Vec<String>>,
    /// What assertions may be signed with.
    pub(crate) signing_algorithms: Option<Vec<String>>,
    pub(crate) metadata_documents: bool,
    pub(crate) resource: String,
    /// The PKCE methods that the provider says it supports.
    pub(crate) challenge_methods: Vec<String>,
    /// What the challenge or else the server's metadata asks for.
    pub(crate) scopes: Vec<String>,
    /// Whether the provider lists `offline_access`.
    pub(crate) offline_access: bool,
}

/// The longest issuer, in bytes: it stands in errors, before what is the matter.
const LONGEST_ISSUER: usize = 512;

/// The issuer that metadata names, or what is wrong with it.
pub(super) fn issuer(named: Option<&str>) -> Result<String, String> {
    match named {
        None => Err("its provider names no issuer".to_owned()),
        Some(issuer) if issuer.len() > LONGEST_ISSUER => {
            Err(format!("its provider has an issuer of more than {LONGEST_ISSUER} bytes"))
        }
        Some(issuer) => Ok(issuer.to_owned()),
    }
}

/// Asks the server unless it has challenged already, reads its metadata and the provider's, and checks both.
pub(crate) async fn discover(
    server: &ServerUrl,
    challenge: Option<&str>,
    reach: Reach,
    http: &HttpOptions,
) -> Result<Discovered, SignInError> {
    let met = match challenge {
        Some(challenge) => Met::challenged(challenge),
        None => probe(server).await?,
    };
    let fetcher = Arc::new(Fetcher { http: http.clone(), reach, resource: Mutex::default() });
    let wrong = |problem: String| SignInError::Metadata { server: server.clone(), problem };
    let mut manager = AuthorizationManager::new_with_oauth_http_client(server.url().clone(), fetcher.clone())
        .await
        .map_err(|error| wrong(describe(&error)))?;
    let resolution = match manager.resolve_metadata_from_challenge(met.challenge()).await {
        // Who answers everybody needs no sign-in, unless the server itself says where one is had: some ask for one
        // only when it comes to their tools.
        Ok(resolution) if met.is_open() && !is_of_resource(&resolution) => {
            return Err(SignInError::NotNeeded(server.clone()));
        }
        Err(_) if met.is_open() => return Err(SignInError::NotNeeded(server.clone())),
        Ok(resolution) if resolution.source.is_discovered() => resolution,
        Ok(_) | Err(AuthError::NoAuthorizationSupport) => {
            let problem = format!("it {met} and names no sign-in");
            return Err(SignInError::NotAnMcpServer { server: server.clone(), problem });
        }
        Err(AuthError::DiscoveryRequestFailed { url, source }) => {
            if let Some(refused) = source.downcast_ref::<crate::http::UrlRefused>() {
                return Err(wrong(format!(
                    "its metadata points to {}, which {refused}",
                    shown(url.as_str())
                )));
            }
            if let Some(unusable) = source.downcast_ref::<Unusable>() {
                return Err(wrong(format!("its metadata at {} {unusable}", shown(url.as_str()))));
            }
            let who = shown(&url.origin().ascii_serialization());
            return Err(SignInError::Unreachable {
                who,
                problem: "could not be asked for its metadata".to_owned(),
            });
        }
        Err(error) => return Err(wrong(describe(&error))),
    };
    let metadata = resolution.metadata;
    manager.set_metadata(metadata.clone());

    let issuer = issuer(metadata.issuer.as_deref()).map_err(wrong)?;
    let endpoint = |name: &str, text: &str| {
        let url = Url::parse(text).map_err(|_| wrong(format!("its {name} is not a URL")))?;
        check_url(&url, reach, http).map_err(|refused| wrong(format!("its {name} {refused}")))?;
        Ok::<_, SignInError>(url)
    };
    let text = |name: &str| metadata.additional_fields.get(name).and_then(Value::as_str);
    let flag = |name: &str| metadata.additional_fields.get(name).and_then(Value::as_bool).unwrap_or(false);
    let list = |name: &str| {
        let values = metadata.additional_fields.get(name)?.as_array()?;
        Some(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    };
    Ok(Discovered {
        resource: fetcher.resource(server).map_err(wrong)?,
        issuer_due: flag("authorization_response_iss_parameter_supported"),
        authorization_endpoint: endpoint("authorization endpoint", &metadata.authorization_endpoint)?,
        token_endpoint: endpoint("token endpoint", &metadata.token_endpoint)?,
        registration_endpoint: metadata
            .registration_endpoint
            .as_deref()
            .map(|text| endpoint("registration endpoint", text))
            .transpose()?,
        revocation_endpoint: text("revocation_endpoint")
            .map(|text| endpoint("revocation endpoint", text))
            .transpose()?,
        auth_methods: list("token_endpoint_auth_methods_supported"),
        signing_algorithms: list("token_endpoint_auth_signing_alg_values_supported"),
        metadata_documents: flag("client_id_metadata_document_supported"),
        scopes: manager.select_initial_scopes(&[]).await,
        challenge_methods: metadata.code_challenge_methods_supported.clone().unwrap_or_default(),
        offline_access: metadata
            .scopes_supported
            .as_ref()
            .is_some_and(|scopes| scopes.iter().any(|scope| scope == OFFLINE_ACCESS)),
        issuer,
    })
}

/// Whether the server's own metadata (RFC 9728) led there, not a guess from its URL.
fn is_of_resource(resolution: &AuthorizationMetadataResolution) -> bool {
    matches!(resolution.source, AuthorizationMetadataSource::ProtectedResourceMetadata)
}

/// Why a metadata document is not read, although it was answered.
#[derive(Debug, Error)]
enum Unusable {
    #[error("is longer than {MAX_METADATA} bytes")]
    TooLarge,
    #[error("redirects to another site, {0}, which is not followed")]
    Elsewhere(String),
}

/// Fetches metadata for rmcp, within the bounds of this crate.
#[derive(Debug)]
struct Fetcher {
    http: HttpOptions,
    reach: Reach,
    /// The `resource` of the last protected resource metadata that was read.
    resource: Mutex<Option<String>>,
}

impl Fetcher {
    async fn fetch(
        &self,
        request: OAuthHttpRequest,
    ) -> Result<http::Response<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        let follow = request.redirect_policy == OAuthHttpRedirectPolicy::Follow;
        let mut request = request.request;
        for _ in 0..=MAX_REDIRECTS {
            let url = Url::parse(&request.uri().to_string())?;
            let answer = match fetch(request.clone(), self.reach, &self.http, TIMEOUT, MAX_METADATA).await {
                Ok(answer) => answer,
                Err(FetchError::Refused(refused)) => return Err(refused.into()),
                Err(FetchError::Body(BodyError::TooLarge(_))) => return Err(Unusable::TooLarge.into()),
                Err(error) => return Err(error.into()),
            };
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.filter(|_| answer.status().is_redirection());
            match next.and_then(|location| url.join(location).ok()) {
                Some(next) if next.origin() != url.origin() => {
                    let origin = next.origin().ascii_serialization();
                    return Err(Unusable::Elsewhere(shown(&origin)).into());
                }
                Some(next) if follow && request.method() == Method::GET => {
                    *request.uri_mut() = next.as_str().parse()?;
                }
                _ => {
                    self.note_resource(answer.body());
                    return Ok(answer);
                }
            }
        }
        Err("too many redirects".into())
    }

    fn note_resource(&self, body: &[u8]) {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        if document.get("authorization_servers").is_some()
            && let Some(resource) = document.get("resource").and_then(Value::as_str)
        {
            *self.resource.lock().unwrap_or_else(PoisonError::into_inner) = Some(resource.to_owned());
        }
    }

    /// The resource to ask tokens for: what the metadata says, which has to be the server's.
    fn resource(&self, server: &ServerUrl) -> Result<String, String> {
        let said = self.resource.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match said {
            None => Ok(server.as_str().to_owned()),
            Some(said) if is_resource_of(server, &said) => Ok(said),
            Some(said) => Err(format!("its metadata is that of another resource, {}", shown(&said))),
        }
    }
}

/// Whether tokens for the resource `said` are tokens for `server`: it has to be the server's URL or its origin (RFC 9728
/// section 3.3, with the origin for metadata at the root).
pub fn is_resource_of(server: &ServerUrl, said: &str) -> bool {
    let is_origin = |said: &ServerUrl| {
        said.url().origin() == server.url().origin()
            && said.url().path() == "/"
            && said.url().query().is_none()
    };
    ServerUrl::parse(said, PlainHttp::Allowed).is_ok_and(|said| said == *server || is_origin(&said))
}

impl OAuthHttpClient for Fetcher {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(self.fetch(request))
    }
}

/// rmcp's errors in one line. Those that could quote an answer's body are told by their kind.
fn describe(error: &AuthError) -> String {
    match error {
        AuthError::AuthorizationServerMismatch { expected_issuer, received_issuer } => {
            format!(
                "the metadata of {} says it is that of {}",
                shown(expected_issuer),
                shown(received_issuer)
            )
        }
        AuthError::ProtectedResourceMetadataInvalid { reason, .. } => {
            format!("its resource metadata is unusable: {}", shown(&reason.to_string()))
        }
        AuthError::AuthorizationServersUnavailable { authorization_servers, .. } => {
            format!(
                "it names providers without usable metadata: {}",
                shown(&authorization_servers.join(", "))
            )
        }
        AuthError::PkceUnsupported => "its provider does not support PKCE with S256".to_owned(),
        _ => "its metadata cannot be used".to_owned(),
    }
}

/// Text of a server's in a line of ours: short and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(server: &str, said: Option<&str>) -> Result<String, String> {
        let server = ServerUrl::parse(server, PlainHttp::LoopbackOnly).expect(server);
        let fetcher =
            Fetcher { http: HttpOptions::default(), reach: Reach::Public, resource: Mutex::default() };
        if let Some(said) = said {
            let document = serde_json::json!({ "resource": said, "authorization_servers": [] });
            fetcher.note_resource(document.to_string().as_bytes());
        }
        fetcher.resource(&server)
    }

    #[test]
    fn f22_only_the_server_itself_or_its_origin_is_the_resource() {
        const SERVER: &str = "https://mcp.example.com/mcp";
        for said in
            [SERVER, "https://MCP.example.com:443/mcp", "https://mcp.example.com", "https://mcp.example.com/"]
        {
            assert_eq!(resource(SERVER, Some(said)), Ok(said.to_owned()), "sent as it was said");
        }
        for said in [
            "https://mcp.example.com/mc",
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/mcp/more",
            "https://mcp.example.com/mcp?tenant=1",
            "https://mcp.example.com/?tenant=1",
            "https://mcp.example.com:8443/mcp",
            "http://mcp.example.com/mcp",
            "https://example.com/mcp",
            "https://mcp.example.com.evil.example/mcp",
            "https://me@mcp.example.com/mcp",
            "/mcp",
            "",
        ] {
            let told = resource(SERVER, Some(said)).expect_err(said);
            assert!(told.contains("another resource"), "{told}");
        }
        assert_eq!(resource(SERVER, None), Ok(SERVER.to_owned()));
        let told =
            resource(SERVER, Some(&format!("https://x/\u{1b}[2J{}", "x".repeat(999)))).expect_err("hostile");
        assert!(told.len() < 400 && !told.contains('\u{1b}'), "{told}");
    }
}
