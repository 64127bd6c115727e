//! The state machine: what one member of the group knows and does.

use core::hash::{Hash, Hasher};

use fence_proto::Moment;
use fence_proto::Reply;
use fence_proto::host::Answer;

use crate::reason::Counters;
use crate::seam::{Config, Event, Now, Output};

/// One member of the cluster. Feed it every event with [`Self::handle`], and do what comes out, in
/// order.
#[derive(Debug, Clone)]
pub struct Cluster {
    config: Config,
    counters: Counters,
}

impl Cluster {
    /// A daemon that starts now, has joined nothing and has heard nothing from its libvirt.
    #[must_use]
    pub fn new(config: Config, now: Now) -> Self {
        let _ = now;
        Self {
            config,
            counters: Counters::default(),
        }
    }

    /// Takes in what happened; appends what has to be done.
    pub fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Output>) {
        let _ = now;
        if let Event::Request(ticket, _) = event {
            out.push(Output::Reply(ticket, Answer::Reply(Reply::Failure), None));
        }
    }

    /// When [`Event::Tick`] is due, if nothing happens before. May lie in the past: then it is due
    /// at once, behind the events that are waiting already.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        None
    }

    /// What was dropped and why, as `name=count`, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        self.counters.summary()
    }

    /// A number that is the same for two states that behave alike from now on: moments count by
    /// their distance from `now`, and what is only counted or logged does not count.
    #[must_use]
    pub fn fingerprint(&self, now: Now) -> u64 {
        let _ = now;
        let mut hasher = std::hash::DefaultHasher::new();
        self.config.me.hash(&mut hasher);
        hasher.finish()
    }
}
