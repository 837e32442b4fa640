//! A sign-in with more rights loses none of those it had.

use linchpin::{Server, SignInOptions};

use crate::world::World;

/// The scopes that the sign-in page is asked for.
async fn asked(server: &Server, options: &SignInOptions) -> Vec<String> {
    let pending = server.begin_sign_in(options).await.expect("begun");
    let scope = pending.authorization_url().query_pairs().find(|(name, _)| name == "scope");
    let scope = scope.map(|(_, scope)| scope.into_owned()).unwrap_or_default();
    let own = |scope: &&str| *scope != "offline_access";
    scope.split(' ').filter(own).map(str::to_owned).collect()
}

#[tokio::test]
async fn p17_a_step_up_by_a_challenge_asks_for_what_was_granted_besides() {
    let world = World::new().await;
    let server = world.server().await;
    let granted = server.record().await.expect("read").expect("signed in").scopes;
    assert!(!granted.is_empty());
    let step_up = |challenge: &str| {
        let mut options = SignInOptions::default();
        options.challenge = Some(challenge.to_owned());
        options
    };
    let lacking = step_up("Bearer error=\"insufficient_scope\", scope=\"files:write\"");
    let both: Vec<_> = granted.iter().map(String::as_str).chain(["files:write"]).collect();
    assert_eq!(asked(&server, &lacking).await, both);
    // What the caller names is what is asked for besides.
    let mut named = lacking;
    named.scopes = vec!["files:read".to_owned()];
    let both: Vec<_> = granted.iter().map(String::as_str).chain(["files:read"]).collect();
    assert_eq!(asked(&server, &named).await, both);
    // A token that is merely refused needs no more than the server says.
    let refused = step_up("Bearer error=\"invalid_token\", scope=\"files:write\"");
    assert_eq!(asked(&server, &refused).await, ["files:write"]);
    world.finish(&[]);
}
