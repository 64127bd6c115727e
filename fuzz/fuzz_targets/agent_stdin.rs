//! See the body.
#![no_main]

#[path = "../bodies/agent_stdin.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
