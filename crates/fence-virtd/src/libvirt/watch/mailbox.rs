//! What a watcher's user has not fetched yet: bounded, the newest of each domain, nothing lost.

use std::collections::BTreeMap;
use std::time::Instant;

use fence_proto::Uuid;

use super::{Notice, WatchedDomain};

/// Domains whose changes are kept. With more the next snapshot tells them all.
const MAX_CHANGES: usize = 4096;

/// The mailbox.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    lost: Option<String>,
    snapshot: Option<Vec<WatchedDomain>>,
    changes: BTreeMap<Uuid, Notice>,
    current: Option<Instant>,
}

impl Mailbox {
    /// Puts something in. False if changes had to be thrown away: then a new snapshot is needed.
    #[must_use]
    pub(super) fn post(&mut self, notice: Notice) -> bool {
        let domain = match &notice {
            Notice::Changed(domain) => domain.uuid,
            Notice::Gone(uuid) | Notice::MigratedAway(uuid) => *uuid,
            Notice::Current(moment) => {
                self.current = Some(*moment);
                return true;
            }
            Notice::Lost(reason) => {
                *self = Self {
                    lost: Some(reason.clone()),
                    ..Self::default()
                };
                return true;
            }
            Notice::Snapshot(_) => {
                self.changes.clear();
                if let Notice::Snapshot(domains) = notice {
                    self.snapshot = Some(domains);
                }
                return true;
            }
        };
        if self.changes.len() >= MAX_CHANGES && !self.changes.contains_key(&domain) {
            self.changes.clear();
            self.current = None;
            return false;
        }
        let waiting = self.changes.get(&domain);
        let said_better = matches!(waiting, Some(Notice::MigratedAway(_)));
        if !(said_better && matches!(notice, Notice::Gone(_))) {
            self.changes.insert(domain, notice);
        }
        true
    }

    /// Takes the next thing out: what was lost before what is known since, all before single changes.
    pub(super) fn take(&mut self) -> Option<Notice> {
        if let Some(reason) = self.lost.take() {
            return Some(Notice::Lost(reason));
        }
        if let Some(domains) = self.snapshot.take() {
            return Some(Notice::Snapshot(domains));
        }
        if let Some((_, notice)) = self.changes.pop_first() {
            return Some(notice);
        }
        self.current.take().map(Notice::Current)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Migration;
    use super::*;

    fn uuid(number: u32) -> Uuid {
        Uuid(u128::from(number).to_be_bytes())
    }

    fn domain(number: u32, state: u8) -> WatchedDomain {
        WatchedDomain {
            uuid: uuid(number),
            name: format!("vm{number}"),
            state,
            reason: 0,
            instance: None,
            persistent: true,
            migration: Migration::None,
            devices: None,
        }
    }

    fn changed(number: u32, state: u8) -> Notice {
        Notice::Changed(domain(number, state))
    }

    fn drain(mailbox: &mut Mailbox) -> Vec<Notice> {
        std::iter::from_fn(|| mailbox.take()).collect()
    }

    #[test]
    fn only_the_newest_of_each_domain_is_kept() {
        let mut mailbox = Mailbox::default();
        for state in 0..100 {
            assert!(mailbox.post(changed(1, state)));
            assert!(mailbox.post(changed(2, state)));
        }
        assert!(mailbox.post(Notice::MigratedAway(uuid(3))));
        assert!(mailbox.post(Notice::Gone(uuid(3))));
        assert!(mailbox.post(Notice::Gone(uuid(2))));
        assert_eq!(
            drain(&mut mailbox),
            [
                changed(1, 99),
                Notice::Gone(uuid(2)),
                Notice::MigratedAway(uuid(3))
            ]
        );
    }

    #[test]
    fn snapshot_takes_the_place_of_what_was_before() {
        let mut mailbox = Mailbox::default();
        let snapshot = Notice::Snapshot(vec![domain(1, 1)]);
        assert!(mailbox.post(changed(1, 5)));
        assert!(mailbox.post(snapshot.clone()));
        assert!(mailbox.post(changed(1, 3)));
        assert_eq!(drain(&mut mailbox), [snapshot, changed(1, 3)]);
    }

    #[test]
    fn what_was_known_before_a_loss_is_forgotten_and_the_loss_is_told_first() {
        let mut mailbox = Mailbox::default();
        let snapshot = Notice::Snapshot(vec![domain(1, 1)]);
        let lost = Notice::Lost("gone".to_owned());
        assert!(mailbox.post(snapshot.clone()) && mailbox.post(changed(1, 3)));
        assert!(mailbox.post(lost.clone()));
        assert!(mailbox.post(snapshot.clone()));
        assert_eq!(drain(&mut mailbox), [lost, snapshot]);
    }

    #[test]
    fn what_was_told_is_current_only_when_all_of_it_was_fetched() {
        let mut mailbox = Mailbox::default();
        let (early, late) = (Instant::now(), Instant::now());
        assert!(mailbox.post(Notice::Current(early)));
        assert!(mailbox.post(changed(1, 5)) && mailbox.post(changed(2, 5)));
        assert!(mailbox.post(Notice::Current(late)));
        let told = [changed(1, 5), changed(2, 5), Notice::Current(late)];
        assert_eq!(drain(&mut mailbox), told);
        assert!(mailbox.post(Notice::Current(late)));
        assert!(mailbox.post(Notice::Lost("gone".to_owned())));
        assert_eq!(drain(&mut mailbox), [Notice::Lost("gone".to_owned())]);
    }

    #[test]
    fn too_many_changes_ask_for_a_snapshot_instead() {
        let mut mailbox = Mailbox::default();
        let most = u32::try_from(MAX_CHANGES).unwrap();
        for number in 0..most {
            assert!(mailbox.post(changed(number, 1)));
        }
        // Of one that is known there is always room for the newest.
        assert!(mailbox.post(changed(0, 5)));
        assert!(mailbox.post(Notice::Current(Instant::now())));
        assert!(!mailbox.post(changed(most, 1)));
        assert_eq!(mailbox.take(), None);
    }
}
