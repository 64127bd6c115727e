//! The response of a host.

use super::MAGIC;
use crate::host_list::{self, ENTRY_LEN, Entry};
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
/// the next request, it must not mean success; and no more may any of the entries, since an agent that gave up leaves
/// some of them.
#[must_use]
pub fn list_response(seqno: u32, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = response(seqno, Reply::HostListFollows);
    host_list::encode_closed(entries, in_line, &mut bytes);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(Reply::Failure.to_wire());
    bytes
}

/// The entry without anything in it that is a response. A magic before the zeros behind a text would be a success,
/// so a UUID that ends in one is in capitals, and a name gets a blank, which those who read lists do not see.
/// Where there is no room for that, or where the name has control characters, the UUID is all there is.
fn in_line(entry: &Entry) -> [u8; ENTRY_LEN] {
    let mut uuid = entry.uuid.to_string();
    if uuid.as_bytes().ends_with(&MAGIC) {
        uuid.make_ascii_uppercase();
    }
    let mut name = host_list::cut(&entry.name).to_owned();
    if name.as_bytes().ends_with(&MAGIC) {
        name.push(' ');
    }
    if host_list::cut(&name) != name || speaks(name.as_bytes()) {
        name.clone_from(&uuid);
    }
    entry.written_as(&name, &uuid)
}

/// Whether a text holds a response: a magic and a byte that has a meaning behind it. Bytes over 0xF4 are in no text.
fn speaks(text: &[u8]) -> bool {
    let mut windows = text.windows(RESPONSE_LEN);
    windows.any(|window| {
        let reply = window.strip_prefix(&MAGIC).and_then(<[u8]>::first);
        reply.is_some_and(u8::is_ascii_control)
    })
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
        let entries = 2 * ENTRY_LEN;
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

    #[test]
    fn names_and_uuids_in_a_list_stay_what_they_are_for_those_who_read_it() {
        let magic = "00000000-0000-0000-0000-00000000abba".parse().unwrap();
        let other: Uuid = "00000000-0000-0000-0000-0000abba0000".parse().unwrap();
        let (long, full) = ("x".repeat(59) + "abba", "x".repeat(58) + "abba");
        let (uuid, lower) = (Uuid::to_string(&magic).to_uppercase(), other.to_string());
        for (uuid_is, name, (named, shown)) in [
            (magic, "vm1", ("vm1", uuid.as_str())),
            (magic, "abba", ("abba ", uuid.as_str())),
            (other, "abbavm", ("abbavm", lower.as_str())),
            (
                other,
                full.as_str(),
                (&*(full.clone() + " "), lower.as_str()),
            ),
            (other, long.as_str(), (lower.as_str(), lower.as_str())),
            (magic, &(long.clone() + "more"), (&*uuid, &*uuid)),
            (other, "abba\u{2}x", (lower.as_str(), lower.as_str())),
        ] {
            let entry = Entry {
                name: name.to_owned(),
                uuid: uuid_is,
                state: 1,
            };
            let mut decoder = host_list::Decoder::default();
            let bytes = list_response(1, &[entry]);
            assert_eq!(decoder.push(&bytes[TAG_LEN + RESPONSE_LEN..]), Ok(true));
            let read = decoder.finish().unwrap().remove(0);
            assert_eq!((read.name.as_str(), read.uuid.as_str()), (named, shown));
            assert_eq!(read.uuid.parse(), Ok(uuid_is));
        }
    }

    /// An entry with much that looks like a response.
    fn entry() -> impl Strategy<Value = Entry> {
        let name = "([ab]|abba|[\u{0}-\u{3}]|x{20}|\\PC|<FV1 0000000[0-9]>){0,12}";
        let uuid = any::<([u8; 16], bool)>();
        (name, uuid, any::<u8>()).prop_map(|(name, (mut uuid, magic), state)| {
            if magic {
                [uuid[14], uuid[15]] = [0xab, 0xba];
            }
            let uuid = Uuid(uuid);
            Entry { name, uuid, state }
        })
    }

    proptest! {
        #[test]
        fn no_part_of_a_list_is_a_response_that_means_anything(
            entries in prop::collection::vec(entry(), 0..4),
            seqno: u32,
        ) {
            let bytes = list_response(seqno, &entries);
            let body = &bytes[TAG_LEN + RESPONSE_LEN..];
            for start in 0..body.len() {
                for heard in scan(&body[start..], 100) {
                    let harmless = matches!(heard.reply, Reply::Failure | Reply::Unknown(_));
                    prop_assert!(harmless, "{heard:?} from {start} in {entries:?}");
                }
            }
        }

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
