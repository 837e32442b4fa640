use serde_json::json;

use super::*;

fn record() -> Record {
    Record {
        generation: 3,
        issuer: "https://as.example.com".into(),
        token_endpoint: "https://as.example.com/token".parse().expect("a URL"),
        revocation_endpoint: None,
        token_endpoint_auth_method: ClientAuthMethod::Basic,
        resource: "https://mcp.example.com/mcp".into(),
        client: Client {
            id: "client-1".into(),
            secret: Some(Secret::new("planted-client-secret")),
            secret_expires_at_ms: None,
            registration: Registration::Dynamic,
            redirect_uri: None,
        },
        access_token: Secret::new("planted-access"),
        refresh_token: Some(Secret::new("planted-refresh")),
        scopes: vec!["tools".into()],
        signed_in_at_ms: Some(UnixMs(1_700_000_000_000)),
        obtained_at_ms: UnixMs(1_000),
        expires_at_ms: Some(UnixMs(5_000)),
        exchange: None,
        dead: None,
        refused: None,
        client_refused: None,
        retry_at_ms: None,
        extra: Map::new(),
    }
}

#[test]
fn a_record_reads_back_and_keeps_what_it_does_not_know() {
    let mut written: Value = serde_json::from_str(&record().to_json()).expect("JSON");
    assert_eq!(written["version"], 1);
    assert_eq!(written["token_endpoint_auth_method"], "client_secret_basic");
    written["from_the_future"] = json!({"a": [1, 2]});

    let read = Record::from_json(&written.to_string()).expect("a record");
    assert_eq!(read.extra.get("from_the_future"), Some(&json!({"a": [1, 2]})));
    assert_eq!(Record { extra: Map::new(), ..read.clone() }, record());
    let again: Value = serde_json::from_str(&read.to_json()).expect("JSON");
    assert_eq!(again, written);
}

#[test]
fn p20_neither_debug_nor_an_error_shows_a_secret() {
    let record = record();
    assert!(!format!("{record:?}").contains("planted"));
    let text = record.to_json().replace("\"generation\":3", "\"generation\":\"planted\"");
    let error = Record::from_json(&text).expect_err("generation is no number");
    assert!(!format!("{error} {error:?}").contains("planted"));
}

#[test]
fn p03_another_version_is_told_apart_from_damage() {
    let text = record().to_json().replace("\"version\":1", "\"version\":2");
    assert!(matches!(Record::from_json(&text), Err(RecordError::Version(2))));
    assert!(matches!(Record::from_json("{\"version\":1}"), Err(RecordError::Malformed { .. })));
    assert!(matches!(Record::from_json(""), Err(RecordError::Malformed { .. })));
}

#[test]
fn p11_a_dead_fingerprint_says_nothing_about_another_token() {
    let mut record = record();
    assert!(record.is_renewable());
    record.dead = Some(DeadToken {
        fingerprint: Secret::new("an older one").fingerprint(),
        reason: "invalid_grant".into(),
        at_ms: UnixMs(1),
    });
    assert!(record.is_renewable());
    record.dead = record.refresh_fingerprint().map(|fingerprint| DeadToken {
        fingerprint,
        reason: "invalid_grant".into(),
        at_ms: UnixMs(1),
    });
    assert!(!record.is_renewable());
}

#[test]
fn p10_a_token_presented_twice_without_an_answer_renews_nothing() {
    let marked = |token: &str, presentations| Record {
        exchange: Some(ExchangeMark {
            fingerprint: Secret::new(token).fingerprint(),
            presentations,
            at_ms: UnixMs(1),
            pid: 1,
        }),
        ..record()
    };
    for (token, presentations, counted, is_renewable) in [
        ("planted-refresh", 1, 1, true),
        ("planted-refresh", 2, 2, false),
        ("planted-refresh", 3, 3, false),
        ("an older one", 2, 0, true),
    ] {
        let record = marked(token, presentations);
        assert_eq!((record.presentations(), record.is_renewable()), (counted, is_renewable), "{token}");
        // A token that has not ended serves to its end, unless the server refuses it.
        assert!(record.is_usable(UnixMs(4_999)));
        let refused = Some(RefusedToken { fingerprint: record.access_token.fingerprint(), at_ms: UnixMs(1) });
        assert_eq!(Record { refused, ..record }.is_usable(UnixMs(4_999)), is_renewable, "{token}");
    }
    // What a client is known by is not spent, however often it was presented.
    let mut of_client = marked("planted-client-secret", 2);
    of_client.client.registration = Registration::ClientCredentials;
    assert_eq!((of_client.presentations(), of_client.is_renewable()), (0, true));
}

#[test]
fn a_client_that_signed_in_as_itself_renews_without_a_refresh_token() {
    let mut record = record();
    record.client.registration = Registration::ClientCredentials;
    record.token_endpoint_auth_method = ClientAuthMethod::PrivateKeyJwt;
    record.refresh_token = None;
    let written: Value = serde_json::from_str(&record.to_json()).expect("JSON");
    assert_eq!(written["client"]["registration"], "client_credentials");
    assert_eq!(written["token_endpoint_auth_method"], "private_key_jwt");
    assert_eq!(Record::from_json(&record.to_json()).expect("a record"), record);
    let secret = record.client.secret.as_ref().map(Secret::fingerprint);
    assert_eq!((record.is_renewable(), record.refresh_fingerprint()), (true, secret.clone()));
    record.dead =
        secret.map(|fingerprint| DeadToken { fingerprint, reason: "invalid_grant".into(), at_ms: UnixMs(1) });
    assert!(!record.is_renewable());
}

#[test]
fn p11_a_refused_client_is_kept_in_the_record_and_says_nothing_about_another() {
    assert!(!record().to_json().contains("client_refused"), "written only when there is something to say");
    let refused = |client_id: &str| {
        let client_refused =
            RefusedClient { client_id: client_id.into(), code: "invalid_client".into(), at_ms: UnixMs(9) };
        Record { client_refused: Some(client_refused), ..record() }
    };
    let record = refused("client-1");
    let written: Value = serde_json::from_str(&record.to_json()).expect("JSON");
    let expected = json!({"client_id": "client-1", "code": "invalid_client", "at_ms": 9});
    assert_eq!((&written["version"], &written["client_refused"]), (&json!(1), &expected));
    assert_eq!(Record::from_json(&record.to_json()).expect("a record"), record);

    assert_eq!(record.client_refusal(), record.client_refused.as_ref());
    assert_eq!(refused("another").client_refusal(), None);
    // The tokens are as good as before.
    assert!(record.is_renewable() && record.is_usable(UnixMs(4_999)));
}
