//! The configuration file: from its bytes to typed, checked [`Settings`].
//!
//! A file becomes a [`Tree`] by one of two grammars: the original's, or TOML for names that end in
//! `.toml`. [`interpret()`] makes settings of the tree, so both grammars have the same keys, the same
//! checks and the same messages. docs/configuration.md describes every key.

mod answer;
mod backends;
mod conf;
mod groups;
mod interpret;
pub mod key_file;
mod lexer;
mod listeners;
mod schema;
mod selection;
mod settings;
#[cfg(test)]
mod tests;
mod toml_form;
mod tree;
mod values;
mod view;

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fence_proto::Key;
use fence_proto::key::KEY_MAX;

pub use answer::{Wanted, check_answer, family_name};
pub use interpret::{KeyReader, Problem, interpret};
pub use key_file::KeyFileError;
pub use settings::{
    Authentication, BackendSettings, CpgHost, CpgSettings, DEFAULT_GROUP, DEFAULT_KEY_FILE,
    DEFAULT_PORT, DEFAULT_REQUEST_TIMEOUT, DEFAULT_URI, DaemonSettings, FenceProof,
    LibvirtSettings, Listener, ListenerSettings, MulticastSettings, NameMode, SerialMode,
    SerialSettings, Settings, TcpSettings, UnknownDomain, VsockSettings,
};
pub use tree::{
    Assignment, Item, MAX_BYTES, MAX_DEPTH, Position, Section, SyntaxError, Text, Tree, Value,
};
pub use view::Note;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What is odd about it, in the file's order.
    pub warnings: Vec<Warning>,
}

/// A place in a file: `file:line:column`, or the file alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub position: Option<Position>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.position
            .map_or(Ok(()), |position| write!(f, ":{position}"))
    }
}

/// Something odd that does not keep the daemon from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What, in one line.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Why a configuration cannot be used. Every message is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not follow its grammar.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What was found and what was expected.
        message: String,
    },
    /// A value is wrong, or something that has no default is missing.
    #[error("{place}: {message}")]
    Setting {
        /// Where.
        place: Place,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A chosen listener's key file cannot be used.
    #[error("{place}: {source}")]
    Key {
        /// Where it is named.
        place: Place,
        /// What is wrong with it.
        source: KeyFileError,
    },
}

impl ConfigError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The grammar of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The original's.
    Conf,
    /// TOML.
    Toml,
}

impl Form {
    /// TOML for names that end in `.toml`, else the original's grammar.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("toml") => Self::Toml,
            _ => Self::Conf,
        }
    }
}

/// Reads, parses and checks a configuration file, and reads the key file that it names.
///
/// # Errors
/// [`ConfigError`] says what is wrong, and where.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    load_from(Path::new(""), path)
}

/// As [`load`], with relative names of files taken for what they are in `directory`.
///
/// # Errors
/// As [`load`].
pub fn load_from(directory: &Path, path: &Path) -> Result<Loaded, ConfigError> {
    load_with(directory, path, &|key| key_file::read(&directory.join(key)))
}

/// The listeners that a configuration file chooses, each in one line for people. Reads no key files.
///
/// # Errors
/// As [`load`].
pub fn listeners(path: &Path) -> Result<Vec<String>, ConfigError> {
    let any_key = |path: &Path| {
        let no_key = || KeyFileError::Empty(path.to_owned());
        Key::from_bytes(&[0; KEY_MAX]).map_err(|_| no_key())
    };
    let listeners = load_with(Path::new(""), path, &any_key)?.settings.listeners;
    let line = |listener: Listener| format!("{} ({})", listener.name, listener.settings);
    Ok(listeners.into_iter().map(line).collect())
}

/// A configuration, whatever becomes of its key files.
#[derive(Debug)]
pub struct Surveyed {
    /// What it says, and what is odd about it. In the place of a key that cannot be used is one that nobody has.
    pub loaded: Loaded,
    /// The key files of the listeners that are chosen, each as often as it is named.
    pub keys: Vec<(PathBuf, Result<Key, KeyFileError>)>,
}

/// Reads, parses and checks a configuration file for somebody who wants to know all that is wrong, and will not
/// serve with it.
///
/// # Errors
/// As [`load`], but for keys.
pub fn survey(path: &Path) -> Result<Surveyed, ConfigError> {
    let keys = RefCell::new(Vec::new());
    let loaded = load_with(Path::new(""), path, &|file| {
        let key = key_file::read(file);
        let usable = match &key {
            Ok(key) => Ok(key.clone()),
            Err(_) => {
                let mut random = [0; KEY_MAX];
                // If there is no randomness a fixed key does as well: nothing is signed with it.
                let _ = getrandom::fill(&mut random);
                Key::from_bytes(&random).map_err(|_| KeyFileError::Empty(file.to_owned()))
            }
        };
        keys.borrow_mut().push((file.to_owned(), key));
        usable
    })?;
    let keys = keys.into_inner();
    Ok(Surveyed { loaded, keys })
}

fn load_with(
    directory: &Path,
    path: &Path,
    read_key: KeyReader<'_>,
) -> Result<Loaded, ConfigError> {
    let bytes = read(&directory.join(path)).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let place = |position| Place {
        file: path.to_owned(),
        position,
    };
    let tree = parse_bytes(&bytes, Form::of(path)).map_err(|error| ConfigError::Syntax {
        place: place(Some(error.position)),
        message: error.message,
    })?;
    let (settings, notes) = interpret(&tree, read_key).map_err(|problem| match problem {
        Problem::Setting(note) => ConfigError::Setting {
            place: place(note.position),
            message: note.message,
        },
        Problem::Key { position, source } => ConfigError::Key {
            place: place(position),
            source,
        },
    })?;
    let warning = |note: Note| Warning {
        place: place(note.position),
        message: note.message,
    };
    Ok(Loaded {
        settings,
        warnings: notes.into_iter().map(warning).collect(),
    })
}

/// The file's bytes, at most one more than a configuration may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bound = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a tree of a file's bytes, whatever they are.
///
/// # Errors
/// [`SyntaxError`] for the first place where they do not follow the grammar.
pub fn parse_bytes(bytes: &[u8], form: Form) -> Result<Tree, SyntaxError> {
    let start = Position { line: 1, column: 1 };
    if bytes.len() > MAX_BYTES {
        let message = format!("a configuration file has at most {MAX_BYTES} bytes");
        return Err(SyntaxError::new(start, message));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        SyntaxError::new(end_of(good), "this is not UTF-8 text")
    })?;
    match form {
        Form::Conf => conf::parse(text),
        Form::Toml => toml_form::parse(text),
    }
}

/// The place behind some UTF-8 text.
fn end_of(bytes: &[u8]) -> Position {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    let count = |number| u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
    Position {
        line: count(text.matches('\n').count()),
        column: count(last_line.chars().count()),
    }
}
