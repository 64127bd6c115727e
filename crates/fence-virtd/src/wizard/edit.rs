//! Changing a configuration's tree: one key at a time, everything else stays as it is.

use crate::config::{Assignment, Item, Position, Section, Text, Tree, Value};

/// A name or value that is not from the file.
fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        position: Position::default(),
    }
}

/// The section called `name` in `items`, which is made if it is not there. Of several the one without a name of
/// its own is meant, else the last: that is the one that counts.
pub(super) fn section<'t>(items: &'t mut Vec<Item>, name: &str) -> &'t mut Section {
    let candidates = items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| match item {
            Item::Section(it) if it.name.text.eq_ignore_ascii_case(name) => {
                Some((at, own_name(it)))
            }
            _ => None,
        });
    let candidates: Vec<_> = candidates.collect();
    let unnamed = candidates.iter().rev().find(|(_, own)| own.is_none());
    let at = unnamed.or(candidates.last()).map(|(at, _)| *at);
    section_at(items, at, name)
}

/// The section of a listener: that with a name of its own if one is given, else as [`section`].
pub(super) fn listener<'t>(
    items: &'t mut Vec<Item>,
    kind: &str,
    own: Option<&str>,
) -> &'t mut Section {
    let named = |item: &Item| match (item, own) {
        (Item::Section(section), Some(own)) => {
            own_name(section).is_some_and(|it| it.eq_ignore_ascii_case(own))
        }
        _ => false,
    };
    match items.iter().position(named) {
        Some(at) => section_at(items, Some(at), kind),
        None => section(items, kind),
    }
}

fn section_at<'t>(items: &'t mut Vec<Item>, at: Option<usize>, name: &str) -> &'t mut Section {
    let at = at.unwrap_or_else(|| {
        items.push(Item::Section(Section {
            name: text(name),
            title: None,
            items: Vec::new(),
        }));
        items.len().saturating_sub(1)
    });
    match items.get_mut(at) {
        Some(Item::Section(section)) => section,
        // `at` is the place of a section.
        _ => unreachable!("a section was found or made"),
    }
}

/// The name that a section was given before its brace or by its key `name`.
pub(super) fn own_name(section: &Section) -> Option<&str> {
    let title = section.title.as_ref().map(|title| title.text.as_str());
    title.or_else(|| value(&section.items, "name"))
}

/// The value of a key: of several the last, which counts.
pub(super) fn value<'t>(items: &'t [Item], key: &str) -> Option<&'t str> {
    all_values(items, key).last().copied()
}

/// All values of a key.
pub(super) fn all_values<'t>(items: &'t [Item], key: &str) -> Vec<&'t str> {
    let mut values = Vec::new();
    for item in items {
        if let Item::Assignment(assignment) = item
            && assignment.name.text.eq_ignore_ascii_case(key)
        {
            match &assignment.value {
                Value::One(text) => values.push(text.text.as_str()),
                Value::Many(texts) => values.extend(texts.iter().map(|it| it.text.as_str())),
            }
        }
    }
    values
}

/// Sets a key, in the place where it is; duplicates of it go.
pub(super) fn set(items: &mut Vec<Item>, key: &str, value: &str) {
    set_all(items, key, &[value]);
}

/// Sets a key that may have several values.
pub(super) fn set_all(items: &mut Vec<Item>, key: &str, values: &[&str]) {
    let is = |item: &Item| match item {
        Item::Assignment(assignment) => assignment.name.text.eq_ignore_ascii_case(key),
        Item::Section(_) => false,
    };
    let sections_begin = items
        .iter()
        .position(|item| matches!(item, Item::Section(_)));
    let at = items.iter().position(is).or(sections_begin);
    let at = at.unwrap_or(items.len());
    let before = items.iter().take(at).filter(|item| is(item)).count();
    items.retain(|item| !is(item));
    let at = at.saturating_sub(before).min(items.len());
    let new = values.iter().map(|value| {
        Item::Assignment(Assignment {
            name: text(key),
            value: Value::One(text(value)),
        })
    });
    items.splice(at..at, new);
}

/// Removes a key.
pub(super) fn unset(items: &mut Vec<Item>, key: &str) {
    set_all(items, key, &[]);
}

/// The items of a section in a tree, none if there is no such section.
pub(super) fn items_of<'t>(tree: &'t Tree, name: &str) -> &'t [Item] {
    let found = tree.items.iter().rev().find_map(|item| match item {
        Item::Section(section) if section.name.text.eq_ignore_ascii_case(name) => Some(section),
        _ => None,
    });
    found.map_or(&[], |section| &section.items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Form, parse_bytes};

    fn tree(text: &str) -> Tree {
        parse_bytes(text.as_bytes(), Form::Conf).unwrap()
    }

    #[test]
    fn keys_are_set_where_they_are_and_duplicates_go() {
        let mut tree = tree("a { x = \"1\"; Y = \"2\"; X = \"3\"; in { } }");
        let section = section(&mut tree.items, "A");
        assert_eq!(value(&section.items, "x"), Some("3"));
        set(&mut section.items, "x", "4");
        set(&mut section.items, "z", "5");
        unset(&mut section.items, "y");
        assert_eq!(
            tree.to_string(),
            "a {\n\tx = \"4\";\n\tz = \"5\";\n\tin {\n\t}\n}\n"
        );
    }

    #[test]
    fn section_without_a_name_is_meant_and_missing_ones_are_made() {
        let mut tree =
            tree("tcp = \"blue\" { port = \"1\"; } tcp { port = \"2\"; } tcp { name = \"red\"; }");
        assert_eq!(
            value(&section(&mut tree.items, "tcp").items, "port"),
            Some("2")
        );
        let red = listener(&mut tree.items, "tcp", Some("RED"));
        assert_eq!(own_name(red), Some("red"));
        let blue = listener(&mut tree.items, "tcp", Some("blue"));
        assert_eq!(value(&blue.items, "port"), Some("1"));
        assert!(section(&mut tree.items, "vsock").items.is_empty());
        assert_eq!(tree.items.len(), 4);
    }
}
