//! The cases.

mod doctor;
mod ending;
mod failing;
mod group;
mod strangers;

use crate::stage::Case;

/// A case and its name, which says what must hold.
pub(crate) type Named = (&'static str, Case);

/// All of them, the longest first.
pub(crate) fn all() -> impl Iterator<Item = Named> {
    [
        failing::CASES,
        doctor::CASES,
        ending::CASES,
        group::CASES,
        strangers::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
