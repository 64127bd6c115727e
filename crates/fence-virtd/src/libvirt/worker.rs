//! A thread's hold of its hypervisor: one connection, made again when it breaks.

use std::fmt;
use std::sync::Arc;

use tracing::{debug, error};

use super::connection::{Connection, Fault, Found};
use super::host::Host;

/// A worker's hold of its hypervisor.
pub(super) struct Worker {
    pub host: Arc<Host>,
    connection: Option<Arc<Connection>>,
}

impl Worker {
    pub(super) const fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            connection: None,
        }
    }

    fn connection(&mut self) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = &self.connection {
            return Ok(Arc::clone(connection));
        }
        self.host.may_try()?;
        match self.host.connect() {
            Ok(connection) => {
                self.host.connected();
                self.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(fault) => {
                self.host.unreachable(&fault);
                Err(fault)
            }
        }
    }

    /// Asks a question; once more on a new connection if the one at hand turns out to be dead.
    pub(super) fn ask<T>(
        &mut self,
        question: impl Fn(&Arc<Connection>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let connection = self.connection()?;
        let fault = match question(&connection) {
            Err(fault) if fault.is_lost() => fault,
            answer => {
                self.host.answered();
                return answer;
            }
        };
        self.forget(&fault);
        let connection = self.connection()?;
        let answer = question(&connection);
        match &answer {
            Err(fault) if fault.is_lost() => {
                self.forget(fault);
                self.host.unreachable(fault);
            }
            _ => self.host.answered(),
        }
        answer
    }

    /// Makes a change, once, on the connection on which its domain was found.
    pub(super) fn change(
        &mut self,
        found: &Found,
        change: impl FnOnce(&Connection) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.settle(change(&found.connection))
    }

    /// Makes a change for which there is no domain yet.
    pub(super) fn change_on_any(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let connection = self.connection()?;
        self.settle(change(&connection))
    }

    fn settle(&mut self, result: Result<(), Fault>) -> Result<(), Fault> {
        match &result {
            Err(fault) if fault.is_lost() => self.forget(fault),
            _ => self.host.answered(),
        }
        result
    }

    /// Logs a question that failed. What the hypervisor as a whole does is logged by its host, once
    /// and not for each order.
    pub(super) fn log_fault(&self, subject: &dyn fmt::Display, fault: &Fault) {
        let uri = self.host.name();
        if fault.is_lost() {
            debug!(uri, "{subject} can't be asked for: {fault}");
        } else {
            error!(uri, "{subject} can't be asked for: {fault}");
        }
    }

    fn forget(&mut self, fault: &Fault) {
        self.host.lost_one(fault);
        self.connection = None;
    }
}
