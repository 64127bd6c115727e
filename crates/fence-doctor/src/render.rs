//! A report as a table for people and as JSON for programs. docs/troubleshooting.md describes the JSON.

use core::fmt::Write;

use serde_json::{Value, json};

use crate::finding::{Report, Verdict};

/// Width of the first two columns.
const VERDICT_WIDTH: usize = 9;
const CHECK_WIDTH: usize = 11;

/// The number of the JSON's form; a change that could break a reader changes it.
pub const JSON_VERSION: u32 = 1;

/// One finding a line, its cure below, a sum at the end.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:VERDICT_WIDTH$}{:CHECK_WIDTH$}{}",
            finding.verdict, finding.check, finding.found
        );
        if let Some(cure) = &finding.cure {
            let _ = writeln!(text, "{:width$}cure: {cure}", "", width = INDENT);
        }
    }
    let count = |verdict, one: &str, many: &str| match report.count(verdict) {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let _ = writeln!(
        text,
        "{}, {}, {} ok, {} skipped",
        count(Verdict::Problem, "problem", "problems"),
        count(Verdict::Warning, "warning", "warnings"),
        report.count(Verdict::Ok),
        report.count(Verdict::Skipped),
    );
    text
}

const INDENT: usize = VERDICT_WIDTH + CHECK_WIDTH;

/// One JSON object, with a line end.
#[must_use]
pub fn json(report: &Report) -> String {
    let checks: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "verdict": finding.verdict.name(),
                "found": finding.found,
                "cure": finding.cure,
            })
        })
        .collect();
    let whole = json!({
        "version": JSON_VERSION,
        "program": report.program,
        "exit_code": report.exit_code(),
        "problems": report.count(Verdict::Problem),
        "warnings": report.count(Verdict::Warning),
        "checks": checks,
    });
    format!("{whole:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Finding;

    fn report() -> Report {
        Report {
            program: "fence_virtd",
            findings: vec![
                Finding::ok("config", "all is well"),
                Finding::problem("key", "no \"key\" \u{7}here", "make one"),
                Finding::skipped("clock", "unknown"),
            ],
        }
    }

    #[test]
    fn table_has_a_line_for_each_finding_and_its_cure_below() {
        assert_eq!(
            table(&report()),
            "ok       config     all is well\n\
             problem  key        no \"key\" ?here\n\
             \u{20}                   cure: make one\n\
             skipped  clock      unknown\n\
             1 problem, 0 warnings, 1 ok, 1 skipped\n"
        );
    }

    #[test]
    fn json_has_the_form_that_is_promised() {
        let value: Value = serde_json::from_str(&json(&report())).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["program"], "fence_virtd");
        assert_eq!(value["exit_code"], 1);
        assert_eq!(value["problems"], 1);
        assert_eq!(value["warnings"], 0);
        assert_eq!(value["checks"][0]["cure"], Value::Null);
        assert_eq!(value["checks"][1]["check"], "key");
        assert_eq!(value["checks"][1]["verdict"], "problem");
        assert_eq!(value["checks"][1]["found"], "no \"key\" ?here");
        assert_eq!(value["checks"][1]["cure"], "make one");
    }
}
