//! What a run says: a line for each group of cases, details of what failed, and the count.
#![expect(
    clippy::print_stdout,
    reason = "the report is what these programs are for"
)]

use std::sync::Mutex;
use std::time::Instant;

use crate::failure::{Failure, Verdict};

/// Counts over all groups. Shared by the workers.
#[derive(Debug, Default)]
pub struct Report {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Prints a finished group and counts its cases.
    pub fn add(&self, group: &Group) {
        let mut counts = match self.counts.lock() {
            Ok(counts) => counts,
            Err(poisoned) => poisoned.into_inner(),
        };
        counts.passed += group.passed;
        counts.failed += group.failures.len();
        let word = if group.failures.is_empty() {
            "ok  "
        } else {
            "FAIL"
        };
        println!(
            "{word} {} ({} cases, {:.1} s)",
            group.name,
            group.passed + group.failures.len(),
            group.started.elapsed().as_secs_f32()
        );
        for (case, failure) in &group.failures {
            println!("  FAILED {case}: {}", failure.text());
        }
        for note in &group.notes {
            println!("{note}");
        }
    }

    /// Prints the closing line; true if everything passed and there was something to pass.
    #[must_use]
    pub fn close(&self) -> bool {
        let counts = match self.counts.lock() {
            Ok(counts) => *counts,
            Err(poisoned) => *poisoned.into_inner(),
        };
        println!("{} passed, {} failed", counts.passed, counts.failed);
        counts.failed == 0 && counts.passed > 0
    }
}

/// Cases that belong together.
#[derive(Debug)]
pub struct Group {
    name: String,
    started: Instant,
    passed: usize,
    failures: Vec<(String, Failure)>,
    notes: Vec<String>,
}

impl Group {
    /// An empty group.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            started: Instant::now(),
            passed: 0,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Counts a case.
    pub fn case(&mut self, name: &str, verdict: Verdict) {
        match verdict {
            Ok(()) => self.passed += 1,
            Err(failure) => self.failures.push((name.to_owned(), failure)),
        }
    }

    /// Adds text that helps with a failure, such as the end of a log.
    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Whether a case has failed so far.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }
}
