//! The bridge, in process, against the strict provider and MCP server of the testkit.
//!
//! Every test drives a [`harness::Client`], which on `close` checks what holds for all of them: each request got
//! exactly one answer, the bridge ended in time, and neither its output nor its logs at TRACE hold a secret (P20).

mod answers;
mod ending;
mod faithful;
mod flow;
mod harness;
mod modern;
mod raw;
mod recovery;
mod redirects;
mod signed_out;
mod streams;
