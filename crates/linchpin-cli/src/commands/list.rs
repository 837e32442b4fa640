//! `linchpin list`: the named servers.

use crate::args::List;
use crate::failure::Failure;
use crate::{app, output};

pub(super) fn run(args: &List) -> Result<u8, Failure> {
    let servers = app::config()?.servers()?;
    if args.output.json {
        output::json(&servers)?;
    } else if servers.is_empty() {
        output::line("no named servers; `linchpin add NAME URL` adds one")?;
    } else {
        let rows = servers.into_iter().map(|server| vec![server.name, server.url, server.profile]);
        output::table(&["NAME", "URL", "PROFILE"], rows.collect())?;
    }
    Ok(0)
}
