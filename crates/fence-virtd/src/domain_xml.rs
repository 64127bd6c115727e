//! What the listeners need from a domain's XML: its sockets on this host and its vsock address.
//!
//! The XML is libvirt's, but names and paths in it are the guest owner's, so nothing in it is trusted: size,
//! depth and number of everything are bounded. Whether a path is one that may be used is decided
//! elsewhere, by whoever uses it.

use std::path::PathBuf;

use roxmltree::{Document, Node, ParsingOptions};

/// Longest XML that is read, in bytes. libvirt's own limit for a document is 16 MiB; real ones have 5 to 50 KiB.
pub const MAX_XML: usize = 4 << 20;

/// Most elements, attributes and texts in one document.
const MAX_NODES: u32 = 200_000;

/// Most sockets of either kind in one domain.
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
    pub others: Vec<PathBuf>,
    /// The context identifier of its vsock device, if it has one that is assigned.
    pub cid: Option<u32>,
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
    /// XML of something else.
    #[error("the XML is not that of a domain")]
    NotADomain,
    /// More than [`MAX_SOCKETS`].
    #[error("the domain has more than {MAX_SOCKETS} sockets of one kind")]
    TooManySockets,
}

impl Devices {
    /// Reads the live XML of a domain that is on.
    ///
    /// # Errors
    /// [`BadXml`].
    pub fn of(xml: &str) -> Result<Self, BadXml> {
        if xml.len() > MAX_XML {
            return Err(BadXml::TooLong);
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
            &mut self.others
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
/// [`BadXml`].
pub fn cid_of(xml: &str) -> Result<Option<u32>, BadXml> {
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
    let usable = path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0');
    (listens && usable).then(|| PathBuf::from(path))
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
mod tests {
    use super::*;

    fn domain(devices: &str) -> String {
        format!("<domain type='kvm' id='7'><name>vm</name><devices>{devices}</devices></domain>")
    }

    fn serial(path: &str) -> String {
        format!(
            "<serial type='unix'><source mode='bind' path='{path}'/><target type='isa-serial' port='1'/></serial>"
        )
    }

    #[test]
    fn sockets_that_the_hypervisor_listens_on_are_found() {
        let xml = domain(
            "<serial type='pty'><source path='/dev/pts/3'/></serial>\
             <serial type='unix'><source mode='bind' path='/run/vm.serial'/><target port='1'/></serial>\
             <serial type='unix'><source mode='connect' path='/run/other'/></serial>\
             <console type='unix'><source mode='bind' path='/run/vm.console'/></console>\
             <channel type='unix'><source mode='bind' path='/run/vm.fwd'/>\
             <target type='guestfwd' address='10.0.2.179' port='1229'/></channel>\
             <vsock model='virtio'><cid auto='yes' address='42'/></vsock>",
        );
        let devices = Devices::of(&xml).unwrap();
        assert_eq!(devices.serial, [PathBuf::from("/run/vm.serial")]);
        assert_eq!(devices.guestfwd, [PathBuf::from("/run/vm.fwd")]);
        assert_eq!(devices.others, [PathBuf::from("/run/vm.console")]);
        assert_eq!(devices.sockets().count(), 3);
        assert_eq!(devices.cid, Some(42));
        assert_eq!(cid_of(&xml), Ok(Some(42)));
    }

    #[test]
    fn virtio_channels_are_left_to_their_owners() {
        let xml = domain(
            "<channel type='unix'><source mode='bind' path='/run/agent'/>\
             <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>",
        );
        let devices = Devices::of(&xml).unwrap();
        assert!(devices.serial.is_empty() && devices.guestfwd.is_empty());
        assert_eq!(devices.others, [PathBuf::from("/run/agent")]);
    }

    #[test]
    fn elements_of_other_namespaces_and_places_do_not_count() {
        let xml = format!(
            "<domain xmlns:x='urn:x'><metadata><devices>{0}</devices></metadata>\
             <x:devices>{0}</x:devices><devices><x:serial type='unix'><source mode='bind' path='/a'/></x:serial>\
             <hub>{0}</hub></devices></domain>",
            serial("/run/fake")
        );
        assert_eq!(Devices::of(&xml), Ok(Devices::default()));
    }

    #[test]
    fn paths_that_no_socket_can_have_are_left_out() {
        let long = format!("/{}", "a".repeat(MAX_PATH));
        let xml = domain(&[serial("relative"), serial(""), serial(&long), serial("/ok")].concat());
        assert_eq!(Devices::of(&xml).unwrap().serial, [PathBuf::from("/ok")]);
    }

    #[test]
    fn one_path_named_twice_is_one_socket() {
        let xml = domain(&[serial("/a"), serial("/a"), serial("/b")].concat());
        assert_eq!(Devices::of(&xml).unwrap().serial.len(), 2);
    }

    #[test]
    fn cids_that_are_nobodys_are_none() {
        for address in ["0", "1", "2", "4294967295", "4294967296", "-3", "x", ""] {
            let xml = domain(&format!("<vsock><cid address='{address}'/></vsock>"));
            assert_eq!(cid_of(&xml), Ok(None), "{address}");
        }
        assert_eq!(
            cid_of(&domain("<vsock><cid auto='yes'/></vsock>")),
            Ok(None)
        );
    }

    #[test]
    fn hostile_xml_is_an_error_and_bounded() {
        assert_eq!(Devices::of(&" ".repeat(MAX_XML + 1)), Err(BadXml::TooLong));
        let many: String = (0..=MAX_SOCKETS)
            .map(|n| serial(&format!("/{n}")))
            .collect();
        assert_eq!(Devices::of(&domain(&many)), Err(BadXml::TooManySockets));
        assert_eq!(Devices::of("<network/>"), Err(BadXml::NotADomain));
        let laughs =
            "<!DOCTYPE domain [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]><domain>&b;</domain>";
        for xml in ["", "<domain>", "<domain/><domain/>", "\u{0}", laughs] {
            assert!(
                matches!(Devices::of(xml), Err(BadXml::Malformed(_))),
                "{xml}"
            );
        }
        let wide = domain(&"<a/>".repeat(300_000));
        assert!(matches!(Devices::of(&wide), Err(BadXml::Malformed(_))));
    }

    #[test]
    fn deeply_nested_xml_does_not_exhaust_the_stack() {
        let depth = 100_000;
        let xml = format!(
            "<domain>{}{}</domain>",
            "<a>".repeat(depth),
            "</a>".repeat(depth)
        );
        // On the smallest stack that it is read on.
        let read = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || Devices::of(&xml).is_ok())
            .unwrap();
        let _ = read.join().unwrap();
    }
}
