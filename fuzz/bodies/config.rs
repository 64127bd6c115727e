//! Configuration files: any bytes are settings, or an error that names its place in one line.

use std::path::Path;

use fence_proto::Key;
use fence_virtd::config::{Form, KeyFileError, Position, Problem, interpret, parse_bytes};

/// Parses and checks them as a file of this form; key files are never opened.
pub(crate) fn run(form: Form, data: &[u8]) {
    let tree = match parse_bytes(data, form) {
        Ok(tree) => tree,
        Err(error) => {
            is_one_line(&error.message);
            return is_inside(data, error.position);
        }
    };
    let read_key =
        |path: &Path| Key::from_bytes(b"fuzz").map_err(|_| KeyFileError::Missing(path.to_owned()));
    let notes = match interpret(&tree, &read_key) {
        Ok((_, notes)) => notes,
        Err(Problem::Setting(note)) => vec![note],
        Err(Problem::Key { source, .. }) => panic!("the key was there: {source}"),
    };
    for note in notes {
        is_one_line(&note.message);
        if let Some(position) = note.position {
            is_inside(data, position);
        }
    }
}

/// What is written to a log must not look like two entries.
fn is_one_line(message: &str) {
    assert!(
        !message.is_empty() && !message.contains(char::is_control),
        "{message:?}"
    );
}

/// An editor can go there.
fn is_inside(data: &[u8], position: Position) {
    let line = position.line as usize;
    let lines = data.split(|byte| *byte == b'\n');
    let text = lines.clone().nth(line.wrapping_sub(1));
    let text = text.unwrap_or_else(|| panic!("{position} is not in {} lines", lines.count()));
    let columns = String::from_utf8_lossy(text).chars().count() + 1;
    assert!(
        (1..=columns).contains(&(position.column as usize)),
        "{position} of {columns}"
    );
}
