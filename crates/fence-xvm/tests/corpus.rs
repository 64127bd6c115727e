//! Replays the committed fuzz corpus of the agent's stdin.
#![cfg(test)]

#[path = "../../../fuzz/bodies/agent_stdin.rs"]
mod body;

use std::fs;
use std::path::Path;

#[test]
fn agent_stdin_corpus_is_replayed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/agent_stdin");
    let mut inputs = 0;
    for input in fs::read_dir(corpus).unwrap() {
        body::run(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus is empty");
}
