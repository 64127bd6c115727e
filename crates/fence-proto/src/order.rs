//! The order: the only value that a backend executes.

use crate::access::Requester;
use crate::action::Action;
use crate::domain::DomainRef;
use crate::frame::RequestId;
use crate::time::Moment;

/// What an authenticated peer ordered. Only a host session whose handshake is complete makes one, or a
/// serial line, whose socket is the proof; and it cannot be copied: one request, one execution.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    action: Action,
    domain: DomainRef,
    requester: Requester,
    id: RequestId,
    start_by: Moment,
    answer_by: Moment,
}

impl Order {
    /// For the session and the serial line only.
    pub(crate) fn new(
        request: (Action, DomainRef, RequestId),
        requester: Requester,
        start_by: Moment,
        answer_by: Moment,
    ) -> Self {
        let (action, domain, id) = request;
        Self {
            action,
            domain,
            requester,
            id,
            start_by,
            answer_by,
        }
    }

    /// What is ordered.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The domain as the peer called it; empty for actions that need none.
    #[must_use]
    pub const fn domain(&self) -> &DomainRef {
        &self.domain
    }

    /// Who ordered it, with the groups that it is subject to.
    #[must_use]
    pub const fn requester(&self) -> &Requester {
        &self.requester
    }

    /// The request it came with, for logs.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// After this moment the order must not be started: nobody may be waiting any more.
    #[must_use]
    pub const fn start_by(&self) -> Moment {
        self.start_by
    }

    /// By this moment the peer gets an answer, whatever is still going on.
    #[must_use]
    pub const fn answer_by(&self) -> Moment {
        self.answer_by
    }
}
