//! What must hold for whole configurations, in either grammar.

mod authentication;
mod cluster;
mod documents;
mod loading;
mod properties;
mod settings;
mod several;

use std::path::Path;

use fence_proto::Key;

use super::{Form, KeyFileError, Listener, Problem, Settings, interpret, parse_bytes};

/// A key that nothing can be said against.
fn good_key(_: &Path) -> Result<Key, KeyFileError> {
    Ok(Key::from_bytes(&[7; 4096]).unwrap())
}

/// The settings and the warnings, as `line:column: message`.
fn read(text: &str, form: Form) -> Result<(Settings, Vec<String>), String> {
    let tree = parse_bytes(text.as_bytes(), form).map_err(|error| error.to_string())?;
    let (settings, notes) = interpret(&tree, &good_key).map_err(|problem| describe(&problem))?;
    let notes = notes.iter().map(|note| place(note.position, &note.message));
    Ok((settings, notes.collect()))
}

fn place(position: Option<super::Position>, message: &str) -> String {
    position.map_or_else(
        || message.to_owned(),
        |position| format!("{position}: {message}"),
    )
}

fn describe(problem: &Problem) -> String {
    match problem {
        Problem::Setting(note) => place(note.position, &note.message),
        Problem::Key { position, source } => place(*position, &source.to_string()),
    }
}

/// A configuration with one listener and the libvirt backend.
fn with_listener(listener: &str, keys: &str) -> String {
    format!(
        "fence_virtd {{ listener = \"{listener}\"; backend = \"libvirt\"; }}\n\
         listeners {{ {listener} {{ {keys} }} }}\n"
    )
}

/// The settings of a configuration that has nothing odd.
fn clean(text: &str) -> Settings {
    let (settings, notes) = read(text, Form::Conf).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    settings
}

/// The only listener.
fn only(settings: Settings) -> Listener {
    let [listener] = <[Listener; 1]>::try_from(settings.listeners).unwrap();
    listener
}

fn error(text: &str) -> String {
    read(text, Form::Conf).unwrap_err()
}

/// Interprets with this key, or none.
fn with_key(text: &str, key: Option<&[u8]>) -> Result<Vec<String>, String> {
    let tree = parse_bytes(text.as_bytes(), Form::Conf).unwrap();
    let reader = |path: &Path| match key {
        Some(bytes) => Key::from_bytes(bytes).map_err(|_| KeyFileError::Empty(path.to_owned())),
        None => Err(KeyFileError::Missing(path.to_owned())),
    };
    interpret(&tree, &reader)
        .map(|(_, notes)| notes.into_iter().map(|note| note.message).collect())
        .map_err(|problem| describe(&problem))
}
