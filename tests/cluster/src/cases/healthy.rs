//! Nothing is wrong.

use super::{A, B, C, EVERY};
use crate::case::{Case, DONE, FAILED, FENCED, OFF, RUNNING, ask, nothing, recorded};
use crate::names::NOBODY;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "healthy: through another host",
        nothing,
        &[
            ask("status", B, recorded("0", "runs", RUNNING), RUNNING),
            ask("off", B, recorded("0", "gone", FENCED), FENCED),
            ask("status", C, recorded("2", "gone", OFF), OFF),
            ask("on", C, recorded("0", "runs", RUNNING), RUNNING),
            ask("reboot", B, recorded("0", "runs", RUNNING), RUNNING),
        ],
    )
    .quick(),
    Case::new(
        "healthy: through its own host",
        nothing,
        &[
            ask("off", A, recorded("0", "gone", FENCED), FENCED),
            ask("status", A, recorded("2", "gone", OFF), OFF),
            ask("on", A, recorded("0", "runs", RUNNING), RUNNING),
            ask("reboot", EVERY, recorded("0", "runs", RUNNING), RUNNING),
        ],
    ),
    Case::new(
        "healthy: unknown domain",
        nothing,
        &[
            ask("status", B, recorded("2", "", &[]), FAILED).naming(NOBODY),
            ask("off", B, recorded("0", "", &[]), FAILED).naming(NOBODY),
            ask("monitor", B, recorded("0", "", DONE), DONE).naming(""),
        ],
    )
    .quick(),
];
