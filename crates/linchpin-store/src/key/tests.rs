use super::*;

fn canonical(text: &str) -> String {
    ServerUrl::parse(text, PlainHttp::LoopbackOnly).expect(text).to_string()
}

#[test]
fn one_server_has_one_canonical_form() {
    for (typed, expected) in [
        ("HTTPS://MCP.Example.com:443/mcp", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com", "https://mcp.example.com"),
        ("https://mcp.example.com/", "https://mcp.example.com"),
        ("https://mcp.example.com/mcp#x", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com/mcp/", "https://mcp.example.com/mcp/"),
        ("https://mcp.example.com/?team=a", "https://mcp.example.com/?team=a"),
        (" http://127.0.0.1:8080/mcp ", "http://127.0.0.1:8080/mcp"),
        ("http://localhost:1/mcp", "http://localhost:1/mcp"),
        ("http://[::1]:1/mcp", "http://[::1]:1/mcp"),
    ] {
        assert_eq!(canonical(typed), expected, "{typed}");
    }
}

#[test]
fn what_is_no_server_is_refused_with_its_reason() {
    let parse = |text| ServerUrl::parse(text, PlainHttp::LoopbackOnly).expect_err(text);
    assert!(matches!(parse("notaurl"), ServerUrlError::NotAUrl(_)));
    assert!(matches!(parse("localhost:3000/mcp"), ServerUrlError::NotAUrl(_)));
    assert!(matches!(parse("javascript:alert(1)"), ServerUrlError::NotAUrl(_)));
    assert_eq!(parse("ftp://h/x"), ServerUrlError::Scheme("ftp".into()));
    assert_eq!(parse("http://mcp.example.com/"), ServerUrlError::PlainHttp("mcp.example.com".into()));
    assert_eq!(
        parse("http://127.0.0.1.evil.example/"),
        ServerUrlError::PlainHttp("127.0.0.1.evil.example".into())
    );
    assert_eq!(parse("https://me:secret@h/"), ServerUrlError::UserInfo);
    assert!(!parse("https://me:secret@h/").to_string().contains("secret"));
}

#[test]
fn an_entry_reads_back() {
    let key = CredentialKey::new(
        Profile::parse("work@acme").expect("valid"),
        ServerUrl::parse("https://mcp.example.com/a%20b?x=1", PlainHttp::LoopbackOnly).expect("valid"),
    );
    assert_eq!(CredentialKey::from_entry(&key.entry()), Some(key.clone()));
    assert_eq!(key.digest().len(), 32);
    assert_eq!(CredentialKey::from_entry("no-blank"), None);
}
