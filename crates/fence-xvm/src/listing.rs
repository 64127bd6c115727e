//! What a list of domains looks like, and what of it pacemaker could not read.

use core::fmt::Write;

use fence_proto::host_list::{ReceivedEntry, STATE_RUNNING};

use crate::text;

/// How a list is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListForm {
    /// The original's lines (row L38): name padded to 32 bytes, UUID, on or off.
    #[default]
    Original,
    /// The lines of fence-agents: name, UUID and, if it is asked for, `ON` or `OFF`.
    Separated {
        /// What stands between the fields.
        separator: String,
        /// Whether the state is asked for.
        has_state: bool,
    },
}

/// A line for each domain. A name with a line end or a separator in it must not look like two.
#[must_use]
pub fn lines(entries: &[ReceivedEntry], form: &ListForm) -> String {
    let mut lines = String::new();
    for entry in entries {
        let name = text::shown(&entry.name, '?');
        let uuid = text::shown(&entry.uuid, '?');
        let is_on = entry.state == STATE_RUNNING;
        // Writing to a String cannot fail.
        let _ = match form {
            ListForm::Original => {
                let padding = 32_usize.saturating_sub(name.len());
                let state = if is_on { "on" } else { "off" };
                writeln!(lines, "{name}{:padding$} {uuid} {state}", "")
            }
            ListForm::Separated {
                separator,
                has_state,
            } => {
                let (name, uuid) = (name.replace(separator, "?"), uuid.replace(separator, "?"));
                let state = match (has_state, is_on) {
                    (false, _) => String::new(),
                    (true, true) => format!("{separator}ON"),
                    (true, false) => format!("{separator}OFF"),
                };
                writeln!(lines, "{name}{separator}{uuid}{state}")
            }
        };
    }
    lines
}

/// Whether pacemaker finds a name in a list. It ends a name at the first character that it does not
/// expect, takes no node for one that is called on or off, and passes over lines with two words.
fn is_fit(name: &str) -> bool {
    let expected = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty()
        && name.chars().all(expected)
        && !matches!(name, "on" | "off")
        && !name.contains("invalid")
        && !name.contains("variable")
}

/// What to say of names that pacemaker would drop or cut short, if there are any.
#[must_use]
pub fn unfit(entries: &[ReceivedEntry]) -> Option<String> {
    const SHOWN: usize = 3;
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry.name.as_str())
        .filter(|name| !is_fit(name))
        .collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("'{}'", text::escaped(name.as_bytes())))
        .collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "pacemaker can't read the names {}{more} from a list: name these domains by their UUIDs in \
         pcmk_host_map",
        shown.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, state: u8) -> ReceivedEntry {
        ReceivedEntry {
            name: name.to_owned(),
            uuid: "u1".to_owned(),
            state,
        }
    }

    #[test]
    fn separated_list_has_the_form_of_fence_agents() {
        let entries = [entry("vm1", 1), entry("a,b", 5), entry("two\nlines", 3)];
        let form = |has_state| ListForm::Separated {
            separator: ",".to_owned(),
            has_state,
        };
        assert_eq!(
            lines(&entries, &form(true)),
            "vm1,u1,ON\na?b,u1,OFF\ntwo?lines,u1,OFF\n"
        );
        assert_eq!(
            lines(&entries, &form(false)),
            "vm1,u1\na?b,u1\ntwo?lines,u1\n"
        );
    }

    #[test]
    fn names_that_pacemaker_would_drop_or_cut_are_told() {
        for name in ["vm1", "A.b_c-9", "once", "office", "ON"] {
            assert_eq!(unfit(&[entry(name, 1)]), None, "{name}");
        }
        for name in [
            "my vm",
            "web(old)",
            "a,b",
            "a;b",
            "on",
            "off",
            "an-invalid-one",
            "variables",
            "ü",
            "",
        ] {
            let said = unfit(&[entry("vm1", 1), entry(name, 1)]).unwrap();
            assert!(said.contains(&format!("'{name}'")), "{said}");
            assert!(!said.contains("vm1"), "{said}");
        }
        let many: Vec<_> = (0..9).map(|at| entry(&format!("vm {at}"), 1)).collect();
        let said = unfit(&many).unwrap();
        assert!(said.contains("'vm 2' and 6 more"), "{said}");
    }
}
