//! The tokens of the original's grammar: names, quoted values, punctuation; blanks and comments are
//! skipped.

use std::iter::Peekable;
use std::str::Chars;

use super::tree::{Position, Shown, SyntaxError};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Value(String),
    Open,
    Close,
    Equals,
    Semicolon,
    End,
}

impl Token {
    /// As an error message calls it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => Shown(name).to_string(),
            Self::Value(value) => format!("the value {}", Shown(value)),
            Self::Open => "'{'".to_owned(),
            Self::Close => "'}'".to_owned(),
            Self::Equals => "'='".to_owned(),
            Self::Semicolon => "';'".to_owned(),
            Self::End => "the end of the file".to_owned(),
        }
    }
}

/// Walks through a text, one token after another.
pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    position: Position,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            position: Position { line: 1, column: 1 },
        }
    }

    fn advance(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character == '\n' {
            self.position.line = self.position.line.saturating_add(1);
            self.position.column = 1;
        } else {
            self.position.column = self.position.column.saturating_add(1);
        }
        Some(character)
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, Position), SyntaxError> {
        self.skip_blanks();
        let start = self.position;
        let token = match self.rest.peek() {
            None => return Ok((Token::End, start)),
            Some('{') => Token::Open,
            Some('}') => Token::Close,
            Some('=') => Token::Equals,
            Some(';') => Token::Semicolon,
            Some('"') => return self.value(start),
            Some(_) => return self.name(start),
        };
        self.advance();
        Ok((token, start))
    }

    fn skip_blanks(&mut self) {
        while let Some(&character) = self.rest.peek() {
            if character == '#' {
                while self.advance().is_some_and(|skipped| skipped != '\n') {}
            } else if is_blank(character) {
                self.advance();
            } else {
                return;
            }
        }
    }

    fn value(&mut self, start: Position) -> Result<(Token, Position), SyntaxError> {
        self.advance();
        let mut value = String::new();
        loop {
            match self.advance() {
                None => return Err(SyntaxError::new(start, "this value has no closing quote")),
                Some('"') if value.is_empty() => {
                    return Err(SyntaxError::new(start, EMPTY_VALUE));
                }
                Some('"') => return Ok((Token::Value(value), start)),
                Some(character) => value.push(character),
            }
        }
    }

    fn name(&mut self, start: Position) -> Result<(Token, Position), SyntaxError> {
        let mut name = String::new();
        while let Some(&character) = self.rest.peek() {
            if is_blank(character) || matches!(character, '{' | '}' | ';' | '=' | '"') {
                break;
            }
            if character == '#' {
                let message = format!("put a blank between {} and the comment", Shown(&name));
                return Err(SyntaxError::new(self.position, message));
            }
            if character.is_control() {
                let message = format!(
                    "the character {} belongs neither into a name nor between two",
                    character.escape_default()
                );
                return Err(SyntaxError::new(self.position, message));
            }
            name.push(character);
            self.advance();
        }
        Ok((Token::Name(name), start))
    }
}

/// Why `""` is refused, in both grammars.
pub(super) const EMPTY_VALUE: &str =
    "a value may not be empty: give one, or leave the key out to have its default";

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}
