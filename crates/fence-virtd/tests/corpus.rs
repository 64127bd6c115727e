//! Replays the committed fuzz corpora of the configuration parsers, and random text.
#![cfg(test)]

#[path = "../../../fuzz/bodies/config.rs"]
mod body;

use std::fs;
use std::path::Path;

use fence_virtd::config::Form;
use proptest::prelude::*;

fn replay(target: &str, form: Form) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut inputs = 0;
    for input in fs::read_dir(corpus.join(target)).unwrap() {
        body::run(form, &fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of {target} is empty");
}

#[test]
fn config_conf_corpus_is_replayed() {
    replay("config_conf", Form::Conf);
}

#[test]
fn config_toml_corpus_is_replayed() {
    replay("config_toml", Form::Toml);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_text_is_settings_or_an_error_with_its_place(text in "([a-z_]{1,9}|[{}=;\"#\\[\\]\n. ]|\\PC){0,80}") {
        body::run(Form::Conf, text.as_bytes());
        body::run(Form::Toml, text.as_bytes());
    }
}
