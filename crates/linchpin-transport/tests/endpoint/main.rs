//! Requests with one recovery each, and the rmcp transport over them, against the strict provider and MCP server of
//! the testkit.

mod bench;
mod recovery;
mod redirects;
mod rmcp;
mod sending;
