//! A section seen through its schema: known keys by name, everything else reported.

use std::collections::BTreeMap;

use super::schema::{Known, Schema};
use super::tree::{Assignment, Item, Position, Section, Shown, Text, Value};

/// Something that is worth saying about a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where; none if the matter is that something is not there.
    pub position: Option<Position>,
    /// One line.
    pub message: String,
}

impl Note {
    pub(super) fn new(position: Option<Position>, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
        }
    }

    /// About something that is in the file.
    pub(super) fn at(position: Position, message: impl Into<String>) -> Self {
        Self::new(Some(position), message)
    }
}

/// The known content of one section.
#[derive(Debug)]
pub(super) struct View<'t> {
    /// Where the section starts, if the file has it.
    pub(super) position: Option<Position>,
    /// The value before its brace.
    pub(super) title: Option<&'t Text>,
    keys: BTreeMap<(&'static str, u32), &'t Text>,
    lists: BTreeMap<&'static str, Vec<&'t Text>>,
    /// By schema and, in lower case, own name; empty for a section without one.
    sections: BTreeMap<(&'static str, String), &'t Section>,
    repeated: Vec<&'t Section>,
    /// Sections that a later one of the same name replaced.
    replaced: Vec<&'t Section>,
}

impl<'t> View<'t> {
    /// A section that the file does not have: every key has its default.
    pub(super) const fn absent() -> Self {
        Self {
            position: None,
            title: None,
            keys: BTreeMap::new(),
            lists: BTreeMap::new(),
            sections: BTreeMap::new(),
            repeated: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Looks through the top of a file.
    pub(super) fn of_items(
        schema: &'static Schema,
        items: &'t [Item],
        notes: &mut Vec<Note>,
    ) -> Result<Self, Note> {
        let mut view = Self::absent();
        for item in items {
            match item {
                Item::Section(section) => view.add_section(schema, section, notes)?,
                Item::Assignment(assignment) => view.add_key(schema, assignment, notes)?,
            }
        }
        Ok(view)
    }

    /// Looks through a section. Unknown names and duplicates are noted; a key where a section
    /// belongs, or the other way round, is an error.
    pub(super) fn of(
        schema: &'static Schema,
        section: &'t Section,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Note> {
        let mut view = Self::of_items(schema, &section.items, notes)?;
        view.position = Some(section.name.position);
        view.title = section.title.as_ref();
        Ok(view)
    }

    /// The view of a section within, [`Self::absent`] if there is none.
    pub(super) fn child(
        &self,
        schema: &'static Schema,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Note> {
        let Some(section) = self.section(schema) else {
            return Ok(Self::absent());
        };
        if let Some(title) = &section.title {
            let message = format!("{} means nothing here", Shown(&title.text));
            notes.push(Note::at(title.position, message));
        }
        Self::of(schema, section, notes)
    }

    /// The value of a key, if it is given.
    pub(super) fn value(&self, key: &'static str) -> Option<&'t Text> {
        self.keys.get(&(key, 0)).copied()
    }

    /// The values of a numbered key: the one without number first, then by number.
    pub(super) fn numbered(&self, key: &'static str) -> impl Iterator<Item = &'t Text> {
        self.keys
            .range((key, 0)..=(key, u32::MAX))
            .map(|(_, value)| *value)
    }

    /// The values of a key that may be repeated, in the file's order.
    pub(super) fn list(&self, key: &'static str) -> &[&'t Text] {
        self.lists.get(key).map_or(&[], Vec::as_slice)
    }

    /// A section within that has no name of its own.
    fn section(&self, schema: &'static Schema) -> Option<&'t Section> {
        let key = (schema.name, String::new());
        self.sections.get(&key).copied()
    }

    /// The sections within of this kind, with and without names, in the file's order.
    pub(super) fn instances(&self, schema: &'static Schema) -> Vec<&'t Section> {
        let of_kind = self.sections.iter().filter(|(key, _)| key.0 == schema.name);
        let mut found: Vec<_> = of_kind.map(|(_, section)| *section).collect();
        found.sort_by_key(|section| section.name.position);
        found
    }

    /// The sections within that may be repeated, in the file's order.
    pub(super) fn repeated(&self) -> &[&'t Section] {
        &self.repeated
    }

    /// Sections of this kind that a later one replaced.
    pub(super) fn replaced(&self, schema: &'static Schema) -> impl Iterator<Item = &'t Section> {
        let named = |section: &&&Section| section.name.text.eq_ignore_ascii_case(schema.name);
        self.replaced.iter().filter(named).copied()
    }

    fn add_section(
        &mut self,
        schema: &'static Schema,
        section: &'t Section,
        notes: &mut Vec<Note>,
    ) -> Result<(), Note> {
        let name = &section.name;
        match schema.find(&name.text) {
            Some(Known::Section(known)) => {
                let own = own_name(known, section);
                let key = own.map_or_else(String::new, |own| own.text.to_ascii_lowercase());
                if let Some(earlier) = self.sections.insert((known.name, key), section) {
                    let own = own.map_or_else(String::new, |own| format!(" {}", Shown(&own.text)));
                    let message = format!(
                        "section {}{own} replaces all of the one in line {}: join the two",
                        Shown(&name.text),
                        earlier.name.position.line
                    );
                    notes.push(Note::at(name.position, message));
                    self.replaced.push(earlier);
                }
            }
            Some(Known::Repeated(_)) => self.repeated.push(section),
            Some(Known::Key(..) | Known::List(_)) => {
                let message = format!(
                    "{} is a key, not a section: write {} = \"VALUE\";",
                    Shown(&name.text),
                    name.text
                );
                return Err(Note::at(name.position, message));
            }
            None => notes.push(unknown("section", schema, name)),
        }
        Ok(())
    }

    fn add_key(
        &mut self,
        schema: &'static Schema,
        assignment: &'t Assignment,
        notes: &mut Vec<Note>,
    ) -> Result<(), Note> {
        let name = &assignment.name;
        match schema.find(&name.text) {
            Some(Known::Key(key, number)) => {
                let value = single(name, &assignment.value)?;
                if let Some(earlier) = self.keys.insert((key, number), value) {
                    let cure = match schema.numbered {
                        Some(stem) if stem == key => "; number further ones: uri1, uri2, …",
                        _ => "",
                    };
                    let message = format!(
                        "{} replaces the value given in line {}{cure}",
                        Shown(&name.text),
                        earlier.position.line
                    );
                    notes.push(Note::at(name.position, message));
                }
            }
            Some(Known::List(key)) => {
                let values = all(&assignment.value);
                for value in values {
                    refuse_controls(name, value)?;
                }
                self.lists.entry(key).or_default().extend(values);
            }
            Some(Known::Section(_) | Known::Repeated(_)) => {
                let message = format!(
                    "{} is a section, not a key: write {} {{ … }}",
                    Shown(&name.text),
                    name.text
                );
                return Err(Note::at(name.position, message));
            }
            None => notes.push(unknown("key", schema, name)),
        }
        Ok(())
    }
}

/// The name that a section has been given before its brace or, failing that, by its key for it.
pub(super) fn own_name<'t>(schema: &Schema, section: &'t Section) -> Option<&'t Text> {
    let key = schema.named?;
    let named = |item: &'t Item| match item {
        Item::Assignment(Assignment {
            name,
            value: Value::One(value),
        }) if name.text.eq_ignore_ascii_case(key) => Some(value),
        _ => None,
    };
    let title = section.title.as_ref();
    title.or_else(|| section.items.iter().rev().find_map(named))
}

fn unknown(what: &str, schema: &Schema, name: &Text) -> Note {
    let place = match schema.name {
        "" => "at the top".to_owned(),
        section => format!("in '{section}'"),
    };
    let message = format!(
        "unknown {what} {} {place} is ignored; {}",
        Shown(&name.text),
        schema.hint(&name.text)
    );
    Note::at(name.position, message)
}

fn all(value: &Value) -> &[Text] {
    match value {
        Value::One(text) => std::slice::from_ref(text),
        Value::Many(texts) => texts,
    }
}

fn single<'t>(name: &Text, value: &'t Value) -> Result<&'t Text, Note> {
    match value {
        Value::One(text) => {
            refuse_controls(name, text)?;
            Ok(text)
        }
        Value::Many(_) => {
            let message = format!("{} takes one value, not an array", Shown(&name.text));
            Err(Note::at(name.position, message))
        }
    }
}

/// No key has a use for control characters; a line break is nearly always a missing quote.
fn refuse_controls(name: &Text, value: &Text) -> Result<(), Note> {
    if !value.text.contains(char::is_control) {
        return Ok(());
    }
    let what = if value.text.contains('\n') {
        "runs over the end of its line: is its closing quote missing?"
    } else {
        "has control characters"
    };
    let message = format!("the value of {} {what}", Shown(&name.text));
    Err(Note::at(value.position, message))
}

#[cfg(test)]
mod tests {
    use super::super::conf;
    use super::super::schema::{GROUP, LISTENERS, ROOT, TCP};
    use super::super::tree::Tree;
    use super::*;

    fn notes_of(text: &str) -> Vec<String> {
        let tree = conf::parse(text).unwrap();
        let mut notes = Vec::new();
        View::of_items(&TCP, &tree.items, &mut notes).unwrap();
        notes
            .into_iter()
            .map(|note| format!("{}: {}", note.position.unwrap(), note.message))
            .collect()
    }

    fn tree(text: &str) -> Tree {
        conf::parse(text).unwrap()
    }

    #[test]
    fn unknown_names_are_noted_with_a_hint_and_ignored() {
        assert_eq!(
            notes_of("port = \"1\";\n  prot = \"2\"; stuff { port = \"3\"; }"),
            [
                "2:3: unknown key 'prot' in 'tcp' is ignored; did you mean 'port'?",
                "2:15: unknown section 'stuff' in 'tcp' is ignored; there may be: name, key_file, hash, \
                 auth, family, address, port",
            ]
        );
    }

    // L41
    #[test]
    fn the_last_duplicate_key_wins_and_both_lines_are_named() {
        assert_eq!(
            notes_of("port = \"1\";\nPORT = \"2\";"),
            ["2:1: 'PORT' replaces the value given in line 1"]
        );
        let tree = tree("port = \"1\"; port = \"2\";");
        let view = View::of_items(&TCP, &tree.items, &mut Vec::new()).unwrap();
        assert_eq!(view.value("port").unwrap().text, "2");
    }

    // L41
    #[test]
    fn the_last_duplicate_section_wins_whole_and_both_lines_are_named() {
        let tree = tree("tcp { port = \"1\"; }\ntcp { hash = \"sha1\"; }");
        let mut notes = Vec::new();
        let listeners = View::of_items(&LISTENERS, &tree.items, &mut notes).unwrap();
        let tcp = listeners.child(&TCP, &mut notes).unwrap();
        assert_eq!(tcp.value("hash").unwrap().text, "sha1");
        assert!(tcp.value("port").is_none());
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].position, Some(Position { line: 2, column: 1 }));
        assert!(
            notes[0]
                .message
                .contains("replaces all of the one in line 1")
        );
        assert_eq!(listeners.replaced(&TCP).count(), 1);
    }

    #[test]
    fn a_key_is_no_section_and_a_section_no_key() {
        let items = tree("port { }").items;
        let error = View::of_items(&TCP, &items, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.message,
            "'port' is a key, not a section: write port = \"VALUE\";"
        );
        let items = tree("listeners = \"tcp\";").items;
        let error = View::of_items(&ROOT, &items, &mut Vec::new()).unwrap_err();
        assert!(error.message.contains("is a section, not a key"));
    }

    #[test]
    fn lists_keep_the_order_and_take_no_line_breaks() {
        let items = tree("ip = \"1\"; uuid = \"x\"; IP = \"2\";").items;
        let view = View::of_items(&GROUP, &items, &mut Vec::new()).unwrap();
        let ips: Vec<_> = view.list("ip").iter().map(|ip| ip.text.as_str()).collect();
        assert_eq!(ips, ["1", "2"]);
        let items = tree("ip = \"1\";\n uuid = \"x\ny\";").items;
        let error = View::of_items(&GROUP, &items, &mut Vec::new()).unwrap_err();
        assert_eq!(error.position, Some(Position { line: 2, column: 9 }));
        assert!(error.message.contains("closing quote missing"));
    }
}
