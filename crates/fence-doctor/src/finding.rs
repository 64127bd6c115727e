//! What a check found, and what all of them come to.

use core::fmt;

/// Longest text of a finding, in characters: names in it may be anybody's.
const LONGEST: usize = 600;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Could not be looked at, or does not matter here.
    Skipped,
    /// Fencing may fail.
    Warning,
    /// Fencing fails.
    Problem,
}

impl Verdict {
    /// The word for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check: a word that does not change.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found; one line.
    pub found: String,
    /// What to do about it; one line. None where there is nothing to do.
    pub cure: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, found: &str, cure: Option<&str>) -> Self {
        Self {
            check,
            verdict,
            found: one_line(found),
            cure: cure.map(one_line),
        }
    }

    /// All is well.
    #[must_use]
    pub fn ok(check: &'static str, found: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Ok, found.as_ref(), None)
    }

    /// It was not looked at.
    #[must_use]
    pub fn skipped(check: &'static str, found: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Skipped, found.as_ref(), None)
    }

    /// Fencing may fail.
    #[must_use]
    pub fn warning(check: &'static str, found: impl AsRef<str>, cure: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Warning, found.as_ref(), Some(cure.as_ref()))
    }

    /// Fencing fails.
    #[must_use]
    pub fn problem(check: &'static str, found: impl AsRef<str>, cure: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Problem, found.as_ref(), Some(cure.as_ref()))
    }
}

/// Text from outside, made fit for a terminal: one line, nothing that moves the cursor, not endless.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line: String = text
        .trim_end()
        .chars()
        .map(|character| if is_odd(character) { '?' } else { character })
        .take(LONGEST)
        .collect();
    if text.trim_end().chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

/// Control characters, and those that turn the direction of writing.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// A few names of many, for one line.
#[must_use]
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// All findings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who checked.
    pub program: &'static str,
    /// In the order in which they are told.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many there are of a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.findings.iter();
        all.filter(|finding| finding.verdict == verdict).count()
    }

    /// 0 for all fine, 1 for problems, 2 for warnings only.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.count(Verdict::Problem) > 0 {
            1
        } else if self.count(Verdict::Warning) > 0 {
            2
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            program: "x",
            findings,
        }
    }

    #[test]
    fn exit_code_tells_problems_from_warnings_from_nothing() {
        let ok = Finding::ok("a", "fine");
        let skipped = Finding::skipped("a", "not looked at");
        let warning = Finding::warning("a", "hm", "do");
        let problem = Finding::problem("a", "bad", "do");
        assert_eq!(report(vec![]).exit_code(), 0);
        assert_eq!(report(vec![ok.clone(), skipped]).exit_code(), 0);
        assert_eq!(report(vec![warning.clone(), ok]).exit_code(), 2);
        assert_eq!(report(vec![problem, warning]).exit_code(), 1);
    }

    #[test]
    fn text_from_outside_stays_one_harmless_line() {
        let finding = Finding::ok("a", "vm\n\u{1b}[2J\u{202e}x\n");
        assert_eq!(finding.found, "vm??[2J?x");
        let long = one_line(&"é".repeat(5000));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn many_names_are_cut_to_a_few() {
        let names = |count: usize| (0..count).map(|it| it.to_string()).collect::<Vec<_>>();
        assert_eq!(some_of(&names(2)), "0, 1");
        assert_eq!(some_of(&names(7)), "0, 1, 2, 3, 4 and 2 more");
    }
}
