//! What a domain is, asked of libvirt by calls that do not wait for the domain.

use fence_proto::Uuid;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

use super::super::connection::{Connection, Fault};
use super::{Migration, WatchSettings, WatchedDomain, migration};
use crate::domain_xml::Devices;

impl Connection {
    /// What the domain is now; `None` if it is gone. Of one that cannot be asked for, though others can, the
    /// state is 0, "no state".
    pub(in crate::libvirt) fn watched(
        &self,
        domain: &Domain,
        settings: &WatchSettings,
    ) -> Result<Option<WatchedDomain>, Fault> {
        match ask(domain, settings) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
            Err(error) => {
                let fault = self.fault(&error);
                if fault.is_lost() {
                    return Err(fault);
                }
                tracing::warn!("a domain can't be asked for: {fault}");
                blank(domain).map_err(|error| self.fault(&error)).map(Some)
            }
        }
    }
}

fn ask(domain: &Domain, settings: &WatchSettings) -> Result<WatchedDomain, Error> {
    let (state, reason) = domain.get_state()?;
    let instance = domain.get_id();
    let mut watched = blank(domain)?;
    watched.state = u8::try_from(state).unwrap_or(0);
    watched.reason = reason;
    let shown = migration::by_state(state, reason);
    watched.migration = shown.unwrap_or_else(|| migration::presumed(state));
    // What is off and there at all is defined.
    watched.persistent = instance.is_none() || domain.is_persistent()?;
    if settings.devices && instance.is_some() {
        let xml = domain.get_xml_desc(0)?;
        watched.devices = Some(Devices::of(&xml));
    }
    Ok(watched)
}

/// What the handle itself knows, without asking.
fn blank(domain: &Domain) -> Result<WatchedDomain, Error> {
    Ok(WatchedDomain {
        uuid: Uuid(*domain.get_uuid()?.as_bytes()),
        name: domain.get_name()?,
        state: 0,
        reason: 0,
        instance: domain.get_id(),
        persistent: true,
        migration: Migration::None,
        devices: None,
    })
}
