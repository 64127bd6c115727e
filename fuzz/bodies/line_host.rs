//! A host's line under any events in any order, held against a model that knows which bytes went in and
//! which orders are out, and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use fence_proto::access::{Group, GroupMember};
use fence_proto::host::line::{Event, Line, OrderNumber, Output, Response, UNDER_WAY_MAX};
use fence_proto::host::{Answer, Timing};
use fence_proto::host_list::Entry;
use fence_proto::serial::{REQUEST_LEN, Request, ResponseScanner};
use fence_proto::{Access, Action, DomainRef, Moment, Reason, Reply, Source, Uuid};

use super::script::Script;

const GUEST: Uuid = Uuid([7; 16]);
/// How long an answer is repeated to who asks again.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Runs the script.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::new(script.byte());
    while let Some(operation) = script.next() {
        model.step(operation, &mut script);
    }
    model.feed(Event::ShutDown);
    model.over = true;
    model.feed(Event::Tick);
}

/// What was asked.
type Asked = (Action, DomainRef, u32);

/// An order that the backend has.
struct Ordered {
    /// Number of the connection that it came by.
    connection: u32,
    asked: Asked,
    /// The guest was told something.
    answered: bool,
}

struct Model {
    line: Line,
    member: bool,
    now: Moment,
    /// Number of the present connection; none while there is none.
    connection: Option<u32>,
    connections: u32,
    received: Vec<u8>,
    /// Requests that could be read out of what was received, and orders that were made.
    requests: usize,
    orders: usize,
    under_way: HashMap<OrderNumber, Ordered>,
    /// What the backend said of deeds, and when.
    served: Vec<(Moment, Asked, Reply)>,
    /// The newest order; older ones are not answered any more.
    newest: Option<OrderNumber>,
    next: u64,
    over: bool,
}

impl Model {
    fn new(mode: u8) -> Self {
        let group = |member: &str| Group {
            name: None,
            members: vec![GroupMember::parse(member)],
            sources: Vec::new(),
        };
        let (access, member) = match mode % 3 {
            0 => (Access::unrestricted(), true),
            1 => (Access::groups(vec![group(&GUEST.to_string())]), true),
            _ => (Access::groups(vec![group("another")]), false),
        };
        let line = Line::new(GUEST, access.into(), Timing::default(), Moment::ZERO);
        Self {
            line,
            member,
            now: Moment::ZERO,
            connection: None,
            connections: 0,
            received: Vec::new(),
            requests: 0,
            orders: 0,
            under_way: HashMap::new(),
            served: Vec::new(),
            newest: None,
            next: 0,
            over: false,
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 12 {
            0 => {
                self.connections += 1;
                self.connection = Some(self.connections);
                self.received.clear();
                self.feed(Event::Connected);
            }
            1 => {
                self.connection = None;
                self.feed(Event::Closed);
            }
            2 => {
                let count = usize::from(script.byte());
                self.receive(script.take(count));
            }
            3 | 4 => {
                let frame = request(script.byte());
                self.receive(&frame);
            }
            5 => {
                let (kind, cut) = (script.byte(), usize::from(script.byte()));
                let frame = request(kind);
                self.receive(frame.get(..cut).unwrap_or(&frame));
            }
            6 => {
                let frame = request(script.byte());
                let from = usize::from(script.byte());
                self.receive(frame.get(from..).unwrap_or_default());
            }
            7 => self.answer(
                script.byte(),
                Answer::Reply(Reply::from_wire(script.byte() % 4)),
            ),
            8 => {
                let entry = Entry {
                    name: "vm".to_owned(),
                    uuid: Uuid([1; 16]),
                    state: 1,
                };
                let entries = vec![entry; usize::from(script.byte() % 5)];
                self.answer(script.byte(), Answer::List(entries));
            }
            9 => self.answer(script.byte(), Answer::NotStarted(Reason::OrderExpired)),
            10 => self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 100),
            _ => {
                self.feed(Event::Tick);
                assert!(self.line.deadline() > self.now, "the shell would spin");
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.connection.is_some() {
            let before = self.readable();
            self.received.extend_from_slice(bytes);
            self.requests += self.readable() - before;
        }
        self.feed(Event::Received(bytes));
    }

    /// How many windows of what was received are requests.
    fn readable(&self) -> usize {
        let windows = self.received.windows(REQUEST_LEN);
        let read = windows.filter_map(|window| window.try_into().ok());
        read.filter(|frame| Request::decode(frame).is_ok()).count()
    }

    fn has_received(&self, asked: &Asked) -> bool {
        let windows = self.received.windows(REQUEST_LEN);
        let read = windows.filter_map(|window| window.try_into().ok());
        read.filter_map(|frame| Request::decode(frame).ok())
            .any(|request| (request.action, request.domain, request.seqno) == *asked)
    }

    /// Answers one of the orders, or one that there is not.
    fn answer(&mut self, which: u8, answer: Answer) {
        let mut numbers: Vec<_> = self.under_way.keys().copied().collect();
        numbers.sort_unstable();
        let index = usize::from(which) % (numbers.len() + 1);
        let number = numbers.get(index).copied().unwrap_or(OrderNumber(999));
        if let (Some(order), Answer::Reply(reply)) = (self.under_way.get(&number), &answer) {
            self.served.push((self.now, order.asked.clone(), *reply));
        }
        let known = self.under_way.remove(&number);
        self.hear(
            Event::Answered(number, answer),
            known.map(|order| (number, order)),
        );
    }

    fn feed(&mut self, event: Event<'_>) {
        self.hear(event, None);
    }

    fn hear(&mut self, event: Event<'_>, answered: Option<(OrderNumber, Ordered)>) {
        let ends = matches!(event, Event::ShutDown);
        let mut outputs = Vec::new();
        self.line.handle(self.now, event, &mut outputs);
        assert!(!self.over || outputs.is_empty(), "a line that is over acts");
        for output in outputs {
            self.check(output, answered.as_ref());
        }
        assert!(ends || self.under_way.len() <= UNDER_WAY_MAX);
        assert!(self.line.deadline() <= self.now + Duration::from_secs(4));
    }

    fn check(&mut self, output: Output, answered: Option<&(OrderNumber, Ordered)>) {
        match output {
            Output::Execute(number, order) => {
                assert_eq!(number, OrderNumber(self.next), "numbers are not used twice");
                self.next += 1;
                self.newest = Some(number);
                self.orders += 1;
                assert!(self.orders <= self.requests, "one request, one order");
                assert_eq!(order.requester().source(), Source::Domain(GUEST));
                assert!(self.member || !order.action().needs_domain());
                assert!(self.now < order.start_by() && order.start_by() < order.answer_by());
                let asked = (order.action(), order.domain().clone(), order.id().seqno);
                assert!(self.has_received(&asked), "nobody asked for {asked:?}");
                let connection = self.connection.expect("asked by somebody who is there");
                let answered = false;
                let ordered = Ordered {
                    connection,
                    asked,
                    answered,
                };
                self.under_way.insert(number, ordered);
            }
            Output::Cancel(number) => {
                // The answer may have come in this very moment.
                let now_answered = answered.is_some_and(|(known, _)| *known == number);
                assert!(now_answered || self.under_way.contains_key(&number));
            }
            Output::Forget(number) => assert!(self.under_way.remove(&number).is_some()),
            Output::Respond(response) => self.check_response(response, answered),
            Output::Drop(_) => {}
            Output::Reconnect(_) => {
                assert!(self.connection.take().is_some());
                self.received.clear();
            }
        }
    }

    fn check_response(&mut self, response: Response, answered: Option<&(OrderNumber, Ordered)>) {
        let asked = response.asked;
        let asked = (asked.action, asked.domain, asked.seqno);
        let order = response.order.map(|number| match answered {
            Some((known, order)) if *known == number => (order.connection, order.answered),
            _ => {
                let order = self
                    .under_way
                    .get_mut(&number)
                    .expect("an order that is out");
                (
                    order.connection,
                    std::mem::replace(&mut order.answered, true),
                )
            }
        });
        if response.reply == Reply::Success {
            let same = |of: &Asked| {
                let names = of.1.as_str().eq_ignore_ascii_case(asked.1.as_str());
                names && (of.0, of.2) == (asked.0, asked.2)
            };
            let recent = |at: &Moment| self.now.since(*at) <= REMEMBERED;
            let mut served = self.served.iter();
            let said =
                served.any(|(at, of, reply)| same(of) && *reply == Reply::Success && recent(at));
            assert!(said, "success that no backend has said");
        }
        if response.bytes.is_empty() {
            return;
        }
        // One that no order was made of is newer than any that was.
        let newest = response.order.is_none() || response.order == self.newest;
        assert!(newest, "an older request is answered");
        if let Some((connection, told)) = order {
            assert!(!told, "one answer for one request");
            assert_eq!(
                Some(connection),
                self.connection,
                "an answer for somebody who is gone"
            );
        } else {
            assert!(self.connection.is_some());
        }
        let heard = ResponseScanner::default().next(&mut response.bytes.as_slice());
        let heard = heard.expect("a response");
        assert_eq!((heard.reply, heard.seqno), (response.reply, Some(asked.2)));
    }
}

/// One of some requests that are alike and some that are not.
fn request(kind: u8) -> [u8; REQUEST_LEN] {
    let action = Action::from_wire(kind % 7).unwrap_or(Action::Off);
    let domain = if kind & 8 == 0 { "vm" } else { "VM" };
    let request = Request {
        action,
        domain: DomainRef::new(domain).expect("a name"),
        uuid_flag: kind & 16 != 0,
        seqno: u32::from(kind >> 5),
    };
    request.encode()
}
