use linchpin_store::PlainHttp;
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://as.example.com";

fn server() -> ServerUrl {
    ServerUrl::parse("https://mcp.example.com/mcp", PlainHttp::LoopbackOnly).expect("a URL")
}

fn metadata(changes: &Value) -> Vec<u8> {
    let mut metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example.com/authorize",
        "token_endpoint": "https://as.example.com/token",
        "registration_endpoint": "https://as.example.com/register",
        "revocation_endpoint": "https://as.example.com/revoke",
        "code_challenge_methods_supported": ["S256"],
    });
    for (name, value) in changes.as_object().cloned().unwrap_or_default() {
        metadata[name] = value;
    }
    metadata.to_string().into_bytes()
}

fn observed(changes: &Value) -> Observed {
    let mut observed = Observed::default();
    observed.note(&Method::GET, "https://as.example.com/.well-known/x", &metadata(changes));
    observed
}

fn form(fields: &[(&str, &str)]) -> Form {
    let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    [("resource".to_owned(), server().as_str().to_owned())].into_iter().chain(fields).collect()
}

fn request(authorization: Option<&str>) -> Request<Vec<u8>> {
    let mut request = Request::post("https://as.example.com/token");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Vec::new()).expect("a request")
}

fn exchange(observed: &Observed, form: &Form) -> Result<CodeExchange, Unfit> {
    observed.code_exchange(&server(), &request(None), form, None)
}

fn unfit(observed: &Observed, form: &Form) -> Unfit {
    exchange(observed, form).expect_err("refused")
}

#[test]
fn p13_a_sign_in_that_cannot_be_bound_is_refused_before_its_code_is_sent() {
    let fine = form(&[("client_id", "c")]);
    assert!(exchange(&observed(&json!({})), &fine).is_ok());
    assert_eq!(unfit(&Observed::default(), &fine), Unfit::NoMetadata);
    let elsewhere = observed(&json!({ "token_endpoint": "https://other.example.com/token" }));
    assert_eq!(unfit(&elsewhere, &fine), Unfit::NoMetadata);
    for methods in [json!([]), json!(["plain"])] {
        let weak = observed(&json!({ "code_challenge_methods_supported": methods }));
        assert_eq!(unfit(&weak, &fine), Unfit::NoPkce);
    }
    for resource in ["https://mcp.example.com/other", "https://evil.example.com/mcp", ""] {
        let other = form(&[("client_id", "c"), ("resource", resource)]);
        let unfit = unfit(&observed(&json!({})), &other);
        assert_eq!(unfit, Unfit::OtherResource(server()), "{resource}");
    }
    assert_eq!(unfit(&observed(&json!({})), &form(&[])), Unfit::NoClient);
    let before =
        observed(&json!({})).code_exchange(&server(), &request(None), &fine, Some("https://old.example.com"));
    let now = ISSUER.to_owned();
    assert_eq!(
        before.expect_err("refused"),
        Unfit::OtherProvider { before: "https://old.example.com".to_owned(), now }
    );
    assert!(observed(&json!({})).code_exchange(&server(), &request(None), &fine, Some(ISSUER)).is_ok());
}

#[test]
fn the_client_is_read_as_it_proves_itself() {
    let basic = format!("Basic {}", STANDARD.encode("a%20b%3A:p%2B+q"));
    let secret = |text: &str| Some(Secret::new(text));
    for (authorization, fields, expected) in [
        (None, &[("client_id", "c")][..], Some(("c", None, ClientAuthMethod::None))),
        (
            None,
            &[("client_id", "c"), ("client_secret", "s")],
            Some(("c", secret("s"), ClientAuthMethod::Post)),
        ),
        (Some(basic.as_str()), &[], Some(("a b:", secret("p+ q"), ClientAuthMethod::Basic))),
        (Some("Bearer x"), &[("client_id", "c")], None),
        (Some("Basic !"), &[("client_id", "c")], None),
        (None, &[], None),
    ] {
        let expected = expected.map(|(id, secret, method)| (id.to_owned(), secret, method));
        assert_eq!(client(&request(authorization), &form(fields)), expected, "{authorization:?} {fields:?}");
    }
}

#[test]
fn a_client_is_known_by_its_registration_or_by_its_id() {
    let mut observed = observed(&json!({}));
    let registered = json!({ "client_id": "d", "client_secret_expires_at": 5 }).to_string();
    observed.note(&Method::POST, "https://as.example.com/register", registered.as_bytes());
    let other = json!({ "client_id": "e" }).to_string();
    observed.note(&Method::POST, "https://evil.example.com/register", other.as_bytes());
    assert_eq!(observed.registration("d"), (Registration::Dynamic, Some(UnixMs(5_000))));
    assert_eq!(observed.registration("e"), (Registration::Preregistered, None));
    assert_eq!(
        observed.registration("https://app.example.com/client.json").0,
        Registration::MetadataDocument
    );
}

#[test]
fn f25_documents_without_end_are_not_kept() {
    let mut observed = Observed::default();
    for number in 0..100 {
        let issuer = json!({ "issuer": format!("https://as{number}.example.com") });
        observed.note(&Method::GET, "https://as.example.com/", &metadata(&issuer));
    }
    assert_eq!(observed.providers.len(), MOST);
    assert_eq!(observed.providers.back().expect("the last").issuer, "https://as99.example.com");
}
