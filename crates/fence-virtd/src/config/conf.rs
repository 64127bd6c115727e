//! The original's grammar (docs/protocol.md, section 8): sections in braces, quoted values, comments.
//!
//! Two things are taken that the original refuses: carriage returns count as blanks, and a byte order
//! mark at the start is skipped. One is refused that it takes: a `#` or a control character inside a
//! name, which it makes part of the name and then silently ignores.

use super::lexer::{Lexer, Token};
use super::tree::{
    Assignment, Item, MAX_DEPTH, Position, Section, Shown, SyntaxError, Text, Tree, Value,
};

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Tree, SyntaxError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        open: Vec::new(),
        top: Vec::new(),
        last_value: None,
    };
    while parser.statement()? {}
    Ok(Tree { items: parser.top })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Sections that are not closed yet, outermost first: a stack of our own, so that no file can
    /// exhaust the thread's.
    open: Vec<Section>,
    top: Vec<Item>,
    /// The last value, which is suspected when something behind it makes no sense.
    last_value: Option<Text>,
}

impl Parser<'_> {
    /// Reads one assignment, or the opening or closing of a section. False at the end of the file.
    fn statement(&mut self) -> Result<bool, SyntaxError> {
        let (token, position) = self.lexer.next()?;
        match token {
            Token::Name(text) => self.named(Text { text, position })?,
            Token::Close => {
                let section = self
                    .open
                    .pop()
                    .ok_or_else(|| self.error(position, "this '}' closes no section"))?;
                self.add(Item::Section(section));
            }
            Token::End => {
                return match self.open.last() {
                    None => Ok(false),
                    Some(Section { name, .. }) => {
                        let message =
                            format!("section {} is not closed by a '}}'", Shown(&name.text));
                        Err(self.error(name.position, message))
                    }
                };
            }
            Token::Semicolon => {
                let message = "this ';' ends nothing: it only follows a value, not a '}'";
                return Err(self.error(position, message));
            }
            Token::Value(_) | Token::Open | Token::Equals => {
                let message = format!(
                    "expected the name of a key or section, found {}",
                    token.describe()
                );
                return Err(self.error(position, message));
            }
        }
        Ok(true)
    }

    fn named(&mut self, name: Text) -> Result<(), SyntaxError> {
        let (token, position) = self.lexer.next()?;
        match token {
            Token::Open => self.open(name, None),
            Token::Equals => self.assigned(name),
            _ => {
                let message = format!(
                    "expected '=' or '{{' after {}, found {}",
                    Shown(&name.text),
                    token.describe()
                );
                Err(self.error(position, message))
            }
        }
    }

    fn assigned(&mut self, name: Text) -> Result<(), SyntaxError> {
        let (token, position) = self.lexer.next()?;
        let Token::Value(text) = token else {
            let cure = match &token {
                Token::Name(word) => format!("; write {} = \"{word}\";", name.text),
                _ => String::new(),
            };
            let message = format!(
                "expected a value in double quotes after {} =, found {}{cure}",
                Shown(&name.text),
                token.describe()
            );
            return Err(self.error(position, message));
        };
        let value = Text { text, position };
        self.last_value = Some(value.clone());
        let (token, position) = self.lexer.next()?;
        match token {
            Token::Semicolon => {
                let value = Value::One(value);
                self.add(Item::Assignment(Assignment { name, value }));
                Ok(())
            }
            Token::Open => self.open(name, Some(value)),
            _ => {
                let message = format!(
                    "expected ';' after the value of {}, found {}",
                    Shown(&name.text),
                    token.describe()
                );
                Err(self.error(position, message))
            }
        }
    }

    fn open(&mut self, name: Text, title: Option<Text>) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(SyntaxError::too_deep(name.position));
        }
        self.open.push(Section {
            name,
            title,
            items: Vec::new(),
        });
        Ok(())
    }

    fn add(&mut self, item: Item) {
        match self.open.last_mut() {
            Some(section) => section.items.push(item),
            None => self.top.push(item),
        }
    }

    /// A missing closing quote is noticed only where the next value begins; the value that ran over
    /// the end of its line is then the better place to look.
    fn error(&self, position: Position, message: impl Into<String>) -> SyntaxError {
        let mut message = message.into();
        if let Some(value) = &self.last_value
            && value.text.contains('\n')
        {
            let start = value.position;
            message.push_str(&format!(
                " (the value that starts at {start} runs over the end of its line: is its closing \
                 quote missing?)"
            ));
        }
        SyntaxError::new(position, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn names(items: &[Item]) -> Vec<&str> {
        items
            .iter()
            .map(|item| match item {
                Item::Section(section) => section.name.text.as_str(),
                Item::Assignment(assignment) => assignment.name.text.as_str(),
            })
            .collect()
    }

    #[test]
    fn sections_keys_titles_and_comments_are_read_with_their_places() {
        let tree = parse(
            "# c {\nfence_virtd { listener = \"tcp\" # ;\n ; }\n\tgroups {group=\"g1\"{ip=\"5\";}}",
        )
        .unwrap();
        assert_eq!(names(&tree.items), ["fence_virtd", "groups"]);
        let Item::Section(daemon) = &tree.items[0] else {
            panic!("{tree:?}")
        };
        assert_eq!(daemon.name.position, Position { line: 2, column: 1 });
        let Item::Assignment(listener) = &daemon.items[0] else {
            panic!("{daemon:?}")
        };
        assert_eq!(
            listener.name.position,
            Position {
                line: 2,
                column: 15
            }
        );
        let Value::One(value) = &listener.value else {
            panic!("{listener:?}")
        };
        assert_eq!(value.text, "tcp");
        assert_eq!(
            value.position,
            Position {
                line: 2,
                column: 26
            }
        );
        let Item::Section(groups) = &tree.items[1] else {
            panic!("{tree:?}")
        };
        assert_eq!(groups.name.position, Position { line: 4, column: 2 });
        let Item::Section(group) = &groups.items[0] else {
            panic!("{groups:?}")
        };
        assert_eq!(group.title.as_ref().unwrap().text, "g1");
    }

    #[test]
    fn empty_files_and_empty_sections_are_read() {
        assert!(parse("").unwrap().items.is_empty());
        assert!(parse("# nothing").unwrap().items.is_empty());
        assert_eq!(parse("a{}b { }").unwrap().items.len(), 2);
    }

    #[test]
    fn values_hold_anything_but_quotes() {
        let tree = parse("a = \"# { } ; = \\ é\n\t'\";").unwrap();
        assert_eq!(tree.to_string(), "a = \"# { } ; = \\ é\n\t'\";\n");
    }

    #[test]
    fn windows_line_ends_count_as_blanks() {
        assert_eq!(
            parse("a {\r\n b = \"c\";\r\n}\r\n").unwrap().to_string(),
            "a {\n\tb = \"c\";\n}\n"
        );
    }

    #[test]
    fn errors_name_line_column_and_what_was_expected() {
        for (text, expected) in [
            (
                "a",
                "1:2: expected '=' or '{' after 'a', found the end of the file",
            ),
            (
                "a {\n  b = \"c\"\n}",
                "3:1: expected ';' after the value of 'b', found '}'",
            ),
            (
                "a { b = \"c\" d = \"e\"; }",
                "1:13: expected ';' after the value of 'b', found 'd'",
            ),
            (
                "a { b = c; }",
                "1:9: expected a value in double quotes after 'b' =, found 'c'; write b = \"c\";",
            ),
            (
                "a { b = ; }",
                "1:9: expected a value in double quotes after 'b' =, found ';'",
            ),
            ("a {\n b {", "2:2: section 'b' is not closed by a '}'"),
            ("a { } }", "1:7: this '}' closes no section"),
            (
                "a { };",
                "1:6: this ';' ends nothing: it only follows a value, not a '}'",
            ),
            (
                "a { \"b\" = \"c\"; }",
                "1:5: expected the name of a key or section, found the value 'b'",
            ),
            (
                "{ }",
                "1:1: expected the name of a key or section, found '{'",
            ),
            ("a b { }", "1:3: expected '=' or '{' after 'a', found 'b'"),
            ("a = \"b", "1:5: this value has no closing quote"),
            (
                "a#b = \"c\";",
                "1:2: put a blank between 'a' and the comment",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error("é = \"\";").starts_with("1:5: a value may not be empty"));
        assert!(error("a\0 { }").starts_with("1:2: the character \\u{0} belongs"));
        assert!(error("a {\u{b} }").starts_with("1:4: the character \\u{b} belongs"));
    }

    #[test]
    fn a_missing_closing_quote_is_pointed_out() {
        let message = error("a = \"b;\nc = \"d\";\n");
        assert!(message.starts_with("2:6: expected ';'"), "{message}");
        assert!(message.contains("starts at 1:5 runs over"), "{message}");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "a {".repeat(depth), "}".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(error(&nested(MAX_DEPTH + 1)).contains("nested more than 16 deep"));
        assert!(error(&"a {".repeat(300_000)).contains("nested more than 16 deep"));
    }
}
