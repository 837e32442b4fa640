//! The controls over HTTP, JSON in and out, for programs in other languages.

use http::{Method, StatusCode};
use serde_json::json;

use crate::config::ConfigChange;
use crate::fault::Fault;
use crate::kit::Shared;
use crate::provider;
use crate::respond::{Answer, answer, empty, json as json_answer};
use crate::serve::Asked;

pub(crate) fn handle(shared: &Shared, asked: Asked) -> Answer {
    let request = asked.request;
    let done = || empty(StatusCode::NO_CONTENT);
    let bad = |problem: String| answer(StatusCode::BAD_REQUEST, "text/plain", problem);
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/info") => json_answer(
            StatusCode::OK,
            &json!({ "issuer": shared.issuer, "mcp_url": shared.mcp_url(), "admin_url": shared.admin_origin }),
        ),
        (&Method::GET, "/counts") => {
            let counts = shared.counts().clone();
            json_answer(StatusCode::OK, &serde_json::to_value(counts).unwrap_or_default())
        }
        (&Method::GET, "/held") => json_answer(StatusCode::OK, &json!(shared.held())),
        (&Method::GET, "/secrets") => json_answer(StatusCode::OK, &json!(shared.grants().planted())),
        (&Method::POST, "/reset-counts") => {
            *shared.counts() = crate::Counts::default();
            done()
        }
        (&Method::POST, "/config") => {
            let change = serde_json::from_slice::<ConfigChange>(request.body());
            match change.and_then(|change| shared.merge_config(change)) {
                Ok(()) => done(),
                Err(error) => bad(error.to_string()),
            }
        }
        (&Method::POST, "/faults") => match serde_json::from_slice::<Fault>(request.body()) {
            Ok(fault) => {
                shared.faults().add(fault);
                done()
            }
            Err(error) => bad(error.to_string()),
        },
        (&Method::DELETE, "/faults") => {
            shared.faults().clear();
            shared.release();
            done()
        }
        (&Method::POST, "/release") => {
            shared.release();
            done()
        }
        (&Method::POST, "/refuse-access-tokens") => {
            shared.grants().refuse_access_tokens();
            done()
        }
        (&Method::POST, "/forget-clients") => {
            shared.grants().forget_clients();
            done()
        }
        (&Method::POST, "/restore-clients") => {
            shared.grants().restore_clients();
            done()
        }
        (&Method::POST, "/revoke-grants") => {
            shared.grants().revoke_all();
            done()
        }
        (&Method::POST, "/drop-sessions") => {
            shared.sessions().clear();
            done()
        }
        (&Method::POST, "/push") => {
            shared.sessions().push(&String::from_utf8_lossy(request.body()));
            done()
        }
        (&Method::POST, "/sign-in") => match provider::sign_in(shared) {
            Ok(signed_in) => {
                json_answer(StatusCode::OK, &serde_json::to_value(signed_in).unwrap_or_default())
            }
            Err(error) => bad(error.to_string()),
        },
        _ => empty(StatusCode::NOT_FOUND),
    }
}
