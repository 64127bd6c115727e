//! One value each: from the file's words to a type, or an error that says what is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use fence_proto::HashAlgorithm;

use super::settings::CpgHost;
use super::tree::{Shown, Text};
use super::view::Note;
use crate::logging::{BadFilter, Filter};

/// Yes or no. The original reads a number here, so that its "yes" means no.
pub(super) fn boolean(value: &Text) -> Result<bool, Note> {
    const NAMES: [(&str, bool); 8] = [
        ("1", true),
        ("0", false),
        ("yes", true),
        ("no", false),
        ("true", true),
        ("false", false),
        ("on", true),
        ("off", false),
    ];
    one_of(value, &NAMES)
}

/// One of several names, without regard to case.
pub(super) fn one_of<T: Copy>(value: &Text, names: &[(&str, T)]) -> Result<T, Note> {
    let named = |(name, _): &&(&str, T)| name.eq_ignore_ascii_case(&value.text);
    if let Some((_, meaning)) = names.iter().find(named) {
        return Ok(*meaning);
    }
    let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    Err(not(value, &format!("one of {}", known.join(", "))))
}

/// A hash by its name.
pub(super) fn hash(value: &Text) -> Result<HashAlgorithm, Note> {
    one_of(
        value,
        &HashAlgorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)),
    )
}

/// A whole number within bounds, in decimal digits and nothing else (row L22).
pub(super) fn number(value: &Text, least: u32, most: u32) -> Result<u32, Note> {
    let digits = value.text.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.text.parse().ok().filter(|_| digits);
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| not(value, &format!("a whole number from {least} to {most}")))
}

/// What is to be logged.
pub(super) fn filter(value: &Text) -> Result<Filter, Note> {
    value
        .text
        .parse()
        .map_err(|error: BadFilter| Note::at(value.position, error.to_string()))
}

/// A TCP or UDP port.
pub(super) fn port(value: &Text) -> Result<u16, Note> {
    let port = number(value, 1, u32::from(u16::MAX))?;
    u16::try_from(port).map_err(|_| not(value, "a port"))
}

/// Internet protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("ipv4", Self::Ipv4), ("ipv6", Self::Ipv6)];

    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    pub(super) const fn loopback(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// The well-known group of section 2.
    pub(super) const fn multicast_group(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::new(225, 0, 0, 12)),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 3, 1)),
        }
    }
}

/// The address to use: the given one, which must be of the given family, or the family's default. A
/// given address without a family decides the family itself (row F21).
pub(super) fn address_in_family(
    address: Option<&Text>,
    family: Option<&Text>,
    default: fn(Family) -> IpAddr,
) -> Result<IpAddr, Note> {
    let stated = family
        .map(|family| one_of(family, &Family::NAMES))
        .transpose()?;
    let Some(text) = address else {
        return Ok(default(stated.unwrap_or(Family::Ipv4)));
    };
    if text.text.eq_ignore_ascii_case("localhost") {
        return Ok(stated.unwrap_or(Family::Ipv4).loopback());
    }
    let address: IpAddr = text.text.parse().map_err(|_| {
        not(
            text,
            "an IPv4 or IPv6 address (names are not looked up, and an interface has its own key)",
        )
    })?;
    match stated {
        Some(family) if family != Family::of(address) => {
            let message = format!(
                "{} is not an {} address: set family = \"{}\" or leave the family out",
                Shown(&text.text),
                family.name(),
                Family::of(address).name()
            );
            Err(Note::at(text.position, message))
        }
        _ => Ok(address),
    }
}

/// The name of a network interface, as far as a name can tell (row L22).
pub(super) fn interface(value: &Text) -> Result<String, Note> {
    // The kernel's IFNAMSIZ has a place for the NUL.
    const LONGEST: usize = 15;
    let name = &value.text;
    let odd = |c: char| c.is_whitespace() || c == '/' || c == ':';
    if name.len() > LONGEST || name.contains(odd) || name == "." || name == ".." {
        let wanted = "the name of a network interface: 1 to 15 bytes without blanks, '/' and ':'";
        return Err(not(value, wanted));
    }
    Ok(name.clone())
}

/// A closed process group's name.
pub(super) fn cluster_group(value: &Text) -> Result<String, Note> {
    // CPG_MAX_NAME_LENGTH has a place for the NUL.
    const LONGEST: usize = 127;
    if value.text.len() > LONGEST {
        return Err(not(value, "a group's name of 1 to 127 bytes"));
    }
    Ok(value.text.clone())
}

/// A host by its number in corosync's configuration, or by its name there.
pub(super) fn cluster_host(value: &Text) -> Result<CpgHost, Note> {
    let text = &value.text;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(value, 1, u32::MAX).map(CpgHost::Id);
    }
    if text.contains(|c: char| c.is_whitespace() || c == ',') {
        let wanted = "one host's name or nodeid, as in corosync.conf: give 'hosts' once for each";
        return Err(not(value, wanted));
    }
    Ok(CpgHost::Name(text.clone()))
}

/// A file or directory, from the root.
pub(super) fn absolute_path(value: &Text) -> Result<PathBuf, Note> {
    let path = PathBuf::from(&value.text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(not(value, "an absolute path (one that starts with '/')"))
    }
}

/// A libvirt URI. libvirt decides what it means; blanks around it can only be a mistake.
pub(super) fn uri(value: &Text) -> Result<String, Note> {
    if value.text.contains(char::is_whitespace) {
        return Err(not(value, "a libvirt URI: it has no blanks"));
    }
    Ok(value.text.clone())
}

/// The error for a value that is not what the key takes.
pub(super) fn not(value: &Text, wanted: &str) -> Note {
    Note::at(
        value.position,
        format!("{} is not {wanted}", Shown(&value.text)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tree::Position;
    use super::*;

    fn text(text: &str) -> Text {
        Text {
            text: text.to_owned(),
            position: Position { line: 3, column: 4 },
        }
    }

    fn address(value: &str, family: Option<&str>) -> Result<String, String> {
        let family = family.map(text);
        address_in_family(Some(&text(value)), family.as_ref(), Family::multicast_group)
            .map(|address| address.to_string())
            .map_err(|note| note.message)
    }

    #[test]
    fn booleans_have_eight_names() {
        for (value, meaning) in [("1", true), ("Yes", true), ("on", true), ("TRUE", true)] {
            assert_eq!(boolean(&text(value)), Ok(meaning));
        }
        for value in ["0", "no", "Off", "false"] {
            assert_eq!(boolean(&text(value)), Ok(false));
        }
        for value in ["2", "-1", "01", "y", " 1", "maybe"] {
            let note = boolean(&text(value)).unwrap_err();
            assert_eq!(note.position, Some(Position { line: 3, column: 4 }));
            assert!(note.message.contains("one of 1, 0, yes, no"), "{note:?}");
        }
    }

    // L22
    #[test]
    fn numbers_are_digits_and_in_range() {
        assert_eq!(number(&text("99"), 0, 99), Ok(99));
        assert_eq!(number(&text("007"), 0, 99), Ok(7));
        for value in [
            "100",
            "-1",
            "+5",
            "5a",
            " 5",
            "5 ",
            "0x5",
            "5.0",
            "",
            "99999999999999999999",
        ] {
            assert!(number(&text(value), 0, 99).is_err(), "{value}");
        }
        assert_eq!(port(&text("65535")), Ok(65535));
        for value in ["0", "65536", "70000", "1229abc"] {
            let message = port(&text(value)).unwrap_err().message;
            assert!(message.contains("from 1 to 65535"), "{message}");
        }
    }

    // F21
    #[test]
    fn an_address_without_family_decides_the_family() {
        assert_eq!(address("ff05::3:1", None).unwrap(), "ff05::3:1");
        assert_eq!(address("225.0.0.12", None).unwrap(), "225.0.0.12");
        assert_eq!(address("LocalHost", Some("ipv6")).unwrap(), "::1");
        assert_eq!(address("localhost", None).unwrap(), "127.0.0.1");
    }

    // L22
    #[test]
    fn an_address_of_the_other_family_or_none_is_refused() {
        let message = address("225.0.0.12", Some("ipv6")).unwrap_err();
        assert!(message.contains("is not an ipv6 address: set family = \"ipv4\""));
        assert!(address("::1", Some("IPv4")).is_err());
        for value in [
            "225.0.0",
            "225.0.0.012",
            "host",
            "fe80::1%eth0",
            "1.2.3.4:5",
            "1.2.3.4/8",
        ] {
            assert!(
                address(value, None)
                    .unwrap_err()
                    .contains("is not an IPv4 or IPv6")
            );
        }
        assert!(
            address("::1", Some("auto"))
                .unwrap_err()
                .contains("one of ipv4, ipv6")
        );
    }

    #[test]
    fn the_family_decides_the_default_address() {
        let default = |family: Option<&str>, default| {
            let family = family.map(text);
            address_in_family(None, family.as_ref(), default)
                .unwrap()
                .to_string()
        };
        assert_eq!(default(None, Family::multicast_group), "225.0.0.12");
        assert_eq!(default(Some("IPV6"), Family::multicast_group), "ff05::3:1");
        assert_eq!(default(Some("ipv6"), Family::loopback), "::1");
        assert_eq!(default(None, Family::loopback), "127.0.0.1");
    }

    // L22
    #[test]
    fn interface_names_are_checked() {
        for name in ["virbr0", "eth0.100", "a23456789012345"] {
            assert_eq!(interface(&text(name)), Ok(name.to_owned()));
        }
        for name in [" ", "virbr0 ", "a234567890123456", "a/b", "eth0:1", "."] {
            assert!(interface(&text(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn paths_are_absolute_and_uris_without_blanks() {
        assert!(absolute_path(&text("/run/guests")).is_ok());
        assert!(absolute_path(&text("guests")).is_err());
        assert!(uri(&text("qemu+ssh://root@host/system?keyfile=/k")).is_ok());
        assert!(uri(&text("qemu:///system ")).is_err());
    }
}
