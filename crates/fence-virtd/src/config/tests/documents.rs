//! The sample files and the documentation say what is so.

use std::collections::{BTreeMap, BTreeSet};

use super::super::schema::{ROOT, Schema};
use super::super::{Form, ListenerSettings};
use super::{only, read};

const CONF: &str = include_str!("../../../../../etc/fence_virt.conf");
const TOML: &str = include_str!("../../../../../etc/fence_virt.toml");
const PAGE: &str = include_str!("../../../../../docs/configuration.md");

/// Keys that the samples leave out: old names, and one that means nothing.
const LEFT_OUT: [&str; 2] = ["wait_for_backend", "module_path"];

/// A sample with every setting switched on: '#' at the start of a line, but not before a blank,
/// switches one off.
fn switched_on(sample: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    sample.lines().map(|text| line(text) + "\n").collect()
}

fn every_key(schema: &Schema, see: &mut dyn FnMut(&str)) {
    for key in schema.keys.iter().chain(schema.lists) {
        see(key);
    }
    if let Some(key) = schema.numbered {
        see(key);
        see(&format!("{key}1"));
    }
    for section in schema.sections.iter().chain(schema.repeated) {
        see(section.name);
        every_key(section, see);
    }
}

#[test]
fn the_samples_are_valid_and_say_the_same() {
    let (conf, notes) = read(CONF, Form::Conf).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let (toml, notes) = read(TOML, Form::Toml).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(format!("{conf:?}"), format!("{toml:?}"));
    assert!(matches!(
        only(conf).settings,
        ListenerSettings::Multicast(_)
    ));
}

#[test]
fn the_samples_are_valid_with_every_setting_switched_on() {
    for listener in ["multicast", "tcp", "vsock", "serial"] {
        for backend in ["libvirt", "cpg"] {
            let choose = |sample: &str| {
                switched_on(sample)
                    .replace(
                        "listener = \"multicast\"",
                        &format!("listener = \"{listener}\""),
                    )
                    .replace("backend = \"libvirt\"", &format!("backend = \"{backend}\""))
            };
            let (conf, notes) = read(&choose(CONF), Form::Conf).unwrap();
            // The example's addresses are no sources for vsock and serial, and the names of the other
            // sections are of no use; nothing else is odd.
            let odd = notes.iter().find(|note| {
                !note.contains("listener knows guests") && !note.contains("does not run")
            });
            assert_eq!(odd, None);
            let (toml, _) = read(&choose(TOML), Form::Toml).unwrap();
            assert_eq!(format!("{conf:?}"), format!("{toml:?}"));
            assert!(
                conf.listeners
                    .iter()
                    .all(|listener| listener.access.is_restricted())
            );
        }
    }
}

#[test]
fn the_samples_show_and_the_page_explains_every_key() {
    let (conf, toml) = (switched_on(CONF), switched_on(TOML));
    every_key(&ROOT, &mut |key| {
        assert!(PAGE.contains(&format!("`{key}`")), "{key} in docs");
        if !LEFT_OUT.contains(&key) {
            assert!(conf.contains(key), "{key} in fence_virt.conf");
            assert!(toml.contains(key), "{key} in fence_virt.toml");
        }
    });
}

/// The words between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The page's tables of keys: for each section the keys that its tables name, the section by its own name.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut sections: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for part in PAGE.split("\n### Section").skip(1) {
        let (heading, text) = part.split_once('\n').unwrap();
        let Some(section) = quoted(heading).pop() else {
            continue;
        };
        let keys = sections.entry(section).or_default();
        let table = text.split_once("| key | default |").map(|(_, table)| table);
        for row in table.iter().flat_map(|table| table.lines().skip(2)) {
            let Some(row) = row.strip_prefix('|') else {
                break;
            };
            keys.extend(quoted(row.split_once('|').unwrap().0));
        }
    }
    sections
}

fn compare(schema: &Schema, shared: &[&str], documented: &BTreeMap<&str, BTreeSet<&str>>) {
    for section in schema.sections.iter().chain(schema.repeated) {
        let mut known: BTreeSet<&str> = section.keys.iter().chain(section.lists).copied().collect();
        known.retain(|key| !shared.contains(key));
        if section.numbered == Some("uri") {
            known.extend(["uri", "uri1", "uri2"]);
        }
        if !known.is_empty() {
            assert_eq!(
                documented.get(section.name),
                Some(&known),
                "{}",
                section.name
            );
        }
        let documented_here = documented.get(section.name);
        let shared: Vec<&str> = documented_here.into_iter().flatten().copied().collect();
        compare(section, &shared, documented);
    }
}

/// The manual page fence_virt.conf(5) is made of these tables.
#[test]
fn the_page_has_a_row_for_every_key_of_a_section_and_for_no_other() {
    let documented = documented();
    assert!(documented.len() >= 9, "{documented:?}");
    // What all listeners have is described once.
    assert_eq!(documented.get("listeners"), Some(&BTreeSet::from(["name"])));
    compare(&ROOT, &[], &documented);
}

/// The examples of a page, each with its grammar.
fn examples(page: &str) -> Vec<(Form, &str)> {
    let mut found = Vec::new();
    // The text before the first fence is no block, and then every second one is.
    let blocks = page.split("\n```").skip(1).step_by(2);
    for block in blocks {
        let (language, text) = block.split_once('\n').unwrap();
        match language {
            "conf" => found.push((Form::Conf, text)),
            "toml" => found.push((Form::Toml, text)),
            _ => {}
        }
    }
    found
}

/// All pages of the documentation, with their names.
fn pages() -> Vec<(String, String)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let entries = std::fs::read_dir(format!("{root}/docs")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.push(format!("{root}/README.md").into());
    paths.retain(|path| path.extension().is_some_and(|it| it == "md"));
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.display().to_string(), text)
        })
        .collect()
}

#[test]
fn the_examples_of_all_pages_are_valid() {
    let pages = pages();
    let mut count = 0;
    for (name, page) in &pages {
        for (form, text) in examples(page) {
            let (_, notes) =
                read(text, form).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
            assert!(notes.is_empty(), "{name}: {notes:?}: {text}");
            count += 1;
        }
    }
    assert!(pages.len() >= 10 && count >= 12, "{count} examples");
}

#[test]
fn an_example_that_is_given_in_both_grammars_means_the_same() {
    for title in ["## A complete example", "## Several listeners"] {
        let (_, section) = PAGE.split_once(title).unwrap();
        let [(_, conf), (_, toml)] = examples(section)[..2] else {
            panic!("{title}")
        };
        let (conf, _) = read(conf, Form::Conf).unwrap();
        let (toml, _) = read(toml, Form::Toml).unwrap();
        assert_eq!(format!("{conf:?}"), format!("{toml:?}"), "{title}");
    }
}
