//! Host lists: the size of the chunks makes no difference, and a list that is cut is none.

use fence_proto::Uuid;
use fence_proto::host_list::{Decoder, ENTRY_LEN, Entry, encode};

/// The first byte says how large the chunks are; the rest is the list.
pub(crate) fn run(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else {
        return;
    };
    let mut whole = Decoder::default();
    let complete = whole.push(bytes);
    let mut chunked = Decoder::default();
    let mut seen = Ok(false);
    for chunk in bytes.chunks(usize::from(*size).max(1)) {
        seen = chunked.push(chunk);
    }
    assert_eq!(complete, seen);
    let (whole, chunked) = (whole.finish(), chunked.finish());
    assert_eq!(whole, chunked);
    assert_eq!(whole.is_some(), complete == Ok(true));
    if let Some(entries) = whole {
        assert!(entries.len() < bytes.len() / ENTRY_LEN);
        // What is sent again arrives as it was sent.
        let uuid = Uuid([*size; 16]);
        let sent: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.name.len() < 64)
            .map(|entry| Entry {
                name: entry.name.clone(),
                uuid,
                state: entry.state,
            })
            .collect();
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&encode(&sent)), Ok(true));
        let received = decoder.finish().unwrap_or_default();
        assert_eq!(received.len(), sent.len());
        for (to, from) in received.iter().zip(&sent) {
            assert_eq!((&to.name, to.state), (&from.name, from.state));
            assert_eq!(to.uuid, uuid.to_string());
        }
    }
}
