//! Faces for others: the stdio bridge.
//!
//! A [`Bridge`] carries JSON-RPC lines on one side and Streamable HTTP on the other. What it does not need to
//! understand it does not touch: a message goes out as the bytes that came in. Requests run concurrently, answers and
//! messages of the server are written as they come, a lost session is opened again once, broken event streams are
//! resumed, and a sign-in made elsewhere is picked up by the next request.
//!
//! The rooms: `message` reads the head of a line, `modern` derives the headers of 2026-07-28, `session` is what the
//! server said about the session, `deliver` brings one message across, `stream` is what the server sends as events,
//! `listen` keeps the standalone stream, `output` writes, `bridge` runs it all.
//!
//! # Limitations
//! A `tools/call` whose connection broke is not sent again: nobody knows whether the tool ran. The client gets an
//! error that says so.
//!
//! While 1024 requests are under way the client's further lines are not read, and neither is the end of its input.

mod bridge;
mod deliver;
mod failure;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod listen;
mod message;
mod modern;
mod output;
mod session;
mod stream;

pub use bridge::{Bridge, BridgeError, Ended};
