//! A program that signs in as itself, to a server or a provider that repeats what it knows.

use linchpin::{ClientCredentials, ClientProof, Secret};
use linchpin_testkit::{Endpoint, Fault};
use serde_json::json;

use crate::world::World;

/// Whoever knows a secret of the sign-in that is there may say it when a program signs in anew.
#[tokio::test]
async fn p20_a_programs_own_sign_in_repeats_no_secret_of_the_one_that_is_there() {
    let world = World::new().await;
    let server = world.server().await;
    let mut record = server.record().await.expect("readable").expect("signed in");
    record.client.secret = Some(Secret::new("planted-cs-0f1e2d3c4b5a"));
    server.credential().sign_in(record.clone()).await.expect("saved");
    let refresh_token = record.refresh_token.clone().expect("renewable");
    let own = ClientCredentials::new("robot", ClientProof::Secret(Secret::new("its own")));
    for secret in [record.access_token, refresh_token, record.client.secret.expect("just set")] {
        let named = format!("{}/{}", world.kit.issuer(), secret.expose());
        let metadata =
            json!({ "resource": world.kit.mcp_url(), "authorization_servers": [named] }).to_string();
        let json = &[("content-type", "application/json")];
        world.kit.fault(Fault::replace(Endpoint::ResourceMetadata, 200, json, &metadata));
        let error =
            server.sign_in_with_client_credentials(&own).await.expect_err("there is no such provider");
        let told = [error.to_string(), format!("{error:?}")];
        assert!(told[0].contains("answered with a secret of the sign-in that is there"), "{error}");
        assert!(!told.iter().any(|told| told.contains(secret.expose())), "{told:?}");
        world.kit.clear_faults();
    }
    assert!(world.linchpin.drain(std::time::Duration::from_secs(5)).await);
    let history = std::fs::read_to_string(world.home().join("events.jsonl")).expect("a history");
    assert!(history.contains("sign_in_failed") && !history.contains("planted-"), "{history}");
}
