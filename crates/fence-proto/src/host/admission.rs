//! How many sessions there may be, per source and in total.
//!
//! A session that has not proved anything yet never keeps a newer one out: when a bound is reached
//! the oldest unproven session gives way, of the same source if the source's bound is reached, else
//! of the source that has the most of them. Honest peers are through within milliseconds, so what
//! is oldest is what stalls. Sessions that are proven are never evicted; when they alone fill a
//! bound, newcomers are refused.
//!
//! Listeners are parties: each has a share of the places that no other one's sessions take. Who has the key of one, and as
//! many addresses as it likes, keeps nobody out elsewhere. What a share has to spare beyond the shares of the others
//! is for whoever comes first. A party that has less than its share takes of those that have more, else of its own: what
//! another one has of its share is not touched.

use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::access::Source;
use crate::reason::Reason;

/// Names one session; higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Who shares the places with others: a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(u64);

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of one source at one party.
    pub per_source: usize,
    /// Sessions altogether.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_source: 512,
            total: 1024,
        }
    }
}

/// A place for a session.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The new session.
    pub id: SessionId,
    /// The session that must end at once with [`Reason::Evicted`].
    pub evicted: Option<SessionId>,
}

/// What a party has. One that has left stays until its sessions are over.
#[derive(Debug, Default)]
struct PerParty {
    sessions: usize,
    left: bool,
}

#[derive(Debug, Default)]
struct PerSource {
    unproven: BTreeSet<SessionId>,
    proven: usize,
}

impl PerSource {
    fn count(&self) -> usize {
        self.unproven.len().saturating_add(self.proven)
    }
}

/// The register of sessions.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    next: u64,
    parties: BTreeMap<Party, PerParty>,
    sessions: HashMap<SessionId, (Payer, bool)>,
    sources: BTreeMap<Payer, PerSource>,
}

/// Whom a place is charged to.
type Payer = (Party, Source);

impl Admission {
    /// An empty register.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            parties: BTreeMap::new(),
            sessions: HashMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// One more party, which has a share from now on.
    pub fn join(&mut self) -> Party {
        let party = Party(self.number());
        self.parties.insert(party, PerParty::default());
        party
    }

    /// The party needs no share any more. Its sessions go on.
    pub fn leave(&mut self, party: Party) {
        if let Some(of_party) = self.parties.get_mut(&party) {
            of_party.left = true;
            self.forget_if_gone(party);
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// A place for a new, unproven session of `source` at `party`.
    ///
    /// # Errors
    /// [`Reason::SourceLimit`] or [`Reason::TotalLimit`] if only proven sessions could give way.
    pub fn admit(&mut self, party: Party, source: Source) -> Result<Admitted, Reason> {
        let payer = (party, neighbourhood(source));
        let evicted = self.make_room(payer)?;
        if let Some(id) = evicted {
            self.release(id);
        }
        let id = SessionId(self.number());
        self.sessions.insert(id, (payer, false));
        self.sources.entry(payer).or_default().unproven.insert(id);
        let of_party = self.parties.entry(party).or_default();
        of_party.sessions = of_party.sessions.saturating_add(1);
        Ok(Admitted { id, evicted })
    }

    /// The session's peer has proved itself: it is not evicted any more.
    pub fn proven(&mut self, id: SessionId) {
        let Some((payer, proven)) = self.sessions.get_mut(&id) else {
            return;
        };
        if core::mem::replace(proven, true) {
            return;
        }
        if let Some(of_source) = self.sources.get_mut(payer) {
            of_source.unproven.remove(&id);
            of_source.proven = of_source.proven.saturating_add(1);
        }
    }

    /// The session is over. Saying so twice does no harm.
    pub fn release(&mut self, id: SessionId) {
        let Some((payer, proven)) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(of_party) = self.parties.get_mut(&payer.0) {
            of_party.sessions = of_party.sessions.saturating_sub(1);
        }
        self.forget_if_gone(payer.0);
        let Some(of_source) = self.sources.get_mut(&payer) else {
            return;
        };
        if proven {
            of_source.proven = of_source.proven.saturating_sub(1);
        } else {
            of_source.unproven.remove(&id);
        }
        if of_source.count() == 0 {
            self.sources.remove(&payer);
        }
    }

    fn forget_if_gone(&mut self, party: Party) {
        let of_party = self.parties.get(&party);
        if of_party.is_some_and(|of_party| of_party.left && of_party.sessions == 0) {
            self.parties.remove(&party);
        }
    }

    /// Sessions altogether.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn make_room(&self, payer: Payer) -> Result<Option<SessionId>, Reason> {
        let own = self.sources.get(&payer);
        if own.map_or(0, PerSource::count) >= self.limits.per_source {
            let oldest = own.and_then(|own| own.unproven.first()).copied();
            return oldest.map(Some).ok_or(Reason::SourceLimit);
        }
        let needy = self.below_share(payer.0);
        let full = self.sessions.len() >= self.limits.total;
        if !full && (needy || self.spares_one(payer.0)) {
            return Ok(None);
        }
        let of_others = needy.then(|| self.oldest_where(|party| self.above_share(party)));
        // One that has more than its share gives of its own.
        let own = || self.oldest_where(|party| party == payer.0);
        let oldest = of_others.flatten().or_else(own);
        oldest.map(Some).ok_or(Reason::TotalLimit)
    }

    /// The session that gives way, if it is to be one of these parties: the oldest unproven one of the source that has
    /// the most of them.
    fn oldest_where(&self, gives: impl Fn(Party) -> bool) -> Option<SessionId> {
        let givers = self.sources.iter().filter(|((party, _), _)| gives(*party));
        let giver = givers.map(|(_, of_source)| of_source).max_by_key(|giver| {
            // Among equals the one whose session is the oldest.
            let oldest = giver.unproven.first().copied();
            (giver.unproven.len(), Reverse(oldest))
        })?;
        giver.unproven.first().copied()
    }

    /// What each party has for itself; as much is left for whoever comes first.
    fn share(&self) -> usize {
        let sharing = self.parties.values().filter(|of_party| !of_party.left);
        let parts = sharing.count().saturating_add(1);
        self.limits.total.checked_div(parts).unwrap_or(0)
    }

    fn below_share(&self, party: Party) -> bool {
        let of_party = self.parties.get(&party);
        of_party.is_some_and(|of_party| !of_party.left && of_party.sessions < self.share())
    }

    /// One that has left has no share.
    fn above_share(&self, party: Party) -> bool {
        let of_party = self.parties.get(&party);
        of_party.is_some_and(|of_party| of_party.left || of_party.sessions > self.share())
    }

    /// Whether the shares of the others are whole even if `party` takes one place more.
    fn spares_one(&self, party: Party) -> bool {
        let share = self.share();
        let others = self.parties.iter().filter(|(other, _)| **other != party);
        let kept = others
            .filter(|(_, of_party)| !of_party.left)
            .map(|(_, of_party)| share.saturating_sub(of_party.sessions))
            .fold(0, usize::saturating_add);
        self.sessions.len().saturating_add(kept) < self.limits.total
    }
}

/// Whom a place is charged to: one machine can use a whole IPv6 /64.
fn neighbourhood(source: Source) -> Source {
    match source {
        Source::Ip(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            Source::Ip(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
