//! `linchpin remove`: takes a name away. A sign-in stays until `linchpin logout`.

use serde_json::json;

use crate::args::Remove;
use crate::failure::Failure;
use crate::{app, output};

pub(super) fn run(args: &Remove) -> Result<u8, Failure> {
    let (mut config, guard) = app::config_to_change("remove")?;
    if !config.remove(&guard, &args.name)? {
        let name = output::clipped(&args.name);
        return Err(Failure::usage(format!(
            "there is no server named `{name}`; `linchpin list` shows the names"
        )));
    }
    if args.output.json {
        output::json(&json!({ "removed": args.name }))?;
    } else {
        output::line(format!("{} is removed; a sign-in there is kept until `linchpin logout`", args.name))?;
    }
    Ok(0)
}
