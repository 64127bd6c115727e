//! The `name=value` lines that cluster software writes to an agent's stdin.
//!
//! `#` starts a comment line; blanks around name and value do not count, blanks inside a value do
//! (row L29). A name that nobody knows is reported and skipped (row F6). A line that seems to be
//! meant for an option that decides what is done to whom, and cannot be understood, is an error: a
//! default would fence the wrong thing (row L35). [`crate::misread`] tells which lines those are.

use crate::input::{Given, Input, InputError};
use crate::misread::{self, decides};
use crate::options::{self, Opt, OptionSpec};
use crate::role::Role;
use crate::text;

/// The most bytes of a line.
pub const MAX_LINE: usize = 65_536;

/// The most bytes of all lines together.
pub const MAX_INPUT: usize = 1 << 20;

/// What some editors put in front of UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
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
    if decides(spec) && !value.as_deref().is_some_and(can_decide) {
        return Err(not_understood(number, line, spec));
    }
    if spec.id == Opt::NotForUs {
        let text = value.as_deref().unwrap_or_default().as_bytes();
        if let Some(meant) = misread::meant_in_value(role, text) {
            return Err(not_understood(number, line, meant));
        }
    }
    result.input.given.push(Given {
        id: spec.id,
        written: spec.name.to_owned(),
        value,
    });
    Ok(())
}

/// Skips a line without a known name, unless it seems to be meant for an option that decides.
fn skip(
    role: Role,
    number: usize,
    line: &[u8],
    name: &[u8],
    result: &mut StdinInput,
) -> Result<(), InputError> {
    if let Some(spec) = misread::meant_for(role, line) {
        return Err(not_understood(number, line, spec));
    }
    let name = text::escaped(name);
    let hint = nearest(role, &name).map_or_else(String::new, |near| format!(", is it {near}?"));
    result
        .skipped
        .push(format!("ignoring unknown option '{name}' on stdin{hint}"));
    Ok(())
}

/// Control characters come from line ends of another system or another encoding: two lines that
/// look like one.
fn can_decide(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c.is_ascii_control() && c != '\t')
}

/// Help, version, manual and checks are asked for on the command line.
fn is_for_stdin(spec: &OptionSpec) -> bool {
    !matches!(
        spec.id,
        Opt::Help | Opt::Version | Opt::Manual | Opt::Check | Opt::Json
    )
}

fn not_understood(line: usize, text: &[u8], spec: &OptionSpec) -> InputError {
    InputError::NotUnderstood {
        line,
        text: text::escaped(text),
        name: spec.name,
    }
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
#[path = "stdin_tests.rs"]
mod tests;
