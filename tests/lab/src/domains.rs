//! The domains that libvirt's test driver is given, and their file.

use core::fmt::Write;
use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// How a domain starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// Running, with a persistent definition.
    Running,
    /// Running, without a definition: gone once it is off.
    Transient,
    /// Paused.
    Paused,
    /// Shut off.
    Off,
}

/// A domain of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// libvirt's name.
    pub name: &'static str,
    /// libvirt's UUID, in lower case.
    pub uuid: &'static str,
    /// The state at the start.
    pub birth: Birth,
}

/// The one that is fenced.
pub const VM1: Domain = domain(
    "vm1",
    "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b01",
    Birth::Running,
);
/// One that is never fenced: it must run on whatever happens to the others.
pub const BYSTANDER: Domain = domain(
    "bystander",
    "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b02",
    Birth::Running,
);
/// The longest name that fits the wire: 63 bytes (row F9).
pub const LONG: Domain = domain(
    "long-name-that-fills-the-field-of-sixty-three-bytes-to-its-end-",
    "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b03",
    Birth::Running,
);
/// A domain that was shut off before the daemon started (row F8).
pub const DARK: Domain = domain("dark", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b04", Birth::Off);
/// A paused domain (row L9).
pub const PAUSED: Domain = domain(
    "paused",
    "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b05",
    Birth::Paused,
);
/// A domain without a definition.
pub const TRANSIENT: Domain = domain(
    "transient",
    "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b06",
    Birth::Transient,
);

/// All of them.
pub const ALL: [Domain; 6] = [VM1, BYSTANDER, LONG, DARK, PAUSED, TRANSIENT];

/// A name that no domain has.
pub const NOBODY: &str = "nobody";

const fn domain(name: &'static str, uuid: &'static str, birth: Birth) -> Domain {
    Domain { name, uuid, birth }
}

/// Writes the test driver's file with all of the lab's domains.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path) -> Result<(), Failure> {
    write_with(path, BYSTANDER, "")
}

/// As [`write`], with more XML for one of them.
///
/// # Errors
/// The file cannot be written.
pub fn write_with(path: &Path, owner: Domain, more: &str) -> Result<(), Failure> {
    let mut xml = String::from("<node>\n");
    for domain in ALL {
        let extra = match domain.birth {
            Birth::Running => "",
            Birth::Transient => "<test:transient/>",
            Birth::Paused => "<test:runstate>3</test:runstate>",
            Birth::Off => "<test:runstate>5</test:runstate>",
        };
        let more = if domain == owner { more } else { "" };
        let extra = format!("{extra}{more}");
        xml.push_str(&definition(domain.name, domain.uuid, &extra)?);
    }
    xml.push_str("</node>\n");
    Ok(fs::write(path, xml)?)
}

/// One domain's XML.
///
/// # Errors
/// None that can happen; writing to a string is fallible in form.
pub fn definition(name: &str, uuid: &str, extra: &str) -> Result<String, Failure> {
    let mut xml = String::new();
    writeln!(
        xml,
        "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
         <name>{name}</name><uuid>{uuid}</uuid><memory>8192</memory>\
         <os><type>hvm</type></os>{extra}</domain>"
    )?;
    Ok(xml)
}
