//! `linchpin logout`: revokes, then forgets.

use linchpin::{Disposition, Leftover, Revocation, SignOut};
use serde::Serialize;

use crate::app::App;
use crate::args::Logout;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(app: &App, args: Logout) -> Result<u8, Failure> {
    let server = app.server(&args.target).await?;
    let outcome = server.sign_out().await?;
    let (signed_out, revocation, told) = describe(&outcome);
    let leftovers: &[Leftover] = match &outcome {
        SignOut::SignedOut { leftovers, .. } => leftovers,
        _ => &[],
    };
    if args.output.json {
        #[derive(Serialize)]
        struct Answer<'a> {
            server: &'a str,
            profile: &'a str,
            signed_out: bool,
            revocation: &'static str,
            /// Stores in which a copy could not be removed.
            not_removed_from: Vec<String>,
        }
        output::json(&Answer {
            server: server.url().as_str(),
            profile: server.key().profile.as_str(),
            signed_out,
            revocation,
            not_removed_from: leftovers.iter().map(|leftover| leftover.store.to_string()).collect(),
        })?;
    } else {
        output::line(format!("{}: {told}", server.key()))?;
    }
    if let Some(leftover) = leftovers.first() {
        let told =
            format!("a copy could not be removed from the {} store: {}", leftover.store, leftover.error);
        return Err(Failure::configuration(told));
    }
    // The sign-in is gone from this machine either way; a script may want to know that the provider still holds it.
    match revocation {
        // Never "try again": there is nothing left here to try with.
        "unavailable" | "refused" => Ok(Disposition::Answered.exit_code()),
        _ => Ok(0),
    }
}

/// Whether there was a sign-in, a word for scripts, and a text for people.
fn describe(outcome: &SignOut) -> (bool, &'static str, String) {
    match outcome {
        SignOut::SignedOut { revocation, .. } => match revocation {
            Revocation::Revoked => {
                (true, "revoked", "signed out; the provider has revoked the tokens".to_owned())
            }
            Revocation::NotOffered => {
                let told =
                    "signed out here; the provider offers no revocation, so its tokens live until they end";
                (true, "not_offered", told.to_owned())
            }
            Revocation::Refused { code } => {
                let told = format!("signed out here; the provider refused to revoke the tokens ({code})");
                (true, "refused", told)
            }
            Revocation::Unavailable { problem, .. } => {
                let told = format!("signed out here; the tokens are not revoked: the provider {problem}");
                (true, "unavailable", told)
            }
            _ => (true, "unknown", "signed out".to_owned()),
        },
        _ => (false, "none", "was not signed in".to_owned()),
    }
}
