use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn discovered(scopes: &[&str], offline_access: bool) -> Discovered {
    let url = |path: &str| Url::parse(&format!("https://idp.example{path}")).expect("a URL");
    Discovered {
        issuer: "https://idp.example".to_owned(),
        issuer_due: true,
        authorization_endpoint: url("/authorize"),
        token_endpoint: url("/token"),
        registration_endpoint: None,
        revocation_endpoint: None,
        auth_methods: None,
        signing_algorithms: None,
        metadata_documents: false,
        challenge_methods: Vec::new(),
        resource: "https://mcp.example/mcp".to_owned(),
        scopes: strings(scopes),
        offline_access,
    }
}

#[test]
fn offline_access_is_asked_for_where_the_provider_lists_it_and_another_scope_is_named() {
    for (chosen, named, listed, expected) in [
        (&[][..], &["read"][..], true, &["read", "offline_access"][..]),
        (&["admin"], &["read"], true, &["admin", "offline_access"]),
        (&["offline_access", "read"], &[], true, &["offline_access", "read"]),
        (&[], &["read"], false, &["read"]),
        (&["admin"], &["read"], false, &["admin"]),
        (&[], &[], true, &[]),
    ] {
        let asked = scopes(&strings(chosen), &discovered(named, listed));
        assert_eq!(asked, strings(expected), "{chosen:?} {named:?} {listed}");
    }
}

#[test]
fn consent_is_prompted_for_with_offline_access_and_never_else() {
    assert!(asks_to_consent(&strings(&["read", "offline_access"])));
    assert!(!asks_to_consent(&strings(&["read", "offline_access2"])));
    assert!(!asks_to_consent(&[]));
}

#[test]
fn f25_an_issuer_is_as_long_as_512_bytes_and_no_longer() {
    let of = |length: usize| format!("https://{}", "a".repeat(length - "https://".len()));
    // Bytes, not characters: `ü` has two.
    let wide = of(510) + "ü";
    for (named, fine) in [
        (Some(of(511)), true),
        (Some(of(512)), true),
        (Some(of(513)), false),
        (Some(wide.clone()), true),
        (Some(wide + "a"), false),
        (None, false),
    ] {
        let told = discover::issuer(named.as_deref());
        match (&told, fine) {
            (Ok(issuer), true) => assert_eq!(Some(issuer), named.as_ref()),
            (Err(problem), false) => assert!(problem.contains("issuer") && problem.len() < 80, "{problem}"),
            _ => panic!("{named:?}: {told:?}"),
        }
    }
}
