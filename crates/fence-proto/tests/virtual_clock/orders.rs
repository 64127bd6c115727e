//! The backend of a host: an order waits, is started unless nobody wants it any more, and ends.

use fence_proto::host::{Answer, Event};
use fence_proto::{Order, Reason};

use crate::domains::Execution;
use crate::world::{Happening, World};

/// An order that the backend has. It may outlive its session.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) order: Order,
    pub(crate) cancelled: bool,
    pub(crate) execution: Option<usize>,
}

impl World {
    pub(crate) fn take_order(&mut self, index: usize, id: u64, running: Running) {
        self.hosts[index].orders.insert(id, running);
        let start = self.now + self.rng.between(self.hosts[index].pace.queue);
        self.schedule(
            start,
            Happening::OrderStarts {
                host: index,
                task: id,
            },
        );
    }

    pub(crate) fn start_order(&mut self, index: usize, id: u64) {
        let now = self.now;
        let host = &mut self.hosts[index];
        let Some(running) = host.orders.get_mut(&id) else {
            return;
        };
        let refused = if running.cancelled {
            Some(Reason::RequesterGone)
        } else {
            (now > running.order.start_by()).then_some(Reason::OrderExpired)
        };
        if let Some(reason) = refused {
            return self.tell_host(index, id, Event::Answered(Answer::NotStarted(reason)));
        }
        running.execution = Some(self.executions.len());
        self.executions.push(Execution {
            host: index,
            action: running.order.action(),
            seqno: running.order.id().seqno,
            domain: running.order.domain().as_str().to_owned(),
            started: now,
            start_by: running.order.start_by(),
            done: None,
            session_over: None,
        });
        let pace = self.hosts[index].pace;
        if !self.rng.chance(pace.hang) {
            let done = now + self.rng.between(pace.work);
            self.schedule(
                done,
                Happening::OrderDone {
                    host: index,
                    task: id,
                },
            );
        }
    }

    pub(crate) fn order_done(&mut self, index: usize, id: u64) {
        let Some(running) = self.hosts[index].orders.get(&id) else {
            return;
        };
        let reply = self.domains.carry_out(index, &running.order);
        if let Some(execution) = running.execution {
            self.executions[execution].done = Some((self.now, reply));
        }
        self.tell_host(index, id, Event::Answered(Answer::Reply(reply)));
    }
}
