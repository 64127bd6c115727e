//! For which option a line of stdin was probably meant, that names none as it should.
//!
//! Only options that decide what is done to whom count: without its line such an option has a
//! default, and the default would fence (row L35). A name that nobody could have meant for one of
//! them is not judged here (row F6).

use crate::options::{self, Argument, Opt, OptionSpec};
use crate::role::Role;

/// No more letters than this can be the name of an option that decides, or nearly so.
const LONGEST: usize = 9;

/// Names of other agents' options that are nearly one of ours. A stonith resource that was made for
/// another agent has them.
const FOREIGN: [&str; 1] = ["node_name"];

/// Whether the option says what is done, or to whom.
pub(crate) const fn decides(spec: &OptionSpec) -> bool {
    matches!(
        spec.id,
        Opt::Action | Opt::OldAction | Opt::Plug | Opt::Port | Opt::Domain | Opt::NodeName
    )
}

/// The option that decides and that an unknown line was meant for: spelled nearly right, quoted,
/// marked as a list item, written as on the command line, cut off, or behind another one.
pub(crate) fn meant_for(role: Role, line: &[u8]) -> Option<&'static OptionSpec> {
    let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
        return cut_or_glued(role, &letters(line)).or_else(|| in_words(role, line));
    };
    let (left, right) = line.split_at_checked(equals)?;
    // As on the command line every word may be an option.
    let judged = if line.starts_with(b"-") { line } else { left };
    before_equals(role, line)
        .or_else(|| in_words(role, judged))
        .or_else(|| meant_in_value(role, right))
}

/// The option that decides and that a part of a value was meant for, as in
/// `agent=fence_xvm action=off`. Values may hold any text, so only the exact name will do.
pub(crate) fn meant_in_value(role: Role, value: &[u8]) -> Option<&'static OptionSpec> {
    words(value).skip(1).find_map(|word| {
        let equals = word.iter().position(|byte| *byte == b'=')?;
        let name = letters(word.get(..equals)?);
        deciding(role).find(|spec| spec.name == name)
    })
}

/// Judges what is left of each equals sign: there may be one too many.
fn before_equals(role: Role, line: &[u8]) -> Option<&'static OptionSpec> {
    let mut name = Vec::new();
    for byte in line {
        if *byte == b'=' {
            let found = nearly(role, &letters(&name)).or_else(|| by_one_letter(role, &name));
            if found.is_some() {
                return found;
            }
        } else if is_letter(*byte) {
            name.push(*byte);
        }
        if name.len() > LONGEST {
            return None;
        }
    }
    None
}

/// Without an equals sign: the name's beginning at the end of a line, or the name and its value
/// with something else, or nothing, between them.
fn cut_or_glued(role: Role, letters: &str) -> Option<&'static OptionSpec> {
    if letters.is_empty() || is_another(letters) {
        return None;
    }
    deciding(role).find(|spec| spec.name.starts_with(letters) || letters.starts_with(spec.name))
}

fn in_words(role: Role, text: &[u8]) -> Option<&'static OptionSpec> {
    words(text).find_map(|word| nearly(role, &letters(word)).or_else(|| by_dash(role, word)))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_graphic())
}

/// The name itself, or one with one letter too many, too few, wrong, or in its neighbour's place.
fn nearly(role: Role, letters: &str) -> Option<&'static OptionSpec> {
    if letters.len() > LONGEST || is_another(letters) {
        return None;
    }
    deciding(role)
        .map(|spec| (strsim::osa_distance(letters, spec.name), spec))
        .filter(|(distance, _)| *distance <= 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, spec)| spec)
}

/// `-o off`, `-ooff` and `-uo off`, read as getopt(3) does.
fn by_dash(role: Role, word: &[u8]) -> Option<&'static OptionSpec> {
    let is_quote = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'-';
    let start = word.iter().position(|byte| !is_quote(byte))?;
    let letters = word.get(start..)?.strip_prefix(b"-")?;
    for letter in letters {
        let spec = options::by_letter(role, char::from(*letter))?;
        if decides(spec) {
            return Some(spec);
        }
        if spec.argument != Argument::None {
            return None;
        }
    }
    None
}

/// `o=off`.
fn by_one_letter(role: Role, name: &[u8]) -> Option<&'static OptionSpec> {
    let &[letter] = name else { return None };
    options::by_letter(role, char::from(letter)).filter(|spec| decides(spec))
}

fn deciding(role: Role) -> impl Iterator<Item = &'static OptionSpec> {
    options::for_role(role).filter(|spec| decides(spec))
}

/// Whether it is the name of an option that does not decide, of either role or another agent.
fn is_another(letters: &str) -> bool {
    let mut ours = options::OPTIONS.iter().filter(|spec| !decides(spec));
    ours.any(|spec| spec.name == letters) || FOREIGN.contains(&letters)
}

/// What counts of a name, in lower case: quotes, dashes, marks and other alphabets do not.
fn letters(text: &[u8]) -> String {
    let letters = text.iter().copied().filter(|byte| is_letter(*byte));
    letters
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
