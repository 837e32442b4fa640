//! Requests with one recovery each, and the rmcp transport over them, against the strict provider and MCP server of
//! the testkit.

mod recovery;
mod redirects;
mod rmcp;
mod sending;
mod world;
