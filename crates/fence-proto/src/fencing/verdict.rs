//! What the answers of several hypervisors mean together.

use super::{Proof, Sighting, Sightings};
use crate::domain::{DomainIdentity, Uuid};
use crate::time::Moment;

/// Whether a domain is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running, blocked, paused, in shutdown, crashed, suspended, or libvirt can't tell.
    On,
    /// Shut off.
    Off,
}

/// A domain on one hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCopy {
    /// Who it is.
    pub identity: DomainIdentity,
    /// Whether it is on.
    pub activity: Activity,
}

/// What is known of one hypervisor's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Asked; nothing heard yet.
    Pending,
    /// Asked, and it is changing a domain's state at this moment.
    Acting,
    /// It can't be reached now; a restart may be over soon.
    Down,
    /// It takes calls and does not answer them.
    Hung,
    /// It answered.
    Got(T),
}

impl<T> Answer<T> {
    /// The same with another kind of answer.
    pub fn map<U>(&self, with: impl FnOnce(&T) -> U) -> Answer<U> {
        match self {
            Self::Pending => Answer::Pending,
            Self::Acting => Answer::Acting,
            Self::Down => Answer::Down,
            Self::Hung => Answer::Hung,
            Self::Got(value) => Answer::Got(with(value)),
        }
    }

    /// The answer, if there is one.
    pub const fn got(&self) -> Option<&T> {
        match self {
            Self::Got(value) => Some(value),
            Self::Pending | Self::Acting | Self::Down | Self::Hung => None,
        }
    }
}

/// How long the hypervisors have been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A healthy hypervisor may still be answering.
    Grace,
    /// Only one that is being restarted is still worth waiting for.
    Patience,
    /// No more waiting.
    Over,
}

impl Stage {
    /// Whether this silence is waited for although another hypervisor gave an answer that would
    /// do.
    fn waits_beside_answer<T>(self, answer: &Answer<T>) -> bool {
        match answer {
            Answer::Pending => self == Self::Grace,
            _ => self.waits_for(answer),
        }
    }

    /// Whether this silence is waited for when nothing else can give the answer.
    fn waits_for<T>(self, answer: &Answer<T>) -> bool {
        match answer {
            Answer::Pending | Answer::Down => self < Self::Over,
            Answer::Acting => true,
            Answer::Hung | Answer::Got(_) => false,
        }
    }
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// No hypervisor that answers knows the domain; one that does not answer may.
    #[error("unknown to every hypervisor that answers, and not every one does")]
    Unheard,
    /// It is off where an answer came from, and may be on where none comes from.
    #[error("off on a hypervisor that answers, but one that does not had it, or may have got it")]
    SeenElsewhere,
}

/// Which domain a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet.
    Wait,
    /// Every hypervisor answered that it has no such domain.
    Unknown,
    /// Nobody can tell.
    Doubt(Doubt),
    /// Two different domains answer to it.
    Ambiguous(Vec<DomainIdentity>),
    /// One domain.
    Known {
        /// Its UUID.
        uuid: Uuid,
        /// Every name it goes by: more than one while it is renamed by a migration.
        identities: Vec<DomainIdentity>,
        /// On if it is on anywhere.
        activity: Activity,
    },
}

/// What a request means, by the answers to a look-up. An active copy decides at once; a shut-off
/// one only when the others have had their time.
#[must_use]
pub fn resolve(
    answers: &[Answer<Vec<DomainCopy>>],
    stage: Stage,
    sightings: &Sightings,
    now: Moment,
) -> Verdict {
    let mut identities: Vec<DomainIdentity> = Vec::new();
    let mut activity = Activity::Off;
    for copy in answers.iter().filter_map(Answer::got).flatten() {
        if !identities.contains(&copy.identity) {
            identities.push(copy.identity.clone());
        }
        if copy.activity == Activity::On {
            activity = Activity::On;
        }
    }
    let waiting = answers.iter().any(|answer| stage.waits_for(answer));
    let silent = answers.iter().any(|answer| answer.got().is_none());
    let Some(uuid) = identities.first().map(|identity| identity.uuid) else {
        return match (waiting, silent) {
            (true, _) => Verdict::Wait,
            (false, true) => Verdict::Doubt(Doubt::Unheard),
            (false, false) => Verdict::Unknown,
        };
    };
    if identities.iter().any(|identity| identity.uuid != uuid) {
        return Verdict::Ambiguous(identities);
    }
    if activity == Activity::Off {
        match off_elsewhere(answers, stage, |host| sightings.of(host, uuid, now)) {
            Elsewhere::Wait => return Verdict::Wait,
            Elsewhere::Doubt => return Verdict::Doubt(Doubt::SeenElsewhere),
            Elsewhere::Fine => {}
        }
    }
    Verdict::Known {
        uuid,
        identities,
        activity,
    }
}

/// Whether "shut off here" may be taken for the whole truth.
enum Elsewhere {
    Wait,
    Doubt,
    Fine,
}

fn off_elsewhere<T>(
    answers: &[Answer<T>],
    stage: Stage,
    sighting: impl Fn(usize) -> Sighting,
) -> Elsewhere {
    let seen = |host| sighting(host) != Sighting::None;
    let mut doubt = false;
    for (host, answer) in answers.iter().enumerate() {
        match answer {
            Answer::Got(_) => {}
            // One that is known to be unreachable is waited for only if it had the domain.
            Answer::Down if !seen(host) => {}
            _ if stage.waits_beside_answer(answer) => return Elsewhere::Wait,
            _ => doubt |= seen(host),
        }
    }
    if doubt {
        Elsewhere::Doubt
    } else {
        Elsewhere::Fine
    }
}

/// What one hypervisor answered to "make sure this domain is off".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalOff {
    /// It does not have the domain.
    Absent,
    /// It had it shut off.
    WasOff,
    /// It was on, and is proven off.
    Proven(Proof),
    /// It is on, or nobody knows any more.
    Failed,
    /// The groups do not allow it for the domain as this hypervisor identifies it.
    Denied,
    /// It was not begun: the order is void.
    NotBegun,
}

/// Where a domain was on and proven off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acted {
    /// The hypervisor: the first one where it was destroyed, else the first one.
    pub host: usize,
    /// Every copy was destroyed by us; none went by itself, perhaps elsewhere.
    pub by_us: bool,
}

/// What a round of "make sure this domain is off" on all hypervisors came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundVerdict {
    /// Not known yet.
    Wait,
    /// Off everywhere.
    Off {
        /// Where it was on before, if anywhere.
        acted: Option<Acted>,
    },
    /// Something was on and now is off: make sure that it did not go elsewhere meanwhile.
    Again(Acted),
    /// Nobody has the domain (any more).
    Unknown,
    /// At least one copy is not proven off.
    Failed,
    /// The groups do not allow it.
    Denied,
    /// Nothing was begun, and nothing may be.
    NotBegun,
    /// Nobody can tell.
    Doubt(Doubt),
}

/// Puts the answers of one round together. `before` is where an earlier round found it on and
/// proved it off; `sighting` tells what is remembered of a silent hypervisor.
#[must_use]
pub fn settle(
    answers: &[Answer<LocalOff>],
    stage: Stage,
    before: Option<Acted>,
    sighting: impl Fn(usize) -> Sighting,
) -> RoundVerdict {
    let unfinished = answers.iter().any(|answer| match answer {
        Answer::Acting => true,
        Answer::Pending => stage == Stage::Grace,
        Answer::Down | Answer::Hung | Answer::Got(_) => false,
    });
    if unfinished {
        return RoundVerdict::Wait;
    }
    let has = |wanted: LocalOff| answers.contains(&Answer::Got(wanted));
    let acted = acted(answers);
    if has(LocalOff::Denied) {
        return RoundVerdict::Denied;
    }
    if has(LocalOff::Failed) {
        return RoundVerdict::Failed;
    }
    if has(LocalOff::NotBegun) {
        return if acted.or(before).is_some() {
            RoundVerdict::Failed
        } else {
            RoundVerdict::NotBegun
        };
    }
    let Some(latest) = acted.or(before) else {
        return nothing_was_on(answers, stage, sighting);
    };
    let mut silent = (0..).zip(answers).filter(|(_, a)| a.got().is_none());
    if !latest.by_us && silent.clone().next().is_some() {
        // It went by itself, perhaps to the one that is silent.
        return RoundVerdict::Doubt(Doubt::Unheard);
    }
    if silent.any(|(host, _)| sighting(host) == Sighting::Active) {
        // One copy is off; the one at the silent hypervisor was on as well.
        return RoundVerdict::Doubt(Doubt::SeenElsewhere);
    }
    // A lone hypervisor's proof is the end of it. Among several the domain may have been on its
    // way from one to another: they are asked again.
    if acted.is_some() && answers.len() > 1 {
        RoundVerdict::Again(latest)
    } else {
        RoundVerdict::Off {
            acted: Some(latest),
        }
    }
}

fn acted(answers: &[Answer<LocalOff>]) -> Option<Acted> {
    let proofs = answers.iter().enumerate().filter_map(|(host, answer)| {
        let Answer::Got(LocalOff::Proven(proof)) = answer else {
            return None;
        };
        Some((host, *proof != Proof::Vanished))
    });
    let mut destroyed = proofs.clone().filter(|(_, by_us)| *by_us);
    let (host, _) = destroyed.next().or_else(|| proofs.clone().next())?;
    Some(Acted {
        host,
        by_us: proofs.into_iter().all(|(_, by_us)| by_us),
    })
}

fn nothing_was_on(
    answers: &[Answer<LocalOff>],
    stage: Stage,
    sighting: impl Fn(usize) -> Sighting,
) -> RoundVerdict {
    if answers.contains(&Answer::Got(LocalOff::WasOff)) {
        return match off_elsewhere(answers, stage, sighting) {
            Elsewhere::Wait => RoundVerdict::Wait,
            Elsewhere::Doubt => RoundVerdict::Doubt(Doubt::SeenElsewhere),
            Elsewhere::Fine => RoundVerdict::Off { acted: None },
        };
    }
    if answers.iter().any(|answer| stage.waits_for(answer)) {
        RoundVerdict::Wait
    } else if answers.iter().any(|answer| answer.got().is_none()) {
        RoundVerdict::Doubt(Doubt::Unheard)
    } else {
        RoundVerdict::Unknown
    }
}

/// Whether a list is complete: `None` while it may still become so. A list without one hypervisor's
/// domains is none (row L6): pacemaker keeps the targets it knew when a list fails, and forgets
/// those that are missing from one that does not.
#[must_use]
pub fn list_verdict<T>(answers: &[Answer<T>], stage: Stage) -> Option<bool> {
    if answers.iter().all(|answer| answer.got().is_some()) {
        return Some(true);
    }
    let waiting = answers.iter().any(|answer| stage.waits_for(answer));
    let hung = answers.iter().any(|answer| matches!(answer, Answer::Hung));
    (hung || !waiting).then_some(false)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
