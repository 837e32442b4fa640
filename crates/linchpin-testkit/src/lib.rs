//! A strict OAuth provider and MCP server on loopback, with faults and counters.
