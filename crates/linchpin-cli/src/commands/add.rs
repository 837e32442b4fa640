//! `linchpin add`: a name for a server.

use linchpin::{PlainHttp, Profile, ServerUrl, ServerUrlError};

use crate::args::Add;
use crate::config::{NamedServer, check_name};
use crate::failure::Failure;
use crate::{app, output};

pub(super) fn run(args: &Add) -> Result<u8, Failure> {
    check_name(&args.name)?;
    let plain_http = if args.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
    let url = ServerUrl::parse(&args.url, plain_http).map_err(|error| match error {
        // Elsewhere a name may stand for a URL; here it is what gets one.
        ServerUrlError::NotAUrl(_) => Failure::usage(format!(
            "`{}` is not a URL; give one like https://mcp.example.com/mcp",
            output::clipped(&args.url)
        )),
        error => Failure::quoting(&args.url, &error),
    })?;
    let profile = args.profile.as_deref().map(Profile::parse).transpose();
    let profile =
        profile.map_err(|error| Failure::quoting(args.profile.as_deref().unwrap_or_default(), &error))?;
    let server = NamedServer {
        name: args.name.clone(),
        url: url.as_str().to_owned(),
        profile: profile.unwrap_or_default().to_string(),
        plain_http,
    };
    let (mut config, guard) = app::config_to_change("add")?;
    if let Some(known) = config.find(&args.name)?.filter(|known| *known != server && !args.force) {
        let message = format!("`{}` is the name of {} already; --force replaces it", known.name, known.url);
        return Err(Failure::usage(message));
    }
    config.insert(&guard, &server)?;
    if args.output.json {
        output::json(&server)?;
    } else {
        output::line(format!(
            "{} is {}; `linchpin login {}` signs in",
            server.name, server.url, server.name
        ))?;
    }
    Ok(0)
}
