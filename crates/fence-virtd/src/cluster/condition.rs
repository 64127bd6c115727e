//! How this member is, in a few words: for the log, the counters and the service manager.

use std::collections::BTreeSet;

use fence_proto::Uuid;
use tracing::info;

use super::inventory::News;

/// What the words are made of.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// How many there are in the group, this one included. None: it is not joined, or nothing is known yet.
    pub members: usize,
    /// Whether there is quorum.
    pub quorate: bool,
    /// This host's domains, once they are known.
    domains: Option<BTreeSet<Uuid>>,
    /// Who is there, as last logged.
    said: String,
}

impl Condition {
    /// Keeps account of the domains.
    pub(super) fn count(&mut self, news: &News) {
        match (news, &mut self.domains) {
            (News::Inventory(domains), count) => {
                *count = Some(domains.iter().map(|it| it.identity.uuid).collect());
            }
            (News::Changed(domain), Some(count)) => {
                count.insert(domain.identity.uuid);
            }
            (News::Gone(uuid), Some(count)) => {
                count.remove(uuid);
            }
            (News::MigratedAway(domain), Some(count)) => {
                count.remove(&domain.identity.uuid);
            }
            (News::Lost, count) => *count = None,
            (_, None) => {}
        }
    }

    /// The words; `None` while nothing is known. Who is in the group is logged when it changes.
    pub(super) fn in_words(&mut self, connected: bool) -> Option<String> {
        let quorum = if self.quorate { "quorum" } else { "no quorum" };
        let group = match (connected, self.members) {
            (false, _) => "cluster not joined".to_owned(),
            (true, 0) => return None,
            (true, 1) => format!("cluster of 1 member, {quorum}"),
            (true, members) => format!("cluster of {members} members, {quorum}"),
        };
        if self.said != group {
            info!("{group}");
            self.said.clone_from(&group);
        }
        Some(match self.domains.as_ref().map(BTreeSet::len) {
            None => group,
            Some(1) => format!("{group}; 1 domain here"),
            Some(domains) => format!("{group}; {domains} domains here"),
        })
    }
}
