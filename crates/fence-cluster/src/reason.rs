//! Why something that came from the group, or was asked of this member, was dropped; each is
//! counted.

use core::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a message or an order was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The reason's name in logs and counters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Shorter than the message's type demands, or with bytes left over.
    WrongLength => "wrong-length",
    /// Longer than any message may be.
    TooLong => "too-long",
    /// A type that this version does not know.
    UnknownType => "unknown-type",
    /// One of ours, of a version that this one does not understand.
    UnknownVersion => "unknown-version",
    /// A field holds what it may not hold.
    BadField => "bad-field",
    /// A text is not UTF-8, has control characters or is too long.
    BadText => "bad-text",
    /// More entries than a message of its kind may have.
    TooMany => "too-many",
    /// The sender is no member of the group, as far as this member has been told.
    NotAMember => "not-a-member",
    /// It speaks for a request of somebody else.
    NotItsRequest => "not-its-request",
    /// It belongs to a request or round that is over.
    Over => "over",
    /// A part of an inventory that does not follow the one before it.
    OutOfOrder => "out-of-order",
    /// A bound was reached: too many requests, domains or hosts.
    Full => "full",
    /// An order came back to this member too late to be begun.
    TooLate => "too-late",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each [`Reason`] occurred. No part of what the core decides by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(std::collections::BTreeMap<Reason, u64>);

impl Counters {
    /// It happened once more.
    pub fn count(&mut self, reason: Reason) {
        let counter = self.0.entry(reason).or_default();
        *counter = counter.saturating_add(1);
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    /// What was counted, as `name=count`, for the log. Empty if nothing was.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts = self.0.iter();
        let counts: Vec<_> = counts
            .map(|(reason, count)| format!("{reason}={count}"))
            .collect();
        counts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn summary_names_what_was_counted() {
        let mut counters = Counters::default();
        assert_eq!(counters.summary(), "");
        counters.count(Reason::BadText);
        counters.count(Reason::Over);
        counters.count(Reason::Over);
        assert_eq!(counters.summary(), "bad-text=1 over=2");
    }
}
