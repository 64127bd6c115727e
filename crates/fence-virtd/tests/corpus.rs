//! Replays the committed fuzz corpora of the parsers of configurations and of domains' XML, and random text.
#![cfg(test)]

#[path = "../../../fuzz/bodies/config.rs"]
mod body;
#[path = "../../../fuzz/bodies/domain_xml.rs"]
mod domain_xml;

use std::fs;
use std::path::Path;

use fence_virtd::config::Form;
use proptest::prelude::*;

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
fn config_conf_corpus_is_replayed() {
    replay("config_conf", |data| body::run(Form::Conf, data));
}

#[test]
fn config_toml_corpus_is_replayed() {
    replay("config_toml", |data| body::run(Form::Toml, data));
}

#[test]
fn domain_xml_corpus_is_replayed() {
    replay("domain_xml", domain_xml::run);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_bytes_are_a_domains_devices_within_bounds_or_an_error(
        data in proptest::collection::vec(any::<u8>(), 0..400),
        text in "([a-z]{1,9}|[<>/='&; ]|<serial type='unix'>|<source mode='bind' path='/a'/>|\\PC){0,60}",
    ) {
        domain_xml::run(&data);
        domain_xml::run(text.as_bytes());
    }

    #[test]
    fn any_text_is_settings_or_an_error_with_its_place(text in "([a-z_]{1,9}|[{}=;\"#\\[\\]\n. ]|\\PC){0,80}") {
        body::run(Form::Conf, text.as_bytes());
        body::run(Form::Toml, text.as_bytes());
    }
}
