//! The cases, in the table's order.

mod healthy;

use crate::case::Case;
use crate::names::HostId;

/// Only the host that has `vm1`.
const A: &[HostId] = &[HostId::A];
/// Only the second host.
const B: &[HostId] = &[HostId::B];
/// Only the third host.
const C: &[HostId] = &[HostId::C];
/// Every host hears it.
const EVERY: &[HostId] = &HostId::ALL;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [healthy::CASES].concat()
}
