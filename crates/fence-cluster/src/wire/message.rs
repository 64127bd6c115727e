//! Our own messages: types from 16 up, so that members that run the original ignore them.
//!
//! Header, 16 bytes: type u32, version u8, three zero bytes, length of the body u32, zero u32; all
//! integers are little endian. What does not fit exactly is dropped with a [`Reason`].

use fence_proto::{Action, Uuid};

use super::bytes::{Field, Item, Reader, fields, tagged};
use super::record::Record;
use crate::reason::Reason;
use crate::seam::{LeaveReason, MemberId, NodeId, WallTime};

/// The first of our types; below are the original's.
pub const FIRST_TYPE: u32 = 16;

/// The version of all messages.
pub const VERSION: u8 = 1;

/// Bytes of the header.
pub const HEADER: usize = 16;

/// No message is longer.
pub const MAX_MESSAGE: usize = 65_536;

/// Bytes of records that one part of an inventory holds.
pub const PART_BYTES: usize = 32_000;

/// The most parts of an inventory: 65,536 domains, however long their names.
pub const MAX_PARTS: u32 = 4_096;

/// Names one request in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Who has the agent's session.
    pub requester: MemberId,
    /// The requester's number for it.
    pub number: u64,
}

/// How far a host's inventory is: the daemon's start, and the number of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stand {
    /// When the daemon started, by its own clock.
    pub start: WallTime,
    /// Changes since then.
    pub seq: u64,
}

/// What a member says of its memory of a departed host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mention {
    /// Which host.
    pub node: NodeId,
    /// How new the memory is.
    pub stand: Stand,
    /// Whether it is everything that the host has: it was when the host departed, and since then the
    /// host cannot have been given anything.
    pub whole: bool,
    /// When the host was last heard of, by the clock of the member that heard it.
    pub heard: WallTime,
}

/// One part of what a host has, or had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// What it is the inventory of.
    pub stand: Stand,
    /// Its number, from 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// The host's libvirt answers, or did until the end.
    pub current: bool,
    /// The domains.
    pub records: Vec<(Uuid, Record)>,
}

/// One change of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say what the fields are")]
pub enum Change {
    /// The domain is this now.
    Record { uuid: Uuid, record: Record },
    /// The host has it no longer.
    Gone { uuid: Uuid },
    /// Whether its libvirt answers.
    Current { current: bool },
}

/// What somebody misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say what the fields are")]
pub enum Want {
    /// The inventory of a member.
    Inventory { of: MemberId },
    /// The memory of a host, of a member that mentioned it.
    Memory { node: NodeId, from: MemberId },
}

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Milliseconds until nothing of it may be begun any more.
    pub remaining_ms: u32,
    /// Milliseconds that a member may take from announcing something to beginning it.
    pub grace_ms: u32,
}

/// The requester has everybody ask libvirt for a domain, and act if the action says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Round {
    /// The requester's number of the request.
    pub number: u64,
    /// The number of the round, from 1.
    pub round: u16,
    /// What was ordered: off and reboot destroy, on and status only look.
    pub action: Action,
    /// Incoming halves are to be destroyed too.
    pub incoming: bool,
    /// The domain.
    pub uuid: Uuid,
    /// For what is begun.
    pub limits: Limits,
    /// Who would start it, should the round find it off: it may be running there from now on.
    pub candidate: Option<MemberId>,
    /// The names that the groups were asked about; empty: any.
    pub names: Vec<String>,
}

/// What a member found or did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say what the fields are")]
pub enum Finding {
    /// It does not have the domain.
    Absent,
    /// It has it, shut off.
    Defined,
    /// It is active there, and was left so.
    Active,
    /// A migration's incoming half is there, and was left alone.
    Incoming,
    /// It was active and is off now. The fields are those of [`crate::seam::Outcome::Off`].
    Destroyed { migrating: bool, vanished: bool },
    /// Its libvirt does not answer.
    Silent,
    /// It did not begin what it was to do.
    NotBegun,
    /// What it was to do failed, and why.
    Failed { why: String },
    /// The domain has a name there that the groups were not asked about.
    Renamed { name: String },
    /// It was started, and runs.
    Started,
}

impl Finding {
    /// A run was ended by its host's own call, and nobody can have it now.
    pub(crate) const fn is_evidence(&self) -> bool {
        matches!(
            self,
            Self::Destroyed {
                migrating: false,
                vanished: false
            }
        )
    }
}

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say what the fields are")]
pub enum Message {
    /// The first one after somebody has joined: which departed hosts the sender remembers, and since
    /// when it, or others for it, would have noticed if one had come back: since then there has been
    /// quorum.
    Hello {
        sighted: Option<WallTime>,
        mentions: Vec<Mention>,
    },
    /// A part of the sender's inventory.
    Inventory { part: Part },
    /// A change of the sender's inventory, which then is at this stand.
    Changed { stand: Stand, change: Change },
    /// A sign of life, every two seconds.
    Digest { stand: Stand, current: bool },
    /// Please send it.
    Want { want: Want },
    /// A part of what the sender remembers of a departed host, and why it departed.
    Memory {
        mention: Mention,
        reason: LeaveReason,
        part: Part,
    },
    /// A round of a request of the sender's.
    Round { round: Round },
    /// What the sender found or did in a round.
    Result {
        key: Key,
        round: u16,
        finding: Finding,
    },
    /// The sender is about to act on the domain; to start it, if a version is given, which the run
    /// will have.
    Begin {
        key: Key,
        round: u16,
        uuid: Uuid,
        version: Option<u64>,
    },
    /// The request is over.
    Closed { key: Key },
    /// The member is to start the domain of the sender's request that has this number, if the round
    /// is still the last one.
    Start {
        number: u64,
        round: u16,
        member: MemberId,
        limits: Limits,
    },
    /// Who has a domain that is called so?
    Find { number: u64, text: String },
    /// What the sender has that is called so; `None`: its libvirt does not answer.
    Found {
        key: Key,
        found: Option<Vec<(Uuid, Record)>>,
    },
    /// The sender's host is shutting down: nothing is started there any more.
    Bye,
    /// Are you there?
    Ping { number: u64 },
    /// Yes, and my inventory is at this stand, and my libvirt answers or not.
    Pong {
        key: Key,
        stand: Stand,
        current: bool,
    },
}

impl Message {
    /// The bytes for the group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.write(&mut body);
        let (kind, body) = body.split_first().map_or((0, &[][..]), |(k, b)| (*k, b));
        let mut message = Vec::with_capacity(HEADER.saturating_add(body.len()));
        FIRST_TYPE
            .saturating_add(u32::from(kind))
            .write(&mut message);
        message.extend_from_slice(&[VERSION, 0, 0, 0]);
        u32::try_from(body.len())
            .unwrap_or(u32::MAX)
            .write(&mut message);
        0_u32.write(&mut message);
        message.extend_from_slice(body);
        message
    }

    /// Reads a message whose type is [`FIRST_TYPE`] or higher.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Reason::TooLong);
        }
        let mut header = Reader::new(bytes);
        let kind = u32::read(&mut header)?;
        let version = u8::read(&mut header)?;
        header.take(3)?;
        let len = u32::read(&mut header)?;
        header.take(4)?;
        let kind = kind.checked_sub(FIRST_TYPE).ok_or(Reason::UnknownType)?;
        let kind = u8::try_from(kind).map_err(|_| Reason::UnknownType)?;
        if version != VERSION {
            return Err(Reason::UnknownVersion);
        }
        if usize::try_from(len).ok() != bytes.len().checked_sub(HEADER) {
            return Err(Reason::WrongLength);
        }
        // The kind in front of the body is what `tagged!` reads.
        let mut body = Vec::with_capacity(bytes.len());
        body.push(kind);
        body.extend_from_slice(bytes.get(HEADER..).unwrap_or_default());
        let mut reader = Reader::new(&body);
        let message = <Self as Field>::read(&mut reader)?;
        reader.end()?;
        message.checked()
    }

    /// What the fields' types do not say.
    fn checked(self) -> Result<Self, Reason> {
        match &self {
            Self::Inventory { part } | Self::Memory { part, .. }
                if part.part >= part.parts || part.parts > MAX_PARTS =>
            {
                Err(Reason::BadField)
            }
            _ => Ok(self),
        }
    }
}

tagged!(Message, UnknownType, {
    0 => Hello { sighted, mentions },
    1 => Inventory { part },
    2 => Changed { stand, change },
    3 => Digest { stand, current },
    4 => Want { want },
    5 => Memory { mention, reason, part },
    6 => Round { round },
    7 => Result { key, round, finding },
    8 => Begin { key, round, uuid, version },
    9 => Closed { key },
    10 => Start { number, round, member, limits },
    11 => Find { number, text },
    12 => Found { key, found },
    13 => Ping { number },
    14 => Pong { key, stand, current },
    15 => Bye {},
});

tagged!(Change, BadField, {
    0 => Record { uuid, record },
    1 => Gone { uuid },
    2 => Current { current },
});

tagged!(Want, BadField, {
    0 => Inventory { of },
    1 => Memory { node, from },
});

tagged!(Finding, BadField, {
    0 => Absent {},
    1 => Defined {},
    2 => Active {},
    3 => Incoming {},
    4 => Destroyed { migrating, vanished },
    5 => Silent {},
    6 => NotBegun {},
    7 => Failed { why },
    8 => Renamed { name },
    9 => Started {},
});

fields!(Key { requester, number });
fields!(Stand { start, seq });
fields!(Mention {
    node,
    stand,
    whole,
    heard
});
fields!(Part {
    stand,
    part,
    parts,
    current,
    records
});
fields!(Limits {
    remaining_ms,
    grace_ms
});
fields!(Round {
    number,
    round,
    action,
    incoming,
    uuid,
    limits,
    candidate,
    names
});

/// Departed hosts in a greeting.
impl Item for Mention {
    const LIMIT: usize = 256;
}

/// Names in a round.
impl Item for String {
    const LIMIT: usize = 8;
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
