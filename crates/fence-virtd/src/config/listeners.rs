//! The sections of the chosen listeners, and what their keys and hashes are worth.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use fence_proto::{HashAlgorithm, Key};

use super::interpret::{KeyReader, Problem};
use super::key_file::KeyFileError;
use super::selection::{Candidate, Kind, Selection};
use super::settings::{
    Authentication, DEFAULT_KEY_FILE, DEFAULT_PORT, ListenerSettings, MulticastSettings,
    SerialMode, SerialSettings, TcpSettings, VsockSettings,
};
use super::tree::Shown;
use super::values::{
    Family, absolute_path, address_in_family, boolean, hash, interface, not, number, one_of, port,
    uri,
};
use super::view::{Note, View};

/// A key shorter than this can be guessed, or is a word.
const SHORT_KEY: usize = 16;

/// Reads the sections of the chosen listeners, in their order. The names in the others are checked,
/// their values are not, and their key files stay unread.
pub(super) fn settings(
    selection: &Selection<'_>,
    read_key: KeyReader<'_>,
    notes: &mut Vec<Note>,
) -> Result<Vec<ListenerSettings>, Problem> {
    for idle in &selection.idle {
        view(idle, notes)?;
    }
    let mut all: Vec<ListenerSettings> = Vec::new();
    for candidate in &selection.chosen {
        let section = view(candidate, notes)?;
        let settings = match candidate.kind {
            Kind::Multicast => multicast(&section, read_key, notes)?,
            Kind::Tcp => tcp(&section, read_key, notes)?,
            Kind::Vsock => vsock(&section, read_key, notes)?,
            Kind::Serial => serial(&section)?,
        };
        let mut others = all.iter().zip(&selection.chosen);
        if let Some((_, other)) = others.find(|(other, _)| collide(other, &settings)) {
            return Err(in_the_way(candidate, other).into());
        }
        all.push(settings);
    }
    Ok(all)
}

fn view<'t>(candidate: &Candidate<'t>, notes: &mut Vec<Note>) -> Result<View<'t>, Note> {
    let schema = candidate.kind.schema();
    let section = candidate.section;
    section.map_or_else(
        || Ok(View::absent()),
        |section| View::of(schema, section, notes),
    )
}

/// Whether two listeners would hear the same requests, or keep each other from listening.
pub(super) fn collide(one: &ListenerSettings, other: &ListenerSettings) -> bool {
    use ListenerSettings::{Multicast, Serial, Tcp, Vsock};
    match (one, other) {
        (Multicast(one), Multicast(other)) => {
            let overlap = match (&one.interface, &other.interface) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            };
            (one.address, one.port) == (other.address, other.port) && overlap
        }
        (Tcp(one), Tcp(other)) => {
            let (one, other) = (one.address, other.address);
            let overlap =
                one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && overlap
        }
        (Vsock(one), Vsock(other)) => one.port == other.port,
        (Serial(one), Serial(other)) => {
            let overlap = match (&one.path, &other.path) {
                (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
                _ => true,
            };
            (&one.uri, one.mode) == (&other.uri, other.mode) && overlap
        }
        _ => false,
    }
}

fn in_the_way(candidate: &Candidate<'_>, other: &Candidate<'_>) -> Note {
    let cure = match candidate.kind {
        Kind::Multicast => "another address or port, or each an 'interface' of its own",
        Kind::Tcp => "another address or port",
        Kind::Vsock => "another port",
        Kind::Serial => "a 'path' that is not within the other's",
    };
    let position = candidate.section.map(|section| section.name.position);
    let line = other.section.map(|section| section.name.position.line);
    let line = line.map_or_else(String::new, |line| format!(" (line {line})"));
    let message = format!(
        "the listener {} would listen where {}{line} does: give it {cure}",
        Shown(candidate.name()),
        Shown(other.name()),
    );
    Note::new(position, message)
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
    let text = section.value("answer_unknown");
    let answer_unknown = text.map_or(Ok(true), boolean)?;
    let authentication = authentication(section, read_key, notes)?;
    if let Some(text) = text
        && !answer_unknown
        && authentication.hash == HashAlgorithm::None
    {
        let message = "hash is none: whoever reaches the listener has libvirt asked for domains";
        notes.push(Note::at(text.position, message));
    }
    Ok(ListenerSettings::Multicast(MulticastSettings {
        authentication,
        address,
        port,
        interface,
        answer_unknown,
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
