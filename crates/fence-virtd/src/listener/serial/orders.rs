//! The orders of one line that the backend has: two at most, see the core.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use fence_proto::Order;
use fence_proto::host::Answer;
use fence_proto::host::line::OrderNumber;

use crate::backend::{Answering, CancelFlag};
use crate::gate::Gate;
use crate::hub::Place;

struct Executing {
    number: OrderNumber,
    answering: Answering,
    cancel: CancelFlag,
    place: Place,
    started: Instant,
}

/// The orders.
#[derive(Default)]
pub(super) struct Orders(Vec<Executing>);

/// An order that is done. The daemon does not end while this is kept, within its bounds.
pub(super) struct Done {
    /// When it was begun.
    pub started: Instant,
    /// Its place among the sessions.
    pub place: Place,
    /// What the answer rests on.
    pub proof: Option<String>,
}

impl Orders {
    /// Gives an order to the backend, or says why not.
    pub(super) fn execute(
        &mut self,
        gate: &Gate,
        number: OrderNumber,
        order: Order,
    ) -> Result<(), Answer> {
        let source = order.requester().source();
        let place = gate.admit(source).map_err(Answer::NotStarted)?;
        place.proven();
        let cancel = CancelFlag::default();
        let answering = gate.hub.backend.execute(order, cancel.clone());
        self.0.push(Executing {
            number,
            answering,
            cancel,
            place,
            started: Instant::now(),
        });
        Ok(())
    }

    /// Nobody waits for it: it is not to be started if it was not.
    pub(super) fn cancel(&self, number: OrderNumber) {
        let mut orders = self.0.iter();
        if let Some(order) = orders.find(|order| order.number == number) {
            order.cancel.cancel();
        }
    }

    /// Its answer is waited for no longer.
    pub(super) fn forget(&mut self, number: OrderNumber) {
        self.0.retain(|order| order.number != number);
    }

    /// Whether the backend has none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next answer; never without orders. Cancel-safe.
    pub(super) async fn next(&mut self) -> (OrderNumber, Answer, Done) {
        poll_fn(|context| {
            for index in 0..self.0.len() {
                let Some(order) = self.0.get_mut(index) else {
                    continue;
                };
                if let Poll::Ready(answer) = order.answering.as_mut().poll(context) {
                    let order = self.0.swap_remove(index);
                    let done = Done {
                        started: order.started,
                        place: order.place,
                        proof: order.cancel.proof(),
                    };
                    return Poll::Ready((order.number, answer, done));
                }
            }
            Poll::Pending
        })
        .await
    }
}
