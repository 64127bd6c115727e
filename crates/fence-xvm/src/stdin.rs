//! The `name=value` lines that cluster software writes to an agent's stdin.
//!
//! `#` starts a comment line; blanks around name and value do not count, blanks inside a value do
//! (row L29). A name that nobody knows is reported and skipped (row F6). A line that seems to be
//! meant for an option that decides what is done to whom, and cannot be understood, is an error: a
//! default would fence the wrong thing (row L35).

use crate::input::{Given, Input, InputError};
use crate::options::{self, Opt, OptionSpec};
use crate::role::Role;

/// The most bytes of a line.
pub const MAX_LINE: usize = 65_536;

/// The most bytes of all lines together.
pub const MAX_INPUT: usize = 1 << 20;

/// What the lines say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StdinInput {
    /// The options that are known.
    pub input: Input,
    /// Notes about what was skipped, one line each.
    pub skipped: Vec<String>,
}

/// Reads all of stdin. Total: any bytes are either understood, skipped or an error.
///
/// # Errors
/// [`InputError`], see above.
pub fn parse_stdin(role: Role, bytes: &[u8]) -> Result<StdinInput, InputError> {
    if bytes.len() > MAX_INPUT {
        return Err(InputError::TooLong);
    }
    let mut result = StdinInput::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index.saturating_add(1);
        if line.len() > MAX_LINE {
            return Err(InputError::LineTooLong { line: number });
        }
        parse_line(role, number, line.trim_ascii(), &mut result)?;
    }
    Ok(result)
}

fn parse_line(
    role: Role,
    number: usize,
    line: &[u8],
    result: &mut StdinInput,
) -> Result<(), InputError> {
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(());
    }
    let mut halves = line.splitn(2, |byte| *byte == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii();
    let value = halves.next().map(<[u8]>::trim_ascii);
    let known = core::str::from_utf8(name)
        .ok()
        .and_then(|name| options::by_name(role, name))
        .filter(|spec| is_for_stdin(spec));
    let Some(spec) = known else {
        return skip(role, number, line, name, result);
    };
    let value = value
        .map(|value| {
            String::from_utf8(value.to_vec()).map_err(|_| InputError::NotText(spec.name.to_owned()))
        })
        .transpose()?;
    let empty = value.as_deref().unwrap_or_default().is_empty();
    if empty && decides(spec) {
        return Err(not_understood(number, line, spec));
    }
    result.input.given.push(Given {
        id: spec.id,
        written: spec.name.to_owned(),
        value,
    });
    Ok(())
}

/// Skips a line without a known name, unless its first word is one that decides.
fn skip(
    role: Role,
    number: usize,
    line: &[u8],
    name: &[u8],
    result: &mut StdinInput,
) -> Result<(), InputError> {
    let word_end = line
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')))
        .unwrap_or(line.len());
    let word = String::from_utf8_lossy(line.get(..word_end).unwrap_or_default());
    if let Some(spec) = options::by_name(role, &word).filter(|spec| decides(spec)) {
        return Err(not_understood(number, line, spec));
    }
    let name = printable(name);
    let hint = nearest(role, &name).map_or_else(String::new, |near| format!(", is it {near}?"));
    result
        .skipped
        .push(format!("ignoring unknown option '{name}' on stdin{hint}"));
    Ok(())
}

/// Whether the option says what is done, or to whom.
fn decides(spec: &OptionSpec) -> bool {
    matches!(
        spec.id,
        Opt::Action | Opt::OldAction | Opt::Plug | Opt::Port | Opt::Domain | Opt::NodeName
    )
}

/// Help, version and manual are asked for on the command line.
fn is_for_stdin(spec: &OptionSpec) -> bool {
    !matches!(spec.id, Opt::Help | Opt::Version | Opt::Manual)
}

fn not_understood(line: usize, text: &[u8], spec: &OptionSpec) -> InputError {
    InputError::NotUnderstood {
        line,
        text: printable(text),
        name: spec.name,
    }
}

/// At most 80 characters, none of them a control character.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .take(80)
        .collect()
}

fn nearest(role: Role, name: &str) -> Option<&'static str> {
    if name.chars().count() > 24 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    options::for_role(role)
        .filter(|spec| is_for_stdin(spec))
        .map(|spec| (strsim::osa_distance(&name, spec.name), spec.name))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_understood_skipped_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let _ = parse_stdin(Role::Xvm, &bytes);
        }

        #[test]
        fn any_value_survives_as_it_is(value in "[^\\s\\x00-\\x1f]([^\\x00-\\x1f]{0,80}[^\\s\\x00-\\x1f])?") {
            let parsed = parse(&format!(" plug = {value} \r\n")).unwrap();
            let given = parsed.input.last(Opt::Plug).unwrap();
            prop_assert_eq!(given.value.as_deref(), Some(value.as_str()));
        }

        #[test]
        fn lines_for_known_names_are_never_lost(
            name in prop::sample::select(vec!["plug", "port", "action", "nodename", "timeout"]),
            before in "[ \t]{0,3}",
            between in "[ \t]{0,3}=?:?[ \t]{0,3}",
        ) {
            let text = format!("{before}{name}{between}off");
            let known = parse(&text).is_ok_and(|parsed| parsed.input.given.len() == 1);
            let decides = name != "timeout";
            // Glued to the value the name is another one.
            let glued = between.is_empty();
            prop_assert!(known || glued || !decides || parse(&text).is_err(), "{}", text);
        }
    }

    fn parse(text: &str) -> Result<StdinInput, InputError> {
        parse_stdin(Role::Xvm, text.as_bytes())
    }

    fn value(text: &str, id: Opt) -> Option<String> {
        let parsed = parse(text).unwrap();
        parsed.input.last(id).and_then(|given| given.value.clone())
    }

    #[test]
    fn blanks_around_name_and_value_do_not_count() {
        for line in [
            "action=off",
            " action = off ",
            "\taction\t=\toff\r",
            "ACTION=off",
        ] {
            assert_eq!(value(line, Opt::Action).as_deref(), Some("off"), "{line}");
        }
    }

    #[test]
    fn blanks_and_equals_signs_inside_a_value_count() {
        assert_eq!(
            value("plug=my vm = 1", Opt::Plug).as_deref(),
            Some("my vm = 1")
        );
    }

    #[test]
    fn long_lines_stay_one_line() {
        let file = format!("/{}", "k".repeat(60_000));
        let text = format!("key_file={file}\naction=off\n");
        assert_eq!(value(&text, Opt::KeyFile), Some(file));
        assert_eq!(value(&text, Opt::Action).as_deref(), Some("off"));
        let text = format!("key_file={}", "k".repeat(MAX_LINE));
        assert_eq!(parse(&text), Err(InputError::LineTooLong { line: 1 }));
        assert_eq!(
            parse_stdin(Role::Xvm, &vec![b'\n'; MAX_INPUT + 1]),
            Err(InputError::TooLong)
        );
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let parsed = parse("# action=off\n\n   \n  # plug=x\r\n").unwrap();
        assert_eq!(parsed, StdinInput::default());
    }

    #[test]
    fn unknown_names_are_reported_and_skipped() {
        let parsed = parse("pcmk_host_map=a:b\nplug=x\nport_number\n\u{1}=2\n").unwrap();
        assert_eq!(parsed.input.given.len(), 1);
        assert_eq!(parsed.skipped.len(), 3);
        assert!(parsed.skipped[0].contains("pcmk_host_map"));
        assert!(parsed.skipped[2].contains("'?'"));
        let parsed = parse("acton=status").unwrap();
        assert!(parsed.skipped[0].contains("is it action?"), "{parsed:?}");
    }

    #[test]
    fn options_of_the_other_role_are_unknown() {
        let parsed = parse("ipaddr=127.0.0.1").unwrap();
        assert_eq!(parsed.skipped.len(), 1);
        let parsed = parse_stdin(Role::Virt, b"multicast_address=225.0.0.12").unwrap();
        assert_eq!(parsed.skipped.len(), 1);
    }

    #[test]
    fn line_that_decides_and_is_not_understood_is_an_error() {
        for line in [
            "action",
            "action off",
            "action: off",
            "action:=off",
            "action=",
            "option=  ",
            "plug",
            "plug vm1",
            "port=",
            "domain:vm1",
            "nodename",
            "  nodename = ",
        ] {
            assert!(
                matches!(parse(line), Err(InputError::NotUnderstood { .. })),
                "{line}"
            );
        }
        assert_eq!(
            parse_stdin(Role::Xvm, b"plug=\xff"),
            Err(InputError::NotText("plug".to_owned()))
        );
    }
}
