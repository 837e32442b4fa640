use super::*;

#[test]
fn p17_a_step_up_asks_for_what_was_granted_and_what_is_wanted() {
    let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (granted, asked, expected) in
        [("", "a", "a"), ("a b", "c", "a b c"), ("a b", "b a", "a b"), ("a", "b b", "a b")]
    {
        assert_eq!(united(list(granted), list(asked)), list(expected), "{granted} and {asked}");
    }
}

#[test]
fn p17_only_a_challenge_that_finds_scopes_lacking_names_some() {
    for (challenge, expected) in [
        ("Bearer error=\"insufficient_scope\", scope=\"a  b\"", vec!["a", "b"]),
        ("Basic realm=\"x\", Bearer scope=\"a\", error=insufficient_scope", vec!["a"]),
        ("Bearer error=\"insufficient_scope\"", vec![]),
        ("Bearer error=\"invalid_token\", scope=\"a\"", vec![]),
        ("Bearer scope=\"a\"", vec![]),
        ("Bearer realm=\"error=insufficient_scope, scope=a\"", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(lacking(challenge), expected, "{challenge}");
    }
}
