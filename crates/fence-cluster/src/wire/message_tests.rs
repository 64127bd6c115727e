use proptest::prelude::*;

use super::*;
use crate::seam::Migration;

const UUID: Uuid = Uuid([7; 16]);
const MEMBER: MemberId = MemberId {
    node: NodeId(3),
    pid: 77,
};
const KEY: Key = Key {
    requester: MEMBER,
    number: 5,
};
const STAND: Stand = Stand {
    start: WallTime(1_700_000_000_000),
    seq: 9,
};
const LIMITS: Limits = Limits {
    remaining_ms: 17_000,
    grace_ms: 2_000,
};

fn record(name: &str) -> Record {
    Record {
        name: name.to_owned(),
        state: 1,
        active: true,
        starting: true,
        migration: Migration::Outgoing,
        version: 12,
    }
}

fn part(records: usize) -> Part {
    let records = (0..records).map(|number| {
        let number = u8::try_from(number % 256).unwrap();
        (Uuid([number; 16]), record("vm"))
    });
    Part {
        stand: STAND,
        part: 1,
        parts: 2,
        current: true,
        records: records.collect(),
    }
}

fn mention() -> Mention {
    Mention {
        node: NodeId(4),
        stand: STAND,
        whole: true,
        heard: WallTime(1_700_000_009_000),
    }
}

fn findings() -> Vec<Finding> {
    vec![
        Finding::Absent,
        Finding::Defined,
        Finding::Active,
        Finding::Incoming,
        Finding::Destroyed {
            migrating: true,
            vanished: false,
        },
        Finding::Silent,
        Finding::NotBegun,
        Finding::Failed {
            why: "no".to_owned(),
        },
        Finding::Renamed {
            name: "vm2".to_owned(),
        },
        Finding::Started,
    ]
}

fn round() -> Round {
    Round {
        number: 5,
        round: 2,
        action: Action::Reboot,
        incoming: true,
        uuid: UUID,
        limits: LIMITS,
        candidate: Some(MEMBER),
        names: vec!["vm".to_owned(), "wm".to_owned()],
    }
}

fn of_inventories() -> Vec<Message> {
    let uuid = UUID;
    let changes = [
        Change::Record {
            uuid,
            record: record("vm"),
        },
        Change::Gone { uuid },
        Change::Current { current: true },
    ];
    let changes = changes.map(|change| Message::Changed {
        stand: STAND,
        change,
    });
    let mut messages = vec![
        Message::Hello {
            sighted: Some(WallTime(7)),
            mentions: vec![mention(), mention()],
        },
        Message::Inventory { part: part(3) },
        Message::Digest {
            stand: STAND,
            current: false,
        },
        Message::Want {
            want: Want::Inventory { of: MEMBER },
        },
        Message::Want {
            want: Want::Memory {
                node: NodeId(2),
                from: MEMBER,
            },
        },
        Message::Memory {
            mention: mention(),
            reason: LeaveReason::ProcessDown,
            part: part(0),
        },
    ];
    messages.extend(changes);
    messages
}

fn all() -> Vec<Message> {
    let mut messages = of_inventories();
    messages.extend([
        Message::Round { round: round() },
        Message::Begin {
            key: KEY,
            round: 1,
            uuid: UUID,
            version: Some(4),
        },
        Message::Closed { key: KEY },
        Message::Start {
            number: 5,
            round: 2,
            member: MEMBER,
            limits: LIMITS,
        },
        Message::Find {
            number: 6,
            text: "vm".to_owned(),
        },
        Message::Found {
            key: KEY,
            found: None,
        },
        Message::Found {
            key: KEY,
            found: Some(vec![(UUID, record("vm"))]),
        },
        Message::Ping { number: 7 },
        Message::Bye,
        Message::Pong {
            key: KEY,
            stand: STAND,
            current: true,
        },
    ]);
    messages.extend(findings().into_iter().map(|finding| Message::Result {
        key: KEY,
        round: 3,
        finding,
    }));
    messages
}

#[test]
fn every_message_round_trips() {
    for message in all() {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn no_message_is_one_of_the_original_or_shorter_than_its_header() {
    for message in all() {
        let bytes = message.encode();
        let kind = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert!(kind >= FIRST_TYPE && bytes.len() >= HEADER, "{message:?}");
    }
}

#[test]
fn message_that_is_cut_or_has_bytes_left_over_is_dropped() {
    for message in all() {
        let mut bytes = message.encode();
        for len in 0..bytes.len() {
            assert_eq!(
                Message::decode(&bytes[..len]),
                Err(Reason::WrongLength),
                "{message:?} cut to {len}"
            );
        }
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(Reason::WrongLength));
        // And with the header's length made to fit.
        let len = u32::try_from(bytes.len() - HEADER).unwrap();
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        assert_eq!(Message::decode(&bytes), Err(Reason::WrongLength));
    }
}

#[test]
fn other_versions_and_types_are_dropped() {
    let mut bytes = Message::Ping { number: 1 }.encode();
    bytes[4] = 2;
    assert_eq!(Message::decode(&bytes), Err(Reason::UnknownVersion));
    for kind in [0_u32, 15, 32, 200, 16 + 256, u32::MAX] {
        let mut bytes = Message::Ping { number: 1 }.encode();
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        assert_eq!(Message::decode(&bytes), Err(Reason::UnknownType), "{kind}");
    }
    let long = vec![16; MAX_MESSAGE + 1];
    assert_eq!(Message::decode(&long), Err(Reason::TooLong));
}

#[test]
fn part_that_is_none_of_its_inventory_is_dropped() {
    for (number, parts) in [(0, 0), (2, 2), (0, MAX_PARTS + 1)] {
        let mut part = part(1);
        part.part = number;
        part.parts = parts;
        let bytes = Message::Inventory { part }.encode();
        assert_eq!(Message::decode(&bytes), Err(Reason::BadField));
    }
}

#[test]
fn record_flags_that_contradict_each_other_are_dropped() {
    let record = record("vm");
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    for flags in [16, 128, 12] {
        bytes[8] = flags;
        assert_eq!(
            Record::read(&mut Reader::new(&bytes)),
            Err(Reason::BadField)
        );
    }
}

#[test]
fn full_part_fits_into_a_message() {
    let record = record(&"n".repeat(super::super::bytes::MAX_NAME));
    let count = PART_BYTES / record.wire_len();
    let part = Part {
        records: vec![(UUID, record); count],
        ..part(0)
    };
    assert!(Message::Inventory { part }.encode().len() <= 32_768);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn random_bodies_never_panic_and_what_is_read_is_written_the_same(
        kind in 0_u32..17,
        body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..200),
    ) {
        let mut bytes = Vec::new();
        (FIRST_TYPE + kind).write(&mut bytes);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        u32::try_from(body.len()).unwrap().write(&mut bytes);
        0_u32.write(&mut bytes);
        bytes.extend_from_slice(&body);
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        index in 0_usize..26,
        position in 0_usize..200,
        byte in any::<u8>(),
    ) {
        let messages = all();
        let mut bytes = messages[index % messages.len()].encode();
        let position = position % bytes.len();
        bytes[position] = byte;
        let _ = Message::decode(&bytes);
    }
}
