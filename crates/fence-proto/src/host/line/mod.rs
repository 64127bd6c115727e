//! A host's side of one serial line or VM channel (section 6), as a function of `(now, event)`.
//!
//! The socket says which domain speaks, so there is no handshake: a complete request is an order. A
//! [`Line`] outlives its connections, because its memory of deeds must.
//!
//! A response does not say which request it is for, and a line has one reader. Therefore **the newest
//! request is the one that is answered**: an older one's agent has given up, and its answer would be
//! taken for the newer one's. The older order is not started if it was not yet; if it was, it goes on
//! unheard, and of such orders there are at most [`UNDER_WAY_MAX`]; the newest request waits until
//! there is room.
//!
//! A deed that is asked for again with the same (action, seqno, domain) within ten seconds of its
//! answer is not done again: its answer is repeated. That is what an agent needs that asks again
//! because the line was cut. Questions are asked again.
//!
//! Bytes in a socket do not say how old they are (row L37). While it is connected the line wants to
//! hear of the time every few seconds; a gap means that the daemon stood still, and then everything
//! in the socket is thrown away by [`Output::Reconnect`].

mod served;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::sync::Arc;

use super::events::Answer;
use super::policy::Timing;
use super::replay::RequestKey;
use crate::access::{Access, Requester, Source};
use crate::action::Action;
use crate::domain::{DomainIdentity, DomainRef, Uuid};
use crate::frame::RequestId;
use crate::order::Order;
use crate::reason::Reason;
use crate::reply::Reply;
use crate::serial::{Request, RequestScanner, list_response, response};
use crate::time::Moment;
use served::Served;

/// The most orders of one line that a backend has at a time, the unheard ones included.
pub const UNDER_WAY_MAX: usize = 2;

/// From the start of a frame to its end: 74 bytes take 2.5 s at 300 baud.
const FRAME_WAIT: Duration = Duration::from_secs(3);

/// How often the line wants to hear of the time while it is connected.
const PULSE: Duration = Duration::from_secs(4);

/// How long past its `answer_by` a backend's answer is waited for before its order is written off.
const GRACE: Duration = Duration::from_secs(5);

/// Numbers the orders of one line. Not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderNumber(pub u64);

/// What happens to a line.
#[derive(Debug)]
pub enum Event<'a> {
    /// The socket is connected, for the first time or again.
    Connected,
    /// Bytes of the guest.
    Received(&'a [u8]),
    /// The socket is closed: the guest is off, has moved away, or was fenced.
    Closed,
    /// What came of an order.
    Answered(OrderNumber, Answer),
    /// Time has passed: to be said when [`Line::deadline`] is reached.
    Tick,
    /// The daemon is ending, or the line is no longer wanted.
    ShutDown,
}

/// What the shell has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Have the backend execute this.
    Execute(OrderNumber, Order),
    /// Nobody waits for this order: if it was not started, it must not be. Its answer is still
    /// wanted.
    Cancel(OrderNumber),
    /// The backend did not answer by its time: stop waiting for it.
    Forget(OrderNumber),
    /// Send this (if there is any), and log it.
    Respond(Response),
    /// Something that was received came to nothing.
    Drop(Reason),
    /// Close the socket at once, with all that waits in it, and connect again.
    Reconnect(Reason),
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What was asked.
    pub asked: Asked,
    /// The order that was made of it, if one was.
    pub order: Option<OrderNumber>,
    /// What came of it.
    pub reply: Reply,
    /// What to send; empty if nobody listens for it.
    pub bytes: Vec<u8>,
    /// Why it was not carried out, or why it was not carried out again.
    pub reason: Option<Reason>,
}

/// A request, for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The action.
    pub action: Action,
    /// The domain as the guest called it.
    pub domain: DomainRef,
    /// The request's number.
    pub seqno: u32,
}

/// A request that is complete.
#[derive(Debug)]
struct Wanted {
    asked: Asked,
    key: RequestKey,
    arrived: Moment,
}

/// An order that the backend has.
#[derive(Debug)]
struct UnderWay {
    number: OrderNumber,
    asked: Asked,
    key: RequestKey,
    answer_by: Moment,
    /// Whether the guest still listens for its answer.
    heard: bool,
}

/// A line. Feed it events; do what the outputs say.
#[derive(Debug)]
pub struct Line {
    requester: Requester,
    timing: Timing,
    connected: bool,
    /// When it last heard of the time.
    pulse: Moment,
    scanner: RequestScanner,
    /// When the frame that has begun is given up.
    frame_due: Option<Moment>,
    under_way: Vec<UnderWay>,
    waiting: Option<Wanted>,
    served: Served,
    next: u64,
    over: bool,
}

impl Line {
    /// The line of this domain, not connected yet.
    #[must_use]
    pub fn new(domain: Uuid, access: Arc<Access>, timing: Timing, now: Moment) -> Self {
        Self {
            requester: Requester::new(Source::Domain(domain), access),
            timing,
            connected: false,
            pulse: now,
            scanner: RequestScanner::default(),
            frame_due: None,
            under_way: Vec::new(),
            waiting: None,
            served: Served::default(),
            next: 0,
            over: false,
        }
    }

    /// The same, of a domain whose name is known too: groups may go by it.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        if let Source::Domain(uuid) = self.requester.source() {
            let name = name.to_owned();
            let guest = DomainIdentity { name, uuid };
            self.requester = self.requester.with_guest(guest);
        }
        self
    }

    /// From now on these groups judge what is asked. What was asked before goes on under those of before.
    pub fn judge_by(&mut self, access: Arc<Access>) {
        self.requester = self.requester.under(access);
    }

    /// Whom requests of this line come from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.requester.source()
    }

    /// When to say [`Event::Tick`] if nothing else happened.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let orders = self.under_way.iter().map(UnderWay::due);
        let waiting = self.waiting.iter().map(|wanted| self.start_by(wanted));
        let others = orders.chain(waiting).chain(self.frame_due);
        others.fold(self.pulse + PULSE, Ord::min)
    }

    /// Takes an event and appends what is to be done. Nothing comes of any after
    /// [`Event::ShutDown`].
    pub fn handle(&mut self, now: Moment, event: Event<'_>, out: &mut Vec<Output>) {
        if self.over {
            return;
        }
        self.check_pulse(now, &event, out);
        // An answer counts however late it comes; everything else is judged by the time first.
        let event = match event {
            Event::Answered(number, answer) => {
                self.answered(now, number, answer, out);
                Event::Tick
            }
            event => event,
        };
        // Before what was due is said: nobody is there any more to hear it.
        if matches!(event, Event::Connected | Event::Closed) {
            self.cut(Reason::RequesterGone, out);
        }
        self.expire(now, out);
        match event {
            Event::Connected => self.connected = true,
            Event::Received(bytes) if self.connected => self.received(now, bytes, out),
            Event::ShutDown => self.shut_down(out),
            Event::Closed | Event::Received(_) | Event::Answered(..) | Event::Tick => {}
        }
        self.start_waiting(now, out);
    }

    /// Notices that the daemon stood still: what waits in the socket may be as old as that.
    fn check_pulse(&mut self, now: Moment, event: &Event<'_>, out: &mut Vec<Output>) {
        let gap = now.since(core::mem::replace(&mut self.pulse, now));
        let same_socket = self.connected && !matches!(event, Event::Connected | Event::Closed);
        if same_socket && gap >= self.timing.datagram_age {
            self.cut(Reason::Stale, out);
            out.push(Output::Reconnect(Reason::Stale));
        }
    }

    fn received(&mut self, now: Moment, mut bytes: &[u8], out: &mut Vec<Output>) {
        while let Some(found) = self.scanner.next(&mut bytes) {
            // What is left over began with these bytes or is part of what they spoilt.
            self.frame_due = None;
            match found {
                Ok(request) => self.requested(now, request, out),
                Err(reason) => out.push(Output::Drop(reason)),
            }
        }
        self.time_frame(now);
    }

    fn time_frame(&mut self, now: Moment) {
        let due = self.frame_due.unwrap_or(now + FRAME_WAIT);
        self.frame_due = self.scanner.is_partial().then_some(due);
    }

    fn requested(&mut self, now: Moment, request: Request, out: &mut Vec<Output>) {
        let key = RequestKey::new(request.action, request.seqno, &request.domain);
        let known = |order: &UnderWay| order.heard && order.key == key;
        let waits = self.waiting.as_ref().is_some_and(|other| other.key == key);
        if waits || self.under_way.iter().any(known) {
            out.push(Output::Drop(Reason::DuplicateInProgress));
            return;
        }
        self.nobody_listens(Reason::Superseded, out);
        let Request {
            action,
            domain,
            seqno,
            ..
        } = request;
        let asked = Asked {
            action,
            domain,
            seqno,
        };
        let arrived = now;
        self.take(
            Wanted {
                asked,
                key,
                arrived,
            },
            out,
        );
    }

    /// Answers a request at once, makes an order of it, or lets it wait.
    fn take(&mut self, wanted: Wanted, out: &mut Vec<Output>) {
        if let Some(reply) = self.served.reply(&wanted.key) {
            return refuse(wanted.asked, reply, Reason::DuplicateServed, out);
        }
        if wanted.asked.action.needs_domain() && !self.requester.is_known() {
            let denied = Reply::PermissionDenied;
            return refuse(wanted.asked, denied, Reason::NotAllowed, out);
        }
        let under_way = |order: &UnderWay| order.key == wanted.key;
        if self.under_way.len() >= UNDER_WAY_MAX || self.under_way.iter().any(under_way) {
            self.waiting = Some(wanted);
        } else {
            self.order(wanted, out);
        }
    }

    /// The only place where a line makes an order.
    fn order(&mut self, wanted: Wanted, out: &mut Vec<Output>) {
        let start_by = self.start_by(&wanted);
        let Wanted {
            asked,
            key,
            arrived,
        } = wanted;
        let answer_by = arrived + self.timing.answer;
        let number = OrderNumber(self.next);
        self.next = self.next.saturating_add(1);
        let id = RequestId {
            random: [0; 6],
            seqno: asked.seqno,
        };
        let request = (asked.action, asked.domain.clone(), id);
        let order = Order::new(request, self.requester.clone(), start_by, answer_by);
        self.under_way.push(UnderWay {
            number,
            asked,
            key,
            answer_by,
            heard: true,
        });
        out.push(Output::Execute(number, order));
    }

    fn start_by(&self, wanted: &Wanted) -> Moment {
        wanted.arrived + self.timing.start
    }

    fn answered(
        &mut self,
        now: Moment,
        number: OrderNumber,
        answer: Answer,
        out: &mut Vec<Output>,
    ) {
        let Some(index) = self
            .under_way
            .iter()
            .position(|order| order.number == number)
        else {
            return;
        };
        let order = self.under_way.remove(index);
        let (reply, reason) = match &answer {
            Answer::Reply(reply) => (*reply, None),
            Answer::List(_) => (Reply::HostListFollows, None),
            Answer::NotStarted(reason) => (Reply::Failure, Some(*reason)),
        };
        if reason.is_none() && order.asked.action.changes_state() {
            self.served.remember(now, order.key.clone(), reply);
        }
        if !order.heard {
            // It was reported when it became unheard, but not with this result.
            out.push(Output::Respond(order.response(reply, Vec::new(), reason)));
            return;
        }
        let bytes = match answer {
            Answer::List(entries) => list_response(order.asked.seqno, &entries),
            _ => response(order.asked.seqno, reply),
        };
        out.push(Output::Respond(order.response(reply, bytes, reason)));
    }

    /// What is asked for, but not started, when the line has room for it.
    fn start_waiting(&mut self, now: Moment, out: &mut Vec<Output>) {
        if let Some(wanted) = self.waiting.take() {
            if now >= self.start_by(&wanted) {
                refuse(wanted.asked, Reply::Failure, Reason::OrderExpired, out);
            } else {
                self.take(wanted, out);
            }
        }
    }

    fn expire(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.served.expire(now);
        if self.frame_due.is_some_and(|due| now >= due) {
            out.push(Output::Drop(Reason::TimedOut));
            self.scanner.skip();
            self.frame_due = None;
            self.time_frame(now);
        }
        for order in &mut self.under_way {
            if order.heard && now >= order.answer_by {
                order.heard = false;
                out.push(Output::Respond(order.failed(Reason::TimedOut)));
            }
        }
        self.under_way.retain(|order| {
            let hopeless = now >= order.due();
            if hopeless {
                out.push(Output::Forget(order.number));
            }
            !hopeless
        });
    }

    /// The connection is gone, or what comes out of it is not to be trusted.
    fn cut(&mut self, reason: Reason, out: &mut Vec<Output>) {
        self.connected = false;
        self.scanner.clear();
        self.frame_due = None;
        self.nobody_listens(reason, out);
    }

    /// Whoever asked does not listen any more.
    fn nobody_listens(&mut self, reason: Reason, out: &mut Vec<Output>) {
        for order in self.under_way.iter_mut().filter(|order| order.heard) {
            order.heard = false;
            out.push(Output::Drop(reason));
            out.push(Output::Cancel(order.number));
        }
        if self.waiting.take().is_some() {
            out.push(Output::Drop(reason));
        }
    }

    fn shut_down(&mut self, out: &mut Vec<Output>) {
        self.over = true;
        if let Some(wanted) = self.waiting.take() {
            refuse(wanted.asked, Reply::Failure, Reason::ShuttingDown, out);
        }
        for order in self.under_way.drain(..) {
            out.push(Output::Cancel(order.number));
            if order.heard {
                out.push(Output::Respond(order.failed(Reason::ShuttingDown)));
            }
        }
    }
}

impl UnderWay {
    /// When something is to be done about it: a failure to be said, or the order to be written off.
    fn due(&self) -> Moment {
        if self.heard {
            self.answer_by
        } else {
            self.answer_by + GRACE
        }
    }

    fn response(&self, reply: Reply, bytes: Vec<u8>, reason: Option<Reason>) -> Response {
        Response {
            asked: self.asked.clone(),
            order: Some(self.number),
            reply,
            bytes,
            reason,
        }
    }

    fn failed(&self, reason: Reason) -> Response {
        let bytes = response(self.asked.seqno, Reply::Failure);
        self.response(Reply::Failure, bytes, Some(reason))
    }
}

/// Answers a request of which no order is made.
fn refuse(asked: Asked, reply: Reply, reason: Reason, out: &mut Vec<Output>) {
    let bytes = response(asked.seqno, reply);
    out.push(Output::Respond(Response {
        asked,
        order: None,
        reply,
        bytes,
        reason: Some(reason),
    }));
}
