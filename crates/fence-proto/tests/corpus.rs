//! Replays the committed fuzz corpora: what a fuzzer once found interesting stays tested.
#![cfg(test)]

#[path = "../../../fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::Path;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut inputs = 0;
    for input in fs::read_dir(corpus.join(target)).unwrap() {
        run(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of {target} is empty");
}

#[test]
fn request_frame_corpus_is_replayed() {
    replay("request_frame", bodies::request_frame::run);
}

#[test]
fn host_list_corpus_is_replayed() {
    replay("host_list", bodies::host_list::run);
}

#[test]
fn host_session_corpus_is_replayed() {
    replay("host_session", bodies::host_session::run);
}

#[test]
fn agent_session_corpus_is_replayed() {
    replay("agent_session", bodies::agent_session::run);
}

#[test]
fn line_agent_corpus_is_replayed() {
    replay("line_agent", bodies::line_agent::run);
}

#[test]
fn line_host_corpus_is_replayed() {
    replay("line_host", bodies::line_host::run);
}
