use proptest::prelude::*;

use super::*;

fn parse(lines: &[&str]) -> Challenges {
    let lines: Vec<_> =
        lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).expect("a value")).collect();
    Challenges::parse(&lines)
}

/// A piece of text by the grammar, and what it means.
type Written<T> = (Vec<u8>, T);

/// Lines of challenges: schemes with a token68, with parameters or alone; values as tokens and as quoted strings, some
/// with bytes beyond ASCII; optional blanks and empty elements wherever the grammar has them.
fn lines() -> impl Strategy<Value = Vec<Written<Vec<Challenge>>>> {
    prop::collection::vec(prop::collection::vec(written_challenge(), 0..4).prop_flat_map(listed), 0..4)
}

fn written_challenge() -> impl Strategy<Value = Written<Challenge>> {
    let scheme = || "Bearer|bEARER|Basic|DPoP|[A-Za-z0-9!#$%&'*+.^_`|~-]{1,10}";
    let with = |scheme: String, space: String, rest: &[u8], parameters| {
        ([scheme.as_bytes(), space.as_bytes(), rest].concat(), Challenge { scheme, parameters })
    };
    prop_oneof![
        scheme().prop_map(move |scheme| with(scheme, String::new(), b"", Vec::new())),
        (scheme(), " {1,3}", "[A-Za-z0-9._~+/-]{1,12}={0,3}").prop_map(move |(scheme, space, token)| with(
            scheme,
            space,
            token.as_bytes(),
            Vec::new()
        )),
        (scheme(), " {1,3}", prop::collection::vec(written_parameter(), 1..5).prop_flat_map(listed))
            .prop_map(move |(scheme, space, (rest, given))| {
                let mut meant: Vec<(String, Option<String>)> = Vec::new();
                for (name, value) in given {
                    match meant.iter_mut().find(|(known, _)| *known == name) {
                        Some(known) => known.1 = None,
                        None => meant.push((name, Some(value))),
                    }
                }
                with(scheme, space, &rest, meant)
            }),
    ]
}

fn written_parameter() -> impl Strategy<Value = Written<(String, String)>> {
    let value = prop_oneof![
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}".prop_map(|token| (token.clone().into_bytes(), token)),
        // Of what may be escaped some is: quotes and backslashes always.
        prop::collection::vec(
            (prop_oneof![prop::char::range(' ', '~'), Just('\t'), Just('é')], any::<bool>()),
            0..20
        )
        .prop_map(|characters| {
            let mut written = String::from("\"");
            for &(character, escape) in &characters {
                if matches!(character, '"' | '\\') || escape && character.is_ascii() {
                    written.push('\\');
                }
                written.push(character);
            }
            written.push('"');
            (written.into_bytes(), characters.into_iter().map(|(character, _)| character).collect())
        }),
    ];
    ("scope|Scope|SCOPE|error|realm|[A-Za-z!#$]{1,6}", "[ \t]{0,2}", "[ \t]{0,2}", value).prop_map(
        |(name, before, after, (written, value))| {
            let written = [name.as_bytes(), before.as_bytes(), b"=", after.as_bytes(), &written].concat();
            (written, (name.to_ascii_lowercase(), value))
        },
    )
}

/// `#element` of RFC 9110 section 5.6.1: commas between them, with blanks and empty elements.
fn listed<T: Clone + std::fmt::Debug>(elements: Vec<Written<T>>) -> impl Strategy<Value = Written<Vec<T>>> {
    let gaps = prop::collection::vec("[ \t]{0,2}(,[ \t]{0,2}){1,3}", elements.len());
    (gaps, "([ \t]{0,2},){0,2}").prop_map(move |(gaps, end)| {
        let mut text = Vec::new();
        for (number, ((written, _), gap)) in elements.iter().zip(gaps).enumerate() {
            if number > 0 {
                text.extend(gap.bytes());
            }
            text.extend(written);
        }
        text.extend(end.bytes());
        (text, elements.iter().map(|(_, meant)| meant.clone()).collect())
    })
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
        // A token68 may be followed by blanks, and looks like anything.
        ("Negotiate bearer , Bearer scope=a", "scope", Some("a")),
        ("Negotiate bearer\t,Bearer scope=a", "scope", Some("a")),
        ("DPoP scope==, Bearer scope=a", "scope", Some("a")),
        ("Foo a/b+c~d.e_f-g==== , Bearer scope=a", "scope", Some("a")),
        // A parameter without a scheme or a value is damage, and no scheme.
        ("scope=a, Bearer scope=b", "scope", None),
        ("Basic realm=x, bearer=, Bearer scope=a", "scope", None),
        (r#"Bearer realm="x", scope=, error="y""#, "error", None),
        // Between the schemes of a line, parameters stay with their own.
        (r#"Digest scope="d", Bearer scope="b", Basic scope="c""#, "scope", Some("b")),
        (r#"Bearer scope="first", Bearer scope="second""#, "scope", Some("first")),
        (r#"Bearer scope="a", SCOPE=b"#, "scope", None),
        (r#"Bearer scope="a" error="x""#, "error", Some("x")),
        (r#"Bearer scope="\a\,\=""#, "scope", Some("a,=")),
        (r#"Bearer scope="a\"#, "scope", None),
        (r#"Bearer scope="""#, "scope", Some("")),
        ("Bearer\tscope\t=\ta", "scope", Some("a")),
        ("Bearer scope=é", "scope", None),
        ("Bearer scope=\"é\"", "scope", Some("é")),
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
fn damage_ends_its_line_and_no_other() {
    let challenges = parse(&["Basic realm=x, =, Bearer scope=a", "Bearer scope=b", "\"", "DPoP"]);
    let schemes: Vec<_> = challenges.iter().map(Challenge::scheme).collect();
    assert_eq!(schemes, ["Basic", "Bearer", "DPoP"]);
    assert_eq!(challenges.bearer().and_then(Challenge::scope), Some("b"));
}

#[test]
fn f25_a_hostile_line_costs_what_its_length_costs() {
    let many = |text: &dyn Fn(usize) -> String| (0..20_000).map(text).collect::<String>();
    for line in [
        format!("Bearer {}", many(&|number| format!("p{number}=x, "))),
        format!("Bearer {}", many(&|_| "scope=x,".to_owned())),
        many(&|number| format!("s{number} ")),
        many(&|_| "a  =".to_owned()),
        format!("a {}", many(&|_| "=".to_owned())),
        format!("a b{}", many(&|_| "= ".to_owned())),
        format!("Bearer x=\"{}", many(&|_| "\\\"".to_owned())),
        format!("a{}b", many(&|_| " ".to_owned())),
        many(&|_| "a \t b".to_owned()),
    ] {
        let mut parser = Parser::new(line.as_bytes());
        let mut challenges = Vec::new();
        parser.line(&mut challenges);
        let looked = parser.looked.get();
        assert!(looked <= 4 * line.len(), "{looked} looks at {} bytes of {}", line.len(), &line[..20]);
        assert!(challenges.iter().all(|challenge| challenge.parameters.len() <= MOST_PARAMETERS));
    }
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
    fn f22_whatever_is_written_by_the_grammar_reads_back(lines in lines()) {
        let (written, meant): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let written: Vec<_> = written.iter().map(|line| HeaderValue::from_bytes(line).expect("a value")).collect();
        let meant = Challenges(meant.into_iter().flatten().collect());
        prop_assert_eq!(Challenges::parse(&written), meant, "{:?}", written);
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
