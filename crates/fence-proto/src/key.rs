//! The shared key and everything computed with it.
//!
//! The wire's construction is H(key ‖ data), with the key first. The hash state after the key is
//! therefore the same for every frame; it is computed once and cloned, so that checking a frame
//! costs three or four blocks instead of the seventy that a 4096-byte key needs.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::frame::HASH_OFFSET;
use crate::hash::HashAlgorithm;

/// Bytes of a key file that count; the rest is ignored, as in the original (section 1).
pub const KEY_MAX: usize = 4096;

/// Bytes of the wire's hash field and of a challenge (sections 1 and 4).
pub const DIGEST_FIELD: usize = 64;

/// A digest as it travels: left-aligned, zero-padded to 64 bytes.
pub type DigestField = [u8; DIGEST_FIELD];

/// Why bytes cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An empty key would sign everything for everybody.
    #[error("the key is empty")]
    Empty,
}

/// The shared key. Never printed; wiped on drop.
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<Vec<u8>>,
    sha1: Sha1,
    sha256: Sha256,
    sha512: Sha512,
    recognition: Hmac<Sha256>,
}

impl Key {
    /// Makes a key of the first [`KEY_MAX`] bytes of a key file.
    ///
    /// # Errors
    /// [`KeyError::Empty`] if there are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let used = bytes.get(..KEY_MAX).unwrap_or(bytes);
        if used.is_empty() {
            return Err(KeyError::Empty);
        }
        let recognition = Hmac::<Sha256>::new_from_slice(used).map_err(|_| KeyError::Empty)?;
        Ok(Self {
            bytes: Zeroizing::new(used.to_vec()),
            sha1: Sha1::new_with_prefix(used),
            sha256: Sha256::new_with_prefix(used),
            sha512: Sha512::new_with_prefix(used),
            recognition,
        })
    }

    /// Bytes that count, 1 to [`KEY_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: an empty key cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many different values its bytes have: what can be told of a key without telling the key.
    #[must_use]
    pub fn distinct_values(&self) -> usize {
        let mut sorted = Zeroizing::new(self.bytes.to_vec());
        sorted.sort_unstable();
        sorted.dedup();
        sorted.len()
    }

    /// H(key ‖ data), zero-padded. All zero for [`HashAlgorithm::None`], which proves nothing:
    /// callers decide before whether `none` is acceptable.
    #[must_use]
    pub fn digest(&self, algorithm: HashAlgorithm, data: &[u8]) -> DigestField {
        let mut field = [0; DIGEST_FIELD];
        match algorithm {
            HashAlgorithm::None => {}
            HashAlgorithm::Sha1 => {
                pad(&mut field, &self.sha1.clone().chain_update(data).finalize())
            }
            HashAlgorithm::Sha256 => {
                pad(
                    &mut field,
                    &self.sha256.clone().chain_update(data).finalize(),
                );
            }
            HashAlgorithm::Sha512 => {
                pad(
                    &mut field,
                    &self.sha512.clone().chain_update(data).finalize(),
                );
            }
        }
        field
    }

    /// Compares the digest of `data` with a received field, all 64 bytes, in constant time. Always
    /// false for [`HashAlgorithm::None`].
    #[must_use]
    pub fn verify(&self, algorithm: HashAlgorithm, data: &[u8], field: &DigestField) -> bool {
        algorithm != HashAlgorithm::None
            && bool::from(
                self.digest(algorithm, data)
                    .as_slice()
                    .ct_eq(field.as_slice()),
            )
    }

    /// Whether it is the same key, in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        bool::from(self.bytes.as_slice().ct_eq(other.bytes.as_slice()))
    }

    /// HMAC-SHA-256 under the key: a mark by which hosts recognise each other's challenges. Not on
    /// the wire as such; see [`crate::handshake`].
    #[must_use]
    pub fn recognition_tag(&self, data: &[u8]) -> [u8; 32] {
        let mut mac = self.recognition.clone();
        mac.update(data);
        mac.finalize().into_bytes().into()
    }

    /// Whether an answered challenge under this key and hash can be extended to a signed frame
    /// (length extension, row L33 of docs/original-behaviour.md).
    ///
    /// These hashes end as H(key ‖ challenge ‖ padding), and that digest is a state from which
    /// anybody can hash on. A forged frame then starts with the 64 answered bytes and the padding;
    /// it verifies if the padding ends before the frame's hash field, which counts as zeros. That
    /// leaves 112 - 64 = 48 bytes for the padding: keys of 16 to 55 bytes modulo 64 for SHA-1 and
    /// SHA-256, of 16 to 47 modulo 128 for SHA-512.
    #[must_use]
    pub fn allows_length_extension(&self, algorithm: HashAlgorithm) -> bool {
        let (block, length_field): (usize, usize) = match algorithm {
            HashAlgorithm::None => return false,
            HashAlgorithm::Sha1 | HashAlgorithm::Sha256 => (64, 8),
            HashAlgorithm::Sha512 => (128, 16),
        };
        // Padding: one 0x80 byte, zeros to the end of a block, the length field last.
        let unpadded = self.len().saturating_add(DIGEST_FIELD);
        let shortest = unpadded.saturating_add(1).saturating_add(length_field);
        let padding = shortest.next_multiple_of(block).saturating_sub(unpadded);
        padding <= HASH_OFFSET.saturating_sub(DIGEST_FIELD)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.len())
    }
}

fn pad(field: &mut DigestField, digest: &[u8]) {
    for (to, from) in field.iter_mut().zip(digest) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_key_is_refused() {
        assert_eq!(Key::from_bytes(&[]).err(), Some(KeyError::Empty));
    }

    #[test]
    fn only_the_first_4096_bytes_count() {
        let long = vec![7; KEY_MAX + 100];
        let a = Key::from_bytes(&long).unwrap();
        let b = Key::from_bytes(&long[..KEY_MAX]).unwrap();
        assert_eq!(a.len(), KEY_MAX);
        assert_eq!(
            a.digest(HashAlgorithm::Sha256, b"x"),
            b.digest(HashAlgorithm::Sha256, b"x")
        );
    }

    #[test]
    fn digest_is_the_plain_prefix_hash() {
        let key = Key::from_bytes(b"key").unwrap();
        let field = key.digest(HashAlgorithm::Sha256, b"data");
        assert_eq!(field[..32], Sha256::digest(b"keydata")[..]);
        assert_eq!(field[32..], [0; 32]);
        let field = key.digest(HashAlgorithm::Sha1, b"data");
        assert_eq!(field[..20], Sha1::digest(b"keydata")[..]);
        let field = key.digest(HashAlgorithm::Sha512, b"data");
        assert_eq!(field[..], Sha512::digest(b"keydata")[..]);
    }

    #[test]
    fn none_verifies_nothing_and_padding_counts() {
        let key = Key::from_bytes(b"key").unwrap();
        assert!(!key.verify(HashAlgorithm::None, b"data", &[0; DIGEST_FIELD]));
        let mut field = key.digest(HashAlgorithm::Sha256, b"data");
        assert!(key.verify(HashAlgorithm::Sha256, b"data", &field));
        field[63] = 1;
        assert!(!key.verify(HashAlgorithm::Sha256, b"data", &field));
    }

    #[test]
    fn length_extension_is_seen_for_the_keys_of_l33() {
        let risk = |len, algorithm| {
            Key::from_bytes(&vec![1; len])
                .unwrap()
                .allows_length_extension(algorithm)
        };
        for (len, open) in [(15, false), (16, true), (32, true), (55, true), (56, false)] {
            assert_eq!(risk(len, HashAlgorithm::Sha256), open, "{len}");
            assert_eq!(risk(len + 64, HashAlgorithm::Sha1), open, "{len}");
        }
        for (len, open) in [
            (15, false),
            (16, true),
            (47, true),
            (48, false),
            (64, false),
            (144, true),
        ] {
            assert_eq!(risk(len, HashAlgorithm::Sha512), open, "{len}");
        }
        for algorithm in HashAlgorithm::ALL {
            assert!(!risk(KEY_MAX, algorithm));
        }
    }

    #[test]
    fn debug_output_has_no_key_bytes() {
        let key = Key::from_bytes(b"secret").unwrap();
        assert_eq!(format!("{key:?}"), "Key(6 bytes)");
    }
}
