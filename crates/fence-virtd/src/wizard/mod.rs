//! `fence_virtd -c`: asks what is needed, shows the file that comes of it, and replaces the old one.
//!
//! Nothing is written before the last answer. Whatever goes wrong or ends early leaves everything as it was.

mod dialog;
mod edit;
mod files;
mod questions;
mod toml_text;

use std::cell::RefCell;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use fence_proto::Key;
use fence_proto::key::KEY_MAX;

use crate::config::{self, Form, KeyFileError, Note, Problem, Tree};

pub use dialog::{Abort, Dialog};
pub use files::FileError;
pub use questions::Machine;

/// Why the configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum WizardError {
    /// The dialog ended early.
    #[error("{0}; nothing was changed")]
    Abort(#[from] Abort),
    /// A file could not be read or written.
    #[error("{0}; nothing was changed")]
    File(#[from] FileError),
    /// What would be written is not a configuration.
    #[error("with these answers the file cannot be used: {0}; nothing was changed")]
    Unusable(String),
    /// It was asked whether to replace the file, and that was not wanted.
    #[error("nothing was changed")]
    NotWanted,
}

/// Runs the dialog on standard input and output.
///
/// # Errors
/// [`WizardError`].
pub fn run(path: &Path, machine: &Machine) -> Result<(), WizardError> {
    let stdin = std::io::stdin();
    let terminal = stdin.is_terminal();
    let (mut input, mut output) = (stdin.lock(), std::io::stdout().lock());
    converse(
        path,
        machine,
        Dialog::new(
            &mut input as &mut dyn BufRead,
            &mut output as &mut dyn Write,
            terminal,
        ),
    )
}

/// The whole dialog.
///
/// # Errors
/// [`WizardError`].
pub fn converse(path: &Path, machine: &Machine, mut dialog: Dialog<'_>) -> Result<(), WizardError> {
    let present = files::read(path)?;
    let form = Form::of(&present.path);
    let shown = path.display();
    dialog.say(&format!(
        "Configuration file: {shown}\nAn empty line takes what is in brackets. Nothing is written before the last question."
    ))?;
    let mut tree = understand(&mut dialog, &present, form)?;
    let answers = questions::ask_all(&mut dialog, &mut tree, machine)?;
    let text = match form {
        Form::Conf => tree.to_string(),
        Form::Toml => toml_text::toml_text(&tree).trim_start().to_owned(),
    };
    let remarks = verify(&text, form, answers.make_key.as_deref())?;
    dialog.say(&format!("\n----- {shown} -----\n{text}-----"))?;
    for remark in remarks {
        dialog.say(&format!("Note: {remark}"))?;
    }
    if !dialog.confirm(&format!("Write this to {shown}"), false)? {
        return Err(WizardError::NotWanted);
    }
    let key = answers
        .make_key
        .as_deref()
        .map(files::NewKey::make)
        .transpose()?;
    let copy = files::replace(&present, &text)?;
    if let Some(key) = key {
        key.keep();
    }
    // It is done, whoever hears of it.
    let _ = tell(
        &mut dialog,
        path,
        copy.as_deref(),
        answers.make_key.as_deref(),
    );
    Ok(())
}

fn tell(
    dialog: &mut Dialog<'_>,
    path: &Path,
    copy: Option<&Path>,
    key: Option<&Path>,
) -> Result<(), Abort> {
    let old = copy.map_or_else(String::new, |copy| {
        format!("; the old file is {}", copy.display())
    });
    dialog.say(&format!("{} is written{old}.", path.display()))?;
    if let Some(key) = key {
        let key = key.display();
        dialog.say(&format!(
            "{key} is made: copy it to every other host and guest, by a safe way."
        ))?;
    }
    dialog.say(&format!("Next: fence_virtd --check -f {}", path.display()))
}

/// The tree of the present file. One that is no configuration is left behind if that is wanted.
fn understand(
    dialog: &mut Dialog<'_>,
    present: &files::Present,
    form: Form,
) -> Result<Tree, WizardError> {
    let Some(bytes) = &present.bytes else {
        return Ok(Tree::default());
    };
    match config::parse_bytes(bytes, form) {
        Ok(tree) => Ok(tree),
        Err(error) => {
            dialog.say(&format!("The present file is not understood: {error}"))?;
            if dialog.confirm(
                "Begin with an empty one (the present one is kept as a copy)",
                false,
            )? {
                Ok(Tree::default())
            } else {
                Err(WizardError::NotWanted)
            }
        }
    }
}

/// Whether the daemon would take the text, and what it would say about it.
fn verify(text: &str, form: Form, new_key: Option<&Path>) -> Result<Vec<String>, WizardError> {
    let unusable = |message: String| WizardError::Unusable(message);
    let tree =
        config::parse_bytes(text.as_bytes(), form).map_err(|error| unusable(error.to_string()))?;
    // A key that cannot be used is no fault of the answers: it is said, and may come later.
    let complaints = RefCell::new(Vec::new());
    let read_key = |path: &Path| {
        let stand_in =
            || Key::from_bytes(&[0; KEY_MAX]).map_err(|_| KeyFileError::Empty(path.to_owned()));
        if new_key == Some(path) {
            return stand_in();
        }
        config::key_file::read(path).or_else(|error| {
            complaints.borrow_mut().push(error.to_string());
            stand_in()
        })
    };
    let (_, notes) = config::interpret(&tree, &read_key).map_err(|problem| match problem {
        Problem::Setting(note) => unusable(shown(&note)),
        Problem::Key { source, .. } => unusable(source.to_string()),
    })?;
    let mut remarks = complaints.into_inner();
    remarks.extend(notes.iter().map(shown));
    Ok(remarks)
}

fn shown(note: &Note) -> String {
    note.position.map_or_else(
        || note.message.clone(),
        |position| format!("line {}: {}", position.line, note.message),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::scratch::Scratch;

    fn wizard(path: &Path, input: &str) -> (Result<(), WizardError>, String) {
        let (mut input, mut output) = (input.as_bytes(), Vec::new());
        let dialog = Dialog::new(&mut input, &mut output, false);
        let result = converse(path, &Machine::default(), dialog);
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn file_and_key_are_written_after_the_last_yes_and_never_before() {
        let scratch = Scratch::new();
        let (path, key) = (scratch.path("fence.conf"), scratch.path("cluster/key"));
        let answers = format!("\n\n\n\n{}\n\n\n\ny\n", key.display());
        let lines: Vec<_> = answers.split_inclusive('\n').collect();
        for count in 0..lines.len() {
            let (result, _) = wizard(&path, &lines[..count].concat());
            assert!(
                matches!(result, Err(WizardError::Abort(Abort::Ended(_)))),
                "{count}"
            );
        }
        let (result, _) = wizard(&path, &answers.replace("y\n", "n\n"));
        assert!(matches!(result, Err(WizardError::NotWanted)));
        assert!(!path.exists() && !key.exists() && !scratch.path("cluster").exists());
        let (result, said) = wizard(&path, &answers);
        result.unwrap();
        let loaded = config::load(&path).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let secret = fs::read(&key).unwrap();
        assert!(!said.as_bytes().windows(8).any(|part| part == &secret[..8]));
    }

    #[test]
    fn toml_stays_toml() {
        let scratch = Scratch::new();
        let path = scratch.path("fence.toml");
        fs::write(&path, "[fence_virtd]\nlistener = 'serial'\nbackend = 'libvirt'\n[[groups.group]]\nuuid = ['a']\n").unwrap();
        let (result, said) = wizard(&path, "\n\n/run/x\n\n\n\ny\n");
        result.unwrap_or_else(|error| panic!("{error}: {said}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("[listeners.serial]\npath = \"/run/x\""),
            "{text}"
        );
        assert!(text.contains("[[groups.group]]\nuuid = [\"a\"]"), "{text}");
        config::load(&path).unwrap();
    }

    #[test]
    fn file_that_is_not_understood_is_kept_and_left_if_not_wanted() {
        let scratch = Scratch::new();
        let path = scratch.path("fence.conf");
        fs::write(&path, "fence_virtd {").unwrap();
        assert!(matches!(wizard(&path, "\n").0, Err(WizardError::NotWanted)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "fence_virtd {");
        wizard(&path, "y\nserial\n\n\n\n\n\ny\n").0.unwrap();
        assert_eq!(
            fs::read_to_string(scratch.path("fence.conf.bak")).unwrap(),
            "fence_virtd {"
        );
    }

    #[test]
    fn answers_that_do_not_fit_the_rest_of_the_file_change_nothing() {
        let scratch = Scratch::new();
        let path = scratch.path("fence.conf");
        let old = "groups { uuid = \"x\"; }";
        fs::write(&path, old).unwrap();
        let (result, _) = wizard(&path, "serial\n\n\n\n\n\ny\n");
        assert!(matches!(result, Err(WizardError::Unusable(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), old);
    }
}
