//! The keyed hashes of frames and challenges: H(key ‖ data) (sections 1 and 4).

use core::fmt;
use core::str::FromStr;

/// The hash that signs frames (`hash`) or answers challenges (`auth`). Ordered by strength, as the
/// original orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// No authentication at all.
    None,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes; the default of both programs.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// A name that is none of `none`, `sha1`, `sha256`, `sha512`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of none, sha1, sha256, sha512")]
pub struct UnknownHash(pub String);

impl HashAlgorithm {
    /// Every algorithm, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The `hashtype` byte of section 1.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha512 => 3,
        }
    }

    /// The algorithm for a `hashtype` byte.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::Sha1,
            2 => Self::Sha256,
            3 => Self::Sha512,
            _ => return None,
        })
    }

    /// The name in configuration files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashAlgorithm {
    type Err = UnknownHash;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownHash(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wire_bytes_round_trip() {
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert_eq!(
                HashAlgorithm::from_wire(algorithm.to_wire()),
                Some(algorithm)
            );
        }
        assert_eq!(HashAlgorithm::from_wire(4), None);
        assert!("md5".parse::<HashAlgorithm>().is_err());
    }

    #[test]
    fn strength_follows_the_wire_number() {
        for pair in HashAlgorithm::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_wire() < pair[1].to_wire());
        }
    }
}
