//! A host's line under any events in any order: no order without its frame in what came over this
//! very connection, only the newest request is answered, and everything is bounded in number and time.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::host::line::{Event, Line, OrderNumber, Output, UNDER_WAY_MAX};
use fence_proto::host::{Answer, Timing};
use fence_proto::serial::{REQUEST_LEN, Request};
use fence_proto::{Access, Action, DomainRef, Moment, Reason, Reply, Uuid};

use super::script::Script;

/// Runs the script.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::new();
    while let Some(operation) = script.next() {
        model.step(operation, &mut script);
    }
    model.feed(Event::ShutDown);
    model.orders.clear();
    model.feed(Event::Received(&request(0, 0)));
    assert!(model.orders.is_empty(), "an order after the end");
}

fn request(action: u8, seqno: u8) -> [u8; REQUEST_LEN] {
    let action = Action::ALL[usize::from(action) % Action::ALL.len()];
    let request = Request {
        action,
        domain: DomainRef::new("abba").expect("a name"),
        uuid_flag: false,
        seqno: u32::from(seqno % 4),
    };
    request.encode()
}

struct Model {
    line: Line,
    now: Moment,
    /// What came over this connection; `None` while there is none.
    received: Option<Vec<u8>>,
    orders: Vec<OrderNumber>,
    /// The last request that an output was about; older ones are not answered any more.
    newest: Option<OrderNumber>,
}

impl Model {
    fn new() -> Self {
        let access = Arc::new(Access::unrestricted());
        let line = Line::new(Uuid([7; 16]), access, Timing::default(), Moment::ZERO);
        Self {
            line,
            now: Moment::ZERO,
            received: None,
            orders: Vec::new(),
            newest: None,
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 8 {
            0 => {
                let count = usize::from(script.byte());
                self.receive(script.take(count));
            }
            1 | 2 => {
                let request = request(script.byte(), script.byte());
                let from = usize::from(script.byte()) % REQUEST_LEN;
                self.receive(&request[if operation & 8 == 0 { 0 } else { from }..]);
            }
            3 => {
                let request = request(script.byte(), script.byte());
                self.receive(&request[..usize::from(script.byte()) % REQUEST_LEN]);
            }
            4 => self.answer(script.byte(), script.byte()),
            5 => {
                self.received = None;
                self.feed(Event::Closed);
            }
            6 => {
                self.received = Some(Vec::new());
                self.feed(Event::Connected);
            }
            _ => {
                self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 50);
                if script.byte() & 1 == 0 {
                    self.feed(Event::Tick);
                }
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Some(received) = &mut self.received {
            received.extend_from_slice(bytes);
        }
        self.feed(Event::Received(bytes));
    }

    fn answer(&mut self, which: u8, how: u8) {
        if self.orders.is_empty() {
            return self.feed(Event::Answered(OrderNumber(u64::MAX), Answer::List(vec![])));
        }
        let number = self.orders.remove(usize::from(which) % self.orders.len());
        let answer = match how % 4 {
            0 => Answer::Reply(Reply::Success),
            1 => Answer::Reply(Reply::Failure),
            2 => Answer::List(Vec::new()),
            _ => Answer::NotStarted(Reason::OrderExpired),
        };
        self.feed(Event::Answered(number, answer));
    }

    fn feed(&mut self, event: Event<'_>) {
        let mut outputs = Vec::new();
        self.line.handle(self.now, event, &mut outputs);
        for output in outputs {
            self.check(output);
        }
        assert!(self.orders.len() <= UNDER_WAY_MAX);
        assert!(self.line.deadline() <= self.now + Duration::from_secs(4));
    }

    fn check(&mut self, output: Output) {
        match output {
            Output::Execute(number, order) => {
                let frame = Request {
                    action: order.action(),
                    domain: order.domain().clone(),
                    uuid_flag: false,
                    seqno: order.id().seqno,
                };
                let mut frame = frame.encode();
                let received = self.received.as_ref().expect("a connection");
                let came = received.windows(REQUEST_LEN).any(|window| {
                    // Whatever the flags are.
                    frame[5] = window[5];
                    window == frame
                });
                assert!(came, "an order without its frame");
                assert!(order.start_by() > self.now && order.answer_by() > self.now);
                assert!(self.newest < Some(number), "numbers are used once");
                self.newest = Some(number);
                self.orders.push(number);
            }
            Output::Respond(response) if !response.bytes.is_empty() => {
                // One that no order was made of is newer than any that was.
                let newest = response.order.is_none() || response.order == self.newest;
                assert!(newest, "an older request is answered");
                assert!(response.bytes.starts_with(b"<FV1 "));
            }
            Output::Forget(number) => self.orders.retain(|order| *order != number),
            Output::Reconnect(_) => self.received = None,
            Output::Respond(_) | Output::Cancel(_) | Output::Drop(_) => {}
        }
    }
}
