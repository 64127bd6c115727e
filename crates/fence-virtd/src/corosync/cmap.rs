//! Reading corosync's configuration map: the few calls of libcmap that are needed.
//!
//! Not through `rust-corosync` 3.2.0, because of two defects of its module: `get` fails for texts of more than
//! 15 bytes (it offers libcmap a buffer of 16, so the name of many a host is too long), and an iteration that
//! fails half-way ends as if it were complete. A list of hosts that is cut short would let a host be
//! forgotten that may run the domain in question.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use super::Trouble;

/// CMAP_KEYNAME_MAXLEN and the NUL.
const KEY_SIZE: usize = 256;

/// No value of interest is longer: names and addresses.
const MAX_VALUE: usize = 4096;

/// More keys than a list of hosts can have.
const MAX_KEYS: usize = 16_384;

const CS_OK: u32 = 1;
const CS_ERR_NOT_EXIST: u32 = 12;
const CS_ERR_NO_SECTIONS: u32 = 27;

const TYPE_UINT8: u32 = 2;
const TYPE_UINT32: u32 = 6;
const TYPE_STRING: u32 = 11;

#[link(name = "cmap")]
unsafe extern "C" {
    fn cmap_initialize(handle: *mut u64) -> u32;
    fn cmap_finalize(handle: u64) -> u32;
    fn cmap_get(
        handle: u64,
        key: *const c_char,
        value: *mut c_void,
        length: *mut usize,
        kind: *mut u32,
    ) -> u32;
    fn cmap_iter_init(handle: u64, prefix: *const c_char, iteration: *mut u64) -> u32;
    fn cmap_iter_next(
        handle: u64,
        iteration: u64,
        key: *mut c_char,
        length: *mut usize,
        kind: *mut u32,
    ) -> u32;
    fn cmap_iter_finalize(handle: u64, iteration: u64) -> u32;
}

/// A value of the map, of the kinds that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(u32),
    /// A text.
    Text(String),
}

/// A connection to the map. Every call blocks while corosync does not answer.
#[derive(Debug)]
pub(super) struct Cmap(u64);

impl Cmap {
    pub(super) fn open() -> Result<Self, Trouble> {
        let mut handle = 0;
        // SAFETY: libcmap writes the handle during the call.
        let result = unsafe { cmap_initialize(&raw mut handle) };
        check(result, "cmap_initialize").map(|()| Self(handle))
    }

    /// A small number, `None` if there is no such key.
    pub(super) fn small_number(&self, key: &CStr) -> Result<Option<u8>, Trouble> {
        match self.fetch(key, 1) {
            Ok(None) => Ok(None),
            Ok(Some((TYPE_UINT8, bytes))) => Ok(bytes.first().copied()),
            Ok(Some(_)) => Err(Trouble::new("cmap_get: a value of another kind")),
            Err(trouble) => Err(trouble),
        }
    }

    /// Everything below `prefix`, all of it or an error. Values of other kinds are left out.
    pub(super) fn below(&self, prefix: &CStr) -> Result<Vec<(String, Value)>, Trouble> {
        let mut keys = Vec::new();
        let iteration = Iteration::new(self, prefix)?;
        while let Some((key, length)) = iteration.next()? {
            if keys.len() >= MAX_KEYS {
                return Err(Trouble::new("corosync's map has too many keys"));
            }
            keys.push((key, length));
        }
        drop(iteration);
        let mut found = Vec::with_capacity(keys.len());
        for (key, length) in keys {
            let (kind, bytes) = self
                .fetch(&key, length)?
                .ok_or_else(|| Trouble::new("corosync's map changed while it was read"))?;
            if let Some(value) = decode(kind, &bytes) {
                found.push((key.to_string_lossy().into_owned(), value));
            }
        }
        Ok(found)
    }

    fn fetch(&self, key: &CStr, length: usize) -> Result<Option<(u32, Vec<u8>)>, Trouble> {
        let (mut kind, mut found) = (0, length.min(MAX_VALUE));
        let mut bytes = vec![0_u8; found];
        // SAFETY: `bytes` has the `found` bytes that libcmap is told it may write; it fails rather than write
        // more. The key is NUL-terminated, the other two are written during the call.
        let result = unsafe {
            cmap_get(
                self.0,
                key.as_ptr(),
                bytes.as_mut_ptr().cast(),
                &raw mut found,
                &raw mut kind,
            )
        };
        if result == CS_ERR_NOT_EXIST {
            return Ok(None);
        }
        check(result, "cmap_get")?;
        bytes.truncate(found);
        Ok(Some((kind, bytes)))
    }
}

impl Drop for Cmap {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody else has it.
        unsafe { cmap_finalize(self.0) };
    }
}

/// A walk through the map.
struct Iteration<'m> {
    map: &'m Cmap,
    handle: u64,
}

impl<'m> Iteration<'m> {
    fn new(map: &'m Cmap, prefix: &CStr) -> Result<Self, Trouble> {
        let mut handle = 0;
        // SAFETY: the prefix is NUL-terminated, the handle is written during the call.
        let result = unsafe { cmap_iter_init(map.0, prefix.as_ptr(), &raw mut handle) };
        check(result, "cmap_iter_init")?;
        Ok(Self { map, handle })
    }

    /// The next key and the size of its value.
    fn next(&self) -> Result<Option<(CString, usize)>, Trouble> {
        let mut key = [0_u8; KEY_SIZE];
        let mut length = 0;
        // SAFETY: the key has the size that cmap.h demands, the length is written during the call, and the
        // kind may be null.
        let result = unsafe {
            cmap_iter_next(
                self.map.0,
                self.handle,
                key.as_mut_ptr().cast(),
                &raw mut length,
                ptr::null_mut(),
            )
        };
        if result == CS_ERR_NO_SECTIONS {
            return Ok(None);
        }
        check(result, "cmap_iter_next")?;
        let key = CStr::from_bytes_until_nul(&key)
            .map_err(|_| Trouble::new("cmap_iter_next: a key without an end"))?;
        Ok(Some((key.to_owned(), length)))
    }
}

impl Drop for Iteration<'_> {
    fn drop(&mut self) {
        // SAFETY: both handles are open, and nobody else has this one.
        unsafe { cmap_iter_finalize(self.map.0, self.handle) };
    }
}

fn check(result: u32, call: &str) -> Result<(), Trouble> {
    if result == CS_OK {
        Ok(())
    } else {
        Err(Trouble::new(format!("{call}: error {result}")))
    }
}

fn decode(kind: u32, bytes: &[u8]) -> Option<Value> {
    match kind {
        TYPE_UINT32 => Some(Value::Number(u32::from_ne_bytes(bytes.try_into().ok()?))),
        TYPE_STRING => {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(Value::Text(String::from_utf8_lossy(text).into_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_and_kind_are_decoded_or_left_out() {
        let number = 7_u32.to_ne_bytes();
        assert_eq!(decode(TYPE_UINT32, &number), Some(Value::Number(7)));
        assert_eq!(decode(TYPE_UINT32, &number[..3]), None);
        let text = |bytes| decode(TYPE_STRING, bytes);
        assert_eq!(text(b"host\0"), Some(Value::Text("host".to_owned())));
        assert_eq!(text(b"host"), Some(Value::Text("host".to_owned())));
        assert_eq!(text(b""), Some(Value::Text(String::new())));
        assert_eq!(text(b"\xff\0"), Some(Value::Text("\u{fffd}".to_owned())));
        assert_eq!(decode(12, b"binary"), None);
    }
}
