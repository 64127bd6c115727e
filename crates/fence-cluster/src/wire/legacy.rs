//! The original's messages (docs/protocol.md, section 7): types 0 to 2, in the byte order of the
//! machine, which is the same on every host of such a cluster.

use fence_proto::Uuid;

use super::bytes::{Reader, text};
use crate::reason::Reason;
use crate::seam::NodeId;

/// Bytes of the header: type, seqno, target, padding.
const HEADER: usize = 16;

/// Bytes of a request's or reply's body.
const REQUEST_BODY: usize = 140;

/// Bytes of a state's body, and of the one that standalone fence-virt up to 1.0 sends, which lacks
/// the two bytes of padding.
const STATE_BODY: usize = 140;
const SHORT_STATE_BODY: usize = 138;

const NAME_FIELD: usize = 128;
const STATE_FIELD: usize = 65;

/// The target of what goes to everybody.
const EVERYBODY: u32 = u32::MAX;

/// A message of the original.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Legacy {
    /// Type 0: somebody wants something done to a domain.
    Request {
        /// The requester's number for it.
        seqno: u32,
        /// The domain, as the requester's agent called it.
        domain: String,
        /// The byte of section 1.
        request: i32,
    },
    /// Type 1: what came of it.
    Reply {
        /// The requester.
        target: NodeId,
        /// The request's number.
        seqno: u32,
        /// The domain.
        domain: String,
        /// The request.
        request: i32,
        /// The byte of section 5.
        response: i32,
    },
    /// Type 2: a domain that the sender's libvirt has.
    State {
        /// The domain's name; may be empty.
        name: String,
        /// Its UUID.
        uuid: Uuid,
        /// The sender's node id, as it says.
        owner: NodeId,
        /// libvirt's virDomainState.
        state: i32,
    },
}

/// Whether these bytes are of one of the original's types.
#[must_use]
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|kind| u32::from_ne_bytes(*kind) <= 2)
}

fn native(from: &mut Reader<'_>) -> Result<u32, Reason> {
    from.array().map(u32::from_ne_bytes)
}

fn field(from: &mut Reader<'_>, len: usize) -> Result<String, Reason> {
    let bytes = from.take(len)?;
    text(bytes.split(|byte| *byte == 0).next().unwrap_or(bytes))
}

impl Legacy {
    /// Reads a message of type 0, 1 or 2.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        let mut reader = Reader::new(bytes);
        let kind = native(&mut reader)?;
        let seqno = native(&mut reader)?;
        let target = NodeId(native(&mut reader)?);
        reader.take(4)?;
        let body = bytes.len().saturating_sub(HEADER);
        match (kind, body) {
            (0 | 1, REQUEST_BODY) => {
                let domain = field(&mut reader, NAME_FIELD)?;
                let request = native(&mut reader)?.cast_signed();
                let inner = native(&mut reader)?;
                let response = native(&mut reader)?.cast_signed();
                if kind == 0 {
                    return Ok(Self::Request {
                        seqno,
                        domain,
                        request,
                    });
                }
                let _ = inner;
                Ok(Self::Reply {
                    target,
                    seqno,
                    domain,
                    request,
                    response,
                })
            }
            (2, STATE_BODY | SHORT_STATE_BODY) => {
                let name = field(&mut reader, STATE_FIELD)?;
                let uuid = field(&mut reader, STATE_FIELD)?;
                if body == STATE_BODY {
                    reader.take(2)?;
                }
                Ok(Self::State {
                    name,
                    uuid: uuid.parse().map_err(|_| Reason::BadText)?,
                    owner: NodeId(native(&mut reader)?),
                    state: native(&mut reader)?.cast_signed(),
                })
            }
            (0..=2, _) => Err(Reason::WrongLength),
            _ => Err(Reason::UnknownType),
        }
    }

    /// The bytes for the group.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Request {
                seqno,
                domain,
                request,
            } => encode_request(0, *seqno, NodeId(EVERYBODY), (domain, *request, 0)),
            Self::Reply {
                target,
                seqno,
                domain,
                request,
                response,
            } => encode_request(1, *seqno, *target, (domain, *request, *response)),
            Self::State {
                name,
                uuid,
                owner,
                state,
            } => {
                let mut bytes = header(2, 0, NodeId(EVERYBODY));
                put(&mut bytes, name, STATE_FIELD);
                put(&mut bytes, &uuid.to_string(), STATE_FIELD);
                bytes.extend_from_slice(&[0; 2]);
                bytes.extend_from_slice(&owner.0.to_ne_bytes());
                bytes.extend_from_slice(&state.to_ne_bytes());
                bytes
            }
        }
    }
}

fn header(kind: u32, seqno: u32, target: NodeId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER.saturating_add(REQUEST_BODY));
    for word in [kind, seqno, target.0, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn encode_request(kind: u32, seqno: u32, target: NodeId, body: (&str, i32, i32)) -> Vec<u8> {
    let (domain, request, response) = body;
    let mut bytes = header(kind, seqno, target);
    put(&mut bytes, domain, NAME_FIELD);
    bytes.extend_from_slice(&request.to_ne_bytes());
    bytes.extend_from_slice(&seqno.to_ne_bytes());
    bytes.extend_from_slice(&response.to_ne_bytes());
    bytes
}

/// A text field: cut so that a NUL follows.
fn put(bytes: &mut Vec<u8>, text: &str, len: usize) {
    let end = bytes.len().saturating_add(len);
    let cut = text.floor_char_boundary(len.saturating_sub(1));
    bytes.extend_from_slice(text.as_bytes().get(..cut).unwrap_or_default());
    bytes.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> Legacy {
        Legacy::Request {
            seqno: 5,
            domain: "vm1".to_owned(),
            request: 1,
        }
    }

    fn reply() -> Legacy {
        Legacy::Reply {
            target: NodeId(2),
            seqno: 5,
            domain: "vm1".to_owned(),
            request: 1,
            response: -1,
        }
    }

    fn state() -> Legacy {
        Legacy::State {
            name: "n".repeat(64),
            uuid: Uuid([9; 16]),
            owner: NodeId(3),
            state: 1,
        }
    }

    #[test]
    fn the_originals_messages_round_trip() {
        for message in [request(), reply(), state()] {
            let bytes = message.encode();
            assert_eq!(bytes.len(), 156);
            assert!(is_legacy(&bytes));
            assert_eq!(Legacy::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn fields_are_where_section_7_says() {
        let bytes = reply().encode();
        assert_eq!(bytes[..4], 1_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 5_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 2_u32.to_ne_bytes());
        assert_eq!(&bytes[16..20], b"vm1\0");
        assert_eq!(bytes[144..148], 1_i32.to_ne_bytes());
        assert_eq!(bytes[148..152], 5_u32.to_ne_bytes());
        assert_eq!(bytes[152..], (-1_i32).to_ne_bytes());
        let bytes = state().encode();
        assert_eq!(bytes[81..117], *Uuid([9; 16]).to_string().as_bytes());
        assert_eq!(bytes[148..152], 3_u32.to_ne_bytes());
        assert_eq!(bytes[152..], 1_i32.to_ne_bytes());
    }

    #[test]
    fn state_of_a_fence_virt_up_to_1_0_is_understood() {
        let mut bytes = state().encode();
        bytes.drain(146..148);
        assert_eq!(bytes.len(), 154);
        assert_eq!(Legacy::decode(&bytes), Ok(state()));
    }

    #[test]
    fn other_lengths_are_dropped() {
        for message in [request(), reply(), state()] {
            let bytes = message.encode();
            for len in (0..bytes.len()).filter(|len| *len != 154) {
                assert_eq!(Legacy::decode(&bytes[..len]), Err(Reason::WrongLength));
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Legacy::decode(&longer), Err(Reason::WrongLength));
        }
    }

    #[test]
    fn full_field_without_nul_is_read_whole() {
        let mut bytes = request().encode();
        bytes[16..144].fill(b'x');
        let read = Legacy::decode(&bytes);
        assert!(matches!(read, Ok(Legacy::Request { domain, .. }) if domain == "x".repeat(128)));
    }

    #[test]
    fn names_that_are_no_text_are_dropped() {
        let mut bytes = request().encode();
        bytes[16] = 7;
        assert_eq!(Legacy::decode(&bytes), Err(Reason::BadText));
        let mut bytes = state().encode();
        bytes[81] = b'x';
        assert_eq!(Legacy::decode(&bytes), Err(Reason::BadText));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = Legacy::decode(&bytes);
        }

        #[test]
        fn random_bodies_never_panic(
            kind in 0_u8..4,
            len in prop_oneof![Just(138_usize), Just(140)],
            fill in any::<u8>(),
        ) {
            let mut bytes = u32::from(kind).to_ne_bytes().to_vec();
            bytes.resize(HEADER + len, fill);
            let _ = Legacy::decode(&bytes);
        }
    }
}
