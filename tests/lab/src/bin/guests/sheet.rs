//! What the suite says: a line with its time for each case as it ends, then a table of all times.
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use core::fmt;
use std::time::{Duration, Instant};

use fence_lab::{Failure, Side, Verdict};

/// Whose daemon and whose agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Whose daemon.
    pub(crate) host: Side,
    /// Whose agent.
    pub(crate) agent: Side,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.agent)
    }
}

const PAIRS: [Pair; 4] = [
    pair(Side::Ours, Side::Ours),
    pair(Side::Ours, Side::C),
    pair(Side::C, Side::Ours),
    pair(Side::C, Side::C),
];

const fn pair(host: Side, agent: Side) -> Pair {
    Pair { host, agent }
}

/// The report in the making.
#[derive(Debug)]
pub(crate) struct Sheet {
    started: Instant,
    passed: usize,
    failed: usize,
    rows: Vec<Row>,
}

/// A case and how long it took in each pairing.
#[derive(Debug)]
struct Row {
    name: String,
    times: [Option<Duration>; PAIRS.len()],
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            passed: 0,
            failed: 0,
            rows: Vec::new(),
        }
    }
}

impl Sheet {
    /// Counts and prints a case that took the time it returned.
    pub(crate) fn case(&mut self, pair: Pair, name: &str, outcome: Result<Duration, Failure>) {
        let total = self.started.elapsed().as_secs_f32();
        match outcome {
            Ok(time) => {
                self.passed += 1;
                let seconds = time.as_secs_f32();
                println!("[{total:6.1}] ok   {pair:<9} {seconds:6.2} s  {name}");
                self.note(pair, name, time);
            }
            Err(failure) => {
                self.failed += 1;
                println!(
                    "[{total:6.1}] FAIL {pair:<9}           {name}: {}",
                    failure.text()
                );
            }
        }
    }

    /// Counts what has to go well and is no case of its own; says nothing unless it failed.
    pub(crate) fn must(&mut self, name: &str, verdict: Verdict) {
        if let Err(failure) = verdict {
            self.failed += 1;
            println!("FAIL {name}: {}", failure.text());
        }
    }

    /// Whether so much has failed that the rest would only cost time: each failure may be a time-out.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.failed >= 8
    }

    fn note(&mut self, pair: Pair, name: &str, time: Duration) {
        if !self.rows.iter().any(|row| row.name == name) {
            self.rows.push(Row {
                name: name.to_owned(),
                times: [None; PAIRS.len()],
            });
        }
        let row = self.rows.iter_mut().find(|row| row.name == name);
        let at = PAIRS.iter().position(|other| *other == pair);
        if let (Some(row), Some(at)) = (row, at)
            && let Some(cell) = row.times.get_mut(at)
        {
            *cell = Some(time);
        }
    }

    /// Prints the table and the closing line; true if everything passed and there was something.
    pub(crate) fn close(&self) -> bool {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        println!("\nseconds by daemon/agent");
        print!("{:width$}", "");
        for pair in PAIRS {
            print!(" {:>9}", pair.to_string());
        }
        println!();
        for row in &self.rows {
            print!("{:width$}", row.name);
            for time in row.times {
                let cell =
                    time.map_or_else(String::new, |time| format!("{:.2}", time.as_secs_f32()));
                print!(" {cell:>9}");
            }
            println!();
        }
        let total = self.started.elapsed().as_secs_f32();
        println!(
            "\n{} passed, {} failed, {total:.0} s",
            self.passed, self.failed
        );
        self.failed == 0 && self.passed > 0
    }
}
