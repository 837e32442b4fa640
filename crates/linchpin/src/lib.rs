//! One sign-in per MCP server, shared by every process on the machine.
