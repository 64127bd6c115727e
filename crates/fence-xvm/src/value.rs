//! From the text of one option to its value. Every message names the option, the value and what is
//! allowed (row L22).

use core::ops::RangeInclusive;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use fence_proto::{Action, HashAlgorithm};

use crate::input::{Given, InputError};
use crate::serial_params::{self, SerialParams};

/// What the agent is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask a host.
    Ask(Action),
    /// Ask for a list whose lines say the state in any form.
    ListStatus,
    /// Check the options and do nothing.
    ValidateAll,
    /// Print the metadata.
    Metadata,
}

impl Command {
    /// The actions' names, in the order of the metadata.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("null", Self::Ask(Action::Null)),
        ("on", Self::Ask(Action::On)),
        ("off", Self::Ask(Action::Off)),
        ("reboot", Self::Ask(Action::Reboot)),
        ("metadata", Self::Metadata),
        ("status", Self::Ask(Action::Status)),
        ("monitor", Self::Ask(Action::Monitor)),
        ("list", Self::Ask(Action::List)),
        ("list-status", Self::ListStatus),
        ("validate-all", Self::ValidateAll),
    ];
}

/// The largest number that the original's options hold.
const INT_MAX: u64 = 0x7fff_ffff;

/// CIDs below 2 mean any, and the hypervisor; the last one means any (section 3).
const CIDS: RangeInclusive<u64> = 2..=0xffff_fffe;

pub(crate) fn bad(given: &Given, allowed: impl Into<String>) -> InputError {
    InputError::BadValue {
        option: given.written.clone(),
        value: given.value.clone().unwrap_or_default(),
        allowed: allowed.into(),
    }
}

/// The text of an option that cannot do without.
pub(crate) fn text<'a>(given: &'a Given, allowed: &str) -> Result<&'a str, InputError> {
    given
        .value
        .as_deref()
        .filter(|value| !value.is_empty() && !value.contains('\0'))
        .ok_or_else(|| bad(given, allowed))
}

pub(crate) fn command(given: &Given) -> Result<Command, InputError> {
    let value = given.value.as_deref().unwrap_or_default();
    Command::NAMES
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|(_, command)| command)
        .ok_or_else(|| {
            let names = Command::NAMES.map(|(name, _)| name).join(", ");
            bad(given, format!("one of {names}"))
        })
}

/// What stands between the fields of a list.
pub(crate) fn separator(given: &Given) -> Result<String, InputError> {
    let allowed = "text without control characters, such as ','";
    let separator = text(given, allowed)?;
    if crate::text::shown(separator, ' ') != separator {
        return Err(bad(given, allowed));
    }
    Ok(separator.to_owned())
}

/// A number in decimal, or in hexadecimal behind `0x`. A leading zero means octal to some programs,
/// among them the original, and decimal to most people: refused.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let ambiguous = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    if ambiguous || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn number_in(given: &Given, range: RangeInclusive<u64>, what: &str) -> Result<u64, InputError> {
    number(given.value.as_deref().unwrap_or_default())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            bad(
                given,
                format!("{what} from {low} to {high}, without leading zeros"),
            )
        })
}

pub(crate) fn port(given: &Given) -> Result<u16, InputError> {
    let port = number_in(given, 1..=65535, "a port number")?;
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

pub(crate) fn timeout(given: &Given) -> Result<Duration, InputError> {
    number_in(given, 1..=INT_MAX, "whole seconds").map(Duration::from_secs)
}

pub(crate) fn delay(given: &Given) -> Result<Duration, InputError> {
    number_in(given, 0..=INT_MAX, "whole seconds").map(Duration::from_secs)
}

pub(crate) fn retransmit(given: &Given) -> Result<Duration, InputError> {
    let tenths = number_in(given, 1..=INT_MAX, "tenths of a second")?;
    Ok(Duration::from_millis(tenths.saturating_mul(100)))
}

/// Without a value: the host.
pub(crate) fn cid(given: &Given) -> Result<u32, InputError> {
    if given.value.is_none() {
        return Ok(2);
    }
    let cid = number_in(given, CIDS, "a CID")?;
    Ok(u32::try_from(cid).unwrap_or(2))
}

pub(crate) fn hash(given: &Given) -> Result<HashAlgorithm, InputError> {
    given
        .value
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|_| bad(given, "one of none, sha1, sha256, sha512"))
}

/// Without a value: yes.
pub(crate) fn flag(given: &Given) -> Result<bool, InputError> {
    Ok(level(given)? > 0)
}

/// A level, or a yes or no. Without a value: 1.
pub(crate) fn level(given: &Given) -> Result<u8, InputError> {
    let Some(value) = given.value.as_deref() else {
        return Ok(1);
    };
    let word = value.to_ascii_lowercase();
    match word.as_str() {
        "yes" | "true" | "on" => Ok(1),
        "no" | "false" | "off" => Ok(0),
        _ => number(value)
            .and_then(|number| u8::try_from(number).ok())
            .ok_or_else(|| bad(given, "0, 1, yes or no")),
    }
}

pub(crate) fn multicast_group(given: &Given) -> Result<IpAddr, InputError> {
    let allowed = "an IPv4 or IPv6 multicast address, such as 225.0.0.12 or ff05::3:1";
    text(given, allowed)?
        .parse()
        .ok()
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| bad(given, allowed))
}

/// An address to connect to. A scope is taken for IPv6: `fe80::1%eth0`.
pub(crate) fn tcp_address(given: &Given, port: u16) -> Result<SocketAddr, InputError> {
    let allowed = "the IP address of a host, such as 127.0.0.1 or ::1";
    let text = text(given, allowed)?;
    let (ip, scope) = match text.split_once('%') {
        None => (text, 0),
        Some((ip, interface)) => (ip, scope(given, interface)?),
    };
    match ip.parse() {
        Ok(IpAddr::V6(ip)) if !ip.is_multicast() => {
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        }
        Ok(IpAddr::V4(ip)) if scope == 0 && !ip.is_multicast() && !ip.is_broadcast() => {
            Ok(SocketAddr::new(IpAddr::V4(ip), port))
        }
        _ => Err(bad(given, allowed)),
    }
}

pub(crate) fn serial_params(given: &Given) -> Result<SerialParams, InputError> {
    let text = given.value.as_deref().unwrap_or_default();
    text.parse().map_err(|_| bad(given, serial_params::ALLOWED))
}

fn scope(given: &Given, interface: &str) -> Result<u32, InputError> {
    if let Ok(index) = interface.parse() {
        return Ok(index);
    }
    nix::net::if_::if_nametoindex(interface).map_err(|_| {
        bad(
            given,
            format!("on a network interface; there is no '{interface}' here"),
        )
    })
}

/// The name of an interface that exists.
pub(crate) fn interface(given: &Given) -> Result<String, InputError> {
    let name = text(given, "the name of a network interface")?;
    nix::net::if_::if_nametoindex(name)
        .map_err(|_| bad(given, "the name of a network interface that exists here"))?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Opt;

    fn given(value: &str) -> Given {
        Given {
            id: Opt::Timeout,
            written: "-t".to_owned(),
            value: Some(value.to_owned()),
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        for value in [
            "",
            "0",
            "-1",
            "5s",
            "1e3",
            "010",
            "0x",
            "2147483648",
            " 5",
            "+5",
            "٣",
        ] {
            let error = timeout(&given(value)).unwrap_err().to_string();
            assert!(error.starts_with("-t: '"), "{error}");
            assert!(error.contains("from 1 to 2147483647"), "{error}");
        }
        assert_eq!(timeout(&given("5")), Ok(Duration::from_secs(5)));
        assert_eq!(timeout(&given("0x1e")), Ok(Duration::from_secs(30)));
        assert_eq!(delay(&given("0")), Ok(Duration::ZERO));
        assert_eq!(retransmit(&given("5")), Ok(Duration::from_millis(500)));
        assert!(port(&given("65536")).is_err());
        assert_eq!(port(&given("65535")), Ok(65535));
    }

    #[test]
    fn cids_that_are_no_machine_are_refused() {
        for value in ["0", "1", "4294967295", "x"] {
            assert!(cid(&given(value)).is_err(), "{value}");
        }
        assert_eq!(cid(&given("3")), Ok(3));
        assert_eq!(cid(&given("4294967294")), Ok(0xffff_fffe));
    }

    #[test]
    fn group_must_be_a_multicast_address() {
        assert!(multicast_group(&given("225.0.0.12")).is_ok());
        assert!(multicast_group(&given("ff05::3:1")).is_ok());
        for value in ["10.0.0.1", "::1", "group", ""] {
            assert!(multicast_group(&given(value)).is_err(), "{value}");
        }
    }

    #[test]
    fn tcp_address_is_one_host() {
        let address = |value| tcp_address(&given(value), 1229);
        assert_eq!(address("127.0.0.1").unwrap().to_string(), "127.0.0.1:1229");
        assert_eq!(address("::1").unwrap().to_string(), "[::1]:1229");
        assert!(matches!(address("fe80::1%lo"), Ok(SocketAddr::V6(v6)) if v6.scope_id() == 1));
        for value in [
            "225.0.0.12",
            "host.example",
            "",
            "10.0.0.1%lo",
            "fe80::1%nothing-here",
        ] {
            assert!(address(value).is_err(), "{value}");
        }
    }

    #[test]
    fn actions_are_known_in_either_case() {
        assert_eq!(command(&given("OFF")), Ok(Command::Ask(Action::Off)));
        assert_eq!(command(&given("list-status")), Ok(Command::ListStatus));
        let error = command(&given("of")).unwrap_err().to_string();
        assert!(error.contains("validate-all"), "{error}");
    }

    #[test]
    fn flags_are_numbers_or_words() {
        for (value, level_wanted) in [("0", 0), ("1", 1), ("3", 3), ("yes", 1), ("False", 0)] {
            assert_eq!(level(&given(value)), Ok(level_wanted), "{value}");
        }
        assert!(flag(&given("maybe")).is_err());
        assert!(level(&given("256")).is_err());
    }
}
