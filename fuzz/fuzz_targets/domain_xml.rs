//! See the body.
#![no_main]

#[path = "../bodies/domain_xml.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
