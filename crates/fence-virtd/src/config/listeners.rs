//! The section of the chosen listener, and what its key and hashes are worth.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use fence_proto::{HashAlgorithm, Key};

use super::interpret::{KeyReader, Problem};
use super::key_file::KeyFileError;
use super::schema::{MULTICAST, SERIAL, Schema, TCP, VSOCK};
use super::settings::{
    Authentication, DEFAULT_KEY_FILE, DEFAULT_PORT, ListenerSettings, MulticastSettings,
    SerialMode, SerialSettings, TcpSettings, VsockSettings,
};
use super::tree::Text;
use super::values::{
    Family, absolute_path, address_in_family, hash, interface, not, number, one_of, port, uri,
};
use super::view::{Note, View};

/// A key shorter than this can be guessed, or is a word.
const SHORT_KEY: usize = 16;

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Multicast,
    Tcp,
    Vsock,
    Serial,
}

impl Kind {
    const ALL: [(&'static str, Self); 4] = [
        ("multicast", Self::Multicast),
        ("tcp", Self::Tcp),
        ("vsock", Self::Vsock),
        ("serial", Self::Serial),
    ];

    const fn schema(self) -> &'static Schema {
        match self {
            Self::Multicast => &MULTICAST,
            Self::Tcp => &TCP,
            Self::Vsock => &VSOCK,
            Self::Serial => &SERIAL,
        }
    }
}

/// The listener that `listener` names.
pub(super) fn kind(name: &Text) -> Result<Kind, Note> {
    one_of(name, &Kind::ALL)
}

/// Reads the chosen listener's section. The names in the others are checked, their values are not,
/// and their key files stay unread.
pub(super) fn settings(
    kind: Kind,
    listeners: &View<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<ListenerSettings, Problem> {
    for (_, other) in Kind::ALL {
        if other != kind {
            listeners.child(other.schema(), notes)?;
        }
    }
    let section = listeners.child(kind.schema(), notes)?;
    Ok(match kind {
        Kind::Multicast => multicast(&section, read_key, notes)?,
        Kind::Tcp => tcp(&section, read_key, notes)?,
        Kind::Vsock => vsock(&section, read_key, notes)?,
        Kind::Serial => serial(&section)?,
    })
}

fn multicast(
    section: &View<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<ListenerSettings, Problem> {
    let text = section.value("address");
    let address = address_in_family(text, section.value("family"), Family::multicast_group)?;
    if let Some(text) = text
        && !address.is_multicast()
    {
        return Err(not(text, "a multicast address (224.0.0.0/4 or ff00::/8)").into());
    }
    let port = section.value("port").map_or(Ok(DEFAULT_PORT), port)?;
    let interface = section.value("interface").map(interface).transpose()?;
    Ok(ListenerSettings::Multicast(MulticastSettings {
        authentication: authentication(section, read_key, notes)?,
        address,
        port,
        interface,
    }))
}

fn tcp(
    section: &View<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<ListenerSettings, Problem> {
    let text = section.value("address");
    let address = address_in_family(text, section.value("family"), Family::loopback)?;
    let nobodys = match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    };
    if let Some(text) = text
        && nobodys
    {
        return Err(not(text, "an address of this host").into());
    }
    let port = section.value("port").map_or(Ok(DEFAULT_PORT), port)?;
    Ok(ListenerSettings::Tcp(TcpSettings {
        authentication: authentication(section, read_key, notes)?,
        address: SocketAddr::new(address, port),
    }))
}

fn vsock(
    section: &View<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<ListenerSettings, Problem> {
    // 0xffffffff is VMADDR_PORT_ANY.
    let port = section
        .value("port")
        .map_or(Ok(u32::from(DEFAULT_PORT)), |value| {
            number(value, 1, u32::MAX.saturating_sub(1))
        })?;
    Ok(ListenerSettings::Vsock(VsockSettings {
        authentication: authentication(section, read_key, notes)?,
        port,
    }))
}

fn serial(section: &View<'_>) -> Result<ListenerSettings, Note> {
    const MODES: [(&str, SerialMode); 2] = [
        ("serial", SerialMode::Serial),
        ("vmchannel", SerialMode::Vmchannel),
    ];
    let mode = section.value("mode");
    Ok(ListenerSettings::Serial(SerialSettings {
        uri: section.value("uri").map(uri).transpose()?,
        path: section.value("path").map(absolute_path).transpose()?,
        mode: mode.map_or(Ok(SerialMode::Serial), |mode| one_of(mode, &MODES))?,
    }))
}

/// `hash`, `auth` and the key. With both at none a key is not needed, but one that is there is read,
/// so that signed frames can still be checked.
fn authentication(
    section: &View<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<Authentication, Problem> {
    let algorithm = |key| section.value(key).map_or(Ok(HashAlgorithm::Sha256), hash);
    let (hash, auth) = (algorithm("hash")?, algorithm("auth")?);
    let file = section.value("key_file");
    let path = Path::new(file.map_or(DEFAULT_KEY_FILE, |file| file.text.as_str()));
    let position = file.map_or(section.position, |file| Some(file.position));
    let needed = hash != HashAlgorithm::None || auth != HashAlgorithm::None;
    let key = match read_key(path) {
        Ok(key) => Some(key),
        Err(source) if needed => return Err(Problem::Key { position, source }),
        Err(KeyFileError::Missing(_)) if file.is_none() => None,
        Err(error) => {
            let message = format!("{error} (hash and auth are none, so it is not needed)");
            notes.push(Note::new(position, message));
            None
        }
    };
    let authentication = Authentication { key, hash, auth };
    let advice = advice(&authentication, path);
    notes.extend(advice.map(|message| Note::new(position, message)));
    Ok(authentication)
}

/// What is weak about the authentication, if anything; the worst only.
fn advice(authentication: &Authentication, path: &Path) -> Option<String> {
    let Authentication { key, hash, auth } = authentication;
    match (hash, auth) {
        (HashAlgorithm::None, HashAlgorithm::None) => {
            return Some(
                "hash and auth are none: whoever reaches the listener can fence".to_owned(),
            );
        }
        (_, HashAlgorithm::None) => {
            return Some("auth is none: whoever has recorded a request can repeat it".to_owned());
        }
        _ => {}
    }
    let key = key.as_ref()?;
    let weakness = if key.len() < SHORT_KEY {
        "is short enough to be guessed"
    } else if forgeable(key, *hash, *auth) {
        "has a length that lets an eavesdropper turn an answered challenge into a signed request"
    } else {
        return None;
    };
    Some(format!(
        "the key in {} ({} bytes) {weakness}: give all hosts and guests a new key of 4096 bytes (dd \
         if=/dev/urandom of=FILE bs=4096 count=1)",
        path.display(),
        key.len()
    ))
}

/// Row L33. The extended challenge answer has the hash that `auth` has; a frame signed with it is
/// taken only if it is no weaker than `hash`.
fn forgeable(key: &Key, hash: HashAlgorithm, auth: HashAlgorithm) -> bool {
    auth >= hash && key.allows_length_extension(auth)
}
