//! `linchpin token`: a valid access token, for scripts and for clients with a header helper.

use linchpin::Wait;
use serde::Serialize;

use crate::app::App;
use crate::args::Token;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(app: &App, args: Token) -> Result<u8, Failure> {
    let server = app.server(&args.target).await?;
    let token = server.credential().access_token_for(args.min_valid, Wait::within(args.timeout)).await?;
    if args.output.json {
        #[derive(Serialize)]
        struct Answer<'a> {
            access_token: &'a str,
            expires_at_ms: Option<u64>,
        }
        let expires_at_ms = token.expires_at_ms().map(|at| at.0);
        output::json(&Answer { access_token: token.secret().expose(), expires_at_ms })?;
    } else {
        output::line(token.secret().expose())?;
    }
    Ok(0)
}
