//! Where domains were last seen: what makes the silence of one hypervisor a reason for doubt.

use std::collections::BTreeSet;

use crate::domain::Uuid;

/// The most domains remembered for one hypervisor: 1 MiB of UUIDs.
const MAX_PER_HOST: usize = 65_536;

/// For each hypervisor, the domains that it had when last asked. It never answers in a hypervisor's
/// place: it only turns a verdict into doubt while that hypervisor is silent.
#[derive(Debug, Clone)]
pub struct Sightings {
    hosts: Vec<BTreeSet<Uuid>>,
}

impl Sightings {
    /// Nothing seen yet on any of `hosts` hypervisors.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self {
            hosts: vec![BTreeSet::new(); hosts],
        }
    }

    /// Hypervisor `host` has the domain, active or not.
    pub fn saw(&mut self, host: usize, uuid: Uuid) {
        if let Some(seen) = self.hosts.get_mut(host)
            && (seen.len() < MAX_PER_HOST || seen.contains(&uuid))
        {
            seen.insert(uuid);
        }
    }

    /// Hypervisor `host` answered that it does not have the domain.
    pub fn missed(&mut self, host: usize, uuid: Uuid) {
        if let Some(seen) = self.hosts.get_mut(host) {
            seen.remove(&uuid);
        }
    }

    /// Hypervisor `host` listed all it has.
    pub fn listed(&mut self, host: usize, uuids: impl IntoIterator<Item = Uuid>) {
        if let Some(seen) = self.hosts.get_mut(host) {
            *seen = uuids.into_iter().take(MAX_PER_HOST).collect();
        }
    }

    /// Whether hypervisor `host` had the domain when last asked.
    #[must_use]
    pub fn has_seen(&self, host: usize, uuid: Uuid) -> bool {
        self.hosts
            .get(host)
            .is_some_and(|seen| seen.contains(&uuid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid([1; 16]);
    const B: Uuid = Uuid([2; 16]);

    #[test]
    fn a_domain_is_remembered_where_it_was_seen_until_it_is_missed_there() {
        let mut sightings = Sightings::new(2);
        sightings.saw(1, A);
        assert!(!sightings.has_seen(0, A));
        assert!(sightings.has_seen(1, A));
        sightings.missed(1, A);
        assert!(!sightings.has_seen(1, A));
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut sightings = Sightings::new(1);
        sightings.saw(0, A);
        sightings.listed(0, [B]);
        assert!(!sightings.has_seen(0, A));
        assert!(sightings.has_seen(0, B));
        // A hypervisor that is not configured is never blamed.
        sightings.saw(7, A);
        assert!(!sightings.has_seen(7, A));
    }

    #[test]
    fn memory_is_bounded() {
        let mut sightings = Sightings::new(1);
        for number in 0..=u32::try_from(MAX_PER_HOST).unwrap() {
            let mut uuid = [0; 16];
            uuid[..4].copy_from_slice(&number.to_le_bytes());
            sightings.saw(0, Uuid(uuid));
        }
        assert_eq!(sightings.hosts[0].len(), MAX_PER_HOST);
    }
}
