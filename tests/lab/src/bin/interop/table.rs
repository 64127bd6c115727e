//! The table of the matrix: what is asked and what must come of it.
//!
//! One row for all four pairings. Where a side is meant to differ from the original, the row has an
//! exception that names its row in docs/original-behaviour.md; nothing else may differ.

use fence_lab::domains::{BYSTANDER, DARK, Domain, LONG, NOBODY, PAUSED, TRANSIENT, VM1};
use fence_lab::{Answer, Failure, Side, fail};

/// How a row names its domain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// It names none.
    Nothing,
    /// By its name.
    Name(Domain),
    /// By its UUID.
    Uuid(Domain),
    /// By its UUID in upper case.
    UpperUuid(Domain),
    /// By a name that nobody has.
    Unknown,
}

impl Target {
    /// The text for the agent.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Name(domain) => domain.name.to_owned(),
            Self::Uuid(domain) => domain.uuid.to_owned(),
            Self::UpperUuid(domain) => domain.uuid.to_uppercase(),
            Self::Unknown => NOBODY.to_owned(),
        }
    }
}

/// What the agent must end with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Want {
    /// Exit code 0 and nothing on standard output.
    Success,
    /// `Status: ON`, exit code 0.
    On,
    /// `Status: OFF`, exit code 2.
    Off,
    /// Exit code 1 and a message.
    Failure,
    /// Exit code 3 and a message.
    Denied,
    /// Exit code 0 and these domains, with whether each is listed as on.
    List(&'static [(Domain, bool)]),
}

/// A deliberate difference: when a side is the C one, the row ends otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exception {
    /// The row of docs/original-behaviour.md.
    pub(crate) id: &'static str,
    /// What the C host's answer comes to.
    pub(crate) c_host: Want,
    /// The state afterwards with the C host.
    pub(crate) c_after: After,
}

/// What libvirt must say afterwards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    /// The row changes nothing that is not looked at by the next rows.
    Unchanged,
    /// This domain is on.
    On(Domain),
    /// This domain is off.
    Off(Domain),
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What it shows.
    pub(crate) name: &'static str,
    /// The agent's action.
    pub(crate) action: &'static str,
    /// On what.
    pub(crate) target: Target,
    /// What must come of it.
    pub(crate) want: Want,
    /// The state afterwards.
    pub(crate) after: After,
    /// Where C differs.
    pub(crate) exception: Option<Exception>,
}

/// A row that changes nothing.
pub(crate) const fn row(
    name: &'static str,
    action: &'static str,
    target: Target,
    want: Want,
) -> Row {
    Row {
        name,
        action,
        target,
        want,
        after: After::Unchanged,
        exception: None,
    }
}

impl Row {
    /// The same row with a state afterwards.
    pub(crate) const fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    /// The same row with another end where the host is the C one.
    pub(crate) const fn but_c_host(
        mut self,
        id: &'static str,
        c_host: Want,
        c_after: After,
    ) -> Self {
        self.exception = Some(Exception {
            id,
            c_host,
            c_after,
        });
        self
    }
}

const AT_START: &[(Domain, bool)] = &[
    (VM1, true),
    (BYSTANDER, true),
    (LONG, true),
    (DARK, false),
    (PAUSED, true),
    (TRANSIENT, true),
];

const VM1_IS_OFF: &[(Domain, bool)] = &[
    (VM1, false),
    (BYSTANDER, true),
    (LONG, true),
    (DARK, false),
    (PAUSED, true),
    (TRANSIENT, true),
];

/// The rows of every configuration, in their order: each finds the state that the last one left.
pub(crate) const ROWS: &[Row] = &[
    row(
        "list names every domain, also those that are off (F8)",
        "list",
        Target::Nothing,
        Want::List(AT_START),
    ),
    row(
        "list-status is list",
        "list-status",
        Target::Nothing,
        Want::List(AT_START),
    ),
    row(
        "status of a running domain is on",
        "status",
        Target::Name(VM1),
        Want::On,
    ),
    row(
        "off of a running domain",
        "off",
        Target::Name(VM1),
        Want::Success,
    )
    .then(After::Off(VM1)),
    row(
        "off of a domain that is off is success (F3)",
        "off",
        Target::Name(VM1),
        Want::Success,
    )
    .then(After::Off(VM1)),
    row(
        "list shows the domain that was fenced (F8)",
        "list",
        Target::Nothing,
        Want::List(VM1_IS_OFF),
    ),
    row(
        "on of a domain that is off",
        "on",
        Target::Name(VM1),
        Want::Success,
    )
    .then(After::On(VM1)),
    row(
        "on of a running domain is success",
        "on",
        Target::Name(VM1),
        Want::Success,
    )
    .then(After::On(VM1)),
    row("monitor", "monitor", Target::Nothing, Want::Success),
    row(
        "null does nothing and fails",
        "null",
        Target::Name(VM1),
        Want::Failure,
    )
    .then(After::On(VM1)),
    row(
        "off of an unknown domain fails (F2)",
        "off",
        Target::Unknown,
        Want::Failure,
    ),
    row(
        "on of an unknown domain fails",
        "on",
        Target::Unknown,
        Want::Failure,
    ),
    row(
        "reboot of an unknown domain fails",
        "reboot",
        Target::Unknown,
        Want::Failure,
    ),
    row(
        "status of an unknown domain is off",
        "status",
        Target::Unknown,
        Want::Off,
    ),
    row("status by UUID", "status", Target::Uuid(VM1), Want::On),
    row(
        "status by UUID in upper case",
        "status",
        Target::UpperUuid(VM1),
        Want::On,
    ),
    row("off by UUID", "off", Target::Uuid(VM1), Want::Success).then(After::Off(VM1)),
    row(
        "on by UUID in upper case",
        "on",
        Target::UpperUuid(VM1),
        Want::Success,
    )
    .then(After::On(VM1)),
    row(
        "status of a name of 63 bytes (F9)",
        "status",
        Target::Name(LONG),
        Want::On,
    ),
    row(
        "off of a name of 63 bytes (F9)",
        "off",
        Target::Name(LONG),
        Want::Success,
    )
    .then(After::Off(LONG)),
    row(
        "status of a domain that never ran",
        "status",
        Target::Name(DARK),
        Want::Off,
    ),
    row(
        "status of a paused domain is on (L9)",
        "status",
        Target::Name(PAUSED),
        Want::On,
    ),
    row(
        "off of a paused domain",
        "off",
        Target::Name(PAUSED),
        Want::Success,
    )
    .then(After::Off(PAUSED)),
    row(
        "off of a transient domain",
        "off",
        Target::Name(TRANSIENT),
        Want::Success,
    )
    .then(After::Off(TRANSIENT)),
];

/// Rows about reboot. The C daemon sleeps at least a second in each (row L17), so they run in one
/// configuration of each transport and family.
pub(crate) const REBOOT_ROWS: &[Row] = &[
    row(
        "reboot of a running domain",
        "reboot",
        Target::Name(VM1),
        Want::Success,
    )
    .then(After::On(VM1)),
    row("reboot by UUID", "reboot", Target::Uuid(VM1), Want::Success).then(After::On(VM1)),
    row(
        "reboot of a paused domain",
        "reboot",
        Target::Name(PAUSED),
        Want::Success,
    )
    .then(After::On(PAUSED)),
    row(
        "reboot of a domain that is off leaves it off",
        "reboot",
        Target::Name(DARK),
        Want::Success,
    )
    .then(After::Off(DARK)),
    row(
        "reboot of a transient domain starts it again",
        "reboot",
        Target::Name(TRANSIENT),
        Want::Success,
    )
    .then(After::On(TRANSIENT)),
];

/// Compares an answer with what was wanted.
///
/// # Errors
/// It differs.
pub(crate) fn judge(answer: &Answer, want: Want, host: Side, agent: Side) -> Result<(), Failure> {
    let code = match want {
        Want::Success | Want::On | Want::List(_) => 0,
        Want::Off => 2,
        Want::Failure => 1,
        Want::Denied => 3,
    };
    if answer.code != code {
        fail!("exit code {code} expected, but: {}", answer.describe());
    }
    let text_is_right = match want {
        // The C agent complains about every device that has no modem lines.
        Want::Success => answer.stdout.is_empty() && (agent == Side::C || answer.stderr.is_empty()),
        Want::On => answer.stdout == "Status: ON\n",
        Want::Off => answer.stdout == "Status: OFF\n",
        Want::Failure => message_is_right(answer, agent, "Operation failed\n"),
        Want::Denied => message_is_right(answer, agent, "Permission denied\n"),
        Want::List(entries) => return judge_list(answer, entries, host),
    };
    if !text_is_right {
        fail!("the code is right, the text is not: {}", answer.describe());
    }
    Ok(())
}

/// A failure's message: one line on standard error, standard output left to results (F20). The C
/// agent writes it to standard output (D2).
pub(crate) fn message_is_right(answer: &Answer, agent: Side, original: &str) -> bool {
    match agent {
        Side::C => answer.stdout.ends_with(original),
        Side::Ours => answer.stdout.is_empty() && answer.stderr.lines().count() == 1,
    }
}

fn judge_list(answer: &Answer, entries: &[(Domain, bool)], host: Side) -> Result<(), Failure> {
    let mut lines: Vec<_> = answer.stdout.lines().collect();
    lines.sort_unstable();
    let mut wanted: Vec<_> = entries
        .iter()
        .map(|(domain, on)| {
            // The C host lists only what runs as on, although its status says otherwise (D4).
            let on = *on && !(host == Side::C && *domain == PAUSED);
            let state = if on { "on" } else { "off" };
            (
                domain.name,
                format!("{:<32} {} {state}", domain.name, domain.uuid),
            )
        })
        .collect();
    wanted.sort_unstable();
    let same = lines.len() == wanted.len()
        && lines.iter().zip(&wanted).all(|(line, (name, wanted))| {
            // The C host leaves the last byte of the field as it was in memory (D3).
            line == wanted || (host == Side::C && name.len() == 63 && line.starts_with(name))
        });
    if !same {
        let wanted: Vec<_> = wanted.into_iter().map(|(_, line)| line).collect();
        fail!(
            "the list should be\n{}\nbut is\n{}",
            wanted.join("\n"),
            lines.join("\n")
        );
    }
    Ok(())
}
