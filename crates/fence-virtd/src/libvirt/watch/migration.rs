//! Which half of a migration a domain is.
//!
//! The state shows it only at the ends of a migration. In between a domain's job has to be asked for,
//! and that call waits for whatever else is done to the domain, half a minute if its hypervisor process
//! hangs. It therefore has threads and a connection of its own, and what it finds comes later.

use std::collections::HashMap;

use fence_proto::Uuid;

use super::{Migration, Shared, WatchedDomain};
use crate::sync::lock;

/// What is known of each domain's present run.
#[derive(Debug, Default)]
pub(super) struct Roles {
    known: HashMap<Uuid, (u32, Migration)>,
}

/// As far as the state shows it. `None` where only the job tells.
pub(super) fn by_state(state: u32, reason: i32) -> Option<Migration> {
    let reason = u32::try_from(reason).ok()?;
    match (state, reason) {
        // The source is paused for good when the destination runs.
        (virt_sys::VIR_DOMAIN_PAUSED, virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY)
        | (virt_sys::VIR_DOMAIN_PAUSED, virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED) => {
            Some(Migration::Outgoing)
        }
        (virt_sys::VIR_DOMAIN_RUNNING, virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY)
        | (virt_sys::VIR_DOMAIN_RUNNING, virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED) => {
            Some(Migration::Incoming)
        }
        (virt_sys::VIR_DOMAIN_RUNNING, _)
        | (virt_sys::VIR_DOMAIN_PAUSED, virt_sys::VIR_DOMAIN_PAUSED_MIGRATION) => None,
        _ => Some(Migration::None),
    }
}

impl Shared {
    /// Fills in what the job told of these domains, and has it asked for anew.
    pub(super) fn roles_of(&self, generation: u64, domains: &mut [WatchedDomain]) {
        let state = lock(&self.state);
        let _ = generation;
        for domain in domains {
            let known = state.migration.known.get(&domain.uuid);
            if let (Some(instance), Some((of, role))) = (domain.instance, known)
                && *of == instance
                && by_state(u32::from(domain.state), domain.reason).is_none()
            {
                domain.migration = *role;
            }
        }
    }
}
