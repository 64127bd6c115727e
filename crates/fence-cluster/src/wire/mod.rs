//! The bytes of the group's messages: ours and the original's.

pub mod bytes;
pub mod legacy;
pub mod message;
pub mod record;
