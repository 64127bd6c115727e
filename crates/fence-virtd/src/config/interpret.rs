//! From the tree to the settings: which sections count, what each key means, what is missing.
//!
//! Pure but for the key reader that the caller passes in.

use std::path::Path;

use fence_proto::{Access, HashAlgorithm, Key};

use super::backends;
use super::groups;
use super::key_file::KeyFileError;
use super::listeners;
use super::schema::{BACKENDS, FENCE_VIRTD, LISTENERS, ROOT};
use super::selection::Selection;
use super::settings::{DaemonSettings, Listener, ListenerSettings, Settings};
use super::tree::{Position, Tree};
use super::values::{boolean, filter};
use super::view::{Note, View};

/// Reads a key file; [`super::key_file::read`], or something that touches no files.
pub type KeyReader<'a> = &'a dyn Fn(&Path) -> Result<Key, KeyFileError>;

/// Why there are no settings.
#[derive(Debug)]
pub enum Problem {
    /// Something in the file is wrong, or something is not in it.
    Setting(Note),
    /// The key file that the chosen listener needs cannot be used.
    Key {
        /// Where it is named, or where the listener's section is.
        position: Option<Position>,
        /// What is wrong with it.
        source: KeyFileError,
    },
}

impl From<Note> for Problem {
    fn from(note: Note) -> Self {
        Self::Setting(note)
    }
}

/// Makes settings of a tree, with notes about what is odd but usable, in the file's order.
///
/// # Errors
/// The first [`Problem`] found.
pub fn interpret(tree: &Tree, read_key: KeyReader<'_>) -> Result<(Settings, Vec<Note>), Problem> {
    let mut notes = Vec::new();
    let root = View::of_items(&ROOT, &tree.items, &mut notes)?;
    let daemon = root.child(&FENCE_VIRTD, &mut notes)?;
    let listeners = root.child(&LISTENERS, &mut notes)?;
    let sections = root.child(&BACKENDS, &mut notes)?;

    let names = daemon.list("listener");
    if names.is_empty() {
        return Err(unchosen(&daemon, "listener", "multicast (or tcp, vsock, serial)").into());
    }
    let backend = daemon.value("backend");
    let backend = backend.ok_or_else(|| unchosen(&daemon, "backend", "libvirt (or cpg)"))?;
    let selection = Selection::of(names, &listeners, &mut notes)?;
    let backend = backends::settings(backend, &daemon, &sections, &mut notes)?;
    let daemon = daemon_settings(&daemon, &mut notes)?;
    let rules = groups::rules(&root, &selection, &mut notes)?;
    let settings = listeners::settings(&selection, read_key, &mut notes)?;
    let listeners = selection.chosen.iter().zip(settings).zip(rules);
    let listeners = listeners.map(|((candidate, settings), access)| {
        let section = candidate.section.map(|section| section.name.position);
        let odd = unproven_groups(&settings, &access);
        notes.extend(odd.map(|message| Note::new(section, message)));
        Listener {
            name: candidate.name().to_owned(),
            settings,
            access,
        }
    });
    let listeners = listeners.collect();
    notes.sort_by_key(|note| note.position);
    let settings = Settings {
        daemon,
        listeners,
        backend,
    };
    Ok((settings, notes))
}

/// Without a handshake the call-back address, by which groups go, is whatever the request says.
fn unproven_groups(listener: &ListenerSettings, access: &Access) -> Option<&'static str> {
    match listener {
        ListenerSettings::Multicast(multicast)
            if access.is_restricted() && multicast.authentication.auth == HashAlgorithm::None =>
        {
            Some("auth is none: nothing proves the addresses that its groups go by")
        }
        _ => None,
    }
}

/// `listener` or `backend` is not there; they have no default.
fn unchosen(daemon: &View<'_>, key: &'static str, example: &'static str) -> Note {
    let message = match daemon.position {
        None => {
            "there is no section 'fence_virtd', which names the listener and the backend".to_owned()
        }
        Some(_) => format!("section 'fence_virtd' names no {key}: set {key} to {example}"),
    };
    Note::new(daemon.position, message)
}

fn daemon_settings(daemon: &View<'_>, notes: &mut Vec<Note>) -> Result<DaemonSettings, Note> {
    let flag = |key| daemon.value(key).map(boolean).transpose();
    let older = flag("wait_for_backend")?;
    let module_path = daemon.value("module_path");
    if let Some(path) = module_path {
        let message = "'module_path' means nothing here: listeners and backends are built in";
        notes.push(Note::at(path.position, message));
    }
    let debug = daemon.value("debug").map(filter).transpose()?;
    Ok(DaemonSettings {
        foreground: flag("foreground")?.unwrap_or(false),
        wait_for_init: flag("wait_for_init")?.or(older).unwrap_or(false),
        debug: debug.unwrap_or_default(),
        module_path: module_path.map(|path| path.text.clone()),
    })
}
