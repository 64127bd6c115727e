//! Sections `groups`: who may fence whom, through which listener.
//!
//! No section, or an empty one, allows everything, as in the original. A section that holds anything
//! restricts: what cannot be understood in it must not widen access, so it is an error here where
//! the original goes on and allows everything.
//!
//! A section without a name applies to all listeners, one with a name to those that it means. A
//! listener goes by all that apply to it, together. One that none applies to, where others restrict,
//! is an error: nobody who restricts one cluster means to leave another one open by an omission.

use std::net::IpAddr;

use fence_proto::Access;
use fence_proto::access::{Group, GroupMember, GroupSource};

use super::schema::{GROUP, GROUPS};
use super::selection::{Candidate, Kind, Selection};
use super::tree::{Item, Section, Shown, Text};
use super::values::not;
use super::view::{Note, View, own_name};

/// A section `groups`, read.
struct Rules<'t> {
    section: &'t Section,
    /// The listeners that it means; all without one.
    name: Option<&'t Text>,
    groups: Vec<Group>,
}

impl Rules<'_> {
    fn apply_to(&self, listener: &Candidate<'_>) -> bool {
        self.name
            .is_none_or(|name| listener.is_meant_by(&name.text))
    }
}

/// Reads all groups; the rules of each chosen listener, in their order.
pub(super) fn rules(
    root: &View<'_>,
    selection: &Selection<'_>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Access>, Note> {
    let mut all = Vec::new();
    for section in root.instances(&GROUPS) {
        all.push(read(section, root, selection, notes)?);
    }
    let access = |listener| access(listener, &all);
    selection.chosen.iter().map(access).collect()
}

/// What applies to one listener, together.
fn access(listener: &Candidate<'_>, all: &[Rules<'_>]) -> Result<Access, Note> {
    let mine = || all.iter().filter(|rules| rules.apply_to(listener));
    let groups: Vec<_> = mine().flat_map(|rules| rules.groups.clone()).collect();
    let opened = mine().any(|rules| rules.name.is_some());
    let restricting = all.iter().find(|rules| !rules.groups.is_empty());
    match restricting {
        _ if !groups.is_empty() => Ok(Access::groups(groups)),
        Some(other) if !opened => {
            let name = listener.name();
            let message = format!(
                "the listener {shown} has no groups, while others have: write groups = \"{name}\" \
                 {{ group {{ … }} }}, or groups = \"{name}\" {{ }} to let everybody with its key fence \
                 everything",
                shown = Shown(name),
            );
            let section = listener.section.unwrap_or(other.section);
            Err(Note::at(section.name.position, message))
        }
        _ => Ok(Access::unrestricted()),
    }
}

/// Reads one section `groups`.
fn read<'t>(
    section: &'t Section,
    root: &View<'t>,
    selection: &Selection<'t>,
    notes: &mut Vec<Note>,
) -> Result<Rules<'t>, Note> {
    let position = section.name.position;
    let view = View::of(&GROUPS, section, notes)?;
    let name = own_name(&GROUPS, section);
    if let Some(name) = name {
        selection.check(name)?;
    }
    let mut rules = Rules {
        section,
        name,
        groups: Vec::new(),
    };
    let listeners = selection.chosen.iter();
    let kinds: Vec<_> = listeners
        .filter(|listener| rules.apply_to(listener))
        .map(|listener| listener.kind)
        .collect();
    if view.repeated().is_empty() {
        let what = note_of_none(&rules, root)?;
        notes.push(Note::at(position, what));
    } else if kinds.is_empty() {
        let message = "no listener that runs goes by these groups";
        notes.push(Note::at(position, message));
    }
    for section in view.repeated() {
        rules.groups.push(group(section, &kinds, notes)?);
    }
    Ok(rules)
}

/// What to say about a section without a group: it opens all doors, if that can be meant.
fn note_of_none(rules: &Rules<'_>, root: &View<'_>) -> Result<String, Note> {
    let position = rules.section.name.position;
    if !is_empty(rules.section) {
        let message = "section 'groups' has no section 'group' in it, so it restricts nothing: write \
                       groups { group { uuid = \"DOMAIN\"; ip = \"GUEST\"; } }";
        return Err(Note::at(position, message));
    }
    let own = |section| own_name(&GROUPS, section).map(|own| own.text.to_ascii_lowercase());
    let mine = own(rules.section);
    let mut replaced = root.replaced(&GROUPS);
    if let Some(earlier) = replaced.find(|other| !is_empty(other) && own(other) == mine) {
        let message = format!(
            "this empty 'groups' would undo the one in line {}: remove one of them",
            earlier.name.position.line
        );
        return Err(Note::at(position, message));
    }
    Ok(match rules.name {
        None => "section 'groups' is empty: everybody with the key may fence everything".to_owned(),
        Some(name) => format!(
            "section 'groups' of {} is empty: without other groups everybody with its key may fence \
             everything",
            Shown(&name.text)
        ),
    })
}

/// Whether nothing is in it but the name of its listener.
fn is_empty(section: &Section) -> bool {
    section.items.iter().all(|item| match item {
        Item::Assignment(assignment) => assignment.name.text.eq_ignore_ascii_case("listener"),
        Item::Section(_) => false,
    })
}

fn group(section: &Section, kinds: &[Kind], notes: &mut Vec<Note>) -> Result<Group, Note> {
    let view = View::of(&GROUP, section, notes)?;
    let name = view.title.or_else(|| view.value("name"));
    let members: Vec<_> = view.list("uuid").to_vec();
    let mut sources = Vec::new();
    for value in view.list("ip") {
        let parsed = source(value, kinds)?;
        if let Some(message) = useless(&parsed, kinds) {
            notes.push(Note::at(value.position, message));
        }
        sources.push(parsed);
    }
    let position = section.name.position;
    if members.is_empty() {
        let message = "this group has no 'uuid', so it allows nothing";
        notes.push(Note::at(position, message));
    } else if sources.is_empty() && !kinds.contains(&Kind::Serial) {
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

/// An IP address, a vsock CID, or a domain: its UUID or its name.
fn source(value: &Text, kinds: &[Kind]) -> Result<GroupSource, Note> {
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
        _ => domain(value, kinds),
    }
}

/// A domain, where a listener can tell that a guest is one. What looks like an address that went
/// wrong is not taken for a name.
fn domain(value: &Text, kinds: &[Kind]) -> Result<GroupSource, Note> {
    let member = GroupMember::parse(&value.text);
    let like_an_address = |text: &str| {
        text.contains([':', '/'])
            || text
                .chars()
                .all(|letter| letter.is_ascii_digit() || ".+-".contains(letter))
    };
    let wanted = match member {
        GroupMember::Name(_) if like_an_address(&value.text) => {
            "an IP address, a vsock CID or a domain; networks are not known here"
        }
        _ if !kinds.is_empty() && !knows_domains(kinds) => {
            "an IP address or a vsock CID; domains can only be named for guests that come by vsock \
             or serial lines"
        }
        member => return Ok(GroupSource::Guest(member)),
    };
    Err(not(value, wanted))
}

fn knows_domains(kinds: &[Kind]) -> bool {
    kinds
        .iter()
        .any(|kind| matches!(kind, Kind::Vsock | Kind::Serial))
}

/// What to say about a source that none of these listeners ever sees.
fn useless(source: &GroupSource, kinds: &[Kind]) -> Option<&'static str> {
    let any = |wanted: &[Kind]| kinds.iter().any(|kind| wanted.contains(kind));
    match source {
        _ if kinds.is_empty() => None,
        // Refused where nobody knows domains.
        GroupSource::Guest(_) => None,
        GroupSource::Cid(_) if any(&[Kind::Vsock]) => None,
        GroupSource::Ip(_) if any(&[Kind::Multicast, Kind::Tcp]) => None,
        _ if !any(&[Kind::Multicast, Kind::Tcp, Kind::Vsock]) => {
            Some("the serial listener knows guests by their domain, not by an address or a number")
        }
        GroupSource::Cid(_) => {
            Some("a number is a vsock CID: this listener knows guests by their IP address")
        }
        GroupSource::Ip(_) => {
            Some("the vsock listener knows guests by their CID and domain, not by an address")
        }
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
