//! Reading and writing the fields of a message. Nothing here panics, whatever the bytes.

use fence_proto::{Action, Uuid};

use crate::reason::Reason;
use crate::seam::{LeaveReason, MemberId, NodeId, WallTime};

/// Longest text in a message, in bytes.
pub const MAX_NAME: usize = 1024;

/// Takes fields from the front of a message.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Reason::WrongLength`] if there are not so many.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Reason::WrongLength)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Reason::WrongLength`] if there are not so many.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.take(N)?.try_into().map_err(|_| Reason::WrongLength)
    }

    /// All fields have been read.
    ///
    /// # Errors
    /// [`Reason::WrongLength`] if something is left.
    pub const fn end(&self) -> Result<(), Reason> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Reason::WrongLength)
        }
    }
}

/// What can be a field of a message. Integers are little endian.
pub trait Field: Sized {
    /// Appends it.
    fn write(&self, to: &mut Vec<u8>);

    /// Takes it from the front.
    ///
    /// # Errors
    /// Why it is none.
    fn read(from: &mut Reader<'_>) -> Result<Self, Reason>;
}

/// What there may be several of in a message, and how many.
pub trait Item: Field {
    /// The most.
    const LIMIT: usize;
}

macro_rules! integers {
    ($($integer:ty),+) => {
        $(impl Field for $integer {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
                from.array().map(Self::from_le_bytes)
            }
        })+
    };
}

integers!(u8, u16, u32, u64);

/// Makes a struct a field: its own fields in this order.
macro_rules! fields {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl Field for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $(self.$field.write(to);)+
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
                Ok(Self { $($field: Field::read(from)?,)+ })
            }
        }
    };
}

/// Makes an enum a field: a byte that says which variant it is, then the variant's fields.
macro_rules! tagged {
    ($name:ident, $unknown:ident, { $($tag:literal => $variant:ident { $($field:ident),* },)+ }) => {
        impl Field for $name {
            fn write(&self, to: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        to.push($tag);
                        $($field.write(to);)*
                    })+
                }
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
                Ok(match u8::read(from)? {
                    $($tag => {
                        $(let $field = Field::read(from)?;)*
                        Self::$variant { $($field),* }
                    })+
                    _ => return Err(Reason::$unknown),
                })
            }
        }
    };
}

pub(super) use {fields, tagged};

tagged!(LeaveReason, BadField, {
    0 => Left {},
    1 => NodeDown {},
    2 => ProcessDown {},
});

fields!(MemberId { node, pid });

impl Field for NodeId {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        u32::read(from).map(Self)
    }
}

impl Field for WallTime {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        u64::read(from).map(Self)
    }
}

impl Field for Uuid {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        from.array().map(Self)
    }
}

/// An action that names a domain.
impl Field for Action {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(self.to_wire());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        let action = Self::from_wire(u8::read(from)?);
        let action = action.filter(|action| action.needs_domain());
        action.ok_or(Reason::BadField)
    }
}

impl Field for bool {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Reason::BadField),
        }
    }
}

/// A length of two bytes, and so many bytes of text: UTF-8, no control characters, at most
/// [`MAX_NAME`]. What is written is cut and cleaned to that.
impl Field for String {
    fn write(&self, to: &mut Vec<u8>) {
        let clean: Self = self
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let cut = clean.floor_char_boundary(MAX_NAME);
        let bytes = clean.as_bytes().get(..cut).unwrap_or_default();
        u16::try_from(bytes.len()).unwrap_or_default().write(to);
        to.extend_from_slice(bytes);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        let len = usize::from(u16::read(from)?);
        if len > MAX_NAME {
            return Err(Reason::BadText);
        }
        text(from.take(len)?)
    }
}

/// Text as libvirt could know it.
pub(super) fn text(bytes: &[u8]) -> Result<String, Reason> {
    let text = core::str::from_utf8(bytes).map_err(|_| Reason::BadText)?;
    if text.chars().any(char::is_control) {
        return Err(Reason::BadText);
    }
    Ok(text.to_owned())
}

impl<T: Field> Field for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        if bool::read(from)? {
            T::read(from).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// A count of two bytes and the items. What is above the limit is not written.
impl<T: Item> Field for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        let count = self.len().min(T::LIMIT);
        u16::try_from(count).unwrap_or_default().write(to);
        for item in self.iter().take(count) {
            item.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        let count = usize::from(u16::read(from)?);
        if count > T::LIMIT {
            return Err(Reason::TooMany);
        }
        // No room is made ahead: the count alone proves nothing.
        let mut items = Self::new();
        for _ in 0..count {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Item for u8 {
        const LIMIT: usize = 10;
    }

    fn bytes(of: impl Field) -> Vec<u8> {
        let mut bytes = Vec::new();
        of.write(&mut bytes);
        bytes
    }

    #[test]
    fn text_that_libvirt_could_not_know_is_refused() {
        for bad in [&b"a\nb"[..], b"\xff", b"a\0"] {
            let mut field = bytes(u16::try_from(bad.len()).unwrap());
            field.extend_from_slice(bad);
            assert_eq!(String::read(&mut Reader::new(&field)), Err(Reason::BadText));
        }
    }

    #[test]
    fn text_is_written_as_the_reader_takes_it() {
        let field = bytes("é\n".repeat(1000));
        let read = String::read(&mut Reader::new(&field)).unwrap();
        assert!(read.starts_with("é?é?") && read.len() <= MAX_NAME);
    }

    #[test]
    fn a_count_alone_costs_no_memory_and_is_bounded() {
        let read = |bytes: &[u8]| Vec::<u8>::read(&mut Reader::new(bytes));
        assert_eq!(read(&[11, 0]), Err(Reason::TooMany));
        assert_eq!(read(&[10, 0, 1]), Err(Reason::WrongLength));
        assert_eq!(read(&[1, 0, 1]), Ok(vec![1]));
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(bool::read(&mut reader), Ok(true));
        assert_eq!(reader.end(), Err(Reason::WrongLength));
        assert_eq!(bool::read(&mut reader), Err(Reason::BadField));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn actions_that_name_no_domain_are_no_field() {
        assert_eq!(Action::read(&mut Reader::new(&[1])), Ok(Action::Off));
        for byte in [0, 5, 6, 7, 255] {
            assert_eq!(
                Action::read(&mut Reader::new(&[byte])),
                Err(Reason::BadField)
            );
        }
    }
}
