//! The rows of the table, each in a file of its own.

pub(crate) mod agent;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod multicast;
pub(crate) mod reboot;
pub(crate) mod stalled;
pub(crate) mod status;

use std::net::Ipv4Addr;
use std::time::Duration;

use fence_proto::{Action, DomainRef};

use crate::exchange::Peer;
use crate::host::{Host, Kind};
use crate::place::{Place, domain_name};
use crate::settings::{Amount, Settings};
use crate::stats::Samples;
use crate::wire::{Failure, Request, Requests};

/// How long an agent waits in all: its default time-out.
pub(crate) const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// What every row needs.
pub(crate) struct Bench<'a> {
    /// Command line and environment.
    pub(crate) settings: &'a Settings,
    /// The scratch directory.
    pub(crate) place: &'a Place,
    /// The maker of requests.
    pub(crate) requests: Requests,
    /// Errors of our programs, for the exit code.
    pub(crate) faults: Vec<String>,
}

impl Bench<'_> {
    /// How much is measured.
    pub(crate) const fn amount(&self) -> Amount {
        self.settings.amount
    }

    /// Notes errors of our own programs; those of others are only shown.
    pub(crate) fn note(&mut self, kind: Kind, row: &str, problem: &str) {
        if kind == Kind::Ours {
            self.faults.push(format!("{row}: {problem}"));
        }
    }

    /// Requests about `vm0`, made in advance.
    pub(crate) fn prepare(&mut self, action: Action, count: usize) -> Vec<Request> {
        let domain = domain(0);
        (0..count)
            .map(|_| self.requests.next(action, &domain, None))
            .collect()
    }

    /// Asks one request after the other; what failed is noted and returned beside the samples.
    pub(crate) fn ask_each(
        &mut self,
        host: &Host,
        row: &str,
        action: Action,
        count: usize,
    ) -> (Samples, Vec<Failure>) {
        let prepared = self.prepare(action, count);
        let peer = host.peer(&self.requests, AGENT_PATIENCE);
        let mut took = Vec::with_capacity(count);
        let mut failures = Vec::new();
        for request in &prepared {
            match expect_zero(&peer, request) {
                Ok(time) => took.push(time),
                Err(failure) => failures.push(failure),
            }
        }
        for failure in &failures {
            self.note(host.kind(), row, &failure.to_string());
        }
        (Samples::new(took), failures)
    }
}

/// A domain by its number.
pub(crate) fn domain(number: usize) -> DomainRef {
    DomainRef::new(&domain_name(number)).unwrap_or_default()
}

/// Asks once; any reply but 0 is a failure.
pub(crate) fn expect_zero(peer: &Peer<'_>, request: &Request) -> Result<Duration, Failure> {
    match peer.ask(request, Ipv4Addr::LOCALHOST)? {
        (0, took) => Ok(took),
        (reply, _) => Err(Failure::Reply(reply)),
    }
}

/// The host of a kind.
pub(crate) fn host_of(hosts: &[Host], kind: Kind) -> Option<&Host> {
    hosts.iter().find(|host| host.kind() == kind)
}
