//! `linchpin demo`: the main job on an embedded provider, and the same storm on rmcp's own client for contrast.
//!
//! Everything is real but the browser: the sign-in, the store, the processes, the HTTP. Nothing of the user's own is
//! read or written: the processes live in a temporary home that is removed at the end.

use std::time::Duration;

use linchpin_testkit::contrast::Setup;

use self::contender::Contender;
use self::report::{Document, Rows};
use self::round::Round;
use self::stage::Stage;
use self::storm::Storm;
use super::login::spinner;
use crate::args::{Demo, DemoPeer};
use crate::failure::Failure;
use crate::{output, stdio};

mod caller;
mod contender;
mod report;
mod round;
mod stage;
mod storm;
mod verdict;

/// How long the provider takes for every token request, as providers across a network do.
const EXCHANGE: Duration = Duration::from_millis(300);

pub(super) async fn run(args: Demo) -> Result<u8, Failure> {
    let json = args.output.json;
    if !json {
        output::line(report::introduction(&args))?;
    }
    let linchpin = play(Contender::Linchpin, &args).await?;
    if !json {
        report::show(&linchpin)?;
    }
    let rmcp = if args.no_contrast { None } else { Some(play(Contender::Rmcp, &args).await?) };
    let document = Document::new(&args, linchpin, rmcp);
    if json {
        output::json(&document)?;
        return Ok(u8::from(!document.ok));
    }
    if let Some(rmcp) = &document.rmcp {
        report::show(rmcp)?;
    }
    report::closing(&document)?;
    document.verdict().map(|()| 0)
}

/// One process of the contrast.
pub(super) async fn peer(args: DemoPeer) -> Result<u8, Failure> {
    let secret = args.client_secret_file.as_deref().map(std::fs::read_to_string).transpose();
    let client_secret = secret
        .map_err(|error| Failure::usage(format!("the client's secret cannot be read: {error}")))?
        .map(|secret| secret.trim().to_owned());
    let DemoPeer { url, credentials, guarded, .. } = args;
    let setup = Setup { url, credentials, guarded, client_secret };
    linchpin_testkit::contrast::serve(setup, stdio::input(), stdio::output())
        .await
        .map_err(|error| Failure::configuration(format!("the client's messages cannot be read: {error}")))?;
    Ok(0)
}

/// All rounds of one contender, on a stage of its own. A sign-in is made at the beginning, and again whenever one
/// was lost, so that every round is judged by itself.
async fn play(contender: Contender, args: &Demo) -> Result<Rows, Failure> {
    let stage = Stage::set()?;
    let mut rows = Rows::new(contender);
    let mut signed_in = false;
    for round in Round::ALL {
        let progress = spinner(&format!("{}: {round}", contender.name()));
        round.prepare(&stage.kit);
        if !signed_in {
            contender.sign_in(&stage).await?;
            rows.sign_ins += 1;
        }
        round.wait_for_it(&stage.kit).await;
        let storm = Storm { contender, round, processes: args.processes, calls: args.calls };
        let outcome = storm.run(&stage).await?;
        signed_in = !outcome.lost_the_sign_in();
        rows.push(round, outcome);
        progress.finish_and_clear();
    }
    Ok(rows)
}
