//! The request of a guest.

use super::MAGIC;
use crate::action::Action;
use crate::domain::{DOMAIN_FIELD, DomainRef};
use crate::reason::Reason;

/// Bytes of a request: magic 4, request 1, flags 1, domain 64, seqno 4.
pub const REQUEST_LEN: usize = 74;

/// Bit 0 of `flags`: the domain is meant as a UUID. Hosts go by its form.
const FLAG_UUID: u8 = 0x01;

/// A request in decoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub action: Action,
    /// For which domain; empty where none is needed.
    pub domain: DomainRef,
    /// Whether the sender says that `domain` is a UUID.
    pub uuid_flag: bool,
    /// Identifies the request. The C agent takes it from the microseconds of its clock, so it has
    /// 20 bits.
    pub seqno: u32,
}

impl Request {
    /// The 74 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let flags = if self.uuid_flag { FLAG_UUID } else { 0 };
        let domain = self.domain.to_field();
        let fields = MAGIC
            .into_iter()
            .chain([self.action.to_wire(), flags])
            .chain(domain)
            .chain(self.seqno.to_le_bytes());
        let mut frame = [0; REQUEST_LEN];
        for (to, from) in frame.iter_mut().zip(fields) {
            *to = from;
        }
        frame
    }

    /// Reads 74 bytes. Bytes behind the domain's NUL must be zero, as every agent sends them: else
    /// half a request and the start of the next one could pass for a request.
    ///
    /// # Errors
    /// The [`Reason`] to drop it.
    pub fn decode(bytes: &[u8; REQUEST_LEN]) -> Result<Self, Reason> {
        let (Some((magic, rest)), Some(seqno)) =
            (bytes.split_first_chunk::<4>(), bytes.last_chunk::<4>())
        else {
            return Err(Reason::WrongLength);
        };
        let (Some(([request, flags], rest)), true) =
            (rest.split_first_chunk::<2>(), *magic == MAGIC)
        else {
            return Err(Reason::WrongLength);
        };
        let field: &[u8; DOMAIN_FIELD] = rest.first_chunk().ok_or(Reason::WrongLength)?;
        let action = Action::from_wire(*request).ok_or(Reason::UnknownAction)?;
        let domain = DomainRef::from_field(field).map_err(|_| Reason::MalformedDomain)?;
        if domain.to_field() != *field {
            return Err(Reason::MalformedDomain);
        }
        if action.needs_domain() && domain.is_empty() {
            return Err(Reason::MissingDomain);
        }
        Ok(Self {
            action,
            domain,
            uuid_flag: flags & FLAG_UUID != 0,
            seqno: u32::from_le_bytes(*seqno),
        })
    }
}

/// Finds requests in what a guest sends: noise, half frames and all. Holds less than one frame.
#[derive(Debug, Default)]
pub struct RequestScanner {
    /// Starts like a frame, or is empty.
    buffer: Vec<u8>,
}

impl RequestScanner {
    /// Takes bytes off the front, up to the end of the next request; `None` when they are used up.
    /// What began like a frame and is none is searched for another one that starts inside it.
    ///
    /// # Errors
    /// The [`Reason`] why something that began like a frame is none.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<Request, Reason>> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.buffer.push(*byte);
            self.synchronise();
            if let Ok(frame) = self.buffer.as_slice().try_into() {
                let found = Request::decode(frame);
                if found.is_ok() {
                    self.buffer.clear();
                } else {
                    self.skip();
                }
                return Some(found);
            }
        }
        None
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.buffer.len() >= MAGIC.len()
    }

    /// The rest of a frame did not come: it is none. Another one may have begun inside it.
    pub fn skip(&mut self) {
        self.drop_first();
        self.synchronise();
    }

    /// Forgets everything: the line was cut.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    fn drop_first(&mut self) {
        if !self.buffer.is_empty() {
            self.buffer.remove(0);
        }
    }

    /// Drops what cannot be the start of a frame.
    fn synchronise(&mut self) {
        while !self
            .buffer
            .iter()
            .zip(MAGIC)
            .all(|(byte, magic)| *byte == magic)
        {
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(action: Action, domain: &str, seqno: u32) -> Request {
        Request {
            action,
            domain: DomainRef::new(domain).unwrap(),
            uuid_flag: false,
            seqno,
        }
    }

    fn scan(bytes: &[u8], chunk: usize) -> Vec<Result<Request, Reason>> {
        let mut scanner = RequestScanner::default();
        let mut found = Vec::new();
        for mut chunk in bytes.chunks(chunk) {
            while let Some(next) = scanner.next(&mut chunk) {
                found.push(next);
            }
            assert!(scanner.buffer.len() < REQUEST_LEN);
        }
        found
    }

    fn requests(bytes: &[u8], chunk: usize) -> Vec<Request> {
        scan(bytes, chunk).into_iter().flatten().collect()
    }

    #[test]
    fn request_has_the_bytes_of_the_original() {
        // Recorded from the packaged agent: off of vm1.
        let mut recorded = [0; REQUEST_LEN];
        recorded[..9].copy_from_slice(b"abba\x01\x00vm1");
        recorded[70..].copy_from_slice(&[0x12, 0xfc, 0x0d, 0x00]);
        let off = request(Action::Off, "vm1", 0x000d_fc12);
        assert_eq!(off.encode(), recorded);
        assert_eq!(Request::decode(&recorded), Ok(off));
    }

    #[test]
    fn noise_before_the_magic_is_skipped() {
        let wanted = request(Action::Status, "vm1", 7);
        for noise in [
            "",
            "login: ",
            "a",
            "ab",
            "abb",
            "abba",
            "abbabb",
            "aabab\0",
            "abba\u{1}",
        ] {
            let bytes = [noise.as_bytes(), &wanted.encode()].concat();
            for chunk in [1, 3, 74, 200] {
                assert_eq!(
                    requests(&bytes, chunk),
                    std::slice::from_ref(&wanted),
                    "{noise:?}"
                );
            }
        }
    }

    #[test]
    fn requests_back_to_back_are_all_found() {
        let all: Vec<_> = (0..5)
            .map(|seqno| request(Action::On, "abba", seqno))
            .collect();
        let bytes: Vec<u8> = all.iter().flat_map(Request::encode).collect();
        for chunk in [1, 73, 74, 75, 400] {
            assert_eq!(requests(&bytes, chunk), all);
        }
    }

    #[test]
    fn half_a_request_does_not_swallow_or_spoil_the_next_one() {
        let first = request(Action::Off, "a-name-that-is-long-enough-to-be-cut", 1);
        let second = request(Action::Status, "vm2", 2);
        // From 70 bytes on only the seqno is cut.
        for length in 0..70 {
            let bytes = [&first.encode()[..length], &second.encode()].concat();
            assert_eq!(
                requests(&bytes, 9),
                std::slice::from_ref(&second),
                "{length}"
            );
        }
    }

    #[test]
    fn what_is_no_request_has_a_reason() {
        let frame = request(Action::Off, "vm1", 1).encode();
        let broken = |at: usize, byte| {
            let mut broken = frame;
            broken[at] = byte;
            Request::decode(&broken)
        };
        assert_eq!(broken(4, 7), Err(Reason::UnknownAction));
        assert_eq!(broken(6, 0), Err(Reason::MalformedDomain));
        assert_eq!(broken(6, b'\n'), Err(Reason::MalformedDomain));
        assert_eq!(broken(69, b'x'), Err(Reason::MalformedDomain));
        assert_eq!(broken(0, b'x'), Err(Reason::WrongLength));
        let nameless = request(Action::Off, "", 1).encode();
        assert_eq!(Request::decode(&nameless), Err(Reason::MissingDomain));
        assert!(Request::decode(&request(Action::List, "", 1).encode()).is_ok());
        assert_eq!(scan(&nameless, 74), [Err(Reason::MissingDomain)]);
    }

    #[test]
    fn frame_that_was_given_up_leaves_the_one_inside_it() {
        let wanted = request(Action::Status, "vm1", 7);
        let frame = wanted.encode();
        let mut scanner = RequestScanner::default();
        let begun = [&b"abba\x01\x00vm9"[..], &frame[..40]].concat();
        assert_eq!(scanner.next(&mut begun.as_slice()), None);
        assert!(scanner.is_partial());
        scanner.skip();
        assert!(scanner.is_partial());
        assert_eq!(scanner.next(&mut &frame[40..]), Some(Ok(wanted)));
        assert!(!scanner.is_partial());
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_alike_in_any_chunks(
            bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), 0..8_u8], 0..600),
            chunk in 1..100_usize,
        ) {
            prop_assert_eq!(scan(&bytes, chunk), scan(&bytes, 1));
        }

        #[test]
        fn request_behind_any_noise_is_found(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            seqno: u32,
            chunk in 1..100_usize,
        ) {
            // Noise that holds a request of its own is no noise; it would need a magic.
            prop_assume!(!noise.windows(4).any(|bytes| bytes == MAGIC));
            let wanted = request(Action::Reboot, "vm1", seqno);
            let bytes = [&noise[..], &wanted.encode()].concat();
            prop_assert_eq!(requests(&bytes, chunk), [wanted]);
        }
    }
}
