//! What an answer claims, against what is true.

use fence_cluster::seam::Migration;
use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reply, Uuid};

use super::host::Told;
use super::libvirt::Run;
use super::world::World;

/// A request, as it was when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) node: u32,
    pub(crate) at: Moment,
    pub(crate) action: Action,
    pub(crate) domain: String,
    /// The runs of the domain that there were.
    pub(crate) runs: Vec<Run>,
}

impl Asked {
    pub(crate) fn new(world: &World, node: u32, action: Action, domain: &str) -> Self {
        Self {
            node,
            at: world.now,
            action,
            domain: domain.to_owned(),
            runs: world.runs_of(domain),
        }
    }
}

impl World {
    /// Every run of what is called so, halves of migrations included, on hosts that have power.
    pub(crate) fn runs_of(&self, domain: &str) -> Vec<Run> {
        self.runs_seen(None, domain)
    }

    /// As [`Self::runs_of`], where somebody starts domains by hand only on hosts that `by` sees.
    fn runs_seen(&self, by: Option<u32>, domain: &str) -> Vec<Run> {
        let seen = |node| !self.by_hand || by.is_none_or(|by| self.bus.sees(by, node));
        let hosts = self.hosts.values();
        let hosts = hosts.filter(|host| host.power && seen(host.node));
        let all = hosts.flat_map(|host| &host.libvirt.domains);
        let called = all.filter(|(uuid, of)| of.name == domain || uuid.to_string() == domain);
        called.filter_map(|(_, of)| of.run).collect()
    }

    /// No success for off or reboot, nor "off" for status, while a copy runs or can resume.
    pub(crate) fn check(&self, node: u32, ticket: u64, told: &Told) {
        let asked = &self.asked[&ticket];
        let now = self.runs_seen(Some(node), &asked.domain);
        let story = || {
            format!(
                "{asked:?}\nh{node} said {told:?}, and there is {now:?}\n{}",
                self.log.join("\n")
            )
        };
        let survives = asked.runs.iter().any(|run| now.contains(run));
        // Somebody else may have started it while the request was under way.
        let booted = self.booted.get(&asked.domain);
        let meddled = booted.is_some_and(|at| *at >= asked.at);
        match (asked.action, &told.answer) {
            (Action::Off, Answer::Reply(Reply::Success))
            | (Action::Status, Answer::Reply(Reply::Off)) => {
                let off = now.is_empty() || (meddled && !survives);
                assert!(off, "not off\n{}", story());
            }
            (Action::Reboot, Answer::Reply(Reply::Success)) => {
                assert!(!survives, "the old run goes on\n{}", story());
            }
            _ => {}
        }
        let took = told.at.since(asked.at);
        let frozen = self.frozen.get(&node).is_some_and(|at| *at >= asked.at);
        assert!(took.as_secs() < 25 || frozen, "too late\n{}", story());
    }

    /// A daemon has started a domain: it must be the only copy.
    pub(crate) fn check_start(&self, node: u32, uuid: Uuid) {
        for (other, host) in &self.hosts {
            let domain = host.libvirt.domains.get(&uuid);
            let runs = domain.is_some_and(|domain| domain.run.is_some());
            let half = domain.is_some_and(|domain| domain.migration == Migration::Incoming);
            let unseen = self.by_hand && !self.bus.sees(node, *other);
            assert!(
                *other == node || !host.power || !runs || unseen,
                "h{node} starts what runs on h{other} (half: {half})\n{}",
                self.log.join("\n")
            );
        }
    }
}
