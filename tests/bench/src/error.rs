//! What can stop the benchmark. A request that fails is not here: that is a result.

use std::io;
use std::path::{Path, PathBuf};

use crate::wire::Failure;

/// Why the benchmark cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The command line makes no sense.
    #[error("{0}; see --help")]
    Usage(#[from] lexopt::Error),
    /// A system call of the harness itself failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the harness could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that was started ended, or never answered.
    #[error("{name} does not serve: {last}; its log ends with: {log}")]
    NotServing {
        /// Which daemon.
        name: String,
        /// How the last attempt failed.
        last: Failure,
        /// The end of its log.
        log: String,
    },
    /// A helper program failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// The command line.
        command: String,
        /// The end of its standard error.
        message: String,
    },
    /// Our programs made errors where none are acceptable.
    #[error("ours failed: {0}")]
    OursFailed(String),
    /// A thread of the harness ended early.
    #[error("the {0} thread panicked")]
    Thread(&'static str),
}

impl BenchError {
    /// For `map_err`: names what was tried.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io {
            doing,
            source: source.into(),
        }
    }

    /// For `map_err`: names the file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
