//! The response of a host.

use super::MAGIC;
use crate::host_list::{self, Entry};
use crate::reply::Reply;

/// Bytes of a response: magic 4, reply 1.
pub const RESPONSE_LEN: usize = 5;

/// Bytes of the tag that our hosts put in front of a response: `<FV1 `, the request's seqno as eight
/// hexadecimal digits in capitals, `>`. Agents skip what they do not know until the magic, so that it
/// is noise to the original's. It has no `a` and no `b`: the original's scanner loses a magic that
/// follows the start of one.
pub const TAG_LEN: usize = 14;

const TAG_HEAD: &[u8] = b"<FV1 ";
const TAG_TAIL: &[u8] = b">";

fn tag(seqno: u32) -> Vec<u8> {
    format!("<FV1 {seqno:08X}>").into_bytes()
}

fn seqno_of(tag: &[u8]) -> Option<u32> {
    let digits = tag.strip_prefix(TAG_HEAD)?.strip_suffix(TAG_TAIL)?;
    let digits = core::str::from_utf8(digits).ok()?;
    let plain = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| plain)
}

/// A response to the request with this seqno: the tag, the magic, the reply.
#[must_use]
pub fn response(seqno: u32, reply: Reply) -> Vec<u8> {
    let mut bytes = tag(seqno);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(reply.to_wire());
    bytes
}

/// A whole list: a response that announces it, the entries, the zero entry, and one more response.
/// Agents do not read the last one. Should it be left in a buffer and be taken for the response to
/// the next request, it must not mean success.
#[must_use]
pub fn list_response(seqno: u32, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = response(seqno, Reply::HostListFollows);
    host_list::encode_closed(entries, &mut bytes);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(Reply::Failure.to_wire());
    bytes
}

/// What an agent heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The reply.
    pub reply: Reply,
    /// The request that the host says it is for; `None` from hosts that do not say it.
    pub seqno: Option<u32>,
}

/// Finds responses in what a host sends.
#[derive(Debug, Default)]
pub struct ResponseScanner {
    /// The newest bytes, the last one at the end.
    window: [u8; TAG_LEN + MAGIC.len()],
}

impl ResponseScanner {
    /// Takes bytes off the front, up to the end of the next response; `None` when they are used up.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Heard> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let seqno = self.window.strip_suffix(&MAGIC).map(seqno_of);
            // Behind a magic a `b` is no reply, but may make the end of it the start of the real one.
            if let Some(seqno) = seqno.filter(|_| *byte != MAGIC[1]) {
                *self = Self::default();
                let reply = Reply::from_wire(*byte);
                return Some(Heard { reply, seqno });
            }
            self.window.rotate_left(1);
            if let Some(last) = self.window.last_mut() {
                *last = *byte;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Uuid;
    use proptest::prelude::*;

    fn scan(bytes: &[u8], chunk: usize) -> Vec<Heard> {
        let mut scanner = ResponseScanner::default();
        let mut heard = Vec::new();
        for mut chunk in bytes.chunks(chunk) {
            while let Some(next) = scanner.next(&mut chunk) {
                heard.push(next);
            }
        }
        heard
    }

    fn untagged(reply: Reply) -> Heard {
        Heard { reply, seqno: None }
    }

    #[test]
    fn response_of_the_original_has_no_tag() {
        assert_eq!(scan(b"abba\0", 1), [untagged(Reply::Success)]);
        assert_eq!(scan(b"abba\x03", 5), [untagged(Reply::PermissionDenied)]);
        assert_eq!(scan(b"abba", 1), []);
    }

    #[test]
    fn response_of_ours_says_what_it_is_for() {
        for seqno in [0, 7, 0xabba_abba, u32::MAX] {
            let bytes = response(seqno, Reply::Off);
            assert_eq!(bytes.len(), TAG_LEN + RESPONSE_LEN);
            for chunk in [1, 4, 100] {
                let heard = Heard {
                    reply: Reply::Off,
                    seqno: Some(seqno),
                };
                assert_eq!(scan(&bytes, chunk), [heard]);
            }
        }
    }

    #[test]
    fn tag_cannot_hide_a_magic_from_the_original() {
        for seqno in [0, 0xabba_abba, 0xaaaa_aaaa, 0xbbbb_bbbb, u32::MAX] {
            let tag = tag(seqno);
            assert_eq!(tag.len(), TAG_LEN);
            assert!(!tag.iter().any(|byte| MAGIC.contains(byte)));
        }
    }

    #[test]
    fn noise_before_the_magic_is_skipped() {
        for noise in [
            "login: ",
            "a",
            "aab",
            "abb",
            "ab\0abb",
            "<FV1 ",
            "<FV1 0000000g>",
        ] {
            let bytes = [noise.as_bytes(), b"abba\x02"].concat();
            assert_eq!(scan(&bytes, 2), [untagged(Reply::Off)], "{noise:?}");
        }
    }

    #[test]
    fn something_that_only_looks_like_a_tag_is_none() {
        for noise in [
            "<FV1 0000001>",
            "<FV1 +0000001>",
            "<FV2 00000001>",
            "<FV1 00000001> ",
        ] {
            let bytes = [noise.as_bytes(), b"abba\x02"].concat();
            assert_eq!(scan(&bytes, 100), [untagged(Reply::Off)], "{noise:?}");
        }
    }

    #[test]
    fn list_is_announced_closed_and_ends_in_no_success() {
        let entry = Entry {
            name: "vm1".to_owned(),
            uuid: Uuid([1; 16]),
            state: 1,
        };
        let bytes = list_response(9, &[entry]);
        let entries = 2 * host_list::ENTRY_LEN;
        assert_eq!(bytes.len(), TAG_LEN + RESPONSE_LEN + entries + RESPONSE_LEN);
        let announced = Heard {
            reply: Reply::HostListFollows,
            seqno: Some(9),
        };
        assert_eq!(scan(&bytes[..TAG_LEN + RESPONSE_LEN], 100), [announced]);
        let mut decoder = host_list::Decoder::default();
        assert_eq!(decoder.push(&bytes[TAG_LEN + RESPONSE_LEN..]), Ok(true));
        assert_eq!(decoder.finish().map(|list| list.len()), Some(1));
        assert_eq!(bytes.last_chunk(), Some(b"abba\x01"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_alike_in_any_chunks(
            bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), 0..4_u8], 0..400),
            chunk in 1..50_usize,
        ) {
            prop_assert_eq!(scan(&bytes, chunk), scan(&bytes, 1));
        }

        #[test]
        fn response_behind_any_noise_is_found(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            seqno: u32,
            byte: u8,
            chunk in 1..50_usize,
        ) {
            prop_assume!(byte != b'b' && !noise.windows(4).any(|bytes| bytes == MAGIC));
            let reply = Reply::from_wire(byte);
            let bytes = [&noise[..], &response(seqno, reply)].concat();
            prop_assert_eq!(scan(&bytes, chunk), [Heard { reply, seqno: Some(seqno) }]);
        }
    }
}
