//! Multicast mode: requests and several call-backs.

use super::*;
use crate::frame::Demand;

const SUCCESS: &[u8] = &[0];

#[test]
fn reply_behind_the_handshake_is_the_verdict() {
    for (byte, reply) in [
        (0, Reply::Success),
        (1, Reply::Failure),
        (2, Reply::Off),
        (3, Reply::PermissionDenied),
        (77, Reply::Unknown(77)),
    ] {
        let mut watched = Watched::listening(Action::Status, AUTH);
        let host = watched.answered_host(10);
        let outputs = watched.event(20, Event::Bytes(host, &[byte]));
        assert_eq!(outputs, [Output::Finish(Verdict::Replied(reply))]);
    }
}

#[test]
fn retransmissions_keep_the_seqno_and_take_fresh_random_bytes() {
    let watched = Watched::listening(Action::Off, AUTH);
    let callback = "192.0.2.7:1229".parse().unwrap();
    let key = key();
    let demand = Demand {
        key: Some(&key),
        weakest: HashAlgorithm::Sha256,
    };
    for random in [[1; 6], [2; 6]] {
        let bytes = watched.session.request(Some(callback), random);
        let frame = demand.accept(&bytes).unwrap();
        assert_eq!(frame.frame().id.seqno, 0x1234);
        assert_eq!(frame.frame().id.random, random);
        assert_eq!(frame.frame().callback, Some(callback));
        assert_eq!(frame.frame().action, Action::Off);
    }
}

#[test]
fn requests_are_repeated_at_the_given_interval() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    assert_eq!(watched.session.deadline(), at(2000));
    assert_eq!(watched.event(1999, Event::Tick), []);
    assert_eq!(watched.event(2000, Event::Tick), [Output::SendRequest]);
    assert_eq!(watched.event(2001, Event::Tick), []);
    assert_eq!(watched.session.deadline(), at(4000));
    assert_eq!(watched.session.tally().rounds, 2);
}

#[test]
fn nothing_is_sent_before_the_listener_is_open() {
    let mut watched = Watched::new(config(MULTICAST, Action::Off, AUTH));
    assert_eq!(watched.event(5000, Event::Tick), []);
    assert_eq!(watched.session.deadline(), at(30_000));
    assert_eq!(watched.event(6000, Event::Listening), [Output::SendRequest]);
}

#[test]
fn time_out_shorter_than_one_retransmission_ends_in_time() {
    let config = AgentConfig {
        timeout: Duration::from_millis(500),
        ..config(MULTICAST, Action::Off, AUTH)
    };
    let mut watched = Watched::new(config);
    watched.event(0, Event::Listening);
    assert_eq!(watched.session.deadline(), at(500));
    assert_eq!(watched.event(499, Event::Tick), []);
    let outputs = watched.event(500, Event::Tick);
    assert_eq!(failure(&outputs), Some(Failure::TimedOut));
}

#[test]
fn total_time_is_one_time_out_in_every_phase() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let host = watched.answered_host(29_000);
    assert_eq!(watched.session.deadline(), at(30_000));
    // Even a success that comes with the time-out comes too late.
    let outputs = watched.event(30_000, Event::Bytes(host, SUCCESS));
    assert_eq!(failure(&outputs), Some(Failure::TimedOut));
}

#[test]
fn silent_and_rubbish_call_backs_cost_nothing() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let (_silent, _) = watched.accept(1);
    let (rubbish, _) = watched.accept(2);
    let outputs = watched.event(3, Event::Bytes(rubbish, &[0; 200]));
    let cause = CloseCause::Dropped(Reason::BadResponse);
    assert_eq!(outputs, [Output::Close(rubbish, cause)]);
    let (gone, _) = watched.accept(4);
    assert_eq!(watched.event(5, Event::Closed(gone)), []);
    let host = watched.answered_host(6);
    let outputs = watched.event(7, Event::Bytes(host, SUCCESS));
    assert_eq!(verdict(&outputs), Some(&Verdict::Replied(Reply::Success)));
    assert_eq!(watched.session.tally().unproven, 1);
}

#[test]
fn host_with_another_key_is_never_believed() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let liar = watched.host(1, &wrong_key());
    let outputs = watched.event(2, Event::Bytes(liar.id, &liar.says));
    let cause = CloseCause::Dropped(Reason::BadResponse);
    assert_eq!(outputs, [Output::Close(liar.id, cause)]);
    assert_eq!(watched.event(3, Event::Bytes(liar.id, SUCCESS)), []);
}

#[test]
fn reply_before_the_handshake_is_no_reply() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let (early, _) = watched.accept(1);
    assert_eq!(watched.event(2, Event::Bytes(early, SUCCESS)), []);
    assert_eq!(watched.event(3, Event::Closed(early)), []);
    let hasty = watched.host(4, &key());
    let outputs = watched.event(
        5,
        Event::Bytes(hasty.id, &[&hasty.says[..], SUCCESS].concat()),
    );
    let cause = CloseCause::Dropped(Reason::UnexpectedBytes);
    assert_eq!(outputs, [Output::Close(hasty.id, cause)]);
}

#[test]
fn only_one_host_at_a_time_gets_an_answer() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let first = watched.host(1, &key());
    let second = watched.host(2, &key());
    let (third, _) = watched.accept(3);
    let outputs = watched.event(4, Event::Bytes(second.id, &second.says));
    assert_eq!(outputs.len(), 3);
    assert_eq!(sent_to(&outputs, second.id).len(), 64);
    for other in [first.id, third] {
        let close = Output::Close(other, CloseCause::OtherHostChosen);
        assert!(outputs.contains(&close), "{outputs:?}");
    }
    assert_eq!(watched.event(5, Event::Bytes(first.id, &first.says)), []);
}

#[test]
fn connections_after_the_answer_are_closed_at_once_and_nothing_is_asked() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    watched.answered_host(1);
    let (late, outputs) = watched.accept(2);
    assert_eq!(outputs, [Output::Close(late, CloseCause::OtherHostChosen)]);
    assert_eq!(watched.event(10_000, Event::Tick), []);
    assert_eq!(watched.session.deadline(), at(30_000));
}

#[test]
fn closed_line_after_the_answer_is_no_success_and_the_agent_asks_again() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let host = watched.answered_host(1);
    assert_eq!(
        watched.event(5000, Event::Closed(host)),
        [Output::SendRequest]
    );
    assert_eq!(watched.session.tally().without_reply, 1);
    let other = watched.answered_host(5001);
    let outputs = watched.event(5002, Event::Bytes(other, SUCCESS));
    assert_eq!(verdict(&outputs), Some(&Verdict::Replied(Reply::Success)));
}

#[test]
fn oldest_unproven_connection_gives_way_and_a_proven_one_stays() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let proven = watched.host(1, &key());
    watched.event(1, Event::Bytes(proven.id, &proven.says[..64]));
    let mut silent = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        silent.push(watched.accept(2).0);
    }
    let (_, outputs) = watched.accept(3);
    let evicted = Output::Close(silent[0], CloseCause::Dropped(Reason::Evicted));
    assert_eq!(outputs[0], evicted);
    let outputs = watched.event(4, Event::Bytes(proven.id, &proven.says[64..]));
    assert_eq!(sent_to(&outputs, proven.id).len(), 64);
}

#[test]
fn without_authentication_the_first_reply_byte_wins() {
    let mut watched = Watched::listening(Action::Status, HashAlgorithm::None);
    let (_silent, outputs) = watched.accept(1);
    assert_eq!(outputs, []);
    let (host, _) = watched.accept(2);
    let outputs = watched.event(3, Event::Bytes(host, &[2]));
    assert_eq!(outputs, [Output::Finish(Verdict::Replied(Reply::Off))]);
}

#[test]
fn list_is_only_good_as_a_whole() {
    use crate::host_list::{Entry, encode};
    let entry = Entry {
        name: "vm1".to_owned(),
        uuid: crate::Uuid([1; 16]),
        state: 1,
    };
    let list = [&[253][..], &encode(&[entry])].concat();
    for cut in 1..list.len() {
        let mut watched = Watched::listening(Action::List, AUTH);
        let host = watched.answered_host(1);
        let mut outputs = watched.event(2, Event::Bytes(host, &list[..cut]));
        outputs.extend(watched.event(3, Event::Closed(host)));
        match verdict(&outputs) {
            // The byte behind the closing entry does not count.
            Some(Verdict::Listed(entries)) => {
                assert_eq!((entries.len(), cut), (1, list.len() - 1));
            }
            other => assert_eq!(other, Some(&Verdict::Failed(Failure::ListCut)), "{cut}"),
        }
    }
}

#[test]
fn list_that_is_not_finished_in_time_is_a_failure() {
    let mut watched = Watched::listening(Action::List, AUTH);
    let host = watched.answered_host(1);
    assert_eq!(watched.event(2, Event::Bytes(host, &[253; 100])), []);
    assert_eq!(
        failure(&watched.event(30_000, Event::Tick)),
        Some(Failure::TimedOut)
    );
}

#[test]
fn list_that_begins_without_authentication_is_the_only_one() {
    let mut watched = Watched::listening(Action::List, HashAlgorithm::None);
    let (silent, _) = watched.accept(1);
    let (host, _) = watched.accept(1);
    let outputs = watched.event(2, Event::Bytes(host, &[253, 1, 1]));
    assert_eq!(
        outputs,
        [Output::Close(silent, CloseCause::OtherHostChosen)]
    );
    assert_eq!(
        failure(&watched.event(3, Event::Closed(host))),
        Some(Failure::ListCut)
    );
}

#[test]
fn list_and_reply_are_not_mistaken_for_each_other() {
    let mut watched = Watched::listening(Action::List, AUTH);
    let host = watched.answered_host(1);
    let outputs = watched.event(2, Event::Bytes(host, SUCCESS));
    assert_eq!(failure(&outputs), Some(Failure::ListMissing));
    let mut watched = Watched::listening(Action::Off, AUTH);
    let host = watched.answered_host(1);
    let outputs = watched.event(2, Event::Bytes(host, &[253]));
    assert_eq!(failure(&outputs), Some(Failure::ListUnexpected));
}

#[test]
fn nothing_follows_the_end() {
    let mut watched = Watched::listening(Action::Off, AUTH);
    let host = watched.answered_host(1);
    assert!(verdict(&watched.event(2, Event::Bytes(host, &[1]))).is_some());
    assert_eq!(watched.event(3, Event::Bytes(host, SUCCESS)), []);
    assert_eq!(watched.event(4, Event::Closed(host)), []);
    assert_eq!(watched.accept(5).1, []);
    assert_eq!(watched.event(40_000, Event::Tick), []);
}
