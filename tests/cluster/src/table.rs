//! The table at the end: the case, the original's answer, this run's, and the domain.
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

/// The table, in Markdown. `title` names the daemons of this run.
pub(crate) fn text(title: &str, rows: &[Row]) -> String {
    let mut lines = vec![
        format!("| case | request | the original, recorded | {title} | the VM | |"),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    let mut last = "";
    for row in rows {
        let case = if row.case == last { "" } else { row.case };
        last = row.case;
        let mark = if row.failed { "**wrong**" } else { "" };
        lines.push(format!(
            "| {case} | {} | {} | {} | {} | {mark} |",
            row.request, row.recorded, row.answer, row.vm
        ));
    }
    lines.join("\n")
}

/// The page of the docs: the table, and how to read it.
pub(crate) fn page(table: &str, rounds: usize) -> String {
    let times = match rounds {
        1 => "once",
        2 => "twice in a row",
        _ => "several times in a row",
    };
    format!(
        "{HEAD}\nWritten by `tests/cluster.sh --rounds {rounds} --markdown docs/failure-table.md`, which ran all cases {times}; \
         this is the last time.\n\n{table}\n"
    )
}

const HEAD: &str = "\
# What is answered when something fails

Three hosts *a*, *b*, *c*, each with a corosync, a libvirtd, QEMU guests and a `fence_virtd` with backend `cpg`; the domain runs on *a* unless the case
says otherwise. *request*: what the agent asks, and which host it asks. An answer is the agent's exit code (0 done, or on; 2 off; 1 failed) and how long it took.
*the VM*: where its QEMU process really runs when the answer has come, and later, when all that had failed is back. *the original, recorded*: what the C
daemons answered in the same place when they were tried, and what had become of the VM; \"0; runs\" for *off* is a false answer.
";
