//! What must hold, in the order in which it is played on one cluster.

mod failing;
mod fencing;
mod reading;

use fence_lab::Verdict;

use crate::stage::Stage;

/// A case: what must hold is its name.
pub(crate) type Case = (&'static str, fn(&mut Stage) -> Verdict);

/// All of them. Each leaves a whole cluster behind.
pub(crate) const ALL: [Case; 15] = [
    (
        "metadata are read without rights and without a key",
        reading::metadata,
    ),
    ("monitor asks the host", reading::monitor),
    ("nodes that join are not unfenced", reading::unfencing),
    ("a map says which node is which domain", reading::map),
    (
        "names in a list are found, and those that are not are told",
        reading::list,
    ),
    ("status is asked where that is configured", reading::status),
    (
        "off: the node is gone and stays so; on: it comes back",
        fencing::off_and_on,
    ),
    (
        "reboot: the node comes back as another one",
        fencing::reboot,
    ),
    (
        "a frozen node is fenced, then its service goes on elsewhere",
        fencing::frozen,
    ),
    ("a domain out of a list is fenced", fencing::listed),
    (
        "what was said with port= is understood with plug=",
        fencing::replayed,
    ),
    (
        "a refused fence is a failure, is tried again, and recovers nothing",
        failing::refused,
    ),
    (
        "a fence without a hypervisor is a failure, and is tried again",
        failing::no_hypervisor,
    ),
    (
        "fence_virtd is killed and started again under it",
        failing::killed,
    ),
    (
        "fence_virtd is killed in the middle of a fence and started again",
        failing::killed_midway,
    ),
];
