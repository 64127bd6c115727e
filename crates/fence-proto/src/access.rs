//! Who may fence whom: the `groups` of the configuration (section 8).

use core::fmt;
use core::net::IpAddr;
use std::sync::Arc;

use crate::domain::{DomainIdentity, Uuid};

/// Where a request comes from, as far as the transport proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Multicast: the call-back address that answered the challenge. TCP: the peer.
    Ip(IpAddr),
    /// vsock: the peer's context identifier.
    Cid(u32),
    /// Serial and vmchannel: the domain whose socket the request arrived on.
    Domain(Uuid),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cid(cid) => write!(f, "{cid}"),
            Self::Domain(uuid) => write!(f, "{uuid}"),
        }
    }
}

/// One entry of `ip` in a group: an address or a vsock CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupSource {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A vsock context identifier.
    Cid(u32),
}

/// One entry of `uuid` in a group: in spite of the key's name a UUID or a domain's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupMember {
    /// A UUID, whichever way it was written.
    Uuid(Uuid),
    /// A domain's name, compared without regard to case, as the original does.
    Name(String),
}

impl GroupMember {
    /// Takes the value of a `uuid` key: a UUID if it has the form of one, else a name.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        value
            .parse()
            .map_or_else(|_| Self::Name(value.to_owned()), Self::Uuid)
    }

    fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Uuid(mine), Self::Uuid(theirs)) => mine == theirs,
            (Self::Name(mine), Self::Name(theirs)) => mine.eq_ignore_ascii_case(theirs),
            _ => false,
        }
    }

    fn is(&self, domain: &DomainIdentity) -> bool {
        match self {
            Self::Uuid(uuid) => *uuid == domain.uuid,
            Self::Name(name) => name.eq_ignore_ascii_case(&domain.name),
        }
    }
}

/// One group: any of its sources may fence any of its members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The name, for people only.
    pub name: Option<String>,
    /// Domains that may be fenced (key `uuid`).
    pub members: Vec<GroupMember>,
    /// Who may fence them (key `ip`).
    pub sources: Vec<GroupSource>,
}

impl Group {
    fn admits(&self, source: Source) -> bool {
        match source {
            Source::Ip(ip) => self.sources.contains(&GroupSource::Ip(ip.to_canonical())),
            Source::Cid(cid) => self.sources.contains(&GroupSource::Cid(cid)),
            // Section 8: a serial source's domain must itself be a member.
            Source::Domain(uuid) => self.members.contains(&GroupMember::Uuid(uuid)),
        }
    }
}

/// The access rules: a list of groups, or none at all, which allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    groups: Option<Vec<Group>>,
}

/// Who asks, together with the rules that apply to it: those of the listener where it asked. A daemon
/// with several listeners has several sets of rules, and a source of one must never be judged by
/// another's, so the two are not to be had apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    source: Source,
    access: Arc<Access>,
}

impl Requester {
    /// A source and the rules of the listener where it asks.
    #[must_use]
    pub const fn new(source: Source, access: Arc<Access>) -> Self {
        Self { source, access }
    }

    /// Where the request comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Whether there are groups at all; without them every domain is allowed.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.access.is_restricted()
    }

    /// As [`Access::knows`].
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.access.knows(self.source)
    }

    /// As [`Access::allows`].
    #[must_use]
    pub fn may_fence(&self, domain: &DomainIdentity) -> bool {
        self.access.allows(self.source, domain)
    }

    /// As [`Access::lists`].
    #[must_use]
    pub fn lists(&self, text: &str) -> bool {
        self.access.lists(self.source, text)
    }

    /// As [`Self::may_fence`], with the proof that a backend needs to act.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(&self, domain: DomainIdentity) -> Result<Grant, Denied> {
        if self.may_fence(&domain) {
            Ok(Grant { domain })
        } else {
            Err(Denied)
        }
    }
}

/// Proof that the groups let a source have an action on one domain. Only [`Requester::check`] makes
/// it, and the backends take nothing else for a permission.
#[derive(Debug)]
pub struct Grant {
    domain: DomainIdentity,
}

impl Grant {
    /// The domain it is for, as libvirt identified it.
    #[must_use]
    pub const fn domain(&self) -> &DomainIdentity {
        &self.domain
    }
}

/// The groups do not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no group lets this source fence this domain")]
pub struct Denied;

impl Access {
    /// No groups: everybody who is authenticated may fence everything.
    #[must_use]
    pub const fn unrestricted() -> Self {
        Self { groups: None }
    }

    /// Only what these groups allow. An empty list allows nothing.
    #[must_use]
    pub const fn groups(groups: Vec<Group>) -> Self {
        Self {
            groups: Some(groups),
        }
    }

    /// Whether `source` may fence `domain`, by its name and its UUID, whichever was sent (row L23).
    #[must_use]
    pub fn allows(&self, source: Source, domain: &DomainIdentity) -> bool {
        self.groups.as_ref().is_none_or(|groups| {
            groups.iter().any(|group| {
                group.admits(source) && group.members.iter().any(|member| member.is(domain))
            })
        })
    }

    /// Whether any group lists `source`. One that is in no group is denied whatever it asks,
    /// without asking libvirt.
    #[must_use]
    pub fn knows(&self, source: Source) -> bool {
        self.groups
            .as_ref()
            .is_none_or(|groups| groups.iter().any(|group| group.admits(source)))
    }

    /// Whether a group of `source` lists this very text. It words the answer about a domain that no
    /// hypervisor knows, "unknown" or "not allowed", and permits nothing.
    #[must_use]
    pub fn lists(&self, source: Source, text: &str) -> bool {
        let wanted = GroupMember::parse(text);
        self.groups.as_ref().is_none_or(|groups| {
            groups.iter().any(|group| {
                group.admits(source) && group.members.iter().any(|member| member.means(&wanted))
            })
        })
    }

    /// Whether `sender` may do all that `named` may: then it is no matter that it speaks for it.
    #[must_use]
    pub fn covers(&self, sender: Source, named: Source) -> bool {
        self.groups.as_ref().is_none_or(|groups| {
            groups
                .iter()
                .all(|group| group.admits(sender) || !group.admits(named))
        })
    }

    /// Whether there are groups at all.
    #[must_use]
    pub const fn is_restricted(&self) -> bool {
        self.groups.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID_A: &str = "44179d3f-6c63-474f-a212-20c8b4b25b16";
    const UUID_B: &str = "1ce02c4b-dfa1-42cb-b5b1-f0b1091ece60";

    fn ip(text: &str) -> Source {
        Source::Ip(text.parse().unwrap())
    }

    fn domain(name: &str, uuid: &str) -> DomainIdentity {
        DomainIdentity {
            name: name.to_owned(),
            uuid: uuid.parse().unwrap(),
        }
    }

    fn access() -> Access {
        Access::groups(vec![Group {
            name: None,
            members: vec![GroupMember::parse("node1"), GroupMember::parse(UUID_B)],
            sources: vec![
                GroupSource::Ip("192.168.1.1".parse().unwrap()),
                GroupSource::Cid(5),
            ],
        }])
    }

    #[test]
    fn no_groups_allow_everything() {
        let access = Access::unrestricted();
        assert!(access.allows(ip("10.0.0.1"), &domain("vm", UUID_A)));
        assert!(access.knows(ip("10.0.0.1")));
        assert!(!access.is_restricted());
    }

    #[test]
    fn an_empty_list_of_groups_allows_nothing() {
        assert!(!Access::groups(vec![]).allows(ip("10.0.0.1"), &domain("vm", UUID_A)));
    }

    #[test]
    fn name_and_uuid_are_one_subject() {
        let access = access();
        // Listed by name, listed by UUID: both are found from the full identity.
        assert!(access.allows(ip("192.168.1.1"), &domain("NODE1", UUID_A)));
        assert!(access.allows(ip("192.168.1.1"), &domain("other", UUID_B)));
        assert!(!access.allows(ip("192.168.1.1"), &domain("other", UUID_A)));
    }

    #[test]
    fn strangers_are_denied() {
        let access = access();
        assert!(!access.allows(ip("192.168.1.2"), &domain("node1", UUID_A)));
        assert!(!access.knows(ip("192.168.1.2")));
        assert!(access.knows(Source::Cid(5)));
    }

    #[test]
    fn grant_is_made_for_what_the_requesters_own_rules_allow() {
        let of = |access: Access| Requester::new(Source::Cid(5), Arc::new(access));
        let node = || domain("node1", UUID_A);
        assert_eq!(of(access()).check(node()).unwrap().domain(), &node());
        assert!(of(Access::unrestricted()).check(node()).is_ok());
        // The same source at a listener with other groups.
        assert!(of(Access::groups(vec![])).check(node()).is_err());
        let stranger = Requester::new(Source::Cid(6), Arc::new(access()));
        assert!(stranger.check(node()).is_err());
    }

    #[test]
    fn listed_text_is_recognised_for_its_source_only() {
        let access = access();
        assert!(access.lists(ip("192.168.1.1"), "Node1"));
        assert!(access.lists(ip("192.168.1.1"), &UUID_B.to_uppercase()));
        assert!(!access.lists(ip("192.168.1.1"), UUID_A));
        assert!(!access.lists(ip("192.168.1.2"), "node1"));
        assert!(Access::unrestricted().lists(ip("192.168.1.2"), "anything"));
    }

    #[test]
    fn serial_source_must_itself_be_a_member() {
        let access = access();
        let member: Uuid = UUID_B.parse().unwrap();
        let stranger: Uuid = UUID_A.parse().unwrap();
        assert!(access.allows(Source::Domain(member), &domain("node1", UUID_A)));
        assert!(!access.allows(Source::Domain(stranger), &domain("node1", UUID_A)));
    }

    #[test]
    fn sender_covers_an_address_with_no_more_rights() {
        let both = access();
        assert!(both.covers(ip("192.168.1.1"), ip("192.168.1.1")));
        assert!(both.covers(ip("192.168.1.1"), ip("192.168.1.2")));
        assert!(!both.covers(ip("192.168.1.2"), ip("192.168.1.1")));
        assert!(Access::unrestricted().covers(ip("10.0.0.1"), ip("10.0.0.2")));
    }

    #[test]
    fn ipv4_mapped_source_counts_as_ipv4() {
        assert!(access().allows(ip("::ffff:192.168.1.1"), &domain("node1", UUID_A)));
    }
}
