//! What can be done without the others: no quorum, not ready, or no corosync at all. Nothing is
//! claimed about other hosts; a copy that runs here is destroyed all the same.

use fence_proto::{Action, Reply, Uuid};

use super::resolve::{allowed, is_active};
use super::state::{Case, Stage, Target};
use super::{Step, end, end_because, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::Meaning;
use crate::seam::{Job, Outcome};
use crate::wire::record::Holding;

impl Cluster {
    pub(super) fn advance_alone(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        if case.job_out {
            return Step::Wait;
        }
        let Some(uuid) = self.meant_here(case) else {
            return fail(self.why_alone(cx.now, case));
        };
        let names = self.names_of(uuid);
        if !allowed(case, uuid, &names) {
            return end(Reply::PermissionDenied);
        }
        case.target = Some(Target { uuid, names });
        match case.outcome.clone() {
            None => self.begin_alone(cx, number, case, uuid),
            Some(Outcome::Found(found)) => {
                let runs = is_active(&Outcome::Found(found), uuid);
                match case.action() {
                    Action::Status if runs => end(Reply::Success),
                    Action::Off | Action::Reboot if runs => {
                        self.destroy_here(cx, number, case, uuid)
                    }
                    _ => fail(self.why_alone(cx.now, case)),
                }
            }
            Some(outcome) => self.alone_done(cx, case, uuid, &outcome),
        }
    }

    /// The domain that is meant, if this host has it.
    fn meant_here(&self, case: &Case) -> Option<Uuid> {
        if let Some(target) = &case.target {
            return Some(target.uuid);
        }
        let Meaning::Known(uuid, _) = self.meaning(&case.request.domain) else {
            return None;
        };
        (self.local.holding(uuid) > Holding::Nothing).then_some(uuid)
    }

    fn begin_alone(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case, uuid: Uuid) -> Step {
        match case.action() {
            Action::Off | Action::Reboot if self.local.holding(uuid) == Holding::Copy => {
                self.destroy_here(cx, number, case, uuid)
            }
            Action::Off | Action::Reboot | Action::Status => {
                self.give(cx, number, case, (Job::Look(uuid), Stage::Alone))
            }
            _ => fail(self.why_alone(cx.now, case)),
        }
    }

    fn destroy_here(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case, uuid: Uuid) -> Step {
        self.acts_alone(uuid);
        let begin_by = if case.pursuit.has_begun {
            case.close_at
        } else {
            case.close_at.min(case.request.start_by)
        };
        let job = Job::Off {
            domain: uuid,
            keep_definition: false,
            begin_by,
            end_by: case.decide_by,
        };
        self.give(cx, number, case, (job, Stage::Alone))
    }

    fn alone_done(&self, cx: &mut Cx<'_>, case: &Case, uuid: Uuid, outcome: &Outcome) -> Step {
        let off = matches!(
            outcome,
            Outcome::Off {
                migrating: false,
                vanished: false
            }
        );
        // Others may have started it since: only by fencing this host, if it ran here before.
        let held = self.held.get(&uuid) == Some(&self.newest(uuid));
        if off && held && !self.other_host_has(uuid) {
            let reason = self.why_alone(cx.now, case);
            let again = if case.action() == Action::Reboot {
                "; it is not started again"
            } else {
                ""
            };
            return end_because(
                Reply::Success,
                format!(
                    "destroyed on this host, and no other is known to have it ({reason}){again}"
                ),
            );
        }
        let here = match outcome {
            Outcome::Off { .. } if off && !held => {
                "it was destroyed here, but it did not run here before this host was alone: another host may have it"
            }
            Outcome::Off { .. } => "it was destroyed here, but another host may have it",
            Outcome::WasOff | Outcome::WasAbsent => "it does not run here",
            Outcome::Silent => "this host's libvirt does not answer",
            Outcome::NotBegun => "there was no time left to destroy it here",
            Outcome::Failed(why) => why,
            Outcome::Found(_) | Outcome::Started | Outcome::Alive => "it was not destroyed here",
        };
        fail(format!("{here}, and {}", self.why_alone(cx.now, case)))
    }
}
