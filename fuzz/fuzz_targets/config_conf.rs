//! See the body.
#![no_main]

#[path = "../bodies/config.rs"]
mod body;

use fence_virtd::config::Form;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(Form::Conf, data));
