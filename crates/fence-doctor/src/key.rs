//! What is weak about a key, from how long it is and how it looks. Never from, nor with, its bytes.

/// Shorter, and a key can be guessed.
pub const SHORTEST: usize = 16;

/// Bytes that a new key has.
pub const NEW: usize = 4096;

/// How a key looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Bytes that count.
    pub length: usize,
    /// How many different values there are among them.
    pub values: usize,
}

/// What is weak, in words that follow "the key". The worst only.
///
/// Random bytes are all over the place: of `n` of them the expected number of different values is 256·(1−(255/256)ⁿ).
/// Two thirds of that are not reached by chance with 16 bytes or more in less than one of a million keys; text and
/// hexadecimal digits do not come near it from 64 bytes on.
#[must_use]
pub fn weakness(looks: Looks) -> Option<String> {
    let Looks { length, values } = looks;
    if length < SHORTEST {
        return Some(format!("has {length} bytes only and can be guessed"));
    }
    let mut missing = 256.0_f64;
    for _ in 0..length.min(NEW) {
        missing *= 255.0 / 256.0;
    }
    let expected = 256.0 - missing;
    let values = u32::try_from(values).unwrap_or(u32::MAX);
    (f64::from(values) < expected * 0.6).then(|| {
        format!("has {values} different bytes among {length}: it is text or a pattern, not random")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_weak(length: usize, values: usize) -> bool {
        weakness(Looks { length, values }).is_some()
    }

    #[test]
    fn short_and_patterned_keys_are_weak_and_random_ones_are_not() {
        assert!(is_weak(15, 15));
        assert!(!is_weak(16, 16));
        assert!(is_weak(4096, 1), "all zero");
        assert!(is_weak(4096, 16), "hexadecimal digits");
        assert!(is_weak(4096, 66), "base64");
        assert!(!is_weak(4096, 256));
        assert!(!is_weak(64, 56));
        assert!(is_weak(64, 16));
    }
}
