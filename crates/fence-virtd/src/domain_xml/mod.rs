//! What the listeners need from a domain's XML: its sockets on this host and its vsock address.
//!
//! The XML is libvirt's, but names, paths and metadata in it are the guest owner's, so nothing in it is trusted: size,
//! depth and number of everything are bounded, and so is the time that reading takes. Whether a path is one that
//! may be used is decided elsewhere, by whoever uses it.

mod raw;

use std::collections::BTreeSet;
use std::path::PathBuf;

use roxmltree::{Document, Node, ParsingOptions};

/// Longest XML that is read, in bytes, without the metadata. libvirt sends no longer ones; real ones have 5 to 50 KiB.
pub const MAX_XML: usize = 4 << 20;

/// Most elements, attributes and texts in one document.
const MAX_NODES: u32 = 200_000;

/// Most sockets of either kind that are served in one domain.
pub const MAX_SOCKETS: usize = 64;

/// Longest path that can be a unix socket's (sun_path without its NUL).
const MAX_PATH: usize = 107;

/// Longest error of the parser that is passed on, in characters.
const MAX_MESSAGE: usize = 200;

/// What a domain has for talking to its host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Sockets of `<serial type='unix'>` that the hypervisor listens on.
    pub serial: Vec<PathBuf>,
    /// Sockets of `<channel type='unix'>` with a guestfwd target that the hypervisor listens on.
    pub guestfwd: Vec<PathBuf>,
    /// Sockets of everything else that the hypervisor listens on: not to be connected to, but not another
    /// domain's either.
    pub others: BTreeSet<PathBuf>,
    /// The context identifier of its vsock device, if it has one that is assigned.
    pub cid: Option<u32>,
}

/// XML that tells nothing of a domain's devices but the sockets that may be its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// Why it tells no more.
    pub why: BadXml,
    /// Everything that may be a socket of it: more than it has, never fewer.
    pub sockets: BTreeSet<PathBuf>,
}

/// Why XML was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadXml {
    /// More than [`MAX_XML`] bytes.
    #[error("the domain's XML is longer than {MAX_XML} bytes")]
    TooLong,
    /// Not XML, or too many nodes.
    #[error("the domain's XML cannot be read: {0}")]
    Malformed(String),
    /// More namespaces or attributes than libvirt writes: parsing it might take for ever.
    #[error("the domain's XML has too many namespaces, or too many attributes in one place")]
    TooComplex,
    /// XML of something else.
    #[error("the XML is not that of a domain")]
    NotADomain,
    /// More than [`MAX_SOCKETS`].
    #[error("the domain has more than {MAX_SOCKETS} sockets of one kind")]
    TooManySockets,
}

impl Devices {
    /// Reads the live XML of a domain that is on. Its metadata are not looked at.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of(xml: &str) -> Result<Self, Unreadable> {
        let xml = raw::without_metadata(xml);
        Self::parse(&xml).map_err(|why| Unreadable {
            why,
            sockets: raw::paths(&xml),
        })
    }

    fn parse(xml: &str) -> Result<Self, BadXml> {
        if xml.len() > MAX_XML {
            return Err(BadXml::TooLong);
        }
        if !raw::is_plain(xml) {
            return Err(BadXml::TooComplex);
        }
        let options = ParsingOptions {
            allow_dtd: false,
            nodes_limit: MAX_NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(xml, options)
            .map_err(|error| BadXml::Malformed(readable(&error)))?;
        let root = document.root_element();
        if !is(root, "domain") {
            return Err(BadXml::NotADomain);
        }
        let mut devices = Self::default();
        let children = root.children().filter(|node| is(*node, "devices"));
        for device in children.flat_map(|node| node.children()) {
            devices.take(device)?;
        }
        Ok(devices)
    }

    fn take(&mut self, device: Node<'_, '_>) -> Result<(), BadXml> {
        if is(device, "vsock") && self.cid.is_none() {
            self.cid = cid(device);
        }
        let Some(path) = listening_socket(device) else {
            return Ok(());
        };
        let sockets = if is(device, "serial") {
            &mut self.serial
        } else if is(device, "channel") && is_guestfwd(device) {
            &mut self.guestfwd
        } else {
            self.others.insert(path);
            return Ok(());
        };
        if sockets.contains(&path) {
            return Ok(());
        }
        if sockets.len() >= MAX_SOCKETS {
            return Err(BadXml::TooManySockets);
        }
        sockets.push(path);
        Ok(())
    }

    /// All sockets that the hypervisor listens on for the domain.
    pub fn sockets(&self) -> impl Iterator<Item = &PathBuf> {
        let lines = self.serial.iter().chain(&self.guestfwd);
        lines.chain(&self.others)
    }
}

/// The vsock CID of the domain with this live XML; none if it has no vsock device or no CID is assigned.
///
/// # Errors
/// [`Unreadable`].
pub fn cid_of(xml: &str) -> Result<Option<u32>, Unreadable> {
    Devices::of(xml).map(|devices| devices.cid)
}

/// The parser's word, fit for a log: it may quote what the XML holds.
fn readable(error: &roxmltree::Error) -> String {
    let text = error.to_string();
    let plain = text.chars().map(|character| match character {
        character if character.is_control() => '?',
        other => other,
    });
    plain.take(MAX_MESSAGE).collect()
}

/// libvirt's own elements are in no namespace; those of others (qemu:, user metadata) do not count.
fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().namespace().is_none() && node.tag_name().name() == name
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| is(*child, name))
}

/// The path of a unix socket on which the hypervisor listens: of one that it connects to itself the other
/// end is somebody else's.
fn listening_socket(device: Node<'_, '_>) -> Option<PathBuf> {
    let plain = device.is_element() && device.tag_name().namespace().is_none();
    if !plain || device.attribute("type") != Some("unix") {
        return None;
    }
    let source = child(device, "source")?;
    let path = source.attribute("path")?;
    let listens = source.attribute("mode") == Some("bind");
    usable(path).filter(|_| listens)
}

/// The path, if it can be a unix socket's.
fn usable(path: &str) -> Option<PathBuf> {
    let usable = path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0');
    usable.then(|| PathBuf::from(path))
}

/// Other channels (virtio: the guest agent, SPICE) belong to other programs, which can connect only while
/// nobody else does.
fn is_guestfwd(channel: Node<'_, '_>) -> bool {
    child(channel, "target").is_some_and(|target| target.attribute("type") == Some("guestfwd"))
}

/// CIDs 0 to 2 and the highest are nobody's.
fn cid(vsock: Node<'_, '_>) -> Option<u32> {
    let address = child(vsock, "cid")?.attribute("address")?;
    let cid: u32 = address.parse().ok()?;
    (cid > 2 && cid < u32::MAX).then_some(cid)
}

#[cfg(test)]
mod tests;
