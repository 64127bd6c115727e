//! One call of [`crate::Cluster::handle`]: its time, and where its outputs go.

use core::time::Duration;

use fence_proto::Moment;

use crate::seam::{Level, Now, Output, WallTime};

/// Passed along while one event is handled.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) now: Moment,
    pub(crate) wall: WallTime,
    pub(crate) out: &'a mut Vec<Output>,
}

impl<'a> Cx<'a> {
    pub(crate) const fn new(now: Now, out: &'a mut Vec<Output>) -> Self {
        Self {
            now: now.moment,
            wall: now.wall,
            out,
        }
    }

    pub(crate) fn note(&mut self, level: Level, text: impl Into<String>) {
        self.out.push(Output::Note(level, text.into()));
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.note(Level::Warn, text);
    }

    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.note(Level::Info, text);
    }

    pub(crate) fn debug(&mut self, text: impl Into<String>) {
        self.note(Level::Debug, text);
    }

    /// Whether `since` lies `pause` or longer ago.
    pub(crate) fn is_past(&self, since: Moment, pause: Duration) -> bool {
        self.now >= since + pause
    }
}
