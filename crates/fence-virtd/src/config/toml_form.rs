//! The TOML form of the same tree: tables are sections, arrays repeat a key, arrays of tables repeat
//! a section. Numbers and booleans are taken as the text they would be in the original's grammar.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::lexer::EMPTY_VALUE;
use super::tree::{
    Assignment, Item, MAX_DEPTH, Position, Section, Shown, SyntaxError, Text, Tree, Value,
};

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Tree, SyntaxError> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        // The message may take several lines ("expected …").
        let message = error.message().trim_end().replace('\n', ", ");
        SyntaxError::new(lines.position(start), message)
    })?;
    let items = Converter { lines: &lines }.table(table.get_ref(), 0)?;
    Ok(Tree { items })
}

/// Where each line starts, to turn the byte offsets of the TOML parser into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self {
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .copied()
            .unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("").chars().count();
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1),
        }
    }
}

struct Converter<'a> {
    lines: &'a Lines<'a>,
}

impl Converter<'_> {
    fn error(&self, span: &Range<usize>, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.lines.position(span.start), message)
    }

    fn text(&self, span: &Range<usize>, text: &str) -> Text {
        Text {
            text: text.to_owned(),
            position: self.lines.position(span.start),
        }
    }

    /// `depth` is the number of sections around. It is bounded here; what the TOML parser itself builds
    /// and drops is bounded by its limit of 80 tables and 80 parts of a dotted key.
    fn table(&self, table: &DeTable<'_>, depth: usize) -> Result<Vec<Item>, SyntaxError> {
        // The map sorts by name; the file's order is wanted.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut items = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let name = self.text(&name.span(), name.get_ref());
            self.entry(name, value, depth, &mut items)?;
        }
        Ok(items)
    }

    fn entry(
        &self,
        name: Text,
        value: &Spanned<DeValue<'_>>,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), SyntaxError> {
        match value.get_ref() {
            DeValue::Table(table) => items.push(self.section(name, table, depth)?),
            DeValue::Array(array) if array.iter().any(|item| item.get_ref().is_table()) => {
                self.sections(&name, array, depth, items)?;
            }
            DeValue::Array(array) => {
                let texts = array.iter().map(|item| self.scalar(&name, item));
                let value = Value::Many(texts.collect::<Result<_, _>>()?);
                items.push(Item::Assignment(Assignment { name, value }));
            }
            _ => {
                let value = Value::One(self.scalar(&name, value)?);
                items.push(Item::Assignment(Assignment { name, value }));
            }
        }
        Ok(())
    }

    fn section(&self, name: Text, table: &DeTable<'_>, depth: usize) -> Result<Item, SyntaxError> {
        if depth >= MAX_DEPTH {
            return Err(SyntaxError::too_deep(name.position));
        }
        Ok(Item::Section(Section {
            name,
            title: None,
            items: self.table(table, depth.saturating_add(1))?,
        }))
    }

    /// `[[groups.group]]`, or an array of inline tables.
    fn sections(
        &self,
        name: &Text,
        array: &DeArray<'_>,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), SyntaxError> {
        for item in array.iter() {
            let DeValue::Table(table) = item.get_ref() else {
                let message = format!("{} mixes tables and values", Shown(&name.text));
                return Err(self.error(&item.span(), message));
            };
            let own = Text {
                text: name.text.clone(),
                position: self.lines.position(item.span().start),
            };
            items.push(self.section(own, table, depth)?);
        }
        Ok(())
    }

    fn scalar(&self, name: &Text, value: &Spanned<DeValue<'_>>) -> Result<Text, SyntaxError> {
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Err(self.error(&span, EMPTY_VALUE)),
            DeValue::String(text) => Ok(self.text(&span, text)),
            DeValue::Boolean(value) => Ok(self.text(&span, if *value { "true" } else { "false" })),
            DeValue::Integer(number) => decimal(number)
                .map(|number| self.text(&span, &number))
                .ok_or_else(|| self.error(&span, format!("the number {number} is too large"))),
            other => {
                let message = format!(
                    "{} takes a string, a whole number or a boolean, not a TOML {}",
                    Shown(&name.text),
                    other.type_str()
                );
                Err(self.error(&span, message))
            }
        }
    }
}

fn decimal(number: &DeInteger<'_>) -> Option<String> {
    let value = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn tables_become_sections_in_the_order_of_the_file() {
        let tree = parse(
            "[listeners.tcp]\nport = 0x4_CD\nkey_file = 'k'\n[fence_virtd]\nforeground = true\n\
             [[groups.group]]\nuuid = ['a', \"b\"]\n[[groups.group]]\nip = [5]\n",
        )
        .unwrap();
        assert_eq!(
            tree.to_string(),
            "listeners {\n\ttcp {\n\t\tport = \"1229\";\n\t\tkey_file = \"k\";\n\t}\n}\n\
             fence_virtd {\n\tforeground = \"true\";\n}\n\
             groups {\n\tgroup {\n\t\tuuid = \"a\";\n\t\tuuid = \"b\";\n\t}\n\
             \tgroup {\n\t\tip = \"5\";\n\t}\n}\n"
        );
    }

    #[test]
    fn places_are_lines_and_columns_in_characters() {
        let tree = parse("# é\r\n[a]\r\n'é' = \"b\"\r\n").unwrap();
        let Item::Section(section) = &tree.items[0] else {
            panic!("{tree:?}")
        };
        assert_eq!(section.name.position, Position { line: 2, column: 2 });
        let Item::Assignment(assignment) = &section.items[0] else {
            panic!("{section:?}")
        };
        assert_eq!(assignment.name.position, Position { line: 3, column: 1 });
        let Value::One(value) = &assignment.value else {
            panic!("{assignment:?}")
        };
        assert_eq!(value.position, Position { line: 3, column: 7 });
    }

    #[test]
    fn what_no_key_can_take_is_refused_with_its_place() {
        for (text, expected) in [
            (
                "a = 1.5",
                "1:5: 'a' takes a string, a whole number or a boolean, not a TOML float",
            ),
            (
                "a = 1979-05-27",
                "1:5: 'a' takes a string, a whole number or a boolean, not a TOML datetime",
            ),
            (
                "a = [[1]]",
                "1:6: 'a' takes a string, a whole number or a boolean, not a TOML array",
            ),
            ("a = [1, {}]", "1:6: 'a' mixes tables and values"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error("a = ''").starts_with("1:5: a value may not be empty"));
        let huge = format!("a = {}", "9".repeat(60));
        assert!(
            error(&huge).starts_with("1:5: the number 999"),
            "{}",
            error(&huge)
        );
    }

    #[test]
    fn errors_of_the_grammar_are_one_line_with_a_place() {
        for text in ["a = ", "[a\n", "a = 1\na = 2", "\n = 3", "a = \"b"] {
            let message = error(text);
            assert!(!message.contains('\n'), "{message:?}");
            assert!(
                message.starts_with(|c: char| c.is_ascii_digit()),
                "{message}"
            );
        }
        assert!(error("a = 1\nb = 1\na = 2\n").starts_with("3:1: duplicate key"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("[{}]", vec!["a"; depth].join("."));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(error(&nested(MAX_DEPTH + 1)).contains("nested more than 16 deep"));
        for hostile in [
            nested(300_000),
            format!("{}=1", vec!["a"; 300_000].join(".")),
            format!("a={}", "[".repeat(500_000)),
            format!("a={}", "{a=".repeat(300_000)),
            "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a={".repeat(20_000),
        ] {
            assert!(parse(&hostile).is_err());
        }
    }
}
