//! Tests of the agent's session on a serial line.

use proptest::prelude::*;

use super::*;
use crate::domain::Uuid;
use crate::host_list::Entry;
use crate::serial::{RequestScanner, list_response, response};

const SEQNO: u32 = 0x1234;

fn at(millis: u64) -> Moment {
    Moment::from_epoch(Duration::from_millis(millis))
}

fn session(action: Action) -> SerialSession {
    let config = SerialConfig {
        action,
        domain: DomainRef::new("vm1").unwrap(),
        uuid_flag: false,
        seqno: SEQNO,
        settle: Duration::from_millis(300),
        timeout: Duration::from_secs(30),
    };
    SerialSession::new(config, at(0))
}

/// A session that has asked at 1.3 s.
fn asked(action: Action) -> SerialSession {
    let mut session = session(action);
    assert_eq!(session.handle(at(1000), Event::Opened), None);
    assert_eq!(session.deadline(), at(1300));
    let Some(Output::Ask(request)) = session.handle(at(1300), Event::Tick) else {
        panic!("no request")
    };
    let mut scanner = RequestScanner::default();
    let request = scanner.next(&mut request.as_slice()).unwrap().unwrap();
    assert_eq!((request.action, request.seqno), (action, SEQNO));
    assert_eq!(request.domain.as_str(), "vm1");
    session
}

fn hear(session: &mut SerialSession, bytes: &[u8]) -> Option<Output> {
    session.handle(at(2000), Event::Bytes(bytes))
}

fn replied(reply: Reply) -> Option<Output> {
    Some(Output::Finish(Verdict::Replied(reply)))
}

fn failure(failure: Failure) -> Option<Output> {
    Some(failed(failure))
}

fn list(seqno: u32, names: &[&str]) -> Vec<u8> {
    let entry = |name: &&str| Entry {
        name: (*name).to_owned(),
        uuid: Uuid([7; 16]),
        state: 1,
    };
    let entries: Vec<_> = names.iter().map(entry).collect();
    list_response(seqno, &entries)
}

fn names(output: Option<Output>) -> Vec<String> {
    match output {
        Some(Output::Finish(Verdict::Listed(entries))) => {
            entries.into_iter().map(|entry| entry.name).collect()
        }
        other => panic!("no list: {other:?}"),
    }
}

#[test]
fn response_is_the_verdict_with_and_without_a_tag_and_behind_noise() {
    for byte in [0, 1, 2, 3, 77, 255] {
        let reply = Reply::from_wire(byte);
        let bare = [b"login: aab".as_slice(), b"abba", &[byte]].concat();
        for bytes in [response(SEQNO, reply), bare] {
            assert_eq!(hear(&mut asked(Action::Off), &bytes), replied(reply));
        }
    }
}

#[test]
fn response_may_come_in_pieces() {
    let mut session = asked(Action::Status);
    let bytes = [b"abb".as_slice(), &response(SEQNO, Reply::Off)].concat();
    let (last, bytes) = bytes.split_last().unwrap();
    for byte in bytes {
        assert_eq!(hear(&mut session, &[*byte]), None);
    }
    assert_eq!(hear(&mut session, &[*last]), replied(Reply::Off));
}

#[test]
fn what_came_before_the_request_is_no_response() {
    let mut session = session(Action::Off);
    assert_eq!(session.handle(at(0), Event::Opened), None);
    let old = response(SEQNO, Reply::Success);
    assert_eq!(session.handle(at(250), Event::Bytes(&old)), None);
    assert_eq!(session.handle(at(300), Event::Bytes(b"abba")), None);
    // Silence begins anew with each byte.
    assert_eq!(session.handle(at(399), Event::Tick), None);
    assert_eq!(session.deadline(), at(400));
    assert!(matches!(
        session.handle(at(400), Event::Tick),
        Some(Output::Ask(_))
    ));
    assert_eq!(session.tally().discarded, 23);
    // Half a response from before does not make a whole one.
    assert_eq!(session.handle(at(401), Event::Bytes(&[0])), None);
    assert_eq!(
        session.handle(at(402), Event::Bytes(b"abba\x01")),
        replied(Reply::Failure)
    );
}

#[test]
fn response_to_another_request_is_ignored() {
    let mut session = asked(Action::Off);
    assert_eq!(
        hear(&mut session, &response(SEQNO + 1, Reply::Success)),
        None
    );
    assert_eq!(session.tally().stale, 1);
    // This host tags what it says: what has no tag is not a response.
    assert_eq!(hear(&mut session, b"abba\0"), None);
    assert_eq!(
        hear(&mut session, &response(SEQNO, Reply::Failure)),
        replied(Reply::Failure)
    );
}

#[test]
fn list_for_another_request_is_skipped_whatever_its_domains_are_called() {
    for chunk in [1, 7, 1000] {
        let mut session = asked(Action::Off);
        let stale = list(SEQNO + 1, &["abba", "xabba", "vm1"]);
        for chunk in stale.chunks(chunk) {
            assert_eq!(hear(&mut session, chunk), None);
        }
        let wanted = response(SEQNO, Reply::PermissionDenied);
        assert_eq!(
            hear(&mut session, &wanted),
            replied(Reply::PermissionDenied)
        );
    }
}

#[test]
fn list_is_whole_with_the_response_behind_it() {
    let bytes = list(SEQNO, &["vm1", "vm2"]);
    for chunk in [1, 130, 1000] {
        let mut session = asked(Action::List);
        let mut last = None;
        for chunk in bytes.chunks(chunk) {
            assert_eq!(last, None);
            last = hear(&mut session, chunk);
        }
        assert_eq!(names(last), ["vm1", "vm2"]);
    }
}

#[test]
fn list_without_the_response_behind_it_is_whole_too() {
    let bytes = list(SEQNO, &["vm1"]);
    let bytes = &bytes[..bytes.len() - 2];
    let mut session = asked(Action::List);
    assert_eq!(hear(&mut session, bytes), None);
    assert_eq!(session.deadline(), at(2200));
    assert_eq!(names(session.handle(at(2200), Event::Tick)), ["vm1"]);
    let mut session = asked(Action::List);
    hear(&mut session, bytes);
    assert_eq!(names(session.handle(at(2001), Event::Closed)), ["vm1"]);
    let mut session = asked(Action::List);
    session.handle(at(29_999), Event::Bytes(bytes));
    assert_eq!(session.deadline(), at(30_000));
    assert_eq!(names(session.handle(at(30_000), Event::Tick)), ["vm1"]);
}

#[test]
fn partial_list_is_no_list() {
    let whole = list(SEQNO, &["vm1", "vm2"]);
    for length in 0..whole.len() - RESPONSE_LEN {
        let mut session = asked(Action::List);
        assert_eq!(hear(&mut session, &whole[..length]), None, "{length}");
        let closed = session.handle(at(2001), Event::Closed);
        let begun = length >= crate::serial::TAG_LEN + RESPONSE_LEN;
        let (cut, unfinished) = if begun {
            (Failure::ListCut, Failure::ListUnfinished)
        } else {
            (Failure::ClosedWithoutReply, Failure::TimedOut)
        };
        assert_eq!(closed, failure(cut), "{length}");
        let mut session = asked(Action::List);
        hear(&mut session, &whole[..length]);
        let late = session.handle(at(30_000), Event::Bytes(&whole[length..]));
        assert_eq!(late, failure(unfinished), "{length}");
    }
}

#[test]
fn list_and_success_are_not_mistaken_for_each_other() {
    let success = response(SEQNO, Reply::Success);
    let listed = hear(&mut asked(Action::List), &success);
    assert_eq!(listed, failure(Failure::ListMissing));
    let listed = hear(&mut asked(Action::Off), &list(SEQNO, &["vm1"]));
    assert_eq!(listed, failure(Failure::ListUnexpected));
}

#[test]
fn closed_line_is_never_a_result() {
    let mut early = session(Action::Off);
    early.handle(at(0), Event::Opened);
    assert_eq!(
        early.handle(at(1), Event::Closed),
        failure(Failure::NotConnected)
    );
    let mut asked = asked(Action::Off);
    hear(&mut asked, b"abba");
    let closed = asked.handle(at(2001), Event::Closed);
    assert_eq!(closed, failure(Failure::ClosedWithoutReply));
    assert_eq!(hear(&mut asked, &response(SEQNO, Reply::Success)), None);
}

#[test]
fn time_out_bounds_everything_together() {
    let mut unopened = session(Action::Off);
    assert_eq!(unopened.deadline(), at(30_000));
    assert_eq!(
        unopened.handle(at(30_000), Event::Opened),
        failure(Failure::TimedOut)
    );
    let mut silent = asked(Action::Off);
    assert_eq!(silent.deadline(), at(30_000));
    assert_eq!(silent.handle(at(29_999), Event::Tick), None);
    let late = response(SEQNO, Reply::Success);
    let late = silent.handle(at(30_000), Event::Bytes(&late));
    assert_eq!(late, failure(Failure::TimedOut));
}

#[test]
fn line_that_is_never_silent_is_given_up_at_half_time() {
    let mut session = session(Action::Off);
    session.handle(at(0), Event::Opened);
    for time in 1..300 {
        assert_eq!(
            session.handle(at(time * 50), Event::Bytes(b"login: ")),
            None
        );
    }
    let end = session.handle(at(15_000), Event::Bytes(b"login: "));
    assert_eq!(end, failure(Failure::NeverQuiet));
}

proptest! {
    #[test]
    fn no_bytes_make_a_success_but_a_response_does(
        noise in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), 1..=255_u8], 0..400),
        chunk in 1..60_usize,
    ) {
        // No 0 in it, so no response of success.
        let mut session = asked(Action::Off);
        for chunk in noise.chunks(chunk) {
            let output = hear(&mut session, chunk);
            let success = replied(Reply::Success);
            prop_assert_ne!(output, success);
        }
    }

    #[test]
    fn session_ends_by_its_time_out_whatever_comes(
        events in prop::collection::vec((0..4_u8, 0..3000_u64, any::<u8>()), 0..60),
    ) {
        let mut session = session(Action::List);
        let (mut now, mut ends) = (0, 0);
        for (event, wait, byte) in events {
            now += wait;
            let bytes = [b'a', b'b', b'b', b'a', byte, 253];
            let event = match event {
                0 => Event::Opened,
                1 => Event::Closed,
                2 => Event::Tick,
                _ => Event::Bytes(&bytes),
            };
            let output = session.handle(at(now), event);
            ends += u32::from(matches!(output, Some(Output::Finish(_))));
            prop_assert!(session.deadline() <= at(30_000));
        }
        let end = session.handle(at(now.max(30_000)), Event::Tick);
        ends += u32::from(matches!(end, Some(Output::Finish(_))));
        prop_assert_eq!(ends, 1);
    }
}
