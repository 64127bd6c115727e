//! What cluster software writes to an agent: any bytes are a plan, or an error of one line; and
//! what is asked for is what is planned.

use fence_xvm::input::Input;
use fence_xvm::options::Opt;
use fence_xvm::role::Role;
use fence_xvm::settings::{Plan, plan};
use fence_xvm::stdin::parse_stdin;

/// Reads them in both roles.
pub(crate) fn run(data: &[u8]) {
    for role in [Role::Xvm, Role::Virt] {
        match parse_stdin(role, data) {
            Ok(parsed) => {
                for note in &parsed.skipped {
                    is_one_line(note);
                }
                check_plan(role, data, &parsed.input);
            }
            Err(error) => is_one_line(&error.to_string()),
        }
    }
}

fn check_plan(role: Role, data: &[u8], input: &Input) {
    let action = last_value(data, &["action"]);
    let given = input.last(Opt::Action);
    let option = last_value(data, &["option"]);
    // Row L35: a line for the action counts or is an error, however it is spaced.
    assert!(action.is_none() || given.is_some(), "an action got lost");
    match plan(role, input) {
        Ok(Plan::Ask(planned, settings)) => {
            if let (Some(action), None) = (action, option) {
                let action = String::from_utf8_lossy(action).to_ascii_lowercase();
                let same = action == planned.name() || action.is_empty();
                assert!(same || action == "list-status", "{action} is not {planned}");
            }
            assert!(!planned.needs_domain() || !settings.domain.is_empty());
            assert!(!settings.timeout.is_zero());
        }
        Ok(_) => {}
        Err(error) => is_one_line(&error.to_string()),
    }
}

/// The last value of a name, read as simply as can be.
fn last_value<'a>(data: &'a [u8], names: &[&str]) -> Option<&'a [u8]> {
    let lines = data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.rev().find_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(at);
        let name = name.trim_ascii();
        let known = names.iter().any(|known| known.as_bytes() == name);
        known.then(|| value[1..].trim_ascii())
    })
}

fn is_one_line(message: &str) {
    assert!(
        !message.is_empty() && !message.contains('\n'),
        "{message:?}"
    );
}
