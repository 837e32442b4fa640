//! See `linchpin_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linchpin_fuzz::run("events", data));
