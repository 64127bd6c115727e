//! Stream mode: one connection that the agent makes.

use super::*;
use crate::frame::Demand;

#[test]
fn frame_carries_no_address_and_the_reply_is_the_verdict() {
    for auth in HashAlgorithm::ALL {
        let (mut watched, talk) = Watched::connected(Action::Status, auth);
        let key = key();
        let demand = Demand {
            key: Some(&key),
            weakest: HashAlgorithm::Sha256,
        };
        let frame = watched.session.request(None, [3; 6]);
        assert_eq!(demand.accept(&frame).unwrap().frame().callback, None);
        let answer = watched.event(1, Event::Bytes(talk.id, &talk.says));
        if let Some(mut host) = talk.handshake {
            let answer = sent_to(&answer, talk.id);
            assert!(matches!(host.push(&key, &answer), Step::Done(..)));
        }
        let outputs = watched.event(2, Event::Bytes(talk.id, &[2]));
        assert_eq!(verdict(&outputs), Some(&Verdict::Replied(Reply::Off)));
    }
}

#[test]
fn connection_that_fails_ends_the_session() {
    let mut watched = Watched::new(config(Transport::Stream, Action::Off, AUTH));
    let outputs = watched.event(1, Event::ConnectFailed);
    assert_eq!(failure(&outputs), Some(Failure::NotConnected));
}

#[test]
fn closed_line_is_never_a_success() {
    let (mut watched, talk) = Watched::connected(Action::Off, AUTH);
    let outputs = watched.event(1, Event::Closed(talk.id));
    assert_eq!(failure(&outputs), Some(Failure::ClosedUnproven));

    let (mut watched, talk) = Watched::connected(Action::Off, AUTH);
    watched.event(1, Event::Bytes(talk.id, &talk.says));
    let outputs = watched.event(2, Event::Closed(talk.id));
    assert_eq!(failure(&outputs), Some(Failure::ClosedWithoutReply));

    let (mut watched, talk) = Watched::connected(Action::Off, HashAlgorithm::None);
    let outputs = watched.event(1, Event::Closed(talk.id));
    assert_eq!(failure(&outputs), Some(Failure::ClosedWithoutReply));
}

#[test]
fn failed_authentication_ends_the_session() {
    let (mut watched, talk) = Watched::connected(Action::Off, AUTH);
    let mut wrong = talk.says;
    wrong[0] ^= 1;
    let outputs = watched.event(1, Event::Bytes(talk.id, &wrong));
    assert_eq!(
        failure(&outputs),
        Some(Failure::Dropped(Reason::BadResponse))
    );
    assert_eq!(sent_to(&outputs, talk.id), [0; 0]);
}

#[test]
fn silent_host_ends_with_the_time_out() {
    let (mut watched, talk) = Watched::connected(Action::Off, AUTH);
    assert_eq!(watched.session.deadline(), at(30_000));
    watched.event(1, Event::Bytes(talk.id, &talk.says));
    assert_eq!(watched.event(29_999, Event::Tick), []);
    assert_eq!(
        failure(&watched.event(30_000, Event::Tick)),
        Some(Failure::TimedOut)
    );
}
