//! Names and UUIDs of domains (virtual machines, in libvirt's word).

use core::fmt;
use core::str::FromStr;

/// Bytes of a name or UUID field on the wire (sections 1 and 5).
pub const DOMAIN_FIELD: usize = 64;

/// A UUID, as 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// A string that is not a UUID in its canonical 36-character form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct NotAUuid;

impl FromStr for Uuid {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 36 {
            return Err(NotAUuid);
        }
        let mut bytes = [0_u8; 16];
        let mut nibbles = 0_usize;
        for (position, character) in text.bytes().enumerate() {
            if matches!(position, 8 | 13 | 18 | 23) {
                if character != b'-' {
                    return Err(NotAUuid);
                }
                continue;
            }
            let value = char::from(character).to_digit(16).ok_or(NotAUuid)?;
            let value = u8::try_from(value).map_err(|_| NotAUuid)?;
            let byte = bytes.get_mut(nibbles >> 1).ok_or(NotAUuid)?;
            *byte = (*byte << 4) | value;
            nibbles = nibbles.saturating_add(1);
        }
        Ok(Self(bytes))
    }
}

impl Uuid {
    /// The canonical form, in ASCII. By hand, because lists format thousands.
    fn text(self) -> [u8; 36] {
        let mut text = [b'-'; 36];
        let places = text.iter_mut().enumerate();
        let places = places.filter(|(position, _)| !matches!(position, 8 | 13 | 18 | 23));
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for ((_, place), nibble) in places.zip(nibbles) {
            let digit = b"0123456789abcdef".get(usize::from(nibble));
            *place = digit.copied().unwrap_or_default();
        }
        text
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request calls a domain: a name or a UUID, 0 to 64 bytes of UTF-8 without NUL or control
/// characters. Empty for actions that need no domain.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct DomainRef(String);

/// Why a string cannot name a domain on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDomainRef {
    /// Longer than the field.
    #[error("a domain name or UUID has at most 63 bytes")]
    TooLong,
    /// Not text that libvirt could know.
    #[error("a domain name has no control characters")]
    NotText,
}

impl DomainRef {
    /// Checks a string that is about to be sent: at most 63 bytes, as the original's agent.
    ///
    /// # Errors
    /// [`BadDomainRef`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, BadDomainRef> {
        if text.len() >= DOMAIN_FIELD {
            return Err(BadDomainRef::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadDomainRef::NotText);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a NUL-padded field; one that is full has no NUL (row F17).
    ///
    /// # Errors
    /// [`BadDomainRef::NotText`] for control characters or what is not UTF-8.
    pub fn from_field(field: &[u8; DOMAIN_FIELD]) -> Result<Self, BadDomainRef> {
        let bytes = until_nul(field);
        let text = core::str::from_utf8(bytes).map_err(|_| BadDomainRef::NotText)?;
        if text.chars().any(char::is_control) {
            return Err(BadDomainRef::NotText);
        }
        Ok(Self(text.to_owned()))
    }

    /// The NUL-padded wire field.
    #[must_use]
    pub fn to_field(&self) -> [u8; DOMAIN_FIELD] {
        let mut field = [0; DOMAIN_FIELD];
        for (to, from) in field.iter_mut().zip(self.0.as_bytes()) {
            *to = *from;
        }
        field
    }

    /// The text as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no domain is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The UUID, if the text has a UUID's form. Hosts go by the form and not by the flag in the
    /// frame, as the original does; a domain may still have such a text for its *name*.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        self.0.parse().ok()
    }
}

impl fmt::Display for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What the hypervisor says a domain is: the subject of every access decision (row L23).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainIdentity {
    /// libvirt's name.
    pub name: String,
    /// libvirt's UUID.
    pub uuid: Uuid,
}

/// The bytes of a NUL-padded field before its first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_round_trips_in_either_case() {
        let text = "6695eb01-f6a4-8304-79aa-97f2502e193f";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(uuid));
    }

    #[test]
    fn what_is_not_a_canonical_uuid_is_a_name() {
        for text in [
            "",
            "vm1",
            "6695eb01f6a4830479aa97f2502e193f",
            "6695eb01-f6a4-8304-79aa-97f2502e193g",
        ] {
            assert_eq!(text.parse::<Uuid>(), Err(NotAUuid), "{text}");
        }
        // A multi-byte character must not split a byte position.
        assert!(
            "6695eb01-f6a4-8304-79aa-97f2502e19é"
                .parse::<Uuid>()
                .is_err()
        );
    }

    #[test]
    fn full_field_without_nul_is_read_whole() {
        let domain = DomainRef::from_field(&[b'a'; DOMAIN_FIELD]).unwrap();
        assert_eq!(domain.as_str().len(), 64);
        assert_eq!(domain.to_field(), [b'a'; DOMAIN_FIELD]);
    }

    #[test]
    fn bytes_behind_the_nul_do_not_count() {
        let mut field = [0; DOMAIN_FIELD];
        field[..3].copy_from_slice(b"vm1");
        field[10] = b'x';
        assert_eq!(DomainRef::from_field(&field).unwrap().as_str(), "vm1");
    }

    #[test]
    fn control_characters_and_broken_utf8_are_refused() {
        let mut field = [0; DOMAIN_FIELD];
        field[0] = b'\n';
        assert_eq!(DomainRef::from_field(&field), Err(BadDomainRef::NotText));
        field[0] = 0xff;
        assert_eq!(DomainRef::from_field(&field), Err(BadDomainRef::NotText));
        assert_eq!(DomainRef::new(&"a".repeat(64)), Err(BadDomainRef::TooLong));
        assert!(DomainRef::new(&"a".repeat(63)).is_ok());
    }
}
