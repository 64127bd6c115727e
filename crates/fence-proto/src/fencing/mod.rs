//! The decisions of fencing through hypervisors, as functions: which domain a request means, when
//! it is proven off, what an answer may be while some hypervisor is silent.
//!
//! Every answer follows one rule: no success without proof, and no proof from a hypervisor that did
//! not answer. The callers ask libvirt, keep the time and do what the answers here say.

mod backoff;
mod off;
mod sightings;
mod verdict;

pub use backoff::Backoff;
pub use off::{Goal, Look, Off, OffStep, Proof, Trouble};
pub use sightings::{Sighting, Sightings};
pub use verdict::{
    Acted, Activity, Answer, DomainCopy, Doubt, LocalOff, RoundVerdict, Stage, Verdict,
    list_verdict, resolve, settle,
};
