//! The request frame of multicast, TCP and vsock: 176 bytes (section 1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::action::Action;
use crate::domain::{DOMAIN_FIELD, DomainRef};
use crate::handshake::Purpose;
use crate::hash::HashAlgorithm;
use crate::key::{DIGEST_FIELD, DigestField, Key};
use crate::reason::Reason;

/// Bytes of a frame; anything else is not one.
pub const FRAME_LEN: usize = 176;

/// Where the hash field starts; it is the frame's end.
pub const HASH_OFFSET: usize = FRAME_LEN - DIGEST_FIELD;

/// Bit 0 of `flags`: the domain is meant as a UUID. Hosts ignore it.
const FLAG_UUID: u8 = 0x01;

/// The address family of a call-back address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The name in configuration and options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// What tells requests and their retransmissions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random bytes, fresh in every frame, also in retransmissions of one request.
    pub random: [u8; 6],
    /// The request's identifier: the same in all retransmissions. The C agent takes it from the
    /// microseconds of its clock, so it has 20 bits at the most.
    pub seqno: u32,
}

/// A request in decoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFrame {
    /// What is asked.
    pub action: Action,
    /// For which domain; empty where none is needed.
    pub domain: DomainRef,
    /// Whether the sender says that `domain` is a UUID.
    pub uuid_flag: bool,
    /// Where the agent waits for the call-back; `None` in TCP and vsock mode.
    pub callback: Option<SocketAddr>,
    /// Identifies the request.
    pub id: RequestId,
}

impl RequestFrame {
    /// What a handshake for this request is bound to.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        Purpose::new(self.action, self.id.seqno, &self.domain)
    }

    /// Encodes and signs the frame. Without a key only [`HashAlgorithm::None`] is possible, and
    /// with `None` the hash field is zero.
    #[must_use]
    pub fn encode(&self, signature: Signature<'_>) -> [u8; FRAME_LEN] {
        let (address, address_len, port, family) = match self.callback {
            None => ([0; 28], 0, 0, 0),
            Some(callback) => wire_address(callback),
        };
        let mut frame = [0; FRAME_LEN];
        let mut writer = Writer {
            frame: &mut frame,
            at: 0,
        };
        writer.put(&[
            self.action.to_wire(),
            signature.algorithm().to_wire(),
            address_len,
            if self.uuid_flag { FLAG_UUID } else { 0 },
        ]);
        writer.put(&self.domain.to_field());
        writer.put(&address);
        writer.put(&port.to_le_bytes());
        writer.put(&self.id.random);
        writer.put(&self.id.seqno.to_le_bytes());
        writer.put(&u32::to_le_bytes(family));
        if let Signature::Keyed(key, algorithm) = signature {
            // The hash field is still zero, as section 1 wants it.
            let digest = key.digest(algorithm, &frame);
            Writer {
                frame: &mut frame,
                at: HASH_OFFSET,
            }
            .put(&digest);
        }
        frame
    }
}

/// How a frame is signed.
#[derive(Debug, Clone, Copy)]
pub enum Signature<'a> {
    /// Not at all: hashtype 0.
    Unsigned,
    /// With a key. [`HashAlgorithm::None`] here is the same as [`Self::Unsigned`].
    Keyed(&'a Key, HashAlgorithm),
}

impl Signature<'_> {
    const fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Unsigned => HashAlgorithm::None,
            Self::Keyed(_, algorithm) => algorithm,
        }
    }
}

/// What a host demands of a frame before it looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The key; only absent where `weakest` is [`HashAlgorithm::None`].
    pub key: Option<&'a Key>,
    /// The weakest acceptable hash (`hash` of the configuration).
    pub weakest: HashAlgorithm,
}

impl Demand<'_> {
    /// Reads a datagram or the first bytes of a stream: well-formed first, then authentic.
    ///
    /// A frame that is signed is verified even where the demand would accept an unsigned one, if
    /// there is a key to do it with; a signature that cannot be verified is a bad one.
    ///
    /// # Errors
    /// The [`Reason`] to drop it.
    pub fn accept(&self, bytes: &[u8]) -> Result<AuthenticFrame, Reason> {
        let bytes: &[u8; FRAME_LEN] = bytes.try_into().map_err(|_| Reason::WrongLength)?;
        let (frame, algorithm, hash) = decode(bytes)?;
        if algorithm < self.weakest {
            return Err(Reason::WeakHash);
        }
        if algorithm != HashAlgorithm::None {
            let key = self.key.ok_or(Reason::BadSignature)?;
            let mut unsigned = *bytes;
            for byte in unsigned.iter_mut().skip(HASH_OFFSET) {
                *byte = 0;
            }
            if !key.verify(algorithm, &unsigned, &hash) {
                return Err(Reason::BadSignature);
            }
        }
        let fingerprint = (algorithm != HashAlgorithm::None)
            .then(|| hash.first_chunk().map(|bytes| u128::from_le_bytes(*bytes)))
            .flatten();
        Ok(AuthenticFrame { frame, fingerprint })
    }
}

/// A frame that meets a [`Demand`]. Only [`Demand::accept`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticFrame {
    frame: RequestFrame,
    fingerprint: Option<u128>,
}

impl AuthenticFrame {
    /// The decoded request.
    #[must_use]
    pub const fn frame(&self) -> &RequestFrame {
        &self.frame
    }

    /// The start of the signature, by which exactly this frame is known again; `None` if unsigned.
    #[must_use]
    pub const fn fingerprint(&self) -> Option<u128> {
        self.fingerprint
    }
}

/// Decodes without checking the signature.
fn decode(bytes: &[u8; FRAME_LEN]) -> Result<(RequestFrame, HashAlgorithm, DigestField), Reason> {
    let mut reader = Reader { rest: bytes };
    let [request, hash_type, address_len, flags] = reader.take();
    let domain: [u8; DOMAIN_FIELD] = reader.take();
    let address: [u8; 28] = reader.take();
    let port = u16::from_le_bytes(reader.take());
    let random: [u8; 6] = reader.take();
    let seqno = u32::from_le_bytes(reader.take());
    let family = u32::from_le_bytes(reader.take());
    let hash: DigestField = reader.take();

    let action = Action::from_wire(request).ok_or(Reason::UnknownAction)?;
    let algorithm = HashAlgorithm::from_wire(hash_type).ok_or(Reason::UnknownHash)?;
    let domain = DomainRef::from_field(&domain).map_err(|_| Reason::MalformedDomain)?;
    if action.needs_domain() && domain.is_empty() {
        return Err(Reason::MissingDomain);
    }
    let callback = callback_address(family, address_len, &address, port)?;
    let id = RequestId { random, seqno };
    let uuid_flag = flags & FLAG_UUID != 0;
    Ok((
        RequestFrame {
            action,
            domain,
            uuid_flag,
            callback,
            id,
        },
        algorithm,
        hash,
    ))
}

/// Linux values of the `family` field.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

fn wire_address(callback: SocketAddr) -> ([u8; 28], u8, u16, u32) {
    let mut field = [0; 28];
    let (octets, len, family): (&[u8], u8, u32) = match callback.ip() {
        IpAddr::V4(ip) => (&ip.octets(), 4, AF_INET),
        IpAddr::V6(ip) => (&ip.octets(), 16, AF_INET6),
    };
    for (to, from) in field.iter_mut().zip(octets) {
        *to = *from;
    }
    (field, len, callback.port(), family)
}

fn callback_address(
    family: u32,
    address_len: u8,
    field: &[u8; 28],
    port: u16,
) -> Result<Option<SocketAddr>, Reason> {
    let ip = match (family, address_len) {
        // TCP and vsock frames carry no address.
        (0, 0) => return Ok(None),
        (AF_INET, 4) => {
            let [a, b, c, d, ..] = *field;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        (AF_INET6, 16) => {
            let octets: &[u8; 16] = field.first_chunk().ok_or(Reason::MalformedAddress)?;
            IpAddr::V6(Ipv6Addr::from(*octets))
        }
        _ => return Err(Reason::MalformedAddress),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

/// Whether an address can be a guest that waits for a call-back (not multicast, broadcast,
/// unspecified, nor port 0). IPv4 in IPv6 clothes is judged as IPv4.
#[must_use]
pub fn can_be_a_guest(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let bad = match ip {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets().first() == Some(&0),
        IpAddr::V6(_) => false,
    };
    !(bad || ip.is_multicast() || ip.is_unspecified() || address.port() == 0)
}

struct Writer<'a> {
    frame: &'a mut [u8; FRAME_LEN],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.frame.iter_mut().skip(self.at).zip(bytes) {
            *to = *from;
        }
        self.at = self.at.saturating_add(bytes.len());
    }
}

/// Takes fixed-size fields off the front. The sizes are constants that add up to the frame's
/// length; what a field misses would read as zero.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        if let Some((head, rest)) = self.rest.split_first_chunk::<N>() {
            field = *head;
            self.rest = rest;
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_bytes(b"0123456789").unwrap()
    }

    fn frame() -> RequestFrame {
        RequestFrame {
            action: Action::Reboot,
            domain: DomainRef::new("vm1").unwrap(),
            uuid_flag: true,
            callback: Some("192.168.122.7:1229".parse().unwrap()),
            id: RequestId {
                random: [1, 2, 3, 4, 5, 6],
                seqno: 0x0102_0304,
            },
        }
    }

    #[test]
    fn layout_is_that_of_section_1() {
        let bytes = frame().encode(Signature::Keyed(&key(), HashAlgorithm::Sha256));
        assert_eq!(bytes[..4], [2, 2, 4, 1]);
        assert_eq!(bytes[4..8], *b"vm1\0");
        assert_eq!(bytes[68..72], [192, 168, 122, 7]);
        assert_eq!(bytes[72..96], [0; 24]);
        assert_eq!(bytes[96..98], 1229_u16.to_le_bytes());
        assert_eq!(bytes[98..104], [1, 2, 3, 4, 5, 6]);
        assert_eq!(bytes[104..108], [4, 3, 2, 1]);
        assert_eq!(bytes[108..112], [2, 0, 0, 0]);
        assert_ne!(bytes[112..144], [0; 32]);
        assert_eq!(bytes[144..], [0; 32]);
    }

    #[test]
    fn signed_frames_round_trip() {
        let key = key();
        for algorithm in HashAlgorithm::ALL {
            let bytes = frame().encode(Signature::Keyed(&key, algorithm));
            let demand = Demand {
                key: Some(&key),
                weakest: HashAlgorithm::None,
            };
            let accepted = demand.accept(&bytes).unwrap();
            assert_eq!(*accepted.frame(), frame(), "{algorithm}");
            assert_eq!(
                accepted.fingerprint().is_none(),
                algorithm == HashAlgorithm::None
            );
        }
    }

    #[test]
    fn every_flipped_byte_breaks_the_signature_or_the_form() {
        let key = key();
        let bytes = frame().encode(Signature::Keyed(&key, HashAlgorithm::Sha256));
        let demand = Demand {
            key: Some(&key),
            weakest: HashAlgorithm::Sha256,
        };
        for index in 0..FRAME_LEN {
            let mut bad = bytes;
            bad[index] ^= 0x80;
            assert!(demand.accept(&bad).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_hash_weaker_than_configured_is_dropped_and_a_stronger_one_taken() {
        let key = key();
        let bytes = frame().encode(Signature::Keyed(&key, HashAlgorithm::Sha256));
        let demand = |weakest| {
            Demand {
                key: Some(&key),
                weakest,
            }
            .accept(&bytes)
        };
        assert!(demand(HashAlgorithm::Sha1).is_ok());
        assert_eq!(demand(HashAlgorithm::Sha512), Err(Reason::WeakHash));
    }

    #[test]
    fn wrong_length_is_dropped() {
        let bytes = frame().encode(Signature::Unsigned);
        let demand = Demand {
            key: None,
            weakest: HashAlgorithm::None,
        };
        assert_eq!(demand.accept(&bytes[..175]), Err(Reason::WrongLength));
        assert_eq!(
            demand.accept(&[&bytes[..], &[0]].concat()),
            Err(Reason::WrongLength)
        );
        assert!(demand.accept(&bytes).is_ok());
    }

    #[test]
    fn unverifiable_signature_is_a_bad_one() {
        let bytes = frame().encode(Signature::Keyed(&key(), HashAlgorithm::Sha1));
        let demand = Demand {
            key: None,
            weakest: HashAlgorithm::None,
        };
        assert_eq!(demand.accept(&bytes), Err(Reason::BadSignature));
    }

    #[test]
    fn fields_without_meaning_have_their_reasons() {
        let demand = Demand {
            key: None,
            weakest: HashAlgorithm::None,
        };
        let with = |index: usize, value| {
            let mut bytes = frame().encode(Signature::Unsigned);
            bytes[index] = value;
            demand.accept(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 7), Reason::UnknownAction);
        assert_eq!(with(1, 4), Reason::UnknownHash);
        assert_eq!(with(4, 0), Reason::MissingDomain);
        assert_eq!(with(5, 0x07), Reason::MalformedDomain);
        assert_eq!(with(2, 16), Reason::MalformedAddress);
        assert_eq!(with(108, 3), Reason::MalformedAddress);
    }

    #[test]
    fn addresses_that_cannot_be_a_guest_are_known() {
        for bad in [
            "0.0.0.0:1229",
            "255.255.255.255:1229",
            "225.0.0.12:1229",
            "10.0.0.1:0",
            "0.1.2.3:1",
            "[::]:1229",
            "[ff05::3:1]:1229",
            "[fd00::1]:0",
            "[::ffff:225.0.0.12]:1229",
        ] {
            assert!(!can_be_a_guest(bad.parse().unwrap()), "{bad}");
        }
        for good in ["192.168.122.7:1229", "127.0.0.1:1", "[fd00::1]:1229"] {
            assert!(can_be_a_guest(good.parse().unwrap()), "{good}");
        }
    }
}
