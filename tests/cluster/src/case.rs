//! What a case is: the cluster is brought into a state, something is asked, and the answer is held
//! against what became of the domain.

use fence_lab::agent::{Answer, Running};
use fence_lab::{Side, Verdict};

use crate::cluster::Cluster;
use crate::names::{Domain, HostId, VM1};
use crate::sight::Sight;
use crate::virtd::Settings;

/// Something that happens to the cluster.
pub(crate) type Event = fn(&mut Cluster) -> Verdict;

/// A case: its name says what is wrong with the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// The table's first column.
    pub(crate) name: &'static str,
    /// Part of the quick run.
    pub(crate) quick: bool,
    /// Whose daemons are on which host.
    pub(crate) sides: Sides,
    /// Changes of the daemons' settings.
    pub(crate) settings: fn(&mut [Settings; 3]),
    /// Brings the cluster into its state.
    pub(crate) arrange: Event,
    /// What is asked, in this order.
    pub(crate) asks: &'static [Ask],
    /// What is left to check at the end.
    pub(crate) finally: Event,
}

/// Whose daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sides {
    /// The same on all hosts; of which side is the run's choice.
    Same,
    /// As [`Self::Same`], but it says nothing about the original, or cannot be had there.
    OursOnly,
    /// As they are named, whatever the run's choice.
    Mixed([Side; 3]),
}

/// A request and what is to come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// Happens before the request.
    pub(crate) before: Option<Event>,
    /// Which hosts hear it.
    pub(crate) via: &'static [HostId],
    /// The agent's action.
    pub(crate) action: &'static str,
    /// What the agent calls the domain; empty for none.
    pub(crate) target: &'static str,
    /// The domain to look at afterwards.
    pub(crate) domain: Domain,
    /// Happens while the agent waits.
    pub(crate) during: Option<fn(&mut Cluster, &Running) -> Verdict>,
    /// What else must hold for ours, of what the agent printed.
    pub(crate) output: Option<fn(&Answer) -> Verdict>,
    /// Nobody is left who could answer: the agent's own time-out is the answer.
    pub(crate) unanswered: bool,
    /// What the original answers.
    pub(crate) c: Recorded,
    /// What is allowed to ours.
    pub(crate) ours: &'static [Outcome],
}

/// What was seen of the original.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    /// For the table: exit code, time.
    pub(crate) text: &'static str,
    /// What the domain did.
    pub(crate) vm: &'static str,
    /// What a run on the original must come to; empty where it is left to chance.
    pub(crate) outcomes: &'static [Outcome],
}

/// An answer and the truth beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// The agent's exit code, one of these.
    pub(crate) codes: &'static [i32],
    /// The domain.
    pub(crate) vm: Vm,
}

/// What has become of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vm {
    /// Exactly one copy runs; an incoming half may wait.
    Runs,
    /// One copy runs, on this host, and there is nothing of it elsewhere.
    RunsOn(HostId),
    /// No copy runs, and none waits that might.
    Gone,
    /// No copy runs; a half may wait.
    Still,
    /// Two copies run.
    Twice,
    /// Not looked at: the request is not about a domain.
    Any,
}

impl Vm {
    /// Whether this is what is seen.
    pub(crate) fn fits(self, sight: &Sight) -> bool {
        match self {
            Self::Runs => sight.beating.len() == 1,
            Self::RunsOn(id) => sight.beating == [id] && sight.qemu == [id],
            Self::Gone => sight.is_gone(),
            Self::Still => sight.beating.is_empty(),
            Self::Twice => sight.beating.len() > 1,
            Self::Any => true,
        }
    }
}

/// A failure, and it goes on running.
pub(crate) const REFUSED: &[Outcome] = &[outcome(&[1], Vm::Runs)];
/// Success, and it is gone.
pub(crate) const FENCED: &[Outcome] = &[outcome(&[0], Vm::Gone)];
/// Success, and it runs.
pub(crate) const RUNNING: &[Outcome] = &[outcome(&[0], Vm::Runs)];
/// It is off, and it is gone.
pub(crate) const OFF: &[Outcome] = &[outcome(&[2], Vm::Gone)];
/// A failure, about nothing that runs.
pub(crate) const FAILED: &[Outcome] = &[outcome(&[1], Vm::Any)];
/// Success, about nothing that runs.
pub(crate) const DONE: &[Outcome] = &[outcome(&[0], Vm::Any)];

/// An outcome.
pub(crate) const fn outcome(codes: &'static [i32], vm: Vm) -> Outcome {
    Outcome { codes, vm }
}

/// What the original was seen to answer.
pub(crate) const fn recorded(
    text: &'static str,
    vm: &'static str,
    outcomes: &'static [Outcome],
) -> Recorded {
    Recorded { text, vm, outcomes }
}

/// A request about `vm1`.
pub(crate) const fn ask(
    action: &'static str,
    via: &'static [HostId],
    c: Recorded,
    ours: &'static [Outcome],
) -> Ask {
    Ask {
        before: None,
        via,
        action,
        target: VM1.name,
        domain: VM1,
        during: None,
        output: None,
        unanswered: false,
        c,
        ours,
    }
}

impl Ask {
    /// The same request after something has happened.
    pub(crate) const fn after(mut self, event: Event) -> Self {
        self.before = Some(event);
        self
    }

    /// The same request while something happens.
    pub(crate) const fn while_(mut self, event: fn(&mut Cluster, &Running) -> Verdict) -> Self {
        self.during = Some(event);
        self
    }

    /// The same request with another word for the domain.
    pub(crate) const fn naming(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// The same request, with a look at what the agent prints.
    pub(crate) const fn printing(mut self, check: fn(&Answer) -> Verdict) -> Self {
        self.output = Some(check);
        self
    }

    /// The same request that nobody is left to answer.
    pub(crate) const fn at_the_agents_time_out(mut self) -> Self {
        self.unanswered = true;
        self
    }

    /// The same request about another domain.
    pub(crate) const fn about(mut self, domain: Domain) -> Self {
        self.target = domain.name;
        self.domain = domain;
        self
    }
}

impl Case {
    /// A case of the whole run, with default settings and nothing to check at the end.
    pub(crate) const fn new(name: &'static str, arrange: Event, asks: &'static [Ask]) -> Self {
        Self {
            name,
            quick: false,
            sides: Sides::Same,
            settings: |_| {},
            arrange,
            asks,
            finally: |_| Ok(()),
        }
    }

    /// The same case, in the quick run too.
    pub(crate) const fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// The same case for our daemons alone.
    pub(crate) const fn ours_only(mut self) -> Self {
        self.sides = Sides::OursOnly;
        self
    }

    /// The same case with these daemons.
    pub(crate) const fn mixed(mut self, sides: [Side; 3]) -> Self {
        self.sides = Sides::Mixed(sides);
        self
    }

    /// The same case with other settings.
    pub(crate) const fn with(mut self, settings: fn(&mut [Settings; 3])) -> Self {
        self.settings = settings;
        self
    }

    /// The same case with something to check at the end.
    pub(crate) const fn finally(mut self, event: Event) -> Self {
        self.finally = event;
        self
    }
}

/// Nothing is wrong.
pub(crate) const fn nothing(_: &mut Cluster) -> Verdict {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HostId, Sight, Vm};

    fn sight(qemu: &[HostId], beating: &[HostId]) -> Sight {
        Sight {
            qemu: qemu.to_vec(),
            beating: beating.to_vec(),
        }
    }

    #[test]
    fn half_that_waits_is_neither_gone_nor_running() {
        let half = sight(&[HostId::B], &[]);
        assert!(Vm::Still.fits(&half));
        assert!(!Vm::Gone.fits(&half) && !Vm::Runs.fits(&half));
        let migrating = sight(&[HostId::A, HostId::B], &[HostId::A]);
        assert!(Vm::Runs.fits(&migrating) && !Vm::RunsOn(HostId::A).fits(&migrating));
    }

    #[test]
    fn two_copies_fit_nothing_that_ours_may_do() {
        let twice = sight(&[HostId::A, HostId::B], &[HostId::A, HostId::B]);
        assert!(Vm::Twice.fits(&twice));
        for vm in [Vm::Runs, Vm::RunsOn(HostId::A), Vm::Gone, Vm::Still] {
            assert!(!vm.fits(&twice), "{vm:?}");
        }
    }
}
