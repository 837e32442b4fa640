//! What developers run: test, interop, bench.
fn main() {}
