//! The frames of serial lines and VM channels (section 6): a request of 74 bytes, a response of 5.
//!
//! What is here: the two frames, and the scanners that find them in whatever else a line carries.
//! What is not here: when a half frame is given up and what is done about a request
//! ([`crate::host::Line`]), and the agent's side ([`crate::agent::serial`]).
//!
//! No hash, no challenge: the host knows the guest by the socket, and a response does not say which
//! request it is for. Hosts of this project therefore put a [tag](TAG_LEN) in front of it, which is
//! noise to the original's agents.

mod request;
mod response;

pub use request::{REQUEST_LEN, Request, RequestScanner};
pub use response::{Heard, RESPONSE_LEN, ResponseScanner, TAG_LEN, list_response, response};

/// What every frame begins with: 0x61626261 in little endian, which reads the same in big endian.
pub const MAGIC: [u8; 4] = *b"abba";
