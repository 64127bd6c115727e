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

/// One entry of `ip` in a group: an address, a vsock CID, or a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupSource {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A vsock context identifier.
    Cid(u32),
    /// The guest itself, where the transport leads to a domain: over vsock the one that has the CID,
    /// over a serial line the one whose line it is. Names count to the letter, unlike those of members: where
    /// one may be called `NODE1` beside another's `node1`, it must not have that one's rights.
    Guest(GroupMember),
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

    /// As [`Self::is`], but a name counts to the letter.
    fn is_exactly(&self, domain: &DomainIdentity) -> bool {
        match self {
            Self::Uuid(uuid) => *uuid == domain.uuid,
            Self::Name(name) => *name == domain.name,
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
    fn admits(&self, who: Who<'_>) -> bool {
        let by_source = match who.source {
            Source::Ip(ip) => self.sources.contains(&GroupSource::Ip(ip.to_canonical())),
            Source::Cid(cid) => self.sources.contains(&GroupSource::Cid(cid)),
            // Section 8: a serial source's domain is in the groups where it is a member.
            Source::Domain(uuid) => {
                let own = GroupMember::Uuid(uuid);
                self.members.contains(&own) || self.sources.contains(&GroupSource::Guest(own))
            }
        };
        by_source || who.guest.is_some_and(|guest| self.names(guest))
    }

    /// Whether a domain is among the sources.
    fn names(&self, guest: &DomainIdentity) -> bool {
        self.sources
            .iter()
            .any(|source| matches!(source, GroupSource::Guest(own) if own.is_exactly(guest)))
    }
}

/// Who asks, as far as groups can tell.
#[derive(Clone, Copy)]
struct Who<'a> {
    source: Source,
    guest: Option<&'a DomainIdentity>,
}

impl From<Source> for Who<'_> {
    fn from(source: Source) -> Self {
        let guest = None;
        Self { source, guest }
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
    guest: Option<DomainIdentity>,
    access: Arc<Access>,
}

impl Requester {
    /// A source and the rules of the listener where it asks.
    #[must_use]
    pub const fn new(source: Source, access: Arc<Access>) -> Self {
        let guest = None;
        Self {
            source,
            guest,
            access,
        }
    }

    /// The same, where libvirt says which domain the source is.
    #[must_use]
    pub fn with_guest(mut self, guest: DomainIdentity) -> Self {
        self.guest = Some(guest);
        self
    }

    /// The same under other rules, which the same listener has now.
    #[must_use]
    pub fn under(&self, access: Arc<Access>) -> Self {
        Self {
            source: self.source,
            guest: self.guest.clone(),
            access,
        }
    }

    fn who(&self) -> Who<'_> {
        Who {
            source: self.source,
            guest: self.guest.as_ref(),
        }
    }

    /// Where the request comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The domain that the source is, if that is known.
    #[must_use]
    pub const fn guest(&self) -> Option<&DomainIdentity> {
        self.guest.as_ref()
    }

    /// Whether there are groups at all; without them every domain is allowed.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.access.is_restricted()
    }

    /// Whether any group lists it. One that is in no group is denied whatever it asks, without asking
    /// libvirt.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let groups = self.access.groups.as_ref();
        groups.is_none_or(|groups| groups.iter().any(|group| group.admits(self.who())))
    }

    /// Whether it may fence `domain`, by its name and its UUID, whichever was sent (row L23).
    #[must_use]
    pub fn may_fence(&self, domain: &DomainIdentity) -> bool {
        self.has(|member| member.is(domain))
    }

    /// Whether a group of it lists this very text. It words the answer about a domain that no
    /// hypervisor knows, "unknown" or "not allowed", and permits nothing.
    #[must_use]
    pub fn lists(&self, text: &str) -> bool {
        let wanted = GroupMember::parse(text);
        self.has(|member| member.means(&wanted))
    }

    fn has(&self, wanted: impl Fn(&GroupMember) -> bool) -> bool {
        let groups = self.access.groups.as_ref();
        groups.is_none_or(|groups| {
            let mine = groups.iter().filter(|group| group.admits(self.who()));
            mine.flat_map(|group| &group.members).any(&wanted)
        })
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
    /// For a job that a member of this host's cluster had it do. The host that has the agent's session asks the
    /// groups of its listener, with the identity found, before it lets anybody act, and only hosts that
    /// corosync admits can say that it has. Groups are about guests: a host that is in the cluster, and so may
    /// start and stop everything in it, is subject to none, and this one need not even have that listener.
    #[must_use]
    pub const fn for_the_cluster(domain: DomainIdentity) -> Self {
        Self { domain }
    }

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

    /// Whether `sender` may do all that `named` may: then it is no matter that it speaks for it.
    #[must_use]
    pub fn covers(&self, sender: Source, named: Source) -> bool {
        self.groups.as_ref().is_none_or(|groups| {
            groups
                .iter()
                .all(|group| group.admits(sender.into()) || !group.admits(named.into()))
        })
    }

    /// Whether any group goes by the domain that a source is. Only then is it worth finding out.
    #[must_use]
    pub fn names_guests(&self) -> bool {
        let sources = self
            .groups
            .iter()
            .flatten()
            .flat_map(|group| &group.sources);
        sources
            .into_iter()
            .any(|source| matches!(source, GroupSource::Guest(_)))
    }

    /// Whether there are groups at all.
    #[must_use]
    pub const fn is_restricted(&self) -> bool {
        self.groups.is_some()
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
