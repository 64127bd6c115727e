//! How many sessions there may be, per source and in total.
//!
//! A session that has not proved anything yet never keeps a newer one out: when a bound is reached
//! the oldest unproven session gives way, of the same source if the source's bound is reached, else
//! of the source that has the most of them. Honest peers are through within milliseconds, so what
//! is oldest is what stalls. Sessions that are proven are never evicted; when they alone fill a
//! bound, newcomers are refused.

use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::access::Source;
use crate::reason::Reason;

/// Names one session; higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of one source.
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
    sessions: HashMap<SessionId, (Source, bool)>,
    sources: BTreeMap<Source, PerSource>,
}

impl Admission {
    /// An empty register.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            sessions: HashMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// A place for a new, unproven session of `source`.
    ///
    /// # Errors
    /// [`Reason::SourceLimit`] or [`Reason::TotalLimit`] if only proven sessions could give way.
    pub fn admit(&mut self, source: Source) -> Result<Admitted, Reason> {
        let source = neighbourhood(source);
        let evicted = self.make_room(source)?;
        if let Some(id) = evicted {
            self.release(id);
        }
        let id = SessionId(self.next);
        self.next = self.next.saturating_add(1);
        self.sessions.insert(id, (source, false));
        self.sources.entry(source).or_default().unproven.insert(id);
        Ok(Admitted { id, evicted })
    }

    /// The session's peer has proved itself: it is not evicted any more.
    pub fn proven(&mut self, id: SessionId) {
        let Some((source, proven)) = self.sessions.get_mut(&id) else {
            return;
        };
        if core::mem::replace(proven, true) {
            return;
        }
        if let Some(of_source) = self.sources.get_mut(source) {
            of_source.unproven.remove(&id);
            of_source.proven = of_source.proven.saturating_add(1);
        }
    }

    /// The session is over. Saying so twice does no harm.
    pub fn release(&mut self, id: SessionId) {
        let Some((source, proven)) = self.sessions.remove(&id) else {
            return;
        };
        let Some(of_source) = self.sources.get_mut(&source) else {
            return;
        };
        if proven {
            of_source.proven = of_source.proven.saturating_sub(1);
        } else {
            of_source.unproven.remove(&id);
        }
        if of_source.count() == 0 {
            self.sources.remove(&source);
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

    fn make_room(&self, source: Source) -> Result<Option<SessionId>, Reason> {
        let own = self.sources.get(&source);
        if own.map_or(0, PerSource::count) >= self.limits.per_source {
            let oldest = own.and_then(|own| own.unproven.first()).copied();
            return oldest.map(Some).ok_or(Reason::SourceLimit);
        }
        if self.sessions.len() < self.limits.total {
            return Ok(None);
        }
        self.sources
            .values()
            .max_by_key(|of_source| {
                // Among equals the one whose session is the oldest.
                (
                    of_source.unproven.len(),
                    Reverse(of_source.unproven.first().copied()),
                )
            })
            .and_then(|of_source| of_source.unproven.first())
            .copied()
            .map(Some)
            .ok_or(Reason::TotalLimit)
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
mod tests {
    use super::*;

    #[test]
    fn oldest_pays_when_every_source_has_one() {
        let mut admission = Admission::new(Limits {
            per_source: 3,
            total: 3,
        });
        let first = admission.admit(source(9)).unwrap().id;
        admission.admit(source(1)).unwrap();
        admission.admit(source(5)).unwrap();
        assert_eq!(admission.admit(source(7)).unwrap().evicted, Some(first));
    }

    #[test]
    fn addresses_of_one_ipv6_subnet_are_one_source() {
        let mut admission = Admission::new(Limits {
            per_source: 1,
            total: 3,
        });
        let v6 = |text: &str| Source::Ip(text.parse().unwrap());
        let first = admission.admit(v6("fd00::1")).unwrap().id;
        assert_eq!(admission.admit(v6("fd00::2")).unwrap().evicted, Some(first));
        assert_eq!(admission.admit(v6("fd00:0:0:1::1")).unwrap().evicted, None);
    }

    fn source(last: u8) -> Source {
        Source::Ip([10, 0, 0, last].into())
    }

    fn admission() -> Admission {
        Admission::new(Limits {
            per_source: 3,
            total: 5,
        })
    }

    #[test]
    fn oldest_unproven_session_of_a_full_source_gives_way() {
        let mut admission = admission();
        let first = admission.admit(source(1)).unwrap().id;
        let second = admission.admit(source(1)).unwrap().id;
        admission.admit(source(1)).unwrap();
        admission.proven(first);
        let fourth = admission.admit(source(1)).unwrap();
        assert_eq!(fourth.evicted, Some(second));
        assert_eq!(admission.len(), 3);
    }

    #[test]
    fn source_with_most_unproven_sessions_pays_when_all_is_full() {
        let mut admission = admission();
        let honest = admission.admit(source(1)).unwrap().id;
        let stalled = admission.admit(source(2)).unwrap().id;
        admission.admit(source(2)).unwrap();
        admission.admit(source(2)).unwrap();
        admission.admit(source(3)).unwrap();
        assert_eq!(admission.admit(source(4)).unwrap().evicted, Some(stalled));
        assert_ne!(honest, stalled);
        assert_eq!(admission.len(), 5);
    }

    #[test]
    fn proven_sessions_are_never_evicted() {
        let mut admission = admission();
        for _ in 0..3 {
            let id = admission.admit(source(1)).unwrap().id;
            admission.proven(id);
        }
        assert_eq!(admission.admit(source(1)), Err(Reason::SourceLimit));
        for last in [2, 3] {
            let id = admission.admit(source(last)).unwrap().id;
            admission.proven(id);
        }
        assert_eq!(admission.admit(source(4)), Err(Reason::TotalLimit));
    }

    #[test]
    fn released_places_are_free_and_nothing_is_left_behind() {
        let mut admission = admission();
        for last in 0..=255 {
            let id = admission.admit(source(last)).unwrap().id;
            if last % 2 == 0 {
                admission.proven(id);
                admission.proven(id);
            }
            admission.release(id);
            admission.release(id);
        }
        assert!(admission.is_empty());
        assert!(admission.sources.is_empty());
    }
}
