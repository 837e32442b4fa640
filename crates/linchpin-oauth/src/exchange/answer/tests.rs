use std::time::UNIX_EPOCH;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn shown(status: u16, body: &str) -> String {
    let status = StatusCode::from_u16(status).expect("a status");
    let outcome = classify(status, &HeaderMap::new(), Ok(body.as_bytes().to_vec()), UNIX_EPOCH, &[]);
    match &outcome {
        Exchange::Rotated(answer) => format!(
            "rotated {} {} {:?} {:?}",
            answer.access_token.expose(),
            answer.refresh_token.as_ref().map_or("-", Secret::expose),
            answer.expires_in.map(|lifetime| lifetime.as_secs()),
            answer.scopes
        ),
        other => other.to_string(),
    }
}

#[test]
fn p14_and_f18_what_a_success_means() {
    let rows = [
        (
            r#"{"access_token":"a","token_type":"Bearer","refresh_token":"r","expires_in":60,"scope":"x y"}"#,
            r#"rotated a r Some(60) Some(["x", "y"])"#,
        ),
        (r#"{"access_token":"a","token_type":"bearer"}"#, "rotated a - None None"),
        (r#"{"access_token":"a","token_type":"bearer","refresh_token":""}"#, "rotated a - None None"),
        (r#"{"access_token":"a","token_type":"bearer","expires_in":0}"#, "rotated a - None None"),
        (r#"{"access_token":"a","token_type":"bearer","expires_in":-5}"#, "rotated a - None None"),
        (r#"{"access_token":"a","token_type":"bearer","expires_in":"3600"}"#, "rotated a - Some(3600) None"),
        (r#"{"access_token":"a","token_type":"bearer","expires_in":"soon"}"#, "rotated a - None None"),
        (r#"{"access_token":"a","token_type":"bearer","expires_in":1.5}"#, "rotated a - Some(1) None"),
        (
            r#"{"access_token":"a","token_type":"bearer","expires_in":9223372036854775808}"#,
            "rotated a - Some(9223372036854775808) None",
        ),
        (
            r#"{"access_token":"a","token_type":"bearer","expires_in":1e300}"#,
            "rotated a - Some(18446744073709551615) None",
        ),
    ];
    for (body, expected) in rows {
        assert_eq!(shown(200, body), expected, "{body}");
    }
}

/// A captive portal or a gateway answers 200 with a page of its own: the provider has not seen the token.
#[test]
fn p11_a_page_of_somebody_elses_is_an_outage() {
    let outcome = |media_type: &'static str, body: Result<Vec<u8>, BodyError>| {
        let mut headers = HeaderMap::new();
        if !media_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        match classify(StatusCode::OK, &headers, body, UNIX_EPOCH, &[]) {
            Exchange::Unavailable { .. } => "unavailable",
            Exchange::Unknown { .. } => "unknown",
            Exchange::Rotated(_) => "rotated",
            _ => "else",
        }
    };
    let page = || Ok(b"<html>welcome to the hotel</html>".to_vec());
    let tokens = || Ok(br#"{"access_token":"a","token_type":"bearer"}"#.to_vec());
    for (media_type, body, expected) in [
        ("text/html; charset=utf-8", page(), "unavailable"),
        ("text/html", Err(BodyError::TooLarge(9)), "unavailable"),
        ("text/html", Ok(Vec::new()), "unavailable"),
        // The provider's own, broken or mislabelled: it may have rotated.
        ("text/html", Err(BodyError::Cut), "unknown"),
        ("application/json", page(), "unknown"),
        ("application/json", Err(BodyError::TooLarge(9)), "unknown"),
        ("", page(), "unknown"),
        ("text/plain", tokens(), "rotated"),
        ("application/vnd.as+JSON", tokens(), "rotated"),
    ] {
        let row = format!("{media_type} {body:?}");
        assert_eq!(outcome(media_type, body), expected, "{row}");
    }
}

#[test]
fn f17_what_is_malformed_is_unknown_and_never_a_token() {
    let crlf = r#"{"access_token":"a\r\nX-Evil: 1","token_type":"bearer"}"#;
    let nul = r#"{"access_token":"a\u0000","token_type":"bearer"}"#;
    let huge = format!(r#"{{"access_token":"{}","token_type":"bearer"}}"#, "a".repeat(1 << 20));
    let twice = r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#;
    for body in [
        "<html>welcome to the hotel</html>",
        "[]",
        "{}",
        "",
        r#"{"access_token":"","token_type":"bearer"}"#,
        r#"{"token_type":"bearer"}"#,
        r#"{"access_token":"a"}"#,
        r#"{"access_token":"a","token_type":"mac"}"#,
        crlf,
        nul,
        &huge,
        twice,
    ] {
        assert!(shown(200, body).starts_with("outcome unknown"), "{}", &body[..body.len().min(80)]);
    }
}

#[test]
fn f18_only_invalid_grant_ends_a_sign_in() {
    let rows = [
        (400, r#"{"error":"invalid_grant"}"#, "refused (invalid_grant)"),
        (401, r#"{"error":"invalid_grant"}"#, "refused (invalid_grant)"),
        (403, r#"{"error":"invalid_grant"}"#, "refused (invalid_grant)"),
        (401, r#"{"error":"invalid_client"}"#, "client refused (invalid_client)"),
        (400, r#"{"error":"unauthorized_client"}"#, "client refused (unauthorized_client)"),
        (400, r#"{"error":"invalid_scope"}"#, "client refused (invalid_scope)"),
        (400, r#"{"error":"made_up"}"#, "client refused (made_up)"),
        (400, r#"{"error":"planted-rt-x"}"#, "client refused (unrecognised_error)"),
        (400, r#"{"error":"INVALID_GRANT"}"#, "client refused (unrecognised_error)"),
        (
            400,
            r#"{"error":"temporarily_unavailable"}"#,
            "unavailable: the provider answered temporarily_unavailable",
        ),
        (400, r#"{"error":"a\u001b[2J"}"#, "unavailable: the provider answered 400 without an OAuth error"),
        (400, "<html>", "unavailable: the provider answered 400 without an OAuth error"),
        (404, "", "unavailable: the provider answered 404 without an OAuth error"),
        (408, "", "unavailable: the provider answered 408"),
        (429, "", "unavailable: the provider answered 429"),
        (500, r#"{"error":"invalid_grant"}"#, "unavailable: the provider answered 500"),
        (502, "", "unavailable: the provider answered 502"),
        (503, "", "unavailable: the provider answered 503"),
        (307, "", "unavailable: the provider answered with a redirect, which is not followed"),
    ];
    for (status, body, expected) in rows {
        assert_eq!(shown(status, body), expected, "{status} {body}");
    }
}

#[test]
fn f15_retry_after_is_seconds_or_a_date() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (value, expected) in [
        ("7", Some(7)),
        (" 7 ", Some(7)),
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        assert_eq!(retry_after(&headers, now).map(|wait| wait.as_secs()), expected, "{value}");
    }
}

#[test]
fn f16_a_cut_or_endless_answer_is_unknown() {
    for error in [BodyError::Cut, BodyError::TooLarge(1)] {
        let outcome = classify(StatusCode::OK, &HeaderMap::new(), Err(error), UNIX_EPOCH, &[]);
        assert!(matches!(outcome, Exchange::Unknown { .. }));
    }
}

proptest! {
    #[test]
    fn f17_no_answer_panics_and_no_problem_quotes_it(status in 100u16..600, body in ".{0,200}") {
        let status = StatusCode::from_u16(status).expect("a status");
        let marked = format!("planted-body {body}");
        let outcome = classify(status, &HeaderMap::new(), Ok(marked.into_bytes()), UNIX_EPOCH, &[]);
        prop_assert!(!outcome.to_string().contains("planted-body"));
    }
}

#[test]
fn p20_a_code_that_repeats_a_secret_of_the_request_is_not_told() {
    let secrets = ["0123456789abcdef", "s3cr3t_of_the_client"].map(Secret::new);
    for (error, expected) in [
        ("0123456789abcdef", "client refused (unrecognised_error)"),
        ("was_0123456789abcdef", "client refused (unrecognised_error)"),
        ("s3cr3t_of_the_client", "client refused (unrecognised_error)"),
        ("0123456789abcdee", "client refused (0123456789abcdee)"),
        ("invalid_grant", "refused (invalid_grant)"),
        ("invalid_client", "client refused (invalid_client)"),
    ] {
        let body = serde_json::json!({ "error": error }).to_string().into_bytes();
        let outcome = classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), Ok(body), UNIX_EPOCH, &secrets);
        assert_eq!(outcome.to_string(), expected, "{error}");
    }
}
