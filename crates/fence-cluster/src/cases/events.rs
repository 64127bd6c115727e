//! What happens to requests, taken down; what follows from it is found when they are looked at.

use fence_proto::Uuid;

use super::state::{Ended, Place, Stage};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::reason::Reason;
use crate::seam::{Job, MemberId, Outcome};
use crate::turns::What;
use crate::wire::message::{Finding, Key};
use crate::wire::record::Holding;

impl Cluster {
    /// Somebody has answered a round, or said what came of what it had begun.
    pub(crate) fn result_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        (key, round): (Key, u16),
        finding: Finding,
    ) -> Result<(), Reason> {
        if matches!(
            finding,
            Finding::Active | Finding::Incoming | Finding::Destroyed { .. } | Finding::Started
        ) {
            self.found_in_round(key, round);
        }
        if key.requester != self.config.me {
            return Ok(());
        }
        let case = self.cases.get_mut(&key.number).ok_or(Reason::Over)?;
        self.attention.touched.insert(key.number);
        let pursuit = &mut case.pursuit;
        if pursuit.begun.get(&from) == Some(&round) {
            pursuit.begun.remove(&from);
        }
        pursuit.took(from, &finding);
        if let Stage::Starting { member, result, .. } = &mut case.stage
            && *member == from
            && pursuit.round == round
        {
            *result = Some(finding);
            return Ok(());
        }
        if pursuit.round != round {
            cx.debug(format!("{from} answered round {round}, which is over"));
            return Err(Reason::Over);
        }
        pursuit.answers.insert(from, finding);
        Ok(())
    }

    /// Somebody's announcement has been delivered in time.
    pub(crate) fn has_begun(&mut self, key: Key, from: MemberId, what: What) {
        if key.requester != self.config.me {
            return;
        }
        let Some(case) = self.cases.get_mut(&key.number) else {
            return;
        };
        self.attention.touched.insert(key.number);
        case.pursuit.has_begun = true;
        case.pursuit.begun.insert(from, what.round());
        if let Stage::Starting { begun, .. } = &mut case.stage {
            *begun |= matches!(what, What::Start(_));
        }
    }

    /// The end of a request was delivered.
    pub(crate) fn case_was_closed(&mut self, cx: &mut Cx<'_>, key: Key, by: MemberId) {
        // Another request may have its turn now.
        self.attention.all = true;
        if key.requester != self.config.me {
            return;
        }
        let Some(case) = self.cases.get_mut(&key.number) else {
            return;
        };
        if by == self.config.me {
            case.pursuit.ended = Ended::Closed;
        } else if case.pursuit.ended != Ended::Closed {
            cx.warn(format!(
                "{by} has ended a request of this host, which it took for dead"
            ));
            case.pursuit.ended = Ended::CutShort;
        }
    }

    /// A round for the domain was delivered: whoever has destroyed it and lost its place does not
    /// start it again.
    pub(crate) fn overtakes(&mut self, key: Key, uuid: Uuid) {
        let me = self.config.me;
        for (number, case) in &mut self.cases {
            let this = Key {
                requester: me,
                number: *number,
            };
            let same = case
                .target
                .as_ref()
                .is_some_and(|target| target.uuid == uuid);
            if this == key {
                self.attention.touched.insert(*number);
                if case.pursuit.place == Place::None {
                    case.pursuit.place = Place::Queued;
                }
            } else if same && case.pursuit.place == Place::None && case.pursuit.ran.is_some() {
                case.pursuit.place = Place::Overtaken;
            }
        }
    }

    /// A copy of the domain came or went at a member.
    pub(crate) fn stir(&mut self, member: MemberId, uuid: Uuid, holding: Holding) {
        if holding < Holding::Incoming {
            return;
        }
        for case in self.cases.values_mut() {
            if case
                .target
                .as_ref()
                .is_some_and(|target| target.uuid == uuid)
            {
                case.pursuit.stirred.insert(member);
            }
        }
    }

    /// A member has departed: its answers are of no use any more.
    pub(crate) fn member_has_left(&mut self, member: MemberId) {
        for case in self.cases.values_mut() {
            case.pursuit.answers.remove(&member);
            case.pursuit.begun.remove(&member);
            match &mut case.stage {
                Stage::Finding { answers, .. } => {
                    answers.remove(&member);
                }
                Stage::Pinging { answers, .. } => {
                    answers.remove(&member);
                }
                _ => {}
            }
        }
    }

    /// Something happened to the domain: requests for it are looked at, and those of which it is
    /// not known yet which domain they mean.
    pub(crate) fn touch_domain(&mut self, uuid: Uuid) {
        for (number, case) in &self.cases {
            if case
                .target
                .as_ref()
                .is_none_or(|target| target.uuid == uuid)
            {
                self.attention.touched.insert(*number);
            }
        }
    }

    /// What came of a job that was given for one request alone.
    pub(crate) fn case_job_done(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        job: &Job,
        outcome: &Outcome,
    ) {
        let Some(case) = self.cases.get_mut(&number) else {
            let domain = crate::jobs::domain(job);
            cx.debug(format!(
                "a job for {domain:?} ended after its request: {outcome:?}"
            ));
            return;
        };
        case.job_out = false;
        case.outcome = Some(outcome.clone());
        self.attention.touched.insert(number);
    }
}
