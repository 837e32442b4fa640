//! `linchpin doctor`: looks at what Linchpin depends on, each failure with its remedy.

use linchpin::doctor::{Verdict, check};
use linchpin::{Disposition, PlainHttp};

use super::login::spinner;
use crate::app::{self, App};
use crate::args::Doctor;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(app: &App, args: &Doctor) -> Result<u8, Failure> {
    let environment = app::environment()?;
    let linchpin = app.linchpin(PlainHttp::LoopbackOnly)?;
    let stores = linchpin.stores().cloned().unwrap_or_else(|| environment.stores());
    let looking = spinner("looking");
    let checks = check(&environment.directories, &stores).await;
    looking.finish_and_clear();
    let wrong = checks.iter().filter(|check| check.verdict == Verdict::Wrong).count();
    if args.output.json {
        output::json(&checks)?;
    } else {
        let rows = checks.iter().map(|check| {
            let verdict = match check.verdict {
                Verdict::Fine => "ok",
                Verdict::Wrong => "WRONG",
                _ => "note",
            };
            let found = if check.remedy.is_empty() {
                check.found.clone()
            } else {
                format!("{}; {}", check.found, check.remedy)
            };
            vec![verdict.to_owned(), check.what.clone(), found]
        });
        output::table(&["", "WHAT", "FOUND"], rows.collect())?;
    }
    Ok(if wrong == 0 { 0 } else { Disposition::Configuration.exit_code() })
}
