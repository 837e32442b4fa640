use proptest::prelude::*;

use super::*;

fn parse(lines: &[&str]) -> Challenges {
    let lines: Vec<_> =
        lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).expect("a value")).collect();
    Challenges::parse(&lines)
}

fn bearer(line: &str, name: &str) -> Option<String> {
    parse(&[line]).bearer().and_then(|challenge| challenge.parameter(name)).map(str::to_owned)
}

#[test]
fn parameters_are_read_as_the_grammar_has_them() {
    let rows = [
        (r#"Bearer scope="a b""#, "scope", Some("a b")),
        (r"Bearer scope=a", "scope", Some("a")),
        (r#"bearer SCOPE = "a""#, "scope", Some("a")),
        (r#"Bearer error="invalid_token", scope="a""#, "scope", Some("a")),
        (r#"Bearer ,, error="x" ,, scope="a" ,"#, "scope", Some("a")),
        (r#"Bearer scope="a\"b\\c""#, "scope", Some(r#"a"b\c"#)),
        // What a search for names misreads.
        (r#"Bearer error_description="need scope=admin", scope="files:read""#, "scope", Some("files:read")),
        (r#"Basic realm="scope=evil", Bearer scope="good""#, "scope", Some("good")),
        (r#"Bearer realm="a, resource_metadata=https://evil.example/""#, "resource_metadata", None),
        (r#"DPoP error="use_dpop_nonce", Bearer error="invalid_token""#, "error", Some("invalid_token")),
        (r#"Basic YWJjOmRlZg==, Bearer error="invalid_token""#, "error", Some("invalid_token")),
        (r#"Negotiate, Bearer error="invalid_token""#, "error", Some("invalid_token")),
        (r#"Bearer abc=, error="x""#, "error", Some("x")),
        // A repeated parameter is nobody's.
        (r#"Bearer scope="a", scope="b""#, "scope", None),
        // Damage ends the line.
        (r#"Bearer error="x", scope="unterminated"#, "error", Some("x")),
        (r#"Bearer error="x", scope="unterminated"#, "scope", None),
        ("Bearer", "scope", None),
        ("", "scope", None),
        ("Basic realm=x", "realm", None),
    ];
    for (line, name, expected) in rows {
        assert_eq!(bearer(line, name).as_deref(), expected, "{line}");
    }
}

#[test]
fn several_lines_are_several_challenges() {
    let challenges = parse(&["Basic realm=\"x\"", "Bearer error=\"invalid_token\"", "DPoP algs=\"ES256\""]);
    let schemes: Vec<_> = challenges.iter().map(Challenge::scheme).collect();
    assert_eq!(schemes, ["Basic", "Bearer", "DPoP"]);
    assert_eq!(challenges.bearer().and_then(Challenge::error), Some("invalid_token"));
}

#[test]
fn bytes_beyond_ascii_hide_nothing() {
    let line =
        HeaderValue::from_bytes(b"Bearer error_description=\"\xff\xfe\", scope=\"a\"").expect("a value");
    assert_eq!(Challenges::parse([&line]).bearer().and_then(Challenge::scope), Some("a"));
}

#[test]
fn the_plain_form_cannot_be_misread() {
    let challenges = parse(&[
        r#"Bearer error_description="scope=evil", scope="a b", resource_metadata="https://h/x?a=b", error="e\"e""#,
    ]);
    let plain = challenges.bearer().map(Challenge::to_plain);
    assert_eq!(plain.as_deref(), Some(r#"Bearer resource_metadata="https://h/x?a=b", scope="a b""#));
}

proptest! {
    #[test]
    fn f22_no_line_panics(bytes in prop::collection::vec(any::<u8>().prop_filter("a header byte", |byte| *byte == 9 || (*byte >= 32 && *byte != 127)), 0..200)) {
        let line = HeaderValue::from_bytes(&bytes).expect("filtered");
        let _ = Challenges::parse([&line]).bearer().map(Challenge::to_plain);
    }

    #[test]
    fn what_is_written_by_the_grammar_reads_back(values in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 1..6)) {
        let mut seen = std::collections::HashSet::new();
        let values: Vec<_> = values.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let parameters: Vec<_> = values.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let challenges = parse(&["Basic eHg=", &format!("Bearer {}", parameters.join(" , "))]);
        for (name, value) in &values {
            prop_assert_eq!(challenges.bearer().and_then(|challenge| challenge.parameter(name)), Some(value.as_str()));
        }
    }

    #[test]
    fn the_plain_form_reads_back_as_the_same_challenge(line in "(Bearer|Basic|DPoP|scope|error|resource_metadata|=|\"|,| |\\\\|[a-z:/?.]{0,6}){0,24}") {
        let challenges = parse(&[&line]);
        if let Some(challenge) = challenges.bearer() {
            let plain = challenge.to_plain();
            let again = parse(&[&plain]);
            let again = again.bearer().expect("a Bearer challenge stays one");
            // Once written out, nothing is lost or made up by reading it again.
            prop_assert_eq!(again.to_plain(), plain);
            for name in ["scope", "error", "resource_metadata"] {
                let (before, after) = (challenge.parameter(name), again.parameter(name));
                prop_assert!(after.is_none() || after == before, "{}: {:?} became {:?}", name, before, after);
            }
        }
    }
}
