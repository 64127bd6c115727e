//! Section `groups`: who may fence whom.
//!
//! No section, or an empty one, allows everything, as in the original. A section that holds anything
//! restricts: what cannot be understood in it must not widen access, so it is an error here where
//! the original goes on and allows everything.

use std::net::IpAddr;

use fence_proto::Access;
use fence_proto::access::{Group, GroupMember, GroupSource};

use super::listeners::Kind;
use super::schema::{GROUP, GROUPS};
use super::tree::{Section, Text};
use super::values::not;
use super::view::{Note, View};

/// Reads all groups. `kind` tells which kind of source can ever ask.
pub(super) fn access(root: &View<'_>, kind: Kind, notes: &mut Vec<Note>) -> Result<Access, Note> {
    let Some(section) = root.section(&GROUPS) else {
        return Ok(Access::unrestricted());
    };
    let position = section.name.position;
    let groups = root.child(&GROUPS, notes)?;
    if !groups.repeated().is_empty() {
        let groups = groups
            .repeated()
            .iter()
            .map(|section| group(section, kind, notes));
        return Ok(Access::groups(groups.collect::<Result<_, _>>()?));
    }
    if !section.items.is_empty() {
        let message = "section 'groups' has no section 'group' in it, so it restricts nothing: write \
                       groups { group { uuid = \"DOMAIN\"; ip = \"GUEST\"; } }";
        return Err(Note::at(position, message));
    }
    if let Some(earlier) = root.replaced(&GROUPS).find(|other| !other.items.is_empty()) {
        let message = format!(
            "this empty 'groups' would undo the one in line {}: remove one of them",
            earlier.name.position.line
        );
        return Err(Note::at(position, message));
    }
    let message = "section 'groups' is empty: everybody with the key may fence everything";
    notes.push(Note::at(position, message));
    Ok(Access::unrestricted())
}

fn group(section: &Section, kind: Kind, notes: &mut Vec<Note>) -> Result<Group, Note> {
    let view = View::of(&GROUP, section, notes)?;
    let name = view.title.or_else(|| view.value("name"));
    let members: Vec<_> = view.list("uuid").to_vec();
    let mut sources = Vec::new();
    for value in view.list("ip") {
        let parsed = source(value)?;
        if let Some(message) = useless(parsed, kind) {
            notes.push(Note::at(value.position, message));
        }
        sources.push(parsed);
    }
    let position = section.name.position;
    if members.is_empty() {
        let message = "this group has no 'uuid', so it allows nothing";
        notes.push(Note::at(position, message));
    } else if sources.is_empty() && kind != Kind::Serial {
        let message = "this group has no 'ip', so nobody is in it who could fence its members";
        notes.push(Note::at(position, message));
    }
    Ok(Group {
        name: name.map(|name| name.text.clone()),
        members: members
            .iter()
            .map(|member| GroupMember::parse(&member.text))
            .collect(),
        sources,
    })
}

/// An IP address or a vsock CID.
fn source(value: &Text) -> Result<GroupSource, Note> {
    if let Ok(address) = value.text.parse::<IpAddr>() {
        // Requests over IPv6 sockets may come from IPv4 addresses in disguise; one form of each.
        let address = address.to_canonical();
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if address.is_unspecified() || address.is_multicast() || broadcast {
            return Err(not(value, "the address of a guest"));
        }
        return Ok(GroupSource::Ip(address));
    }
    let digits = value.text.bytes().all(|byte| byte.is_ascii_digit());
    match value.text.parse() {
        // 0 is the hypervisor, 0xffffffff stands for any.
        Ok(0 | u32::MAX) if digits => Err(not(value, "the vsock CID of a guest")),
        Ok(cid) if digits => Ok(GroupSource::Cid(cid)),
        _ => Err(not(
            value,
            "an IP address or a vsock CID; names and networks are not known here",
        )),
    }
}

/// What to say about a source that this listener never sees.
fn useless(source: GroupSource, kind: Kind) -> Option<&'static str> {
    match (source, kind) {
        (GroupSource::Cid(_), Kind::Multicast | Kind::Tcp) => {
            Some("a number is a vsock CID: this listener knows guests by their IP address")
        }
        (GroupSource::Ip(_), Kind::Vsock) => {
            Some("the vsock listener knows guests by their CID, not by an address")
        }
        (_, Kind::Serial) => {
            Some("the serial listener knows guests by the UUID of their domain, not by 'ip'")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fence_proto::{DomainIdentity, Source};

    use super::super::conf;
    use super::super::schema::ROOT;
    use super::*;

    fn read(text: &str, kind: Kind) -> (Result<Access, String>, Vec<String>) {
        let tree = conf::parse(text).unwrap();
        let mut notes = Vec::new();
        let root = View::of_items(&ROOT, &tree.items, &mut notes).unwrap();
        let access = access(&root, kind, &mut notes).map_err(|note| note.message);
        let notes = notes.into_iter().map(|note| note.message).collect();
        (access, notes)
    }

    fn allows(access: &Access, source: Source) -> bool {
        let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f".parse().unwrap();
        let name = "test".to_owned();
        access.allows(source, &DomainIdentity { name, uuid })
    }

    fn ip(text: &str) -> Source {
        Source::Ip(text.parse().unwrap())
    }

    #[test]
    fn without_groups_everything_is_allowed() {
        let (access, notes) = read("", Kind::Tcp);
        assert!(!access.unwrap().is_restricted());
        assert!(notes.is_empty());
    }

    // F16
    #[test]
    fn an_empty_groups_section_allows_everything_and_says_so() {
        let (access, notes) = read("groups { }", Kind::Tcp);
        assert!(!access.unwrap().is_restricted());
        assert!(notes[0].contains("everybody with the key"), "{notes:?}");
    }

    // F16
    #[test]
    fn an_empty_group_allows_nothing_and_says_so() {
        let (access, notes) = read("groups { group { } }", Kind::Tcp);
        let access = access.unwrap();
        assert!(access.is_restricted());
        assert!(!allows(&access, ip("127.0.0.1")));
        assert_eq!(notes, ["this group has no 'uuid', so it allows nothing"]);
    }

    #[test]
    fn groups_without_a_group_are_an_error_not_a_licence() {
        for text in [
            "groups { grup { uuid = \"test\"; ip = \"10.0.0.1\"; } }",
            "groups { uuid = \"test\"; ip = \"10.0.0.1\"; }",
        ] {
            let (access, _) = read(text, Kind::Tcp);
            assert!(access.unwrap_err().contains("has no section 'group'"));
        }
    }

    // L41
    #[test]
    fn an_empty_second_groups_section_does_not_lift_the_first() {
        let (access, _) = read("groups { group { } }\ngroups { }", Kind::Tcp);
        assert!(access.unwrap_err().contains("would undo the one in line 1"));
    }

    // L41
    #[test]
    fn the_last_groups_section_counts_alone() {
        let text = "groups { group { uuid = \"test\"; ip = \"10.0.0.1\"; } }\n\
                    groups { group { uuid = \"test\"; ip = \"10.0.0.2\"; } }";
        let (access, notes) = read(text, Kind::Tcp);
        let access = access.unwrap();
        assert!(!allows(&access, ip("10.0.0.1")));
        assert!(allows(&access, ip("10.0.0.2")));
        assert!(
            notes[0].contains("replaces all of the one in line 1"),
            "{notes:?}"
        );
    }

    #[test]
    fn members_and_sources_repeat() {
        let text = "groups { group = \"a\" { uuid = \"x\"; uuid = \"TEST\"; ip = \"10.0.0.1\"; \
                    ip = \"::ffff:10.0.0.2\"; ip = \"fd00::1\"; } group { uuid = \"test\"; \
                    ip = \"10.0.0.3\"; } }";
        let (access, notes) = read(text, Kind::Multicast);
        let access = access.unwrap();
        for source in [
            "10.0.0.1",
            "10.0.0.2",
            "::ffff:10.0.0.2",
            "fd00::1",
            "10.0.0.3",
        ] {
            assert!(allows(&access, ip(source)), "{source}");
        }
        assert!(!allows(&access, ip("10.0.0.4")));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn a_number_is_a_cid_and_wrong_kinds_of_source_are_pointed_out() {
        let text = "groups { group { uuid = \"test\"; ip = \"5\"; ip = \"10.0.0.1\"; } }";
        let (access, notes) = read(text, Kind::Vsock);
        assert!(allows(&access.unwrap(), Source::Cid(5)));
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("by their CID"));
        let (_, notes) = read(text, Kind::Tcp);
        assert!(notes[0].contains("a number is a vsock CID"), "{notes:?}");
        let (access, notes) = read("groups { group { uuid = \"test\"; } }", Kind::Serial);
        assert!(access.is_ok());
        assert!(notes.is_empty(), "{notes:?}");
        let (_, notes) = read("groups { group { uuid = \"test\"; } }", Kind::Tcp);
        assert!(notes[0].contains("has no 'ip'"), "{notes:?}");
    }

    #[test]
    fn what_is_no_guest_is_refused() {
        for value in [
            "10.0.0.0/8",
            "guest1",
            "127.0.0.01",
            "+5",
            "-1",
            "4294967296",
            "4294967295",
            "0",
            "0.0.0.0",
            "::",
            "225.0.0.12",
            "ff05::3:1",
            "255.255.255.255",
        ] {
            let text = format!("groups {{ group {{ uuid = \"test\"; ip = \"{value}\"; }} }}");
            let (access, _) = read(&text, Kind::Tcp);
            assert!(access.unwrap_err().contains("is not "), "{value}");
        }
    }
}
