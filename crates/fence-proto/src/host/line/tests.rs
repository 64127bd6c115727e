//! Tests of a host's serial line.

use proptest::prelude::*;

use super::*;
use crate::access::{Group, GroupMember, GroupSource};
use crate::domain::Uuid;
use crate::host_list::{ENTRY_LEN, Entry};
use crate::serial::{RESPONSE_LEN, TAG_LEN};

const GUEST: Uuid = Uuid([1; 16]);

fn at(millis: u64) -> Moment {
    Moment::from_epoch(Duration::from_millis(millis))
}

fn request(action: Action, seqno: u32) -> Vec<u8> {
    let domain = DomainRef::new("vm1").unwrap();
    let uuid_flag = false;
    let request = Request {
        action,
        domain,
        uuid_flag,
        seqno,
    };
    request.encode().to_vec()
}

/// A connected line; what it puts out is collected per event.
struct Watched(Line);

impl Watched {
    fn new() -> Self {
        Self::with(Access::unrestricted())
    }

    fn with(access: Access) -> Self {
        let mut line = Self(Line::new(GUEST, Arc::new(access), Timing::default(), at(0)));
        assert_eq!(line.event(0, Event::Connected), []);
        line
    }

    fn event(&mut self, millis: u64, event: Event<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        self.0.handle(at(millis), event, &mut out);
        out
    }

    fn bytes(&mut self, millis: u64, bytes: &[u8]) -> Vec<Output> {
        self.event(millis, Event::Received(bytes))
    }

    /// Asks, and is given an order.
    fn order(&mut self, millis: u64, action: Action, seqno: u32) -> (OrderNumber, Order) {
        let mut out = self.bytes(millis, &request(action, seqno));
        match out.pop() {
            Some(Output::Execute(number, order)) => (number, order),
            other => panic!("{out:?} {other:?}"),
        }
    }

    fn answer(&mut self, millis: u64, number: OrderNumber, answer: Answer) -> Vec<Output> {
        self.event(millis, Event::Answered(number, answer))
    }

    /// Says what time it is as often as the line wants.
    fn pass(&mut self, until: u64) -> Vec<Output> {
        let mut out = Vec::new();
        while self.0.deadline() <= at(until) {
            let now = self.0.deadline();
            self.0.handle(now, Event::Tick, &mut out);
        }
        self.0.handle(at(until), Event::Tick, &mut out);
        out
    }
}

fn success() -> Answer {
    Answer::Reply(Reply::Success)
}

/// What is sent, after the tag.
fn sent(out: &[Output]) -> Vec<Vec<u8>> {
    let bytes = out.iter().filter_map(|output| match output {
        Output::Respond(response) if !response.bytes.is_empty() => Some(&response.bytes),
        _ => None,
    });
    bytes.map(|bytes| bytes[TAG_LEN..].to_vec()).collect()
}

fn drops(out: &[Output]) -> Vec<Reason> {
    let reasons = out.iter().filter_map(|output| match output {
        Output::Drop(reason) => Some(*reason),
        Output::Respond(response) => response.reason,
        _ => None,
    });
    reasons.collect()
}

fn executed(out: &[Output]) -> Vec<u32> {
    let orders = out.iter().filter_map(|output| match output {
        Output::Execute(_, order) => Some(order.id().seqno),
        _ => None,
    });
    orders.collect()
}

#[test]
fn request_is_an_order_of_the_sockets_domain_and_its_answer_is_sent() {
    let mut line = Watched::new();
    let (number, order) = line.order(100, Action::Off, 7);
    assert_eq!(order.action(), Action::Off);
    assert_eq!(order.domain().as_str(), "vm1");
    assert_eq!(order.requester().source(), Source::Domain(GUEST));
    assert_eq!(order.id().seqno, 7);
    assert_eq!(order.start_by(), at(20_100));
    assert_eq!(order.answer_by(), at(25_100));
    let out = line.answer(200, number, success());
    assert_eq!(sent(&out), [b"abba\0"]);
    let Some(Output::Respond(response)) = out.first() else {
        panic!("{out:?}")
    };
    assert_eq!(response.bytes, crate::serial::response(7, Reply::Success));
    assert_eq!(response.order, Some(number));
}

#[test]
fn noise_before_the_magic_is_skipped_and_chunks_do_not_matter() {
    let mut line = Watched::new();
    let bytes = [b"login: abb".as_slice(), &request(Action::Status, 1)].concat();
    let mut out = Vec::new();
    for byte in bytes {
        out.extend(line.bytes(1, &[byte]));
    }
    assert_eq!(executed(&out), [1]);
    assert_eq!(drops(&out), [Reason::UnknownAction]);
}

#[test]
fn list_is_sent_whole_with_what_follows_it() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::List, 1);
    let entry = Entry {
        name: "vm1".to_owned(),
        uuid: GUEST,
        state: 1,
    };
    let out = line.answer(1, number, Answer::List(vec![entry]));
    let bytes = sent(&out).concat();
    assert_eq!(bytes.len(), RESPONSE_LEN + 2 * ENTRY_LEN + RESPONSE_LEN);
    assert_eq!(bytes[..5], *b"abba\xfd");
}

#[test]
fn half_frame_times_out() {
    let mut line = Watched::new();
    let half = &request(Action::Off, 1)[..40];
    assert_eq!(line.bytes(1000, half), []);
    assert_eq!(line.0.deadline(), at(4000));
    assert_eq!(line.bytes(3999, b""), []);
    assert_eq!(drops(&line.pass(4000)), [Reason::TimedOut]);
    assert_eq!(line.0.frame_due, None);
    // The rest does not make it whole any more.
    let out = line.bytes(4001, &request(Action::Off, 1)[40..]);
    assert_eq!(out, []);
    line.order(4002, Action::Off, 2);
}

#[test]
fn late_rest_of_a_frame_does_not_count_even_before_the_tick() {
    let mut line = Watched::new();
    let frame = request(Action::Off, 1);
    line.bytes(1000, &frame[..40]);
    let out = line.bytes(4000, &frame[40..]);
    assert_eq!(executed(&out), [0; 0]);
    assert_eq!(drops(&out), [Reason::TimedOut]);
}

#[test]
fn half_frame_of_a_cut_line_is_forgotten() {
    let mut line = Watched::new();
    let frame = request(Action::Off, 1);
    line.bytes(0, &frame[..40]);
    line.event(1, Event::Closed);
    assert_eq!(line.bytes(1, &frame[40..]), []);
    line.event(2, Event::Connected);
    assert_eq!(line.bytes(2, &frame[40..]), []);
}

#[test]
fn source_in_no_group_is_denied_without_an_order() {
    let group = |member| Group {
        members: vec![GroupMember::Uuid(member)],
        ..Group::default()
    };
    let mut line = Watched::with(Access::groups(vec![group(Uuid([9; 16]))]));
    for action in [Action::Off, Action::On, Action::Reboot, Action::Status] {
        let out = line.bytes(0, &request(action, 1));
        assert_eq!(sent(&out), [b"abba\x03"], "{action}");
        assert_eq!(drops(&out), [Reason::NotAllowed]);
        assert_eq!(executed(&out), [0; 0]);
    }
    // Lists hold what the source may fence, monitor names no domain.
    assert_eq!(executed(&line.bytes(0, &request(Action::List, 1))), [1]);
    let mut line = Watched::with(Access::groups(vec![group(GUEST)]));
    assert_eq!(executed(&line.bytes(0, &request(Action::Off, 1))), [1]);
}

#[test]
fn source_may_be_in_a_group_by_its_name() {
    let by_name = |name| {
        let named = Group {
            members: vec![GroupMember::parse("vm")],
            sources: vec![GroupSource::Guest(GroupMember::parse(name))],
            ..Group::default()
        };
        let access = Arc::new(Access::groups(vec![named]));
        let line = Line::new(GUEST, access, Timing::default(), at(0));
        let mut line = Watched(line.called("manager"));
        line.event(0, Event::Connected);
        executed(&line.bytes(0, &request(Action::Off, 1))).len()
    };
    assert_eq!(by_name("manager"), 1);
    assert_eq!(by_name("Manager"), 0);
    assert_eq!(by_name("other"), 0);
}

#[test]
fn repeated_request_is_executed_once_while_it_is_served() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Reboot, 1);
    let out = line.bytes(10, &request(Action::Reboot, 1));
    assert_eq!(out, [Output::Drop(Reason::DuplicateInProgress)]);
    assert_eq!(sent(&line.answer(20, number, success())), [b"abba\0"]);
}

#[test]
fn answer_of_a_deed_is_repeated_for_ten_seconds_and_the_deed_is_not() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Reboot, 1);
    line.answer(500, number, success());
    // The answer was lost with the line.
    line.event(600, Event::Closed);
    line.event(700, Event::Connected);
    line.pass(10_499);
    let out = line.bytes(10_499, &request(Action::Reboot, 1));
    assert_eq!(sent(&out), [b"abba\0"]);
    assert_eq!(drops(&out), [Reason::DuplicateServed]);
    assert_eq!(executed(&out), [0; 0]);
    let out = line.bytes(10_500, &request(Action::Reboot, 1));
    assert_eq!(executed(&out), [1]);
}

#[test]
fn another_deed_or_domain_or_number_is_another_request() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Reboot, 1);
    line.answer(500, number, success());
    line.order(501, Action::Off, 1);
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Reboot, 1);
    line.answer(500, number, success());
    line.order(501, Action::Reboot, 2);
}

#[test]
fn questions_are_asked_again() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Status, 1);
    line.answer(1, number, success());
    line.order(2, Action::Status, 1);
}

#[test]
fn deed_that_was_not_started_gets_a_new_try() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Off, 1);
    let out = line.answer(1, number, Answer::NotStarted(Reason::OrderExpired));
    assert_eq!(sent(&out), [b"abba\x01"]);
    assert_eq!(drops(&out), [Reason::OrderExpired]);
    line.order(2, Action::Off, 1);
}

#[test]
fn retry_after_a_cut_waits_for_the_deed_that_is_under_way() {
    for (answer, reply) in [
        (success(), Some(b"abba\0")),
        (Answer::NotStarted(Reason::RequesterGone), None),
    ] {
        let mut line = Watched::new();
        let (number, _) = line.order(0, Action::Reboot, 1);
        let out = line.event(10, Event::Closed);
        assert_eq!(out[1], Output::Cancel(number));
        assert_eq!(drops(&out), [Reason::RequesterGone]);
        line.event(20, Event::Connected);
        assert_eq!(line.bytes(30, &request(Action::Reboot, 1)), []);
        let out = line.answer(40, number, answer);
        match reply {
            Some(reply) => assert_eq!((sent(&out), executed(&out)), (vec![reply.to_vec()], vec![])),
            None => assert_eq!((sent(&out), executed(&out)), (vec![], vec![1])),
        }
    }
}

#[test]
fn only_the_newest_request_is_answered() {
    let mut line = Watched::new();
    let (old, _) = line.order(0, Action::Monitor, 1);
    let out = line.bytes(10, &request(Action::Off, 2));
    assert_eq!(
        out[..2],
        [Output::Drop(Reason::Superseded), Output::Cancel(old)]
    );
    assert_eq!(executed(&out), [2]);
    // The old one's success is not for the new one's ears.
    assert_eq!(sent(&line.answer(20, old, success())), [[0; 0]; 0]);
    let out = line.answer(30, OrderNumber(1), Answer::Reply(Reply::Failure));
    assert_eq!(sent(&out), [b"abba\x01"]);
}

#[test]
fn newest_request_waits_for_room_and_older_ones_are_dropped() {
    let mut line = Watched::new();
    let (first, _) = line.order(0, Action::Off, 1);
    line.order(1, Action::Off, 2);
    for seqno in 3..100 {
        let out = line.bytes(2, &request(Action::Off, seqno));
        assert_eq!(executed(&out), [0; 0]);
        assert_eq!(drops(&out), [Reason::Superseded], "{seqno}");
    }
    let out = line.bytes(3, &request(Action::Off, 99));
    assert_eq!(out, [Output::Drop(Reason::DuplicateInProgress)]);
    let out = line.answer(4, first, success());
    assert_eq!(executed(&out), [99]);
    assert_eq!(sent(&out), [[0; 0]; 0]);
}

#[test]
fn request_that_waited_too_long_is_never_started() {
    let mut line = Watched::new();
    for seqno in 1..4 {
        line.bytes(0, &request(Action::Off, seqno));
    }
    let out = line.pass(20_000);
    assert_eq!(sent(&out), [b"abba\x01"]);
    assert_eq!(drops(&out), [Reason::OrderExpired]);
    assert_eq!(
        executed(&line.answer(20_001, OrderNumber(0), success())),
        [0; 0]
    );
}

#[test]
fn silent_backend_is_a_failure_in_time_and_written_off_later() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Off, 1);
    assert_eq!(line.pass(24_999), []);
    let out = line.pass(25_000);
    assert_eq!(sent(&out), [b"abba\x01"]);
    assert_eq!(drops(&out), [Reason::TimedOut]);
    assert_eq!(line.pass(30_000), [Output::Forget(number)]);
    assert_eq!(line.answer(30_001, number, success()), []);
    assert_eq!(line.0.under_way.len(), 0);
}

#[test]
fn answer_that_comes_too_late_is_remembered_and_not_sent() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Off, 1);
    line.pass(25_000);
    let out = line.answer(26_000, number, success());
    assert_eq!(sent(&out), [[0; 0]; 0]);
    let out = line.bytes(26_001, &request(Action::Off, 1));
    assert_eq!(sent(&out), [b"abba\0"]);
}

#[test]
fn what_waited_in_the_socket_while_the_daemon_stood_still_is_thrown_away() {
    let mut line = Watched::new();
    assert_eq!(line.0.deadline(), at(4000));
    assert_eq!(line.event(4000, Event::Tick), []);
    let out = line.bytes(14_000, &request(Action::Off, 1));
    assert_eq!(out, [Output::Reconnect(Reason::Stale)]);
    assert_eq!(line.bytes(14_001, &request(Action::Off, 1)), []);
    line.event(14_002, Event::Connected);
    line.order(14_003, Action::Off, 2);
}

#[test]
fn closed_line_is_left_alone_and_hears_nothing() {
    let mut line = Watched::new();
    line.event(1, Event::Closed);
    assert_eq!(line.bytes(2, &request(Action::Off, 1)), []);
    assert_eq!(line.event(100_000, Event::Connected), []);
    line.order(100_001, Action::Off, 1);
}

#[test]
fn end_of_the_daemon_is_a_failure_for_who_waits() {
    let mut line = Watched::new();
    let (number, _) = line.order(0, Action::Off, 1);
    let out = line.event(1, Event::ShutDown);
    assert_eq!(out[0], Output::Cancel(number));
    assert_eq!(sent(&out), [b"abba\x01"]);
    assert_eq!(drops(&out), [Reason::ShuttingDown]);
    assert_eq!(line.bytes(2, &request(Action::Off, 2)), []);
}

/// A thing that may happen.
#[derive(Debug, Clone)]
enum Act {
    Ask(u32, bool),
    Noise(Vec<u8>),
    Answer(usize, bool),
    Cut,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6_u32, any::<bool>()).prop_map(|(seqno, deed)| Act::Ask(seqno, deed)),
        1 => prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), 0..8_u8], 0..90).prop_map(Act::Noise),
        3 => (0..3_usize, any::<bool>()).prop_map(|(index, done)| Act::Answer(index, done)),
        1 => Just(Act::Cut),
        1 => (0..6000_u64).prop_map(Act::Wait),
    ]
}

/// What an observer knows.
#[derive(Default)]
struct Seen {
    now: u64,
    /// With the backend: number and request.
    orders: Vec<(OrderNumber, u32)>,
    newest: Option<u32>,
    /// Deeds that were done, and when.
    done: Vec<(u64, u32)>,
}

impl Seen {
    fn check(&mut self, line: &Line, out: &[Output]) -> Result<(), TestCaseError> {
        for output in out {
            match output {
                Output::Execute(number, order) => {
                    let seqno = order.id().seqno;
                    prop_assert_eq!(Some(seqno), self.newest, "only the newest is executed");
                    let deed = order.action().changes_state();
                    let again = |(at, done): &(u64, u32)| *done == seqno && self.now - at < 10_000;
                    prop_assert!(!(deed && self.done.iter().any(again)), "done twice");
                    self.orders.push((*number, seqno));
                }
                Output::Respond(response) if !response.bytes.is_empty() => {
                    prop_assert_eq!(Some(response.asked.seqno), self.newest, "not the newest");
                }
                Output::Forget(number) => self.orders.retain(|(other, _)| other != number),
                _ => {}
            }
        }
        prop_assert!(self.orders.len() <= UNDER_WAY_MAX);
        prop_assert!(line.deadline() <= at(self.now) + PULSE);
        Ok(())
    }

    fn play(&mut self, line: &mut Watched, act: &Act) -> Result<(), TestCaseError> {
        let out = match act {
            Act::Ask(seqno, deed) => {
                // Odd numbers for deeds, or the two would share some.
                let seqno = seqno * 2 + u32::from(*deed);
                let action = if *deed {
                    Action::Reboot
                } else {
                    Action::Status
                };
                self.newest = Some(seqno);
                line.bytes(self.now, &request(action, seqno))
            }
            Act::Noise(noise) => {
                let out = line.bytes(self.now, noise);
                // A half frame must not eat the next request: that is tested elsewhere.
                line.0.scanner.clear();
                line.0.frame_due = None;
                out
            }
            Act::Answer(index, done) => {
                if *index >= self.orders.len() {
                    return Ok(());
                }
                let (number, seqno) = self.orders.remove(*index);
                let answer = if *done {
                    self.done.push((self.now, seqno));
                    success()
                } else {
                    Answer::NotStarted(Reason::OrderExpired)
                };
                line.answer(self.now, number, answer)
            }
            Act::Cut => {
                let mut out = line.event(self.now, Event::Closed);
                out.extend(line.event(self.now, Event::Connected));
                out
            }
            Act::Wait(millis) => {
                self.now += millis;
                line.pass(self.now)
            }
        };
        self.check(&line.0, &out)
    }
}

proptest! {
    #[test]
    fn newest_is_answered_and_no_deed_is_done_twice(acts in prop::collection::vec(act(), 0..120)) {
        let mut line = Watched::new();
        let mut seen = Seen::default();
        for act in &acts {
            seen.play(&mut line, act)?;
        }
    }
}

#[test]
fn answer_that_falls_due_as_the_line_is_connected_anew_is_not_said_there() {
    let mut line = Watched::new();
    let _order = line.order(0, Action::Off, 1);
    for millis in (4_000..25_000).step_by(4_000) {
        assert_eq!(line.event(millis, Event::Tick), []);
    }
    let out = line.event(25_000, Event::Connected);
    assert_eq!(sent(&out), [b""; 0]);
    assert_eq!(drops(&out), [Reason::RequesterGone]);
}
