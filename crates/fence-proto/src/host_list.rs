//! The host list behind reply byte 253 (section 5).

use crate::domain::{DOMAIN_FIELD, Uuid, until_nul};

/// Bytes of an entry: name 64, uuid 64, state 1, pad 1.
pub const ENTRY_LEN: usize = 130;

/// libvirt's virDomainState for "running": what an agent prints as `on`.
pub const STATE_RUNNING: u8 = 1;

/// One domain of a host list, as a host sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The domain's name; cut to 63 bytes on the wire.
    pub name: String,
    /// The domain's UUID.
    pub uuid: Uuid,
    /// libvirt's virDomainState.
    pub state: u8,
}

impl Entry {
    /// The 130 bytes of the entry; every unused byte is zero (row L19).
    #[must_use]
    pub fn to_wire(&self) -> [u8; ENTRY_LEN] {
        self.written_as(&self.name, &self.uuid.to_string())
    }

    /// The entry with these texts for its name and UUID.
    pub(crate) fn written_as(&self, name: &str, uuid: &str) -> [u8; ENTRY_LEN] {
        let mut entry = [0; ENTRY_LEN];
        let (name_field, rest) = entry.split_at_mut(DOMAIN_FIELD);
        let (uuid_field, rest) = rest.split_at_mut(DOMAIN_FIELD);
        put_text(name_field, name);
        put_text(uuid_field, uuid);
        if let Some(state) = rest.first_mut() {
            *state = self.state;
        }
        entry
    }
}

/// As much of a text as an entry holds: at most 63 bytes, so that a NUL follows, and never half a character.
pub(crate) fn cut(text: &str) -> &str {
    let room = DOMAIN_FIELD.saturating_sub(1);
    text.split_at(text.floor_char_boundary(room)).0
}

fn put_text(field: &mut [u8], text: &str) {
    for (to, from) in field.iter_mut().zip(cut(text).bytes()) {
        *to = from;
    }
}

/// Encodes the whole list with its closing entry and the one byte more that agents ignore. The
/// reply byte 253 is not included.
#[must_use]
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_closed(entries, Entry::to_wire, &mut bytes);
    bytes.push(0);
    bytes
}

/// Appends the entries, written like this, and the closing one, and nothing more.
pub(crate) fn encode_closed(
    entries: &[Entry],
    written: impl Fn(&Entry) -> [u8; ENTRY_LEN],
    bytes: &mut Vec<u8>,
) {
    let count = entries.len().saturating_add(1);
    // Room for what follows, too, in the one place that makes it.
    bytes.reserve(count.saturating_mul(ENTRY_LEN).saturating_add(8));
    for entry in entries {
        bytes.extend_from_slice(&written(entry));
    }
    bytes.extend_from_slice(&[0; ENTRY_LEN]);
}

/// One domain of a host list, as an agent received it: text that a host may have cut or broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEntry {
    /// The name, with what is not UTF-8 replaced.
    pub name: String,
    /// The UUID's text.
    pub uuid: String,
    /// libvirt's virDomainState.
    pub state: u8,
}

/// The list is longer than the decoder keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host list has more than {} entries", MAX_ENTRIES)]
pub struct ListTooLong;

/// The most entries that a decoder keeps: a bound on what a host can make an agent hold.
pub const MAX_ENTRIES: usize = 65_536;

/// Decodes a host list from any chunks of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
    entries: Vec<ReceivedEntry>,
    complete: bool,
}

impl Decoder {
    /// Takes bytes behind the reply byte; true once the closing entry was seen. Bytes behind that
    /// are ignored.
    ///
    /// # Errors
    /// [`ListTooLong`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<bool, ListTooLong> {
        self.take(&mut bytes)
    }

    /// As [`Self::push`], but takes the bytes off the front and leaves those behind the list.
    ///
    /// # Errors
    /// [`ListTooLong`].
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<bool, ListTooLong> {
        while !self.complete
            && let Some((byte, rest)) = bytes.split_first()
        {
            *bytes = rest;
            self.partial.push(*byte);
            if self.partial.len() == ENTRY_LEN {
                self.finish_entry()?;
            }
        }
        Ok(self.complete)
    }

    fn finish_entry(&mut self) -> Result<(), ListTooLong> {
        let (name, rest) = self.partial.split_at(DOMAIN_FIELD);
        let (uuid, rest) = rest.split_at(DOMAIN_FIELD);
        if self.partial.iter().all(|byte| *byte == 0) {
            self.complete = true;
        } else if self.entries.len() >= MAX_ENTRIES {
            return Err(ListTooLong);
        } else {
            self.entries.push(ReceivedEntry {
                name: String::from_utf8_lossy(until_nul(name)).into_owned(),
                uuid: String::from_utf8_lossy(until_nul(uuid)).into_owned(),
                state: rest.first().copied().unwrap_or(0),
            });
        }
        self.partial.clear();
        Ok(())
    }

    /// The whole list, or `None` if it never was complete: a partial list is no list (row L6).
    #[must_use]
    pub fn finish(self) -> Option<Vec<ReceivedEntry>> {
        self.complete.then_some(self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            uuid: Uuid([7; 16]),
            state: STATE_RUNNING,
        }
    }

    #[test]
    fn list_round_trips_in_any_chunks() {
        let bytes = encode(&[entry("a"), entry(&"b".repeat(63))]);
        assert_eq!(bytes.len(), 3 * ENTRY_LEN + 1);
        for size in [1, 7, 129, 130, 131, 1000] {
            let mut decoder = Decoder::default();
            for chunk in bytes.chunks(size) {
                decoder.push(chunk).unwrap();
            }
            let entries = decoder.finish().unwrap();
            assert_eq!(entries.len(), 2);
            assert_eq!(entries[1].name, "b".repeat(63));
            assert_eq!(entries[0].uuid, Uuid([7; 16]).to_string());
        }
    }

    #[test]
    fn partial_list_is_no_list() {
        let bytes = encode(&[entry("a")]);
        let mut decoder = Decoder::default();
        decoder.push(&bytes[..ENTRY_LEN + 129]).unwrap();
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn empty_list_is_a_list() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&encode(&[])), Ok(true));
        assert_eq!(decoder.finish(), Some(vec![]));
    }

    #[test]
    fn long_names_are_cut_at_a_character_and_keep_their_nul() {
        let wire = entry(&"é".repeat(40)).to_wire();
        assert_eq!(wire[62..64], [0, 0]);
        assert_eq!(core::str::from_utf8(&wire[..62]).unwrap(), "é".repeat(31));
        assert_eq!(wire[129], 0);
    }

    #[test]
    fn endless_list_is_refused() {
        let mut decoder = Decoder::default();
        let one = entry("a").to_wire();
        for _ in 0..MAX_ENTRIES {
            assert_eq!(decoder.push(&one), Ok(false));
        }
        assert_eq!(decoder.push(&one), Err(ListTooLong));
    }
}
