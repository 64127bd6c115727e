//! Where domains were last seen: what makes the silence of one hypervisor a reason for doubt.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Activity;
use crate::domain::Uuid;
use crate::time::Moment;

/// The most domains remembered for one hypervisor: 1 MiB of UUIDs.
const MAX_PER_HOST: usize = 65_536;

/// A list taken so long before a hypervisor fell silent still tells what was there.
const FRESH: Duration = Duration::from_secs(5);

/// What the memory says of one domain at one hypervisor that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing speaks for its being there: it was not listed shortly before the silence, or the
    /// hypervisor has never answered.
    None,
    /// It may be there: it was, shut off, or too little is known.
    Possible,
    /// It was there and on.
    Active,
}

/// For each hypervisor, the domains that it had when last asked. It never answers in a hypervisor's
/// place: it only turns a verdict into doubt while that hypervisor is silent.
#[derive(Debug, Clone)]
pub struct Sightings {
    hosts: Vec<Memory>,
}

#[derive(Debug, Clone, Default)]
struct Memory {
    seen: BTreeMap<Uuid, Activity>,
    /// There was more than can be remembered.
    full: bool,
    /// When the last list was asked for that came.
    listed: Option<Moment>,
    /// When the first list was asked for that did not come since.
    unanswered: Option<Moment>,
}

impl Memory {
    fn insert(&mut self, uuid: Uuid, activity: Activity) {
        if self.seen.len() < MAX_PER_HOST || self.seen.contains_key(&uuid) {
            self.seen.insert(uuid, activity);
        } else {
            self.full = true;
        }
    }

    /// Whether a domain may have come after the last list and before the silence.
    fn is_stale(&self, now: Moment) -> bool {
        let silent_from = self.unanswered.unwrap_or(now);
        self.listed
            .is_some_and(|listed| listed.until(silent_from) > FRESH)
    }
}

impl Sightings {
    /// Nothing seen yet on any of `hosts` hypervisors.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self {
            hosts: vec![Memory::default(); hosts],
        }
    }

    /// Hypervisor `host` has the domain.
    pub fn saw(&mut self, host: usize, uuid: Uuid, activity: Activity) {
        if let Some(memory) = self.hosts.get_mut(host) {
            memory.insert(uuid, activity);
        }
    }

    /// Hypervisor `host` answered that it does not have the domain.
    pub fn missed(&mut self, host: usize, uuid: Uuid) {
        if let Some(memory) = self.hosts.get_mut(host) {
            memory.seen.remove(&uuid);
        }
    }

    /// Hypervisor `host` should be listing all it has; it may have fallen silent before.
    pub fn expects_list(&mut self, host: usize, now: Moment) {
        if let Some(memory) = self.hosts.get_mut(host) {
            memory.unanswered.get_or_insert(now);
        }
    }

    /// Hypervisor `host` listed all it has; it was asked to at `asked`.
    pub fn listed(
        &mut self,
        host: usize,
        asked: Moment,
        domains: impl IntoIterator<Item = (Uuid, Activity)>,
    ) {
        if let Some(memory) = self.hosts.get_mut(host) {
            *memory = Memory {
                listed: Some(asked),
                ..Memory::default()
            };
            for (uuid, activity) in domains {
                memory.insert(uuid, activity);
            }
        }
    }

    /// Hypervisor `host` answers again, after a silence in which anything may have come to it.
    pub fn is_back(&mut self, host: usize) {
        if let Some(memory) = self.hosts.get_mut(host) {
            memory.unanswered = None;
        }
    }

    /// Whether hypervisor `host` has ever listed what it has.
    #[must_use]
    pub fn knows(&self, host: usize) -> bool {
        self.hosts
            .get(host)
            .is_some_and(|memory| memory.listed.is_some())
    }

    /// What is remembered of the domain at hypervisor `host`, which is silent now.
    #[must_use]
    pub fn of(&self, host: usize, uuid: Uuid, now: Moment) -> Sighting {
        let Some(memory) = self.hosts.get(host) else {
            return Sighting::None;
        };
        match memory.seen.get(&uuid) {
            Some(Activity::On) => Sighting::Active,
            Some(Activity::Off) => Sighting::Possible,
            None if memory.full || memory.is_stale(now) => Sighting::Possible,
            None => Sighting::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid([1; 16]);
    const B: Uuid = Uuid([2; 16]);

    const fn at(seconds: u64) -> Moment {
        Moment::from_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn a_domain_is_remembered_where_it_was_seen_until_it_is_missed_there() {
        let mut sightings = Sightings::new(2);
        sightings.saw(1, A, Activity::On);
        assert_eq!(sightings.of(0, A, at(0)), Sighting::None);
        assert_eq!(sightings.of(1, A, at(0)), Sighting::Active);
        sightings.saw(1, A, Activity::Off);
        assert_eq!(sightings.of(1, A, at(0)), Sighting::Possible);
        sightings.missed(1, A);
        assert_eq!(sightings.of(1, A, at(0)), Sighting::None);
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut sightings = Sightings::new(1);
        sightings.saw(0, A, Activity::On);
        sightings.listed(0, at(0), [(B, Activity::On)]);
        assert_eq!(sightings.of(0, A, at(0)), Sighting::None);
        assert_eq!(sightings.of(0, B, at(0)), Sighting::Active);
        // A hypervisor that is not configured is never blamed.
        sightings.saw(7, A, Activity::On);
        assert_eq!(sightings.of(7, A, at(0)), Sighting::None);
    }

    #[test]
    fn hypervisor_that_listed_shortly_before_its_silence_is_trusted_for_ever() {
        let mut sightings = Sightings::new(1);
        sightings.listed(0, at(10), []);
        assert!(sightings.knows(0));
        assert_eq!(sightings.of(0, A, at(15)), Sighting::None);
        sightings.expects_list(0, at(12));
        sightings.expects_list(0, at(14));
        assert_eq!(sightings.of(0, A, at(1000)), Sighting::None);
    }

    #[test]
    fn hypervisor_whose_list_was_old_when_it_fell_silent_may_have_anything() {
        let mut sightings = Sightings::new(1);
        sightings.listed(0, at(10), []);
        assert_eq!(sightings.of(0, A, at(16)), Sighting::Possible);
        sightings.expects_list(0, at(16));
        assert_eq!(sightings.of(0, A, at(16)), Sighting::Possible);
    }

    #[test]
    fn hypervisor_that_came_back_is_not_trusted_by_a_list_of_before() {
        let mut sightings = Sightings::new(1);
        sightings.listed(0, at(10), []);
        sightings.expects_list(0, at(12));
        sightings.is_back(0);
        assert_eq!(sightings.of(0, A, at(60)), Sighting::Possible);
        sightings.expects_list(0, at(60));
        assert_eq!(sightings.of(0, A, at(61)), Sighting::Possible);
        sightings.listed(0, at(60), []);
        assert_eq!(sightings.of(0, A, at(61)), Sighting::None);
    }

    #[test]
    fn of_a_hypervisor_that_never_answered_nothing_is_known() {
        let mut sightings = Sightings::new(1);
        sightings.expects_list(0, at(0));
        assert!(!sightings.knows(0));
        assert_eq!(sightings.of(0, A, at(1000)), Sighting::None);
    }

    #[test]
    fn memory_is_bounded_and_what_exceeds_it_may_be_anywhere() {
        let number = |number: usize| {
            let mut uuid = [0; 16];
            uuid[..8].copy_from_slice(&number.to_le_bytes());
            Uuid(uuid)
        };
        let mut sightings = Sightings::new(1);
        for n in 0..MAX_PER_HOST {
            sightings.saw(0, number(n), Activity::Off);
        }
        assert_eq!(sightings.of(0, A, at(0)), Sighting::None);
        let all = (0..=MAX_PER_HOST).map(|n| (number(n), Activity::Off));
        sightings.listed(0, at(0), all);
        assert_eq!(sightings.hosts[0].seen.len(), MAX_PER_HOST);
        assert_eq!(sightings.of(0, A, at(0)), Sighting::Possible);
        sightings.listed(0, at(1), []);
        assert_eq!(sightings.of(0, A, at(1)), Sighting::None);
    }
}
