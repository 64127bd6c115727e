//! Why something was dropped or refused.

use core::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a datagram, a connection or an order was dropped. Each is logged under its name and
        /// counted; the ladder is well-formed, authentic, fresh, allowed, affordable, act.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the ladder.
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
    /// Not exactly 176 bytes (row L18).
    WrongLength => "wrong-length",
    /// The request byte has no meaning on the wire.
    UnknownAction => "unknown-action",
    /// The hashtype byte has no meaning.
    UnknownHash => "unknown-hash",
    /// The domain is not text.
    MalformedDomain => "malformed-domain",
    /// The action needs a domain and none is named.
    MissingDomain => "missing-domain",
    /// Family and address length do not belong together.
    MalformedAddress => "malformed-address",
    /// A call-back address that cannot be a guest: multicast, broadcast, unspecified, port 0.
    ImpossibleAddress => "impossible-address",
    /// The call-back address has rights in the groups that the sender has not.
    SenderMismatch => "sender-mismatch",
    /// The frame's hash is weaker than the configured one.
    WeakHash => "weak-hash",
    /// The frame's hash does not verify under the shared key.
    BadSignature => "bad-signature",
    /// The kernel received it longer ago than any agent waits (row L37); on a serial line: it may have.
    Stale => "stale",
    /// The same request is being served at this moment.
    DuplicateInProgress => "duplicate-in-progress",
    /// The same request was served a short time ago.
    DuplicateServed => "duplicate-served",
    /// A frame that was heard before came again later: a replay.
    Replayed => "replayed",
    /// Too many sessions of this source.
    SourceLimit => "source-limit",
    /// Too many sessions altogether.
    TotalLimit => "total-limit",
    /// This host does not have the domain and leaves it to one that has (row L5).
    NotHere => "not-here",
    /// The domain is shut off here and may be on elsewhere: answered when the agent asks again.
    NotOnHere => "not-on-here",
    /// Whether this host has the domain cannot be told.
    PresenceUnclear => "presence-unclear",
    /// A newer connection took this unauthenticated one's place.
    Evicted => "evicted",
    /// The call-back could not be connected: refused or reset, so another host has won or the
    /// agent is gone.
    CallbackRefused => "callback-refused",
    /// The call-back could not be connected for another cause.
    CallbackFailed => "callback-failed",
    /// The peer closed or reset the connection before the handshake was complete.
    PeerClosed => "peer-closed",
    /// The peer sent bytes where the protocol has none.
    UnexpectedBytes => "unexpected-bytes",
    /// A wait ended without the bytes it was for.
    TimedOut => "timed-out",
    /// The peer's challenge was made by a host that holds this key: a reflection.
    ReflectedChallenge => "reflected-challenge",
    /// An agent's view: the host's challenge belongs to another request, of which its call-back is
    /// late or was provoked.
    OtherRequest => "other-request",
    /// The peer's answer to our challenge is wrong.
    BadResponse => "bad-response",
    /// The groups do not let the source fence the domain.
    NotAllowed => "not-allowed",
    /// The order's deadline passed before it was started.
    OrderExpired => "order-expired",
    /// The requester was gone before the order was started.
    RequesterGone => "requester-gone",
    /// A newer request came on the same serial line: nobody listens for this one's answer any more.
    Superseded => "superseded",
    /// The daemon is ending.
    ShuttingDown => "shutting-down",
}

impl Reason {
    /// Whether it is part of normal operation: neither an attack nor a fault.
    #[must_use]
    pub const fn is_routine(self) -> bool {
        matches!(
            self,
            Self::DuplicateInProgress
                | Self::DuplicateServed
                | Self::NotHere
                | Self::NotOnHere
                | Self::CallbackRefused
                | Self::PeerClosed
                | Self::ShuttingDown
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
}
