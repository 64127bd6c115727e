//! What was asked, what was answered, and whether that was true: the properties.

use fence_cluster::seam::{Job, MemberId};
use fence_proto::host::Answer;
use fence_proto::{Action, Reply, Uuid};

use crate::rules::{Rules, Word};
use crate::truth;
use crate::world::World;

/// How long after its arrival a request must be answered at the latest: the `request_timeout`.
pub(crate) const PATIENCE: u64 = 20_000;

/// A request, what was true since it came, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) by: MemberId,
    pub(crate) host: usize,
    pub(crate) action: Action,
    pub(crate) domain: usize,
    pub(crate) at: u64,
    /// Runs below this number existed then.
    pub(crate) runs: u8,
    /// At some moment since there was no copy that ran or could resume.
    pub(crate) was_off: bool,
    /// At some moment since it was active: it ran, or would have gone on.
    pub(crate) was_active: bool,
    pub(crate) reply: Option<Reply>,
    /// Its daemon has ended.
    pub(crate) orphaned: bool,
    /// When it was answered or orphaned.
    pub(crate) over_at: Option<u64>,
}

impl Asked {
    pub(crate) const fn is_open(&self) -> bool {
        self.reply.is_none() && !self.orphaned
    }

    /// Whether something may still be done for it, as far as anybody outside can know.
    pub(crate) const fn is_live(&self, now: u64) -> bool {
        self.reply.is_none() && now <= self.at + PATIENCE
    }
}

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Flaw {
    /// Success for off or reboot while a copy of a run from before runs or may resume.
    FalseSuccess,
    /// Status off, and there was a copy all the time.
    FalseOff,
    /// Status on or success for on, and there was no copy but perhaps an incoming half.
    FalseOn,
    /// We started a copy beside another.
    TwoCopies,
    /// An order was taken up when every request that wanted it had long been answered.
    LateDeed,
    /// An order was taken up without an announcement that came back before the end of its request.
    Unannounced,
    /// A second reply to one ticket.
    TwoReplies,
    /// No reply by the deadline, or nobody would wake to give one.
    Unanswered,
}

impl Flaw {
    pub(crate) const ALL: [Self; 8] = [
        Self::FalseSuccess,
        Self::FalseOff,
        Self::FalseOn,
        Self::TwoCopies,
        Self::LateDeed,
        Self::Unannounced,
        Self::TwoReplies,
        Self::Unanswered,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FalseSuccess => "no success for off or reboot while a copy is left",
            Self::FalseOff => "no status off of a domain that was never off",
            Self::FalseOn => "no on for a domain that was never active",
            Self::TwoCopies => "no second copy by our doing",
            Self::LateDeed => "no deed after its request was answered",
            Self::Unannounced => "no deed that was not begun before its request was closed",
            Self::TwoReplies => "one reply to each request",
            Self::Unanswered => "a reply by the deadline",
        }
    }
}

/// Which of them have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flaws(u8);

impl Flaws {
    pub(crate) const fn has(self, flaw: Flaw) -> bool {
        self.0 & (1 << flaw as u8) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<R: Rules> World<R> {
    pub(crate) fn flaw(&mut self, flaw: Flaw) {
        self.flaws.0 |= 1 << flaw as u8;
        self.note(|| format!("    ^^^ broken: {}", flaw.name()));
    }

    /// After anything that changes the truth.
    pub(crate) fn observe(&mut self) {
        for asked in &mut self.asked {
            let domain = &self.truth[asked.domain];
            asked.was_off |= domain.is_off();
            asked.was_active |= domain.is_active();
        }
    }

    /// A reply to request number `index` came out of a core.
    pub(crate) fn judge(&mut self, index: usize, answer: &Answer) {
        let reply = match answer {
            Answer::Reply(reply) => *reply,
            Answer::NotStarted(_) => Reply::Failure,
            Answer::List(_) => Reply::HostListFollows,
        };
        let at = self.now;
        let Some(asked) = self.asked.get_mut(index) else {
            return self.flaw(Flaw::TwoReplies);
        };
        asked.over_at = Some(at);
        if asked.reply.replace(reply).is_some() {
            self.flaw(Flaw::TwoReplies);
        }
        let asked = &self.asked[index];
        let domain = &self.truth[asked.domain];
        let left = domain.has_run_before(asked.runs);
        let (was_off, was_active) = (asked.was_off, asked.was_active);
        match (asked.action, reply) {
            (Action::Off | Action::Reboot, Reply::Success) if left => {
                self.flaw(Flaw::FalseSuccess);
            }
            (Action::Status, Reply::Off) if !was_off => self.flaw(Flaw::FalseOff),
            (Action::Status | Action::On, Reply::Success) if !was_active => {
                self.flaw(Flaw::FalseOn);
            }
            _ => {}
        }
    }

    /// A core takes up a deed: some request that wants it must not have been answered before, and its own announcement
    /// must have come back before that request was closed.
    pub(crate) fn judge_deed(&mut self, host: usize, job: &Job) {
        let (domain, wanting) = match job {
            Job::Off { domain, .. } => (*domain, [Action::Off, Action::Reboot]),
            Job::Start { domain, .. } => (*domain, [Action::On, Action::Reboot]),
            _ => return,
        };
        let announced = !R::ANNOUNCES || self.use_announcement(host, domain);
        let domain = truth::index(domain);
        let id = self.daemon(host).map(|daemon| daemon.id);
        // A requester cut off from the group acts for itself alone.
        let own = self
            .asked
            .iter()
            .any(|asked| asked.domain == domain && Some(asked.by) == id && asked.is_open());
        if !announced && !own {
            self.flaw(Flaw::Unannounced);
        }
        let now = self.now;
        let view = self.daemon(host).map_or(&[][..], |daemon| &daemon.view);
        let wanted = self.asked.iter().any(|asked| {
            // Nobody can know that a requester is dead before corosync does.
            let unnoticed = asked.reply.is_none() && view.contains(&asked.by);
            let over = asked.over_at.is_some_and(|at| at < now) && !unnoticed;
            asked.domain == domain && wanting.contains(&asked.action) && !over
        });
        if !wanted {
            self.flaw(Flaw::LateDeed);
        }
    }

    fn use_announcement(&mut self, host: usize, domain: Uuid) -> bool {
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return false;
        };
        let mut begun = daemon.begun.iter();
        let position = begun.position(|(_, what)| *what == domain);
        position.map(|index| daemon.begun.remove(index)).is_some()
    }

    /// A member is about to take in a message of the group.
    pub(crate) fn hear(&mut self, host: usize, from: MemberId, bytes: &[u8]) {
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return;
        };
        match R::word(bytes) {
            Some(Word::Begin { request, domain })
                if from == daemon.id
                    && !daemon.closed.contains(&request)
                    && daemon.here.contains(&request.0) =>
            {
                daemon.begun.push((request, domain));
            }
            Some(Word::Closed { request }) if !daemon.closed.contains(&request) => {
                daemon.closed.push(request);
            }
            _ => {}
        }
    }

    /// A member is about to hear who is there: the requests of those who are not are closed.
    pub(crate) fn part(&mut self, host: usize, members: &[MemberId]) {
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.here = members.to_vec();
        }
    }

    /// Time is about to pass, so nobody has anything left to do: what is due must have been answered.
    pub(crate) fn judge_overdue(&mut self) {
        let overdue = self.asked.iter().any(|asked| {
            let hung = self.daemon(asked.host).is_none_or(|daemon| daemon.hung);
            asked.is_open() && !hung && self.now >= asked.at + PATIENCE
        });
        if overdue {
            self.flaw(Flaw::Unanswered);
        }
    }
}
