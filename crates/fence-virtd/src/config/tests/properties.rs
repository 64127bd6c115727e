//! What holds for any bytes and any tree.

use proptest::prelude::*;

use super::super::{
    Assignment, Form, Item, MAX_DEPTH, Position, Section, Text, Tree, Value, interpret, parse_bytes,
};
use super::good_key;

fn text(text: String) -> Text {
    Text {
        text,
        position: Position::default(),
    }
}

/// Names: anything but blanks, control characters and the grammar's own characters.
fn name() -> impl Strategy<Value = Text> {
    "[^\\s\\p{Cc}{};=\"#\u{feff}]{1,8}".prop_map(text)
}

/// Values: anything but quotes, and not empty.
fn value() -> impl Strategy<Value = Text> {
    "[^\"]{1,12}".prop_map(text)
}

fn item() -> impl Strategy<Value = Item> {
    let assignment = (name(), value()).prop_map(|(name, value)| {
        let value = Value::One(value);
        Item::Assignment(Assignment { name, value })
    });
    assignment.prop_recursive(4, 40, 5, |inner| {
        let items = proptest::collection::vec(inner, 0..5);
        (name(), proptest::option::of(value()), items)
            .prop_map(|(name, title, items)| Item::Section(Section { name, title, items }))
    })
}

fn without_places(items: &mut [Item]) {
    let forget = |text: &mut Text| text.position = Position::default();
    for item in items {
        match item {
            Item::Section(section) => {
                forget(&mut section.name);
                section.title.iter_mut().for_each(forget);
                without_places(&mut section.items);
            }
            Item::Assignment(assignment) => {
                forget(&mut assignment.name);
                match &mut assignment.value {
                    Value::One(value) => forget(value),
                    Value::Many(values) => values.iter_mut().for_each(forget),
                }
            }
        }
    }
}

/// Words that lead deep into parser and validator.
fn almost_a_configuration() -> impl Strategy<Value = String> {
    let words = [
        "fence_virtd",
        "listeners",
        "tcp",
        "multicast",
        "backends",
        "libvirt",
        "groups",
        "group",
        "listener",
        "backend",
        "port",
        "uri1",
        "ip",
        "uuid",
        "hash",
        "{",
        "{",
        "}",
        "}",
        "=",
        "=",
        ";",
        ";",
        "\"tcp\"",
        "\"libvirt\"",
        "\"none\"",
        "\"5\"",
        "\"\"",
        "\"",
        "#",
        "\n",
        "\r",
        " ",
        "[",
        "]",
        "[[",
        "]]",
        ".",
        ",",
        "'",
        "\u{e9}",
        "\0",
        "1",
        "true",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

/// Whatever comes out, nothing panics, and places are within the text.
fn survives(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for form in [Form::Conf, Form::Toml] {
        match parse_bytes(bytes, form) {
            Ok(tree) => {
                let _ = interpret(&tree, &good_key);
            }
            Err(error) => {
                assert!(
                    (1..=lines).contains(&(error.position.line as usize)),
                    "{error}"
                );
                assert!(error.position.column >= 1);
                assert!(!error.message.contains('\n'), "{error}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_printed_tree_is_parsed_back_equal(items in proptest::collection::vec(item(), 0..6)) {
        let tree = Tree { items };
        let mut parsed = parse_bytes(tree.to_string().as_bytes(), Form::Conf).unwrap();
        without_places(&mut parsed.items);
        prop_assert_eq!(parsed, tree);
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        survives(text.as_bytes());
    }

    #[test]
    fn nothing_near_a_configuration_makes_it_panic(text in almost_a_configuration()) {
        survives(text.as_bytes());
    }
}

#[test]
fn hostile_files_of_full_size_are_refused_or_read_in_good_time() {
    let most = super::super::MAX_BYTES;
    let fill = |unit: &str| unit.repeat(most / unit.len());
    let daemon = "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; }\n";
    for text in [
        fill("{"),
        fill("a{"),
        fill("\""),
        fill("a = \"b\";"),
        fill("a.b.c.d.e.f.g.h."),
        fill("[[a]]\n"),
        fill("# \u{e9}\n"),
    ] {
        survives(text.as_bytes());
    }
    let group = "group { uuid = \"x\"; ip = \"10.0.0.1\"; } ";
    let many = group.repeat((most - 200) / group.len());
    survives(format!("{daemon}groups {{ {many} }}").as_bytes());
    let uris: String = (1..30_000)
        .map(|n| format!("uri{n} = \"u{n}\"; "))
        .collect();
    survives(format!("{daemon}backends {{ libvirt {{ {uris} }} }}").as_bytes());
    let nested = format!("{}{}", "a { ".repeat(MAX_DEPTH), "} ".repeat(MAX_DEPTH));
    survives(format!("{daemon}{nested}").as_bytes());
}
