//! The table at the end: the case, the original's answer, this run's, and the domain.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use fence_lab::agent::Answer;

use crate::case::Ask;
use crate::names::HostId;
use crate::sight::Sight;

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    case: &'static str,
    request: String,
    recorded: String,
    answer: String,
    vm: String,
    /// Whether one copy or more ran when the answer had come.
    pub(crate) ran: bool,
    /// Whether it is not as it must be.
    pub(crate) failed: bool,
}

impl Row {
    /// A line whose answer is not there yet.
    pub(crate) fn new(case: &'static str, ask: &Ask) -> Self {
        let via: Vec<_> = ask.via.iter().map(|id| letter(*id)).collect();
        Self {
            case,
            request: format!("{} via {}", ask.action, via.join(",")),
            recorded: match (ask.c.text, ask.c.vm) {
                ("", _) => "-".to_owned(),
                (text, "") => text.to_owned(),
                (text, vm) => format!("{text}; {vm}"),
            },
            answer: "none".to_owned(),
            vm: "-".to_owned(),
            ran: false,
            failed: false,
        }
    }

    /// What the agent ended with.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        self.answer = format!("{}, {}", answer.code, time(answer.elapsed.as_secs_f32()));
    }

    /// What was seen of the domain: hosts that had a copy the moment the answer came, and a look.
    pub(crate) fn seen(&mut self, left: &[HostId], sight: &Sight) {
        self.vm = sight.to_string();
        if sight.is_gone() && !left.is_empty() {
            self.vm = format!("there when the answer came, then {sight}");
        }
        self.ran = !sight.beating.is_empty();
    }

    /// What was seen of it when everything was mended.
    pub(crate) fn later(&mut self, sight: &Sight) {
        if !sight.beating.is_empty() && self.vm == sight.to_string() {
            return;
        }
        self.vm = format!("{}, later {sight}", self.vm);
    }
}

fn time(seconds: f32) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

fn letter(id: HostId) -> &'static str {
    id.name().trim_start_matches("host-")
}

/// Prints the table. `title` names the daemons of this run.
pub(crate) fn print(title: &str, rows: &[Row]) {
    println!("\n| case | request | the original, recorded | {title} | the VM | |");
    println!("|---|---|---|---|---|---|");
    let mut last = "";
    for row in rows {
        let case = if row.case == last { "" } else { row.case };
        last = row.case;
        let mark = if row.failed { "**wrong**" } else { "" };
        println!(
            "| {case} | {} | {} | {} | {} | {mark} |",
            row.request, row.recorded, row.answer, row.vm
        );
    }
    println!();
}
