//! Which requests were heard before: retransmissions act once, replays never.
//!
//! Two memories. The short one knows a multicast request by (action, seqno, domain), which all its
//! retransmissions share, while it is served and for ten seconds after (section 2.6). A request
//! that failed before its order was made is forgotten at once, so that its next retransmission
//! gets a new try (row L27): retransmissions differ from each other in their random bytes. The long
//! one knows single frames by their signature and refuses them as replays; it holds every authentic
//! frame that was heard while this daemon runs, the newest 16384 that change a domain's state and as
//! many others, so that frequent questions do not wear out the memory of deeds. Also those whose
//! request another host served: the handshake of a C agent says nothing of the request, so any that
//! listens at the old address later would confirm the replay.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};

use crate::action::Action;
use crate::domain::DomainRef;
use crate::frame::{AuthenticFrame, RequestFrame};
use crate::reason::Reason;
use crate::time::Moment;

/// How long a served request's retransmissions are dropped.
pub(super) const SERVED_MEMORY: Duration = Duration::from_secs(10);
/// Served requests in the short memory.
const SERVED_MAX: usize = 8192;
/// Frames of either kind in the long memory.
const FINGERPRINTS_MAX: usize = 16_384;
/// How long it is known when a request was first heard: longer than agents ask.
const HEARD_MEMORY: Duration = Duration::from_secs(60);
/// Requests of which that is known.
const HEARD_MAX: usize = 4096;
/// Other call-back addresses of one request that are kept in case the first does not answer.
const ALTERNATES_MAX: usize = 16;

/// What all retransmissions of one request have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestKey {
    action: Action,
    seqno: u32,
    /// In lower case, as the original compares it.
    domain: String,
}

impl RequestKey {
    /// The key of a frame.
    #[must_use]
    pub fn of(frame: &RequestFrame) -> Self {
        Self::new(frame.action, frame.id.seqno, &frame.domain)
    }

    /// The key of a request that came without such a frame.
    pub(super) fn new(action: Action, seqno: u32, domain: &DomainRef) -> Self {
        Self {
            action,
            seqno,
            domain: domain.as_str().to_ascii_lowercase(),
        }
    }
}

#[derive(Debug, Default)]
struct InProgress {
    alternates: VecDeque<SocketAddr>,
    tried: Vec<SocketAddr>,
}

/// The memory of requests. Bounded: the requests under way by the sessions that serve them, the
/// rest by constants of this module.
#[derive(Debug, Default)]
pub struct Replay {
    in_progress: HashMap<RequestKey, InProgress>,
    served: HashMap<RequestKey, Moment>,
    served_order: VecDeque<(Moment, RequestKey)>,
    /// When requests that were left to other hosts were heard for the first time.
    heard: HashMap<RequestKey, Moment>,
    heard_order: VecDeque<(Moment, RequestKey)>,
    deeds: Frames,
    questions: Frames,
}

/// Frames that were heard, by the start of their signatures; the oldest are forgotten first.
#[derive(Debug, Default)]
struct Frames {
    known: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Frames {
    /// Whether the frame is new.
    fn remember(&mut self, fingerprint: u128) -> bool {
        if !self.known.insert(fingerprint) {
            return false;
        }
        if self.order.len() >= FINGERPRINTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(fingerprint);
        true
    }
}

impl Replay {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A frame of a stream: it must be new, and is remembered from here on. Streams carry no
    /// retransmissions, so an honest frame never comes twice.
    ///
    /// # Errors
    /// [`Reason::Replayed`].
    pub fn stream(&mut self, frame: &AuthenticFrame) -> Result<(), Reason> {
        if self.is_new(frame) {
            Ok(())
        } else {
            Err(Reason::Replayed)
        }
    }

    /// A frame of multicast that calls `callback`. If it is new, the caller serves it and says
    /// [`Self::finish`] in the end.
    ///
    /// # Errors
    /// [`Reason::DuplicateInProgress`] (its address is kept as an alternate),
    /// [`Reason::DuplicateServed`] or [`Reason::Replayed`].
    pub fn begin(
        &mut self,
        now: Moment,
        frame: &AuthenticFrame,
        callback: SocketAddr,
    ) -> Result<RequestKey, Reason> {
        self.expire(now);
        let key = RequestKey::of(frame.frame());
        let new = self.is_new(frame);
        if let Some(request) = self.in_progress.get_mut(&key) {
            request.note(callback);
            return Err(Reason::DuplicateInProgress);
        }
        if self.served.contains_key(&key) {
            return Err(Reason::DuplicateServed);
        }
        if !new {
            return Err(Reason::Replayed);
        }
        let request = InProgress {
            tried: vec![callback],
            ..InProgress::default()
        };
        self.in_progress.insert(key.clone(), request);
        Ok(key)
    }

    /// A call-back could not be connected: the next address that the same request named, if any.
    /// The request stays in progress while there is one.
    pub fn next_alternate(&mut self, key: &RequestKey) -> Option<SocketAddr> {
        let request = self.in_progress.get_mut(key)?;
        let next = request.alternates.pop_front()?;
        request.tried.push(next);
        Some(next)
    }

    /// The request's session is over. Served: an order was made of it, whatever came out.
    pub fn finish(&mut self, now: Moment, key: RequestKey, served: bool) {
        if self.in_progress.remove(&key).is_none() || !served {
            return;
        }
        if self.served_order.len() >= SERVED_MAX
            && let Some((_, oldest)) = self.served_order.pop_front()
        {
            self.served.remove(&oldest);
        }
        self.served.insert(key.clone(), now);
        self.served_order.push_back((now, key));
    }

    /// How long ago this request was asked about for the first time; zero if that is now.
    pub fn heard_for(&mut self, now: Moment, key: &RequestKey) -> Duration {
        while let Some((at, oldest)) = self.heard_order.front() {
            if self.heard_order.len() < HEARD_MAX && now.since(*at) < HEARD_MEMORY {
                break;
            }
            self.heard.remove(oldest);
            self.heard_order.pop_front();
        }
        if let Some(first) = self.heard.get(key) {
            return now.since(*first);
        }
        self.heard.insert(key.clone(), now);
        self.heard_order.push_back((now, key.clone()));
        Duration::ZERO
    }

    /// Requests that are being served.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    fn expire(&mut self, now: Moment) {
        while let Some((at, _)) = self.served_order.front() {
            if now.since(*at) < SERVED_MEMORY {
                break;
            }
            if let Some((at, key)) = self.served_order.pop_front()
                && self.served.get(&key) == Some(&at)
            {
                self.served.remove(&key);
            }
        }
    }

    /// Whether exactly this frame was never heard. Unsigned ones are always new.
    fn is_new(&mut self, frame: &AuthenticFrame) -> bool {
        let frames = if frame.frame().action.changes_state() {
            &mut self.deeds
        } else {
            &mut self.questions
        };
        frame
            .fingerprint()
            .is_none_or(|fingerprint| frames.remember(fingerprint))
    }
}

impl InProgress {
    fn note(&mut self, callback: SocketAddr) {
        let known = self.tried.contains(&callback) || self.alternates.contains(&callback);
        if !known && self.alternates.len() < ALTERNATES_MAX {
            self.alternates.push_back(callback);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Demand, RequestId, Signature};
    use crate::hash::HashAlgorithm;
    use crate::key::Key;

    fn frame(seqno: u32, random: u8, domain: &str) -> AuthenticFrame {
        let key = Key::from_bytes(b"0123456789").unwrap();
        let frame = RequestFrame {
            action: Action::Off,
            domain: DomainRef::new(domain).unwrap(),
            uuid_flag: false,
            callback: Some(address(1)),
            id: RequestId {
                random: [random; 6],
                seqno,
            },
        };
        let bytes = frame.encode(Signature::Keyed(&key, HashAlgorithm::Sha256));
        Demand {
            key: Some(&key),
            weakest: HashAlgorithm::Sha256,
        }
        .accept(&bytes)
        .unwrap()
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1229))
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn retransmission_while_served_and_after_is_dropped() {
        let mut replay = Replay::new();
        let key = replay.begin(at(0), &frame(1, 1, "vm"), address(1)).unwrap();
        let again = replay.begin(at(2), &frame(1, 2, "VM"), address(1));
        assert_eq!(again, Err(Reason::DuplicateInProgress));
        replay.finish(at(3), key, true);
        let late = replay.begin(at(12), &frame(1, 3, "vm"), address(1));
        assert_eq!(late, Err(Reason::DuplicateServed));
    }

    #[test]
    fn replayed_request_is_dropped_long_after_success() {
        let mut replay = Replay::new();
        let key = replay.begin(at(0), &frame(1, 1, "vm"), address(1)).unwrap();
        let _ = replay.begin(at(1), &frame(1, 2, "vm"), address(1));
        replay.finish(at(3), key, true);
        let _ = replay.begin(at(4), &frame(1, 3, "vm"), address(1));
        for variant in [1, 2, 3] {
            let replayed = replay.begin(at(10_000), &frame(1, variant, "vm"), address(1));
            assert_eq!(replayed, Err(Reason::Replayed), "variant {variant}");
        }
        assert!(
            replay
                .begin(at(10_000), &frame(1, 4, "vm"), address(1))
                .is_ok()
        );
    }

    #[test]
    fn failed_request_gets_a_new_try_at_once() {
        let mut replay = Replay::new();
        let key = replay.begin(at(0), &frame(1, 1, "vm"), address(1)).unwrap();
        replay.finish(at(1), key, false);
        assert!(replay.begin(at(2), &frame(1, 2, "vm"), address(1)).is_ok());
    }

    #[test]
    fn frame_whose_request_another_host_served_is_no_good_later() {
        let mut replay = Replay::new();
        let key = replay.begin(at(0), &frame(1, 1, "vm"), address(1)).unwrap();
        let _ = replay.begin(at(1), &frame(1, 2, "vm"), address(1));
        replay.finish(at(1), key, false);
        for variant in [1, 2] {
            let replayed = replay.begin(at(10_000), &frame(1, variant, "vm"), address(1));
            assert_eq!(replayed, Err(Reason::Replayed), "variant {variant}");
        }
    }

    #[test]
    fn other_addresses_of_a_request_are_tried_in_turn() {
        let mut replay = Replay::new();
        let key = replay.begin(at(0), &frame(1, 1, "vm"), address(1)).unwrap();
        for last in 1..20 {
            let _ = replay.begin(at(0), &frame(1, last, "vm"), address(last));
        }
        let mut tried = Vec::new();
        while let Some(next) = replay.next_alternate(&key) {
            tried.push(next);
            // Heard again while it is tried: not a new alternate.
            let _ = replay.begin(at(1), &frame(1, 99, "vm"), next);
        }
        let expected: Vec<_> = (2..=17).map(address).collect();
        assert_eq!(tried, expected);
    }

    #[test]
    fn stream_frame_is_good_once() {
        let mut replay = Replay::new();
        assert_eq!(replay.stream(&frame(1, 1, "vm")), Ok(()));
        assert_eq!(replay.stream(&frame(1, 1, "vm")), Err(Reason::Replayed));
        assert_eq!(replay.stream(&frame(1, 2, "vm")), Ok(()));
    }

    #[test]
    fn request_is_known_from_when_it_was_first_heard_for_a_minute() {
        let mut replay = Replay::new();
        let key = |seqno| RequestKey::of(frame(seqno, 1, "vm").frame());
        assert_eq!(replay.heard_for(at(1), &key(1)), Duration::ZERO);
        assert_eq!(replay.heard_for(at(3), &key(1)), Duration::from_secs(2));
        assert_eq!(replay.heard_for(at(3), &key(2)), Duration::ZERO);
        assert_eq!(replay.heard_for(at(60), &key(1)), Duration::from_secs(59));
        assert_eq!(replay.heard_for(at(61), &key(1)), Duration::ZERO);
        for seqno in 0..10_000 {
            replay.heard_for(at(62), &key(seqno));
        }
        assert!(replay.heard.len() <= HEARD_MAX);
        assert_eq!(replay.heard.len(), replay.heard_order.len());
    }

    #[test]
    fn memories_are_bounded() {
        let mut replay = Replay::new();
        for seqno in 0..20_000 {
            let frame = frame(seqno, 1, "vm");
            let key = replay.begin(at(0), &frame, address(1)).unwrap();
            replay.finish(at(0), key, true);
        }
        assert_eq!(replay.in_progress(), 0);
        assert!(replay.served.len() <= SERVED_MAX);
        assert_eq!(replay.served.len(), replay.served_order.len());
        assert_eq!(replay.deeds.known.len(), FINGERPRINTS_MAX);
        assert_eq!(replay.deeds.order.len(), FINGERPRINTS_MAX);
    }
}
