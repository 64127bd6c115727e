//! What a member may be made of: the core, or other rules behind the same interface.

use std::fmt;

use fence_cluster::seam::{Event, MemberId, Now, Output};
use fence_proto::{Moment, Uuid};

/// What a member is told when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) me: MemberId,
    /// Whether a host's fencing can be proven.
    pub(crate) proofs: bool,
}

/// Names a request in the group: who drives it, and its number there.
pub(crate) type Key = (MemberId, u64);

/// What a message says of deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its sender is about to act on the domain.
    Begin { request: Key, domain: Uuid },
    /// Nothing more may be begun.
    Closed { request: Key },
}

/// The rules that a member follows, driven as the daemon drives the core.
pub(crate) trait Rules: Clone + fmt::Debug + Send + Sync + 'static {
    /// Whether members announce what they are about to do.
    const ANNOUNCES: bool;
    /// What a message is, for traces.
    fn explain(bytes: &[u8]) -> String;
    /// What it says of deeds, if anything.
    fn word(bytes: &[u8]) -> Option<Word>;
    fn start(setup: Setup, now: Now) -> Self;
    fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Output>);
    fn deadline(&self) -> Option<Moment>;
    /// The same for states that behave alike from now on, and very likely only for those.
    fn digest(&self, now: Now) -> u64;
}
