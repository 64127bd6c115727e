//! What groups mean.

use std::sync::Arc;

use fence_proto::{DomainIdentity, Requester, Source};

use super::super::conf;
use super::super::schema::{LISTENERS, ROOT};
use super::*;

/// The rules of all listeners that run, and the notes.
fn rules_of(text: &str, names: &[&str]) -> (Result<Vec<Access>, String>, Vec<String>) {
    let tree = conf::parse(text).unwrap();
    let mut notes = Vec::new();
    let root = View::of_items(&ROOT, &tree.items, &mut notes).unwrap();
    let listeners = root.child(&LISTENERS, &mut notes).unwrap();
    let texts: Vec<_> = names
        .iter()
        .map(|name| Text {
            text: (*name).to_owned(),
            position: super::super::Position::default(),
        })
        .collect();
    let names: Vec<_> = texts.iter().collect();
    let selection = Selection::of(&names, &listeners, &mut notes).unwrap();
    let rules = rules(&root, &selection, &mut notes).map_err(|note| note.message);
    let notes = notes.into_iter().map(|note| note.message).collect();
    (rules, notes)
}

/// The rules of the only listener, which has no section.
fn read(text: &str, kind: Kind) -> (Result<Access, String>, Vec<String>) {
    let (rules, notes) = rules_of(text, &[kind.name()]);
    (rules.map(|mut all| all.remove(0)), notes)
}

fn allows(access: &Access, source: Source) -> bool {
    let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f".parse().unwrap();
    let name = "test".to_owned();
    let requester = Requester::new(source, Arc::new(access.clone()));
    requester.may_fence(&DomainIdentity { name, uuid })
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

const TWO: &str =
    "listeners { tcp = \"blue\" { port = \"1\"; } tcp = \"green\" { port = \"2\"; } }\n";
const FIRST: &str = "group { uuid = \"test\"; ip = \"10.0.0.1\"; }";
const SECOND: &str = "group { uuid = \"test\"; ip = \"10.0.0.2\"; }";

/// Whether the first and the second guest may fence through each of the two listeners.
fn table(groups: &str) -> Result<[[bool; 2]; 2], String> {
    let (rules, _) = rules_of(&format!("{TWO}{groups}"), &["tcp"]);
    let rules = rules?;
    let row = |access: &Access| ["10.0.0.1", "10.0.0.2"].map(|guest| allows(access, ip(guest)));
    Ok([row(&rules[0]), row(&rules[1])])
}

#[test]
fn named_groups_are_for_their_listener_and_unnamed_ones_for_all() {
    let both = format!("groups = \"blue\" {{ {FIRST} }} groups = \"GREEN\" {{ {SECOND} }}");
    assert_eq!(table(&both).unwrap(), [[true, false], [false, true]]);
    let shared = format!("groups {{ {FIRST} }} groups = \"green\" {{ {SECOND} }}");
    assert_eq!(table(&shared).unwrap(), [[true, false], [true, true]]);
    let kind =
        format!("groups = \"tcp\" {{ {FIRST} }} groups {{ listener = \"green\"; {SECOND} }}");
    assert_eq!(table(&kind).unwrap(), [[true, false], [true, true]]);
    assert_eq!(table("").unwrap(), [[true; 2]; 2]);
}

#[test]
fn a_listener_without_groups_beside_one_that_has_some_is_an_error() {
    let one = format!("groups = \"blue\" {{ {FIRST} }}");
    let message = table(&one).unwrap_err();
    assert!(
        message.starts_with("the listener 'green' has no groups"),
        "{message}"
    );
    // Nor is an empty section without a name a licence.
    assert!(table(&format!("groups {{ }} {one}")).is_err());
    // Whoever means it can say so.
    let opened = format!("{one} groups = \"green\" {{ }}");
    assert_eq!(table(&opened).unwrap(), [[true, false], [true, true]]);
    let (_, notes) = rules_of(&format!("{TWO}{opened}"), &["tcp"]);
    assert!(
        notes[0].contains("section 'groups' of 'green' is empty"),
        "{notes:?}"
    );
}

#[test]
fn an_empty_named_section_lifts_no_other_restriction() {
    let groups = format!("groups {{ {FIRST} }} groups = \"green\" {{ }}");
    assert_eq!(table(&groups).unwrap(), [[true, false], [true, false]]);
    let (rules, _) = rules_of(
        &format!("{TWO}groups = \"green\" {{ {FIRST} }}\ngroups = \"Green\" {{ }}"),
        &["tcp"],
    );
    assert!(rules.unwrap_err().contains("would undo the one in line 2"));
}

#[test]
fn groups_of_a_listener_that_is_not_there_are_an_error() {
    let groups = format!("groups = \"gren\" {{ {FIRST} }}");
    let message = table(&groups).unwrap_err();
    assert!(message.contains("'gren' is not one of multicast, tcp, vsock, serial, blue, green"));
}

#[test]
fn groups_of_a_listener_that_does_not_run_are_read_and_pointed_out() {
    let text = format!("{TWO}groups = \"green\" {{ {SECOND} }} groups = \"blue\" {{ {FIRST} }}");
    let (rules, notes) = rules_of(&text, &["blue"]);
    assert!(!allows(&rules.unwrap()[0], ip("10.0.0.2")));
    assert!(
        notes
            .iter()
            .any(|note| note == "no listener that runs goes by these groups"),
        "{notes:?}"
    );
    let wrong = text.replace("10.0.0.2", "10.0.0.0/8");
    assert!(rules_of(&wrong, &["blue"]).0.is_err());
}

#[test]
fn a_source_is_useless_only_if_no_listener_sees_it() {
    let groups = "groups { group { uuid = \"test\"; ip = \"5\"; ip = \"10.0.0.1\"; } }";
    let (rules, notes) = rules_of(groups, &["tcp", "vsock"]);
    assert!(notes.is_empty(), "{notes:?}");
    let rules = rules.unwrap();
    assert!(rules.iter().all(|access| allows(access, Source::Cid(5))));
}

#[test]
fn a_domain_may_be_a_source_where_guests_come_by_vsock_or_serial_lines() {
    let own = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    let text =
        format!("groups {{ group {{ uuid = \"test\"; ip = \"Manager\"; ip = \"{own}\"; }} }}");
    for kind in [Kind::Vsock, Kind::Serial] {
        let (access, notes) = read(&text, kind);
        let access = access.unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert!(access.names_guests());
        let guest = |name: &str| {
            let requester = Requester::new(Source::Cid(9), Arc::new(access.clone()));
            let name = name.to_owned();
            let uuid = "1ce02c4b-dfa1-42cb-b5b1-f0b1091ece60".parse().unwrap();
            requester
                .with_guest(DomainIdentity { name, uuid })
                .is_known()
        };
        assert!(guest("Manager"));
        // To the letter: libvirt lets "manager" stand beside it.
        assert!(!guest("manager"));
        assert!(!guest("test"));
        assert!(allows(&access, Source::Domain(own.parse().unwrap())));
        assert!(!allows(&access, Source::Cid(9)));
    }
    for kind in [Kind::Tcp, Kind::Multicast] {
        let message = read(&text, kind).0.unwrap_err();
        assert!(
            message.contains("only be named for guests that come by vsock"),
            "{message}"
        );
    }
    assert!(rules_of(&text, &["tcp", "vsock"]).0.is_ok());
}

#[test]
fn an_address_gone_wrong_is_no_domain() {
    for value in [
        "10.0.0.0/8",
        "127.0.0.01",
        "fe80::1%eth0",
        "+5",
        "-1",
        "4294967296",
    ] {
        let text = format!("groups {{ group {{ uuid = \"test\"; ip = \"{value}\"; }} }}");
        let message = read(&text, Kind::Vsock).0.unwrap_err();
        assert!(message.contains("is not "), "{value}: {message}");
    }
}
