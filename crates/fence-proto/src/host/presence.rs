//! Whether a host calls back at all, where others may have the domain and it was told to leave what it
//! does not have to them (option `answer_unknown` of multicast, row L5).
//!
//! The agent takes the first host that calls, so who has nothing to say must not call. A host where the
//! domain is on calls at once. One that has only a definition of it calls when the agent asks again:
//! a host where it is on would have answered by then, and what a migration left behind never speaks
//! for a domain that runs elsewhere. Nobody waits before a call-back: one that is late may meet another
//! agent.

use core::time::Duration;

use crate::action::Action;
use crate::reason::Reason;

/// Whether a domain is on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is here and on, or whoever is asked answers for all hosts.
    On,
    /// It is here and shut off.
    Off,
    /// There is no such domain here.
    Absent,
    /// Nobody can tell.
    Unclear,
}

/// Frames of one transmission come closer together than this, and agents do not ask again sooner
/// than a tenth of a second later, so that at the latest the third time counts.
const AGAIN: Duration = Duration::from_millis(250);

/// Whether an action concerns a host only if it has the domain. The others any host can answer.
#[must_use]
pub const fn concerns_owner(action: Action) -> bool {
    action.needs_domain()
}

/// Whether to call back. `heard_for` is how long ago this request was heard for the first time.
///
/// # Errors
/// The [`Reason`] to stay silent.
pub const fn may_answer(presence: Presence, heard_for: Duration) -> Result<(), Reason> {
    match presence {
        Presence::On => Ok(()),
        Presence::Off if heard_for.as_millis() >= AGAIN.as_millis() => Ok(()),
        Presence::Off => Err(Reason::NotOnHere),
        Presence::Absent => Err(Reason::NotHere),
        Presence::Unclear => Err(Reason::PresenceUnclear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_domain_calls_and_a_definition_when_asked_again() {
        let at = |presence, millis| may_answer(presence, Duration::from_millis(millis));
        assert_eq!(at(Presence::On, 0), Ok(()));
        assert_eq!(at(Presence::Off, 0), Err(Reason::NotOnHere));
        assert_eq!(at(Presence::Off, 249), Err(Reason::NotOnHere));
        assert_eq!(at(Presence::Off, 2000), Ok(()));
        for late in [0, 20_000] {
            assert_eq!(at(Presence::Absent, late), Err(Reason::NotHere));
            assert_eq!(at(Presence::Unclear, late), Err(Reason::PresenceUnclear));
        }
    }

    #[test]
    fn questions_that_name_no_domain_concern_every_host() {
        for action in [Action::Monitor, Action::List, Action::Null] {
            assert!(!concerns_owner(action), "{action}");
        }
        for action in [Action::Off, Action::On, Action::Reboot, Action::Status] {
            assert!(concerns_owner(action), "{action}");
        }
    }
}
