//! The programs as clap sees them, for completions. The daemon's table is clap's anyway; the agents have
//! one of their own, which is translated.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use fence_xvm::options::{self, Argument, Opt, OptionSpec, Shown};
use fence_xvm::role::Role;
use fence_xvm::value;

/// What signs requests, and proves the key.
const HASHES: [&str; 4] = ["none", "sha1", "sha256", "sha512"];

/// The families of the multicast group.
const FAMILIES: [&str; 3] = ["auto", "ipv4", "ipv6"];

/// The daemon. clap's table does not tell which values are files: those called FILE are.
#[must_use]
pub fn daemon() -> Command {
    fence_virtd::cli::command().mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let hint = if names.iter().any(|name| name.as_str() == "FILE") {
            ValueHint::FilePath
        } else if names.is_empty() || !arg.get_possible_values().is_empty() {
            return arg;
        } else {
            ValueHint::Other
        };
        arg.value_hint(hint)
    })
}

/// An agent. Parameters that are deprecated can be completed by their letter only.
#[must_use]
pub fn agent(role: Role) -> Command {
    let shown = options::for_role(role).filter(|spec| spec.shown != Shown::Nowhere);
    Command::new(role.name())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(shown.map(argument))
}

fn argument(spec: &'static OptionSpec) -> Arg {
    // `-?` is a pattern to shells.
    let mut letters = spec
        .letters
        .iter()
        .copied()
        .filter(char::is_ascii_alphabetic);
    let arg = Arg::new(spec.name).long(spec.name).help(spec.help);
    let arg = match letters.next() {
        Some(letter) => arg
            .short(letter)
            .visible_short_aliases(letters.collect::<Vec<_>>()),
        None => arg,
    };
    match spec.argument {
        Argument::None => arg.action(ArgAction::SetTrue),
        Argument::Required(name) => values(arg.value_name(name), spec.id),
        Argument::Optional(name) => arg.value_name(name).num_args(0..=1).require_equals(true),
    }
}

/// What the value may be, where that is known.
fn values(arg: Arg, id: Opt) -> Arg {
    match id {
        Opt::Action => arg.value_parser(PossibleValuesParser::new(
            value::Command::NAMES.map(|(name, _)| name),
        )),
        Opt::Auth | Opt::Hash => arg.value_parser(PossibleValuesParser::new(HASHES)),
        Opt::IpFamily => arg.value_parser(PossibleValuesParser::new(FAMILIES)),
        Opt::KeyFile | Opt::SerialDevice => arg.value_hint(ValueHint::FilePath),
        _ => arg.value_hint(ValueHint::Other),
    }
}
