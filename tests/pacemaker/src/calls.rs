//! What pacemaker told the agent and heard from it, as `fence-xvm-recorder.sh` wrote it down.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// One run of the agent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// When it began; sorts.
    pub(crate) began: String,
    /// Its standard input.
    pub(crate) input: String,
    /// Its standard output.
    pub(crate) output: String,
    /// Its standard error.
    pub(crate) errors: String,
    /// Its exit code; none while it runs, or when it was killed.
    pub(crate) code: Option<i32>,
}

impl Call {
    /// The value of a line on standard input.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let lines = self.input.lines();
        lines
            .filter_map(|line| line.split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// The action.
    pub(crate) fn action(&self) -> &str {
        self.value("action").unwrap_or_default()
    }
}

/// All runs of one node.
pub(crate) fn read(directory: &Path) -> Vec<Call> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension() == Some(OsStr::new("in")))
        .map(|input| one(&input))
        .collect()
}

fn one(input: &Path) -> Call {
    let text =
        |extension: &str| fs::read_to_string(input.with_extension(extension)).unwrap_or_default();
    let began = input.file_stem().unwrap_or_default();
    Call {
        began: began.to_string_lossy().into_owned(),
        input: text("in"),
        output: text("out"),
        errors: text("err"),
        code: text("code").trim().parse().ok(),
    }
}
