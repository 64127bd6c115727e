//! Frames of any kind: honest ones, and every wrong one.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fence_proto::frame::{FRAME_LEN, HASH_OFFSET, RequestId, Signature};
use fence_proto::{Action, DomainRef, HashAlgorithm, Key, RequestFrame};

use crate::failure::Failure;

/// Where the fields are (docs/protocol.md, section 1).
pub mod offset {
    /// The action.
    pub const REQUEST: usize = 0;
    /// The hash's number.
    pub const HASH_TYPE: usize = 1;
    /// Bytes of the address that count.
    pub const ADDRESS_LEN: usize = 2;
    /// Name or UUID, 64 bytes.
    pub const DOMAIN: usize = 4;
    /// The call-back address, 28 bytes.
    pub const ADDRESS: usize = 68;
    /// The call-back port.
    pub const PORT: usize = 96;
    /// The request's identifier.
    pub const SEQNO: usize = 104;
    /// The address family.
    pub const FAMILY: usize = 108;
}

/// Random bytes.
///
/// # Errors
/// The kernel has none.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(error.to_string()))?;
    Ok(bytes)
}

/// Writes a random key of 4096 bytes with mode 0600, unless the file is there already.
///
/// # Errors
/// It cannot be written.
pub fn write_key(path: &Path) -> Result<PathBuf, Failure> {
    if !path.exists() {
        let key: [u8; 4096] = random()?;
        fs::write(path, key)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(path.to_owned())
}

/// A well-formed request with fresh identifiers.
///
/// # Errors
/// The domain cannot be written on the wire.
pub fn request(
    action: Action,
    domain: &str,
    callback: Option<SocketAddr>,
) -> Result<RequestFrame, Failure> {
    Ok(RequestFrame {
        action,
        domain: DomainRef::new(domain)?,
        uuid_flag: false,
        callback,
        id: RequestId {
            random: random()?,
            seqno: u32::from_le_bytes(random()?),
        },
    })
}

/// A frame whose bytes may be anything, with a signature that fits them.
#[derive(Debug, Clone)]
pub struct RawFrame(pub [u8; FRAME_LEN]);

impl RawFrame {
    /// Starts from a well-formed request.
    #[must_use]
    pub fn of(frame: &RequestFrame) -> Self {
        Self(frame.encode(Signature::Unsigned))
    }

    /// Overwrites bytes.
    #[must_use]
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        self
    }

    /// Signs what is there now.
    #[must_use]
    pub fn sign(self, key: &Key, hash: HashAlgorithm) -> Self {
        let unsigned = self
            .put(offset::HASH_TYPE, &[hash.to_wire()])
            .put(HASH_OFFSET, &[0; 64]);
        let digest = key.digest(hash, &unsigned.0);
        unsigned.put(HASH_OFFSET, &digest)
    }
}

/// Wrong frames with a name each: every length from 0 to 300 but the right one, every field wrong
/// in every interesting way with a good signature, and every byte changed under an old one.
///
/// # Errors
/// The kernel has no random bytes.
pub fn malformed(honest: &RequestFrame, key: &Key) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let hash = HashAlgorithm::Sha256;
    let good = RawFrame::of(honest).sign(key, hash);
    let mut frames = Vec::new();
    for length in (0..=300).filter(|length| *length != FRAME_LEN) {
        let mut bytes = good.0.to_vec();
        bytes.resize(length, 0);
        frames.push((format!("length {length}"), bytes));
    }
    for index in 0..FRAME_LEN {
        let mut bytes = good.0.to_vec();
        if let Some(byte) = bytes.get_mut(index) {
            *byte ^= 0x55;
        }
        frames.push((format!("byte {index} changed"), bytes));
    }
    for (name, at, bytes) in wrong_fields() {
        let signed = RawFrame::of(honest).put(at, &bytes).sign(key, hash);
        frames.push((format!("{name}, signed"), signed.0.to_vec()));
        let unsigned = good.clone().put(at, &bytes);
        frames.push((format!("{name}, not signed"), unsigned.0.to_vec()));
    }
    for value in (4..=255).chain([0, 1]) {
        let bytes = good.clone().put(offset::HASH_TYPE, &[value]);
        frames.push((format!("hash type {value}"), bytes.0.to_vec()));
    }
    Ok(frames)
}

fn wrong_fields() -> Vec<(String, usize, Vec<u8>)> {
    let mut fields = Vec::new();
    for value in 7..=255_u8 {
        fields.push((format!("action {value}"), offset::REQUEST, vec![value]));
    }
    for value in (0..=255_u8).filter(|value| ![0, 4, 16].contains(value)) {
        fields.push((
            format!("address length {value}"),
            offset::ADDRESS_LEN,
            vec![value],
        ));
    }
    for family in [1_u32, 3, 9, 11, 16, 0xffff, 0x0200_0000, u32::MAX] {
        fields.push((
            format!("family {family:#x}"),
            offset::FAMILY,
            family.to_le_bytes().to_vec(),
        ));
    }
    for (name, domain) in [
        ("an empty domain", vec![0; 64]),
        ("a domain with a line break", b"vm1\nvm2".to_vec()),
        ("a domain that is not UTF-8", vec![0xff; 64]),
        ("a domain of control characters", vec![1; 64]),
        ("a domain with half a character", {
            let mut bytes = vec![b'a'; 63];
            bytes.push(0xc3);
            bytes
        }),
    ] {
        fields.push((name.to_owned(), offset::DOMAIN, domain));
    }
    fields
}
