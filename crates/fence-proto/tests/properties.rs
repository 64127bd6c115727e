//! What holds for any input at all. The bodies are those of the fuzz targets.
#![cfg(test)]

#[path = "../../../fuzz/bodies/mod.rs"]
mod bodies;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fence_proto::frame::{Demand, RequestId, Signature};
use fence_proto::host::{Admission, Limits, Party, SessionId};
use fence_proto::{Action, DomainRef, HashAlgorithm, Key, Reason, RequestFrame, Source};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_frame() -> impl Strategy<Value = RequestFrame> {
    let addresses = proptest::option::of((any::<IpAddr>(), any::<u16>()));
    let domain = "[^\\p{Cc}]{1,15}";
    (
        0..7_u8,
        domain,
        any::<bool>(),
        addresses,
        any::<([u8; 6], u32)>(),
    )
        .prop_map(
            |(action, domain, uuid_flag, callback, (random, seqno))| RequestFrame {
                action: Action::from_wire(action).unwrap(),
                domain: DomainRef::new(&domain).unwrap(),
                uuid_flag,
                callback: callback.map(SocketAddr::from),
                id: RequestId { random, seqno },
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_frame_survives_the_wire_under_any_key_and_no_other(
        frame in any_frame(),
        key in vec(any::<u8>(), 1..5000),
        algorithm in 0..4_usize,
    ) {
        let algorithm = HashAlgorithm::ALL[algorithm];
        let (one, other) = (Key::from_bytes(&key).unwrap(), Key::from_bytes(b"other").unwrap());
        let bytes = frame.encode(Signature::Keyed(&one, algorithm));
        let demand = |key| Demand { key: Some(key), weakest: algorithm };
        let accepted = demand(&one).accept(&bytes).unwrap();
        prop_assert_eq!(accepted.frame(), &frame);
        prop_assert_eq!(accepted.frame().encode(Signature::Keyed(&one, algorithm)), bytes);
        let elsewhere = demand(&other).accept(&bytes).map(|_| ());
        let expected = if algorithm == HashAlgorithm::None { Ok(()) } else { Err(Reason::BadSignature) };
        prop_assert_eq!(elsewhere, expected);
    }

    #[test]
    fn any_bytes_are_a_frame_with_one_meaning_or_none(data in vec(any::<u8>(), 0..200)) {
        bodies::request_frame::run(&data);
    }

    #[test]
    fn bytes_that_look_like_a_frame_have_one_meaning_or_none(
        head in (0..9_u8, 0..5_u8, prop::sample::select(vec![0_u8, 4, 16]), any::<u8>()),
        rest in vec(prop::sample::select(vec![0_u8, 2, 10, b'a', 0xc3]), 172),
    ) {
        let (action, hash, len, flags) = head;
        bodies::request_frame::run(&[&[action, hash, len, flags], rest.as_slice()].concat());
    }

    #[test]
    fn any_bytes_in_any_chunks_are_the_same_list_or_none(
        size in any::<u8>(),
        data in vec(prop::sample::select(vec![0_u8, 0, 0, 0, b'a', 0xff]), 0..700),
    ) {
        bodies::host_list::run(&[&[size], data.as_slice()].concat());
    }

    #[test]
    fn host_session_acts_once_and_only_on_proof_under_any_events(
        script in vec(any::<u8>(), 0..400),
    ) {
        bodies::host_session::run(&script);
    }

    #[test]
    fn lines_survive_any_script(script in vec(any::<u8>(), 0..800)) {
        bodies::line_host::run(&script);
        bodies::line_agent::run(&script);
    }

    #[test]
    fn host_session_acts_once_and_only_on_proof_under_likely_events(
        mode in 0..16_u8,
        script in vec(prop_oneof![4 => Just(14_u8), 1 => Just(13_u8), 2 => 0..16_u8], 0..40),
    ) {
        bodies::host_session::run(&[&[mode], script.as_slice()].concat());
    }

    #[test]
    fn agent_session_believes_only_proven_hosts_under_any_events(
        script in vec(any::<u8>(), 0..400),
    ) {
        bodies::agent_session::run(&script);
    }

    #[test]
    fn agent_session_believes_only_proven_hosts_under_likely_events(
        mode in 0..16_u8,
        script in vec(0..8_u8, 0..200),
    ) {
        bodies::agent_session::run(&[&[mode, 0], script.as_slice()].concat());
    }

    #[test]
    fn line_makes_one_order_of_a_request_and_says_no_success_by_itself_under_likely_events(
        mode in 0..3_u8,
        script in vec(prop_oneof![2 => Just(3_u8), 1 => Just(10_u8), 2 => 0..12_u8], 0..120),
    ) {
        bodies::line_host::run(&[&[mode, 0], script.as_slice()].concat());
    }

    #[test]
    fn admission_keeps_its_bounds_and_its_count_under_any_operations(
        operations in vec((0..4_u8, 0..12_u8, any::<prop::sample::Index>()), 0..300),
    ) {
        admission_agrees_with_a_model(&operations);
    }
}

/// A list of who is in, from oldest to newest, against the register. Two listeners share the places.
fn admission_agrees_with_a_model(operations: &[(u8, u8, prop::sample::Index)]) {
    let limits = Limits {
        per_source: 4,
        total: 9,
    };
    let mut admission = Admission::new(limits);
    let parties = [admission.join(), admission.join()];
    let mut model: BTreeMap<SessionId, ((Party, Source), bool)> = BTreeMap::new();
    for (operation, source, index) in operations {
        let party = parties[usize::from(source % 2)];
        let payer = (party, Source::Cid(u32::from(source / 2)));
        let some =
            (!model.is_empty()).then(|| *model.keys().nth(index.index(model.len())).unwrap());
        match (operation, some) {
            (0 | 1, _) => match admission.admit(party, payer.1) {
                Ok(admitted) => {
                    let evicted = admitted.evicted.and_then(|id| model.remove(&id));
                    assert_eq!(evicted.is_some(), admitted.evicted.is_some());
                    // Nobody's peer ends what another listener has.
                    assert!(evicted.is_none_or(|(it, proven)| it.0 == party && !proven));
                    assert!(model.keys().all(|older| *older < admitted.id));
                    model.insert(admitted.id, (payer, false));
                }
                Err(reason) => assert_full(reason, payer, &model),
            },
            (2, Some(id)) => {
                admission.proven(id);
                model.insert(id, (model[&id].0, true));
            }
            (_, Some(id)) => {
                admission.release(id);
                model.remove(&id);
            }
            (_, None) => {}
        }
        assert_eq!(admission.len(), model.len());
        assert!(model.len() <= limits.total);
        for (payer, _) in model.values() {
            let own = model.values().filter(|(it, _)| it == payer);
            assert!(own.count() <= limits.per_source);
        }
        for party in parties {
            let own = model.values().filter(|((it, _), _)| *it == party);
            assert!(own.count() <= 9 - 9 / 3);
        }
    }
}

/// That there was no place: proven sessions have the source's, or the listener's, which are more than its share.
fn assert_full(
    reason: Reason,
    (party, source): (Party, Source),
    model: &BTreeMap<SessionId, ((Party, Source), bool)>,
) {
    let mut own: Vec<_> = model.values().filter(|((it, _), _)| *it == party).collect();
    if reason == Reason::SourceLimit {
        own.retain(|((_, it), _)| *it == source);
        assert_eq!(own.len(), 4);
    } else {
        assert_eq!(reason, Reason::TotalLimit);
        assert!(own.len() >= 9 / 3);
    }
    assert!(own.iter().all(|(_, proven)| *proven));
}
