//! A tree as TOML: what `config` reads again as the same tree.

use std::fmt::Write;

use crate::config::{Item, Section, Tree, Value};

/// The whole file.
pub(super) fn toml_text(tree: &Tree) -> String {
    let mut text = String::new();
    table(&mut text, &tree.items, &[]);
    text
}

/// Keys come first: after a table's head they would be the table's.
fn table(text: &mut String, items: &[Item], path: &[&str]) {
    let mut done: Vec<String> = Vec::new();
    for item in items {
        if let Item::Assignment(assignment) = item {
            let name = &assignment.name.text;
            if done.iter().any(|it| it.eq_ignore_ascii_case(name)) {
                continue;
            }
            let values = super::edit::all_values(items, name);
            let values: Vec<_> = values.into_iter().map(quoted).collect();
            let value = match (values.as_slice(), &assignment.value) {
                ([one], Value::One(_)) => one.clone(),
                (many, _) => format!("[{}]", many.join(", ")),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} = {value}", key(name));
            done.push(name.clone());
        }
    }
    let sections = items.iter().filter_map(|item| match item {
        Item::Section(section) => Some(section),
        Item::Assignment(_) => None,
    });
    let sections: Vec<_> = sections.collect();
    let mut done: Vec<&str> = Vec::new();
    for section in &sections {
        let name = section.name.text.as_str();
        if done.contains(&name) {
            continue;
        }
        done.push(name);
        let same: Vec<_> = sections.iter().filter(|it| it.name.text == name).collect();
        for section in &same {
            self::section(text, section, path, same.len() > 1 || is_repeated(name));
        }
    }
}

/// There may be several, so even one is written as one of several.
fn is_repeated(name: &str) -> bool {
    name.eq_ignore_ascii_case("group")
}

fn section(text: &mut String, section: &Section, path: &[&str], repeated: bool) {
    let path: Vec<_> = path
        .iter()
        .copied()
        .chain([section.name.text.as_str()])
        .collect();
    let dotted: Vec<_> = path.iter().map(|part| key(part)).collect();
    let dotted = dotted.join(".");
    let keys = section
        .items
        .iter()
        .any(|item| matches!(item, Item::Assignment(_)));
    if repeated {
        let _ = writeln!(text, "\n[[{dotted}]]");
    } else if keys || section.title.is_some() || section.items.is_empty() {
        let _ = writeln!(text, "\n[{dotted}]");
    }
    if let Some(title) = &section.title {
        let name = if section.name.text.eq_ignore_ascii_case("groups") {
            "listener"
        } else {
            "name"
        };
        let _ = writeln!(text, "{name} = {}", quoted(&title.text));
    }
    table(text, &section.items, &path);
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Form, parse_bytes};

    #[test]
    fn toml_says_the_same_as_the_tree() {
        let conf = "fence_virtd { listener = \"tcp\"; listener = \"vsock\"; backend = \"libvirt\"; }\n\
            listeners { tcp { name = \"a\\b\"; port = \"1\"; } tcp { port = \"2\"; } vsock { } }\n\
            groups { group { uuid = \"x\"; uuid = \"y\"; ip = \"z\"; } }\n";
        let tree = parse_bytes(conf.as_bytes(), Form::Conf).unwrap();
        let toml = toml_text(&tree);
        let again = parse_bytes(toml.as_bytes(), Form::Toml).unwrap();
        assert_eq!(again.to_string(), tree.to_string(), "{toml}");
        let once_more = toml_text(&again);
        assert_eq!(once_more, toml);
    }

    #[test]
    fn names_before_a_brace_become_keys() {
        let tree = parse_bytes(b"multicast = \"blue\" { port = \"1\"; }", Form::Conf).unwrap();
        assert_eq!(
            toml_text(&tree),
            "\n[multicast]\nname = \"blue\"\nport = \"1\"\n"
        );
    }
}
