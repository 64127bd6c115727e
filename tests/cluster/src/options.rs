//! What a run is told on its command line.

use std::path::PathBuf;

use fence_lab::{Failure, Side, fail};

use crate::case::{Case, Sides};

/// The run.
#[derive(Debug)]
pub(crate) struct Options {
    /// Only the representative part.
    quick: bool,
    /// Whose daemons are tested.
    pub(crate) side: Side,
    /// Whose agent asks.
    pub(crate) agent: Side,
    /// Clusters at a time.
    pub(crate) jobs: usize,
    /// How often everything is run.
    pub(crate) rounds: usize,
    /// Where the table goes, as a page of the docs.
    pub(crate) markdown: Option<PathBuf>,
    words: Vec<String>,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            quick: false,
            side: Side::Ours,
            agent: Side::Ours,
            jobs: 2,
            rounds: 1,
            markdown: None,
            words: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(word) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| Failure::new(format!("{word} needs a value")))
            };
            match word.as_str() {
                "--quick" => options.quick = true,
                "--side" => options.side = side(&value()?)?,
                "--agent" => options.agent = side(&value()?)?,
                "--jobs" => options.jobs = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--markdown" => options.markdown = Some(PathBuf::from(value()?)),
                other if other.starts_with('-') => fail!("{other} is not an option"),
                _ => options.words.push(word),
            }
        }
        Ok(options)
    }

    /// Whether a case is part of the run.
    pub(crate) fn selects(&self, case: &Case) -> bool {
        let words = &self.words;
        let named = words.is_empty() || words.iter().any(|word| case.name.contains(word));
        named
            && (case.quick || !self.quick)
            && (self.side == Side::Ours || case.sides == Sides::Same)
    }

    /// What the table calls this run.
    pub(crate) fn title(&self) -> String {
        match self.side {
            Side::Ours => "ours".to_owned(),
            Side::C => "the original, this run".to_owned(),
        }
    }
}

fn side(word: &str) -> Result<Side, Failure> {
    match word {
        "ours" => Ok(Side::Ours),
        "c" => Ok(Side::C),
        other => fail!("{other}: it must be ours or c"),
    }
}
