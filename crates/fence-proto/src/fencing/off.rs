//! Turning one domain off on one hypervisor, and proving it.

use core::time::Duration;

use super::Backoff;
use crate::time::Moment;

/// First pause before libvirt is asked again, when it says that a destroyed domain is still active
/// or cannot be destroyed now.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Longest such pause; when it is reached the domain is destroyed again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often a domain that comes back is destroyed before the order fails.
const MAX_DESTROYS: u32 = 5;

/// What the order wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// `off`: nothing of that domain may be active.
    StayOff,
    /// `reboot`: the instance that was active is gone; a new one is as good.
    Replace,
}

/// What libvirt said when asked for the domain by its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is no such domain.
    Absent,
    /// It is defined and shut off.
    Off,
    /// It is active in whatever state, or libvirt's answer leaves room for doubt.
    On {
        /// libvirt's number of this run of the domain, where the hypervisor has one.
        instance: Option<u32>,
    },
    /// No answer.
    Failed(Trouble),
}

/// Why a call failed, as far as that decides what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The connection broke: nobody knows whether the call was executed.
    ConnectionLost,
    /// libvirt will refuse it however often it is tried: no permission, not supported.
    Refused,
    /// The domain was not there or not active any more.
    NothingToDo,
    /// Anything else: busy, time-out, internal error.
    Other,
}

/// How a domain that was active came to be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Our call destroyed it: libvirt accepted one and says it is off or gone.
    Destroyed,
    /// It went by itself between two looks: it may have gone to another hypervisor.
    Vanished,
    /// The instance that was active is gone and another one runs; for [`Goal::Replace`] only.
    Replaced,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffStep {
    /// Ask libvirt for the domain by its UUID, anew.
    Look,
    /// Destroy it.
    Destroy,
    /// Wait, then look.
    Pause(Duration),
    /// Done: it was active and no longer is.
    Proven(Proof),
    /// Done: it was shut off already.
    WasOff,
    /// Done: this hypervisor does not have it.
    Absent,
    /// The hypervisor can't be asked, and nothing was done to the domain.
    Unreachable,
    /// Not proven off, and no time or no way to try on.
    GiveUp,
}

/// The machine. Begin with [`OffStep::Look`].
#[derive(Debug, Clone)]
pub struct Off {
    goal: Goal,
    deadline: Moment,
    instance: Option<u32>,
    destroys: u32,
    accepted: bool,
    tried: bool,
    pauses: Backoff,
}

impl Off {
    /// For one domain on one hypervisor; after `deadline` nothing is tried any more.
    #[must_use]
    pub const fn new(goal: Goal, deadline: Moment) -> Self {
        Self {
            goal,
            deadline,
            instance: None,
            destroys: 0,
            accepted: false,
            tried: false,
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Takes the answer to a look.
    pub fn looked(&mut self, now: Moment, look: Look) -> OffStep {
        match look {
            Look::Absent if self.tried => OffStep::Proven(self.proof()),
            Look::Off if self.tried => OffStep::Proven(self.proof()),
            Look::Absent => OffStep::Absent,
            Look::Off => OffStep::WasOff,
            Look::On { instance } => self.found_on(now, instance),
            Look::Failed(Trouble::ConnectionLost) if !self.tried => OffStep::Unreachable,
            Look::Failed(Trouble::Refused) => OffStep::GiveUp,
            Look::Failed(_) if self.tried => self.pause(now),
            Look::Failed(_) => OffStep::GiveUp,
        }
    }

    /// Takes the result of a destroy.
    pub fn destroyed(&mut self, now: Moment, result: Result<(), Trouble>) -> OffStep {
        match result {
            Ok(()) => {
                self.accepted = true;
                OffStep::Look
            }
            Err(Trouble::ConnectionLost) => {
                self.changed_connection();
                self.look_again(now)
            }
            Err(Trouble::NothingToDo) => self.look_again(now),
            Err(Trouble::Refused) => OffStep::GiveUp,
            Err(Trouble::Other) => self.pause(now),
        }
    }

    /// What is looked at next is seen over another connection, and so perhaps by another libvirtd,
    /// which numbers the runs anew: the number that is known is compared with nothing any more.
    pub const fn changed_connection(&mut self) {
        self.instance = None;
    }

    /// Whether a destroy was tried: from then on silence is no longer "nothing happened".
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.tried
    }

    /// At once after the first destroy, later after a pause.
    fn look_again(&mut self, now: Moment) -> OffStep {
        if self.destroys > 1 {
            self.pause(now)
        } else {
            OffStep::Look
        }
    }

    const fn proof(&self) -> Proof {
        if self.accepted {
            Proof::Destroyed
        } else {
            Proof::Vanished
        }
    }

    fn found_on(&mut self, now: Moment, instance: Option<u32>) -> OffStep {
        let same = instance.is_none() || self.instance.is_none() || instance == self.instance;
        if self.tried && !same && self.goal == Goal::Replace {
            return OffStep::Proven(Proof::Replaced);
        }
        if now >= self.deadline {
            return OffStep::GiveUp;
        }
        let exhausted = self.destroys >= MAX_DESTROYS;
        if self.accepted && same && (exhausted || !self.pauses.is_longest()) {
            // libvirt took the destroy and still shows that instance: give it time.
            return self.pause(now);
        }
        if self.accepted && exhausted {
            return OffStep::GiveUp;
        }
        if self.accepted {
            self.pauses.reset();
        }
        self.instance = instance;
        self.destroys = self.destroys.saturating_add(1);
        self.tried = true;
        self.accepted = false;
        OffStep::Destroy
    }

    fn pause(&mut self, now: Moment) -> OffStep {
        let left = now.until(self.deadline);
        if left.is_zero() {
            return OffStep::GiveUp;
        }
        OffStep::Pause(self.pauses.pause().min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Moment = Moment::from_epoch(Duration::from_secs(10));
    const RUN1: Look = Look::On { instance: Some(1) };
    const RUN2: Look = Look::On { instance: Some(2) };

    fn off(goal: Goal) -> Off {
        Off::new(goal, DEADLINE)
    }

    fn begun(goal: Goal) -> Off {
        let mut off = off(goal);
        assert_eq!(off.looked(Moment::ZERO, RUN1), OffStep::Destroy);
        assert!(off.has_begun());
        off
    }

    #[test]
    fn active_domain_is_destroyed_then_looked_at() {
        for gone in [Look::Off, Look::Absent] {
            let mut off = begun(Goal::StayOff);
            assert_eq!(off.destroyed(Moment::ZERO, Ok(())), OffStep::Look);
            assert_eq!(
                off.looked(Moment::ZERO, gone),
                OffStep::Proven(Proof::Destroyed)
            );
        }
    }

    #[test]
    fn nothing_is_destroyed_that_is_off_or_absent() {
        assert_eq!(
            off(Goal::StayOff).looked(Moment::ZERO, Look::Off),
            OffStep::WasOff
        );
        assert_eq!(
            off(Goal::StayOff).looked(Moment::ZERO, Look::Absent),
            OffStep::Absent
        );
    }

    #[test]
    fn success_of_destroy_alone_is_no_proof() {
        let mut off = begun(Goal::StayOff);
        let mut now = Moment::ZERO;
        let mut step = off.destroyed(now, Ok(()));
        let mut destroys = 1;
        for _ in 0..1000 {
            step = match step {
                OffStep::Look => off.looked(now, RUN1),
                OffStep::Pause(pause) => {
                    assert!(!pause.is_zero());
                    now = now + pause;
                    off.looked(now, RUN1)
                }
                OffStep::Destroy => {
                    destroys += 1;
                    off.destroyed(now, Ok(()))
                }
                OffStep::GiveUp => break,
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(step, OffStep::GiveUp);
        assert!(destroys > 1 && destroys <= MAX_DESTROYS, "{destroys}");
        assert!(now >= DEADLINE, "{now:?}");
    }

    #[test]
    fn domain_that_went_by_itself_counts_as_vanished() {
        let mut off = begun(Goal::StayOff);
        let step = off.destroyed(Moment::ZERO, Err(Trouble::NothingToDo));
        assert_eq!(step, OffStep::Look);
        assert_eq!(
            off.looked(Moment::ZERO, Look::Off),
            OffStep::Proven(Proof::Vanished)
        );
    }

    #[test]
    fn contradiction_is_not_retried_without_pauses() {
        for trouble in [Trouble::NothingToDo, Trouble::ConnectionLost] {
            let mut off = begun(Goal::StayOff);
            assert_eq!(off.destroyed(Moment::ZERO, Err(trouble)), OffStep::Look);
            assert_eq!(off.looked(Moment::ZERO, RUN1), OffStep::Destroy);
            let step = off.destroyed(Moment::ZERO, Err(trouble));
            assert!(matches!(step, OffStep::Pause(_)), "{step:?}");
        }
    }

    #[test]
    fn new_instance_is_destroyed_for_off_and_is_proof_for_reboot() {
        let mut off = begun(Goal::StayOff);
        off.destroyed(Moment::ZERO, Ok(()));
        assert_eq!(off.looked(Moment::ZERO, RUN2), OffStep::Destroy);

        let mut reboot = begun(Goal::Replace);
        reboot.destroyed(Moment::ZERO, Ok(()));
        assert_eq!(
            reboot.looked(Moment::ZERO, RUN2),
            OffStep::Proven(Proof::Replaced)
        );
    }

    #[test]
    fn new_number_after_a_broken_connection_proves_nothing() {
        let mut reboot = begun(Goal::Replace);
        let step = reboot.destroyed(Moment::ZERO, Err(Trouble::ConnectionLost));
        assert_eq!(step, OffStep::Look);
        assert_eq!(reboot.looked(Moment::ZERO, RUN2), OffStep::Destroy);
    }

    #[test]
    fn new_number_on_another_connection_proves_nothing() {
        let mut reboot = begun(Goal::Replace);
        reboot.destroyed(Moment::ZERO, Ok(()));
        reboot.changed_connection();
        // Neither the first number seen there nor any later one is compared with the old one.
        for look in [RUN2, Look::On { instance: Some(3) }] {
            let step = reboot.looked(Moment::ZERO, look);
            assert!(matches!(step, OffStep::Pause(_)), "{step:?}");
        }
    }

    #[test]
    fn unknown_instance_is_not_taken_for_a_new_one() {
        let mut reboot = begun(Goal::Replace);
        reboot.destroyed(Moment::ZERO, Ok(()));
        let step = reboot.looked(Moment::ZERO, Look::On { instance: None });
        assert!(matches!(step, OffStep::Pause(_)), "{step:?}");
    }

    #[test]
    fn domain_that_keeps_coming_back_ends_in_failure() {
        let mut off = begun(Goal::StayOff);
        for instance in 2..100 {
            off.destroyed(Moment::ZERO, Ok(()));
            let look = Look::On {
                instance: Some(instance),
            };
            match off.looked(Moment::ZERO, look) {
                OffStep::Destroy => {}
                step => {
                    assert_eq!(step, OffStep::GiveUp);
                    assert_eq!(instance, MAX_DESTROYS + 1);
                    return;
                }
            }
        }
        panic!("it never gave up");
    }

    #[test]
    fn broken_connection_before_the_first_destroy_did_nothing() {
        let mut off = off(Goal::StayOff);
        let step = off.looked(Moment::ZERO, Look::Failed(Trouble::ConnectionLost));
        assert_eq!(step, OffStep::Unreachable);
    }

    #[test]
    fn after_a_destroy_silence_is_waited_out_until_the_deadline() {
        let mut off = begun(Goal::StayOff);
        off.destroyed(Moment::ZERO, Err(Trouble::ConnectionLost));
        let lost = Look::Failed(Trouble::ConnectionLost);
        assert!(matches!(off.looked(Moment::ZERO, lost), OffStep::Pause(_)));
        assert_eq!(off.looked(DEADLINE, lost), OffStep::GiveUp);
    }

    #[test]
    fn busy_domain_is_tried_again_and_a_refusal_is_final() {
        let mut off = begun(Goal::StayOff);
        let step = off.destroyed(Moment::ZERO, Err(Trouble::Other));
        assert!(matches!(step, OffStep::Pause(_)), "{step:?}");
        assert_eq!(off.looked(Moment::ZERO, RUN1), OffStep::Destroy);
        assert_eq!(
            off.destroyed(Moment::ZERO, Err(Trouble::Refused)),
            OffStep::GiveUp
        );
    }

    #[test]
    fn nothing_is_destroyed_after_the_deadline() {
        assert_eq!(off(Goal::StayOff).looked(DEADLINE, RUN1), OffStep::GiveUp);
    }
}
