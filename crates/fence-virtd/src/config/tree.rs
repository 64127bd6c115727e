//! What a configuration file says, before anybody asks what it means: sections, keys and values,
//! each with its place. Both grammars become this tree, so both have the same keys and checks.

use std::fmt;

/// Bytes that a configuration file may have. The largest sensible one, with thousands of groups,
/// stays far below.
pub const MAX_BYTES: usize = 1 << 20;

/// Sections that may be open at once. The deepest that means anything is two (`listeners { tcp {`).
pub const MAX_DEPTH: usize = 16;

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character within the line.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A name or a value and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The characters, without quotes.
    pub text: String,
    /// Where they start.
    pub position: Position,
}

/// `key = "value";`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The key, as written.
    pub name: Text,
    /// What it is set to.
    pub value: Value,
}

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One value. Numbers and booleans of TOML are here as the text they would be in the original's
    /// grammar.
    One(Text),
    /// A TOML array: the same as the key given once for each. The original's grammar has none.
    Many(Vec<Text>),
}

/// `name { … }`, or `name = "title" { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name, as written.
    pub name: Text,
    /// The value before the brace: the name of a group, or of a listener.
    pub title: Option<Text>,
    /// What is inside, in the file's order.
    pub items: Vec<Item>,
}

/// One thing in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A section within it.
    Section(Section),
    /// A key and its value.
    Assignment(Assignment),
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// What is at the top, in the file's order.
    pub items: Vec<Item>,
}

/// A file that does not follow its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct SyntaxError {
    /// Where it was noticed.
    pub position: Position,
    /// What is wrong and what was expected.
    pub message: String,
}

impl SyntaxError {
    pub(super) fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
        }
    }

    pub(super) fn too_deep(position: Position) -> Self {
        Self::new(
            position,
            format!("sections are nested more than {MAX_DEPTH} deep"),
        )
    }
}

/// Prints the tree in the original's grammar.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_items(f, &self.items, 0)
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[Item], depth: usize) -> fmt::Result {
    for item in items {
        match item {
            Item::Section(section) => write_section(f, section, depth)?,
            Item::Assignment(assignment) => {
                let texts = match &assignment.value {
                    Value::One(text) => std::slice::from_ref(text),
                    Value::Many(texts) => texts.as_slice(),
                };
                for Text { text, .. } in texts {
                    indent(f, depth)?;
                    writeln!(f, "{} = \"{text}\";", assignment.name.text)?;
                }
            }
        }
    }
    Ok(())
}

fn write_section(f: &mut fmt::Formatter<'_>, section: &Section, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    f.write_str(&section.name.text)?;
    if let Some(Text { text, .. }) = &section.title {
        write!(f, " = \"{text}\"")?;
    }
    f.write_str(" {\n")?;
    write_items(f, &section.items, depth.saturating_add(1))?;
    indent(f, depth)?;
    f.write_str("}\n")
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("\t"))
}

/// A value as an error message shows it: quoted, control characters escaped, cut when long, so that
/// the message stays one line.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        f.write_str("'")?;
        for character in self.0.chars().take(LONGEST) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        if self.0.chars().nth(LONGEST).is_some() {
            f.write_str("…")?;
        }
        f.write_str("'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_values_stay_on_one_line() {
        assert_eq!(Shown("a\nb").to_string(), "'a\\nb'");
        assert_eq!(Shown("").to_string(), "''");
        let long = Shown(&"é".repeat(100)).to_string();
        assert_eq!(long.chars().count(), 63);
        assert!(long.ends_with("…'"));
    }
}
