//! One value on its own, as somebody types it: whether the file could have it.

use std::net::IpAddr;

use super::tree::{Position, Text};
use super::values::{Family, absolute_path, address_in_family, interface, number, port, uri};
use super::view::Note;

/// What a value is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A multicast address.
    Group,
    /// An address to listen on.
    Address,
    /// A TCP or UDP port.
    Port,
    /// A vsock port.
    VsockPort,
    /// The name of a network interface.
    Interface,
    /// A file or a directory, from the root.
    Path,
    /// A libvirt URI.
    Uri,
}

/// Checks a value as the configuration file's is checked.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn check_answer(wanted: Wanted, answer: &str) -> Result<(), String> {
    if answer.is_empty() || answer.contains(|c: char| c.is_control() || c == '"') {
        return Err("a value has no quotes and no control characters, and is not empty".to_owned());
    }
    let text = Text {
        text: answer.to_owned(),
        position: Position::default(),
    };
    check(wanted, &text).map_err(|note| note.message)
}

fn check(wanted: Wanted, text: &Text) -> Result<(), Note> {
    match wanted {
        Wanted::Group => {
            let address = address_in_family(Some(text), None, Family::multicast_group)?;
            if address.is_multicast() {
                Ok(())
            } else {
                let message =
                    format!("{address} is no multicast address (224.0.0.0/4 or ff00::/8)");
                Err(Note::new(None, message))
            }
        }
        Wanted::Address => {
            let address = address_in_family(Some(text), None, Family::loopback)?;
            if address.is_multicast() {
                let message =
                    format!("{address} is a multicast address, and nobody can listen there by TCP");
                return Err(Note::new(None, message));
            }
            Ok(())
        }
        Wanted::Port => port(text).map(drop),
        Wanted::VsockPort => number(text, 1, u32::MAX.saturating_sub(1)).map(drop),
        Wanted::Interface => interface(text).map(drop),
        Wanted::Path => absolute_path(text).map(drop),
        Wanted::Uri => uri(text).map(drop),
    }
}

/// The family of an address, as the file writes it.
#[must_use]
pub fn family_name(address: &str) -> &'static str {
    match address.parse() {
        Ok(IpAddr::V6(_)) => "ipv6",
        _ => "ipv4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_held_to_what_the_file_is_held_to() {
        for (wanted, good, bad) in [
            (Wanted::Group, "225.0.0.12", "10.0.0.1"),
            (Wanted::Group, "ff05::3:1", "here"),
            (Wanted::Address, "0.0.0.0", "225.0.0.12"),
            (Wanted::Address, "localhost", "example"),
            (Wanted::Port, "1229", "0"),
            (Wanted::VsockPort, "70000", "-1"),
            (Wanted::Interface, "virbr0", "a/b"),
            (Wanted::Path, "/etc/key", "key"),
            (Wanted::Uri, "qemu:///system", "qemu: system"),
        ] {
            assert_eq!(check_answer(wanted, good), Ok(()), "{good}");
            for bad in [bad, "", "a\"b", "a\nb"] {
                assert!(check_answer(wanted, bad).is_err(), "{bad:?}");
            }
        }
        assert_eq!(family_name("ff05::3:1"), "ipv6");
        assert_eq!(family_name("225.0.0.12"), "ipv4");
    }
}
