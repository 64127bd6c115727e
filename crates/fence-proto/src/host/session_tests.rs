//! The host's session, event by event.

use core::net::SocketAddr;
use core::time::Duration;

use super::*;
use crate::access::{Access, Group, GroupMember, GroupSource};
use crate::domain::DomainRef;
use crate::frame::{RequestId, Signature};
use crate::handshake::AgentHandshake;
use crate::hash::HashAlgorithm;
use crate::host::{CallBack, Timing};
use crate::key::Key;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

fn key() -> Key {
    Key::from_bytes(b"0123456789").unwrap()
}

fn policy(auth: HashAlgorithm, access: Access) -> Arc<Policy> {
    let hashes = (SHA256, auth);
    Arc::new(Policy::new(Some(key()), hashes, Arc::new(access), Timing::default()).unwrap())
}

fn request(callback: Option<SocketAddr>) -> RequestFrame {
    RequestFrame {
        action: Action::Off,
        domain: DomainRef::new("vm").unwrap(),
        uuid_flag: false,
        callback,
        id: RequestId {
            random: [1; 6],
            seqno: 1,
        },
    }
}

fn frame() -> [u8; FRAME_LEN] {
    request(None).encode(Signature::Keyed(&key(), SHA256))
}

fn source() -> Source {
    Source::Ip([10, 0, 0, 1].into())
}

fn at(seconds: u64) -> Moment {
    Moment::from_epoch(Duration::from_secs(seconds))
}

fn session(auth: HashAlgorithm) -> Session {
    Session::accepted(
        policy(auth, Access::unrestricted()),
        source(),
        [3; 32],
        at(0),
    )
}

/// Sends the frame, then runs an honest agent.
fn ask(session: &mut Session, replay: &mut Replay) -> Output {
    let output = session.handle(at(1), Event::Received(&frame()), replay);
    assert_eq!(output, Output::Wait);
    run_handshake(session, replay)
}

/// Runs an honest agent against the session until the order is made.
fn run_handshake(session: &mut Session, replay: &mut Replay) -> Output {
    let key = key();
    let mut agent = AgentHandshake::new(SHA256, [9; 64], request(None).purpose()).unwrap();
    let mut output = session.handle(at(1), Event::Received(agent.opening()), replay);
    while let Output::Send(bytes) = output {
        let (Step::Done(answer, _), used) = agent.push(&key, &bytes) else {
            panic!("the agent wants more");
        };
        assert_eq!(used, bytes.len());
        output = session.handle(at(1), Event::Received(&answer), replay);
    }
    output
}

fn order(output: Output) -> Order {
    match output {
        Output::Execute(order) => order,
        other => panic!("expected an order, not {other:?}"),
    }
}

#[test]
fn complete_stream_makes_one_order_and_its_reply_is_sent() {
    let (mut session, mut replay) = (session(SHA256), Replay::new());
    assert_eq!(
        session.handle(at(1), Event::Received(&frame()), &mut replay),
        Output::Wait
    );
    assert_eq!(session.asked(), Some((Action::Off, "vm")));
    let order = order(run_handshake(&mut session, &mut replay));
    assert_eq!(order.domain().as_str(), "vm");
    assert_eq!(order.requester().source(), source());
    assert_eq!(order.start_by(), at(21));
    assert_eq!(session.deadline(), at(26));
    let output = session.handle(
        at(2),
        Event::Answered(Answer::Reply(Reply::Success)),
        &mut replay,
    );
    assert_eq!(output, Output::Finish(vec![0], None));
    assert!(session.served());
    assert!(session.is_over());
}

#[test]
fn frame_and_challenge_may_come_in_any_chunks() {
    for size in [1, 100, 176, 177, 240] {
        let (mut session, mut replay) = (session(SHA256), Replay::new());
        let bytes = [&frame()[..], &[9; 64]].concat();
        let mut last = Output::Wait;
        for chunk in bytes.chunks(size) {
            assert_eq!(last, Output::Wait, "chunks of {size}");
            last = session.handle(at(1), Event::Received(chunk), &mut replay);
        }
        assert!(
            matches!(last, Output::Send(bytes) if bytes.len() == 128),
            "chunks of {size}"
        );
    }
}

#[test]
fn wrong_answer_makes_no_order() {
    let (mut session, mut replay) = (session(SHA256), Replay::new());
    session.handle(at(1), Event::Received(&frame()), &mut replay);
    session.handle(at(1), Event::Received(&[9; 64]), &mut replay);
    let output = session.handle(at(1), Event::Received(&[0; 64]), &mut replay);
    assert_eq!(output, Output::Drop(Reason::BadResponse));
    assert!(!session.served());
    // Nothing revives it.
    assert_eq!(
        session.handle(at(1), Event::Received(&[0; 64]), &mut replay),
        Output::Wait
    );
    assert_eq!(
        session.handle(at(1), Event::Connected, &mut replay),
        Output::Wait
    );
}

#[test]
fn replayed_stream_frame_is_dropped() {
    let mut replay = Replay::new();
    session(SHA256).handle(at(1), Event::Received(&frame()), &mut replay);
    let policy = policy(SHA256, Access::unrestricted());
    let mut later = Session::accepted(policy, source(), [3; 32], at(100));
    let output = later.handle(at(101), Event::Received(&frame()), &mut replay);
    assert_eq!(output, Output::Drop(Reason::Replayed));
}

#[test]
fn answer_that_waited_while_the_daemon_was_stopped_makes_no_order() {
    let (mut session, mut replay) = (session(SHA256), Replay::new());
    session.handle(at(1), Event::Received(&frame()), &mut replay);
    let Output::Send(bytes) = session.handle(at(1), Event::Received(&[9; 64]), &mut replay) else {
        panic!("an answer and a challenge are sent");
    };
    let answer = key().digest(SHA256, &bytes[64..]);
    let output = session.handle(at(60), Event::Received(&answer), &mut replay);
    assert_eq!(output, Output::Drop(Reason::TimedOut));
    assert_eq!(
        session.handle(at(61), Event::Tick, &mut replay),
        Output::Wait
    );
}

#[test]
fn frame_made_for_multicast_is_refused_on_a_stream() {
    let bytes = request(Some(SocketAddr::from(([10, 0, 0, 1], 1229))))
        .encode(Signature::Keyed(&key(), SHA256));
    let output = session(SHA256).handle(at(1), Event::Received(&bytes), &mut Replay::new());
    assert_eq!(output, Output::Drop(Reason::MalformedAddress));
}

#[test]
fn auth_none_goes_straight_to_the_order() {
    let (mut session, mut replay) = (session(HashAlgorithm::None), Replay::new());
    order(session.handle(at(1), Event::Received(&frame()), &mut replay));
}

#[test]
fn bytes_behind_a_frame_without_handshake_are_refused() {
    let bytes = [&frame()[..], &[9; 64]].concat();
    let output =
        session(HashAlgorithm::None).handle(at(1), Event::Received(&bytes), &mut Replay::new());
    assert_eq!(output, Output::Drop(Reason::UnexpectedBytes));
}

#[test]
fn silent_peer_is_dropped_at_the_deadline_and_not_before() {
    let (mut session, mut replay) = (session(SHA256), Replay::new());
    assert_eq!(
        session.handle(at(9), Event::Tick, &mut replay),
        Output::Wait
    );
    assert_eq!(
        session.handle(at(10), Event::Tick, &mut replay),
        Output::Drop(Reason::TimedOut)
    );
}

#[test]
fn backend_that_does_not_answer_is_a_failure_in_time() {
    let (mut session, mut replay) = (session(HashAlgorithm::None), Replay::new());
    session.handle(at(1), Event::Received(&frame()), &mut replay);
    let output = session.handle(at(26), Event::Tick, &mut replay);
    assert_eq!(output, Output::Finish(vec![1], Some(Reason::TimedOut)));
}

#[test]
fn requester_that_leaves_cancels_the_order_and_gets_no_bytes() {
    let (mut session, mut replay) = (session(HashAlgorithm::None), Replay::new());
    session.handle(at(1), Event::Received(&frame()), &mut replay);
    assert_eq!(
        session.handle(at(2), Event::PeerClosed, &mut replay),
        Output::Cancel
    );
    let answer = Answer::NotStarted(Reason::RequesterGone);
    let output = session.handle(at(3), Event::Answered(answer), &mut replay);
    assert_eq!(output, Output::Finish(vec![], Some(Reason::RequesterGone)));
}

#[test]
fn source_that_no_group_knows_is_denied_without_an_order() {
    let access = Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![GroupSource::Ip([10, 0, 0, 2].into())],
    }]);
    let policy = policy(HashAlgorithm::None, access);
    let mut session = Session::accepted(policy, source(), [3; 32], at(0));
    let output = session.handle(at(1), Event::Received(&frame()), &mut Replay::new());
    assert_eq!(output, Output::Finish(vec![3], Some(Reason::NotAllowed)));
}

#[test]
fn call_back_that_another_host_has_won_is_routine() {
    let callback = SocketAddr::from(([10, 0, 0, 1], 1229));
    let bytes = request(Some(callback)).encode(Signature::Keyed(&key(), SHA256));
    let policy = policy(SHA256, Access::unrestricted());
    let frame = policy.demand().accept(&bytes).unwrap();
    let call = CallBack {
        arrived: at(0),
        frame,
        address: callback,
    };
    let mut replay = Replay::new();
    let start = || Session::calling_back(Arc::clone(&policy), call.clone(), [3; 32], at(0));

    let refused = Event::ConnectFailed(ConnectError::Refused);
    let output = start().handle(at(0), refused, &mut replay);
    assert_eq!(output, Output::Drop(Reason::CallbackRefused));

    let mut accepted_then_reset = start();
    assert_eq!(
        accepted_then_reset.handle(at(0), Event::Connected, &mut replay),
        Output::Wait
    );
    let output = accepted_then_reset.handle(at(1), Event::PeerClosed, &mut replay);
    assert_eq!(output, Output::Drop(Reason::PeerClosed));
    assert!(Reason::CallbackRefused.is_routine() && Reason::PeerClosed.is_routine());

    let mut won = start();
    assert_eq!(
        won.handle(at(0), Event::Connected, &mut replay),
        Output::Wait
    );
    assert_eq!(
        order(run_handshake(&mut won, &mut replay))
            .requester()
            .source(),
        source()
    );
}

#[test]
fn eviction_at_the_deadline_is_an_eviction() {
    let (mut session, mut replay) = (session(SHA256), Replay::new());
    let output = session.handle(at(10), Event::Evicted, &mut replay);
    assert_eq!(output, Output::Drop(Reason::Evicted));
}

#[test]
fn shut_down_drops_the_unproven_and_fails_the_rest() {
    let mut replay = Replay::new();
    let output = session(SHA256).handle(at(1), Event::ShutDown, &mut replay);
    assert_eq!(output, Output::Drop(Reason::ShuttingDown));
    let mut executing = session(HashAlgorithm::None);
    executing.handle(at(1), Event::Received(&frame()), &mut replay);
    let output = executing.handle(at(1), Event::ShutDown, &mut replay);
    assert_eq!(output, Output::Finish(vec![1], Some(Reason::ShuttingDown)));
}

#[test]
fn list_goes_out_behind_its_reply_byte() {
    let (mut session, mut replay) = (session(HashAlgorithm::None), Replay::new());
    session.handle(at(1), Event::Received(&frame()), &mut replay);
    let output = session.handle(at(1), Event::Answered(Answer::List(vec![])), &mut replay);
    assert_eq!(
        output,
        Output::Finish([&[253][..], &[0; 131]].concat(), None)
    );
}

/// Sessions over vsock, with groups that go by the domain behind the CID.
fn by_guest() -> Session {
    let access = Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![GroupSource::Guest(GroupMember::parse("node1"))],
    }]);
    Session::accepted(policy(SHA256, access), Source::Cid(7), [3; 32], at(0))
}

fn guest(name: &str) -> DomainIdentity {
    DomainIdentity {
        name: name.to_owned(),
        uuid: crate::domain::Uuid([1; 16]),
    }
}

#[test]
fn guest_is_identified_after_its_proof_and_before_its_order() {
    let mut replay = Replay::new();
    let mut session = by_guest();
    assert_eq!(ask(&mut session, &mut replay), Output::Identify(7));
    assert!(!session.served());
    // It has proved itself: nobody takes its place, and what it sends changes nothing.
    for event in [Event::Evicted, Event::Received(b"x"), Event::Tick] {
        assert_eq!(session.handle(at(1), event, &mut replay), Output::Wait);
    }
    let event = Event::Identified(Some(guest("node1")));
    let order = order(session.handle(at(1), event, &mut replay));
    assert!(order.requester().may_fence(&guest("vm")));
    assert!(session.served());
}

#[test]
fn guest_that_nobody_can_identify_or_that_is_another_is_denied() {
    for found in [None, Some(guest("node2"))] {
        let mut replay = Replay::new();
        let mut session = by_guest();
        assert_eq!(ask(&mut session, &mut replay), Output::Identify(7));
        let output = session.handle(at(1), Event::Identified(found), &mut replay);
        assert_eq!(output, Output::Finish(vec![3], Some(Reason::NotAllowed)));
        assert!(!session.served());
    }
}

#[test]
fn identifying_ends_by_the_deadline_with_the_daemon_and_with_the_peer() {
    let failure = |reason| Output::Finish(vec![1], Some(reason));
    for (event, expected) in [
        (Event::Tick, failure(Reason::TimedOut)),
        (Event::ShutDown, failure(Reason::ShuttingDown)),
        (Event::PeerClosed, Output::Drop(Reason::RequesterGone)),
    ] {
        let mut replay = Replay::new();
        let mut session = by_guest();
        assert_eq!(ask(&mut session, &mut replay), Output::Identify(7));
        let late = matches!(event, Event::Tick);
        let now = if late { session.deadline() } else { at(1) };
        assert_eq!(session.handle(now, event, &mut replay), expected);
        assert!(session.is_over());
        let event = Event::Identified(Some(guest("node1")));
        assert_eq!(session.handle(at(1), event, &mut replay), Output::Wait);
    }
}

#[test]
fn groups_that_name_no_guests_need_no_identification() {
    let access = Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![GroupSource::Cid(7)],
    }]);
    let mut session = Session::accepted(policy(SHA256, access), Source::Cid(7), [3; 32], at(0));
    let order = order(ask(&mut session, &mut Replay::new()));
    assert_eq!(order.requester().source(), Source::Cid(7));
}
