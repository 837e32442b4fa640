//! How a token is used: one-shot recovery over HTTP, and the rmcp transport on top of it.
