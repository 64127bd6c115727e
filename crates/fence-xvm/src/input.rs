//! What the caller gave, before anything is known to be right: options and their texts in order,
//! from the command line or from stdin.

use std::ffi::OsString;

use lexopt::Arg;

use crate::options::{self, Argument, Opt, OptionSpec};
use crate::role::Role;

/// What is wrong with the caller's input. Each message names the thing and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// An option that the role does not have.
    #[error("unknown option {0}: see {1} -h")]
    UnknownOption(String, &'static str),
    /// An option without its value.
    #[error("{0} needs a value: {0} <{1}>")]
    MissingValue(String, &'static str),
    /// A word that belongs to no option (row L36).
    #[error(
        "stray word '{0}': every argument belongs to an option, and -S takes its CID attached, as in -S3"
    )]
    StrayWord(String),
    /// A value for an option that has none.
    #[error("{0} takes no value")]
    UnexpectedValue(String),
    /// Text that is not UTF-8.
    #[error("{0}: the value is not UTF-8 text")]
    NotText(String),
    /// A line of stdin that seems to be for an option that decides what is fenced, and is not
    /// name=value
    /// (row L35).
    #[error(
        "line {line} of stdin, '{text}', is not understood: write {name}=<value>, or remove it"
    )]
    NotUnderstood {
        /// Counted from 1.
        line: usize,
        /// What it says.
        text: String,
        /// The option that it seems to be for.
        name: &'static str,
    },
    /// A line of stdin longer than any option can be.
    #[error("line {line} of stdin is longer than {} bytes", crate::stdin::MAX_LINE)]
    LineTooLong {
        /// Counted from 1.
        line: usize,
    },
    /// More of stdin than all options can be.
    #[error("stdin is longer than {} bytes", crate::stdin::MAX_INPUT)]
    TooLong,
    /// A value that is not allowed.
    #[error("{option}: '{value}' is not allowed; it must be {allowed}")]
    BadValue {
        /// The option, as it was written.
        option: String,
        /// Its value.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// The domain's names contradict each other (row L30).
    #[error(
        "two different domains, '{0}' and '{1}': plug, port and domain are names for one thing, give one"
    )]
    TwoDomains(String, String),
    /// The action needs a domain.
    #[error("{0} needs a domain: give its name or UUID with -n, or plug= on stdin")]
    NoDomain(&'static str),
    /// Nothing prints JSON but a check.
    #[error("--json goes with --check only")]
    JsonAlone,
    /// Two transports.
    #[error("-T (ipaddr) and -S (vsock) exclude each other: give one")]
    TwoTransports,
}

/// One option as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Which.
    pub id: Opt,
    /// How it was written, for messages: `-t`, `--timeout`, `timeout`.
    pub written: String,
    /// Its text, if any.
    pub value: Option<String>,
}

/// Everything given, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    /// The options.
    pub given: Vec<Given>,
}

impl Input {
    /// The last one of an option: a later one overrides.
    #[must_use]
    pub fn last(&self, id: Opt) -> Option<&Given> {
        self.given.iter().rev().find(|given| given.id == id)
    }

    /// All of an option.
    pub fn all(&self, id: Opt) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(move |given| given.id == id)
    }
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// [`InputError`] for unknown options, missing values and stray words (rows L34, L36).
pub fn from_command_line<I>(role: Role, args: I) -> Result<Input, InputError>
where
    I: IntoIterator<Item = OsString>,
{
    let mut parser = lexopt::Parser::from_args(args);
    // As getopt: `-t=5` is the value `=5`, and so an error.
    parser.set_short_equals(false);
    let mut input = Input::default();
    loop {
        let (written, spec, is_long) = match parser.next() {
            Ok(None) => return Ok(input),
            Ok(Some(Arg::Short(letter))) => {
                let written = format!("-{letter}");
                (written, options::by_letter(role, letter), false)
            }
            Ok(Some(Arg::Long(name))) => {
                let written = format!("--{name}");
                (written, options::by_name(role, name), true)
            }
            Ok(Some(Arg::Value(word))) => {
                return Err(InputError::StrayWord(word.to_string_lossy().into_owned()));
            }
            Err(lexopt::Error::UnexpectedValue { option, .. }) => {
                return Err(InputError::UnexpectedValue(option));
            }
            Err(error) => return Err(InputError::UnknownOption(error.to_string(), role.name())),
        };
        let Some(spec) = spec else {
            return Err(InputError::UnknownOption(written, role.name()));
        };
        let value = value_of(&mut parser, spec, &written, is_long)?;
        input.given.push(Given {
            id: spec.id,
            written,
            value,
        });
    }
}

fn value_of(
    parser: &mut lexopt::Parser,
    spec: &OptionSpec,
    written: &str,
    is_long: bool,
) -> Result<Option<String>, InputError> {
    let value = match spec.argument {
        // `--debug=2` and `--use_uuid=0` have a value as on stdin; letters have none.
        Argument::None if is_long => parser.optional_value(),
        Argument::None => None,
        Argument::Optional(_) => parser.optional_value(),
        Argument::Required(name) => Some(
            parser
                .value()
                .map_err(|_| InputError::MissingValue(written.to_owned(), name))?,
        ),
    };
    let text = |value: OsString| {
        value
            .into_string()
            .map_err(|_| InputError::NotText(written.to_owned()))
    };
    value.map(text).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(role: Role, args: &[&str]) -> Result<Input, InputError> {
        from_command_line(role, args.iter().map(OsString::from))
    }

    fn value(input: &Input, id: Opt) -> Option<&str> {
        input.last(id).and_then(|given| given.value.as_deref())
    }

    #[test]
    fn letters_and_long_names_are_the_same_options() {
        for args in [
            &["-t", "5", "-dd", "-k/key"][..],
            &["-t5", "-d", "-d", "-k", "/key"],
            &["--timeout=5", "--debug", "--debug", "--key-file", "/key"],
            &["--timeout", "5", "--debug", "-d", "--key_file=/key"],
        ] {
            let input = parse(Role::Xvm, args).unwrap();
            assert_eq!(value(&input, Opt::Timeout), Some("5"), "{args:?}");
            assert_eq!(value(&input, Opt::KeyFile), Some("/key"), "{args:?}");
            assert_eq!(input.all(Opt::Debug).count(), 2, "{args:?}");
        }
    }

    #[test]
    fn vsock_cid_is_only_taken_when_attached() {
        let input = parse(Role::Virt, &["-S3"]).unwrap();
        assert_eq!(value(&input, Opt::Vsock), Some("3"));
        let input = parse(Role::Virt, &["-S", "-d"]).unwrap();
        assert_eq!(value(&input, Opt::Vsock), None);
        assert_eq!(
            parse(Role::Virt, &["-S", "3"]),
            Err(InputError::StrayWord("3".to_owned()))
        );
    }

    #[test]
    fn stray_words_are_an_error() {
        for args in [&["off"][..], &["-o", "off", "vm"], &["--", "vm"]] {
            assert!(
                matches!(parse(Role::Xvm, args), Err(InputError::StrayWord(_))),
                "{args:?}"
            );
        }
    }

    #[test]
    fn unknown_options_and_missing_values_are_errors() {
        for args in [&["-x"][..], &["--nonsense"], &["-M", "x"], &["-T", "::1"]] {
            assert!(
                matches!(parse(Role::Xvm, args), Err(InputError::UnknownOption(..))),
                "{args:?}"
            );
        }
        assert!(matches!(
            parse(Role::Xvm, &["-t"]),
            Err(InputError::MissingValue(..))
        ));
        assert!(matches!(
            parse(Role::Virt, &["-i", "ipv4"]),
            Err(InputError::UnknownOption(..))
        ));
    }

    #[test]
    fn equals_behind_a_letter_belongs_to_the_value() {
        let input = parse(Role::Xvm, &["-t=5"]).unwrap();
        assert_eq!(value(&input, Opt::Timeout), Some("=5"));
    }
}
