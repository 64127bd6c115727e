//! A physical host: namespaces with a pid 1, its power, and the programs on it.

use std::process::Command;
use std::time::Duration;

use fence_lab::machine::{Machine, Maker};
use fence_lab::procs::{self, Proc};
use fence_lab::{Failure, Verdict, fail, wait};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::disk::Disk;
use crate::names::{Domain, HostId};

/// How long anything on a host may take that normally takes well under a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The cluster's membership and messages.
    Corosync,
    /// The hypervisor's manager.
    Libvirtd,
    /// The daemon under test, ours or the C one.
    Virtd,
    /// Pacemaker with its children.
    Pacemaker,
}

impl Service {
    const COUNT: usize = 4;

    const fn name(self) -> &'static str {
        match self {
            Self::Corosync => "corosync",
            Self::Libvirtd => "libvirtd",
            Self::Virtd => "fence_virtd",
            Self::Pacemaker => "pacemakerd",
        }
    }

    /// Its log, on the host's disk. Restarts append.
    pub(crate) fn log(self) -> String {
        format!("log/{}.log", self.name())
    }
}

/// A host, switched on or off.
#[derive(Debug)]
pub(crate) struct Host {
    /// Which one.
    pub(crate) id: HostId,
    /// What survives a loss of power.
    pub(crate) disk: Disk,
    machine: Machine,
    services: [Option<Pid>; Service::COUNT],
}

impl Host {
    /// A host that is switched off. `namespace` is its network.
    pub(crate) fn new(id: HostId, disk: Disk, namespace: &str, maker: &Maker) -> Self {
        Self {
            id,
            machine: Machine::new(id.name(), disk.root(), namespace, maker),
            disk,
            services: [None; Service::COUNT],
        }
    }

    /// Switches it on and waits until programs can be started.
    pub(crate) fn power_on(&mut self) -> Verdict {
        self.services = [None; Service::COUNT];
        self.machine.power_on()
    }

    /// Takes the power away. Cut its cables first: the kernel says good-bye for the killed.
    pub(crate) fn power_off(&mut self) -> Verdict {
        self.machine.power_off()
    }

    /// Whether it has power.
    pub(crate) const fn is_on(&self) -> bool {
        self.machine.is_on()
    }

    /// Its pid 1, as the machine sees it.
    pub(crate) fn init(&self) -> Result<Pid, Failure> {
        self.machine.init()
    }

    /// A command that will run inside, for ten seconds at most.
    pub(crate) fn command(&self, program: &str) -> Result<Command, Failure> {
        self.machine.command(program)
    }

    /// Starts a daemon.
    pub(crate) fn start(&mut self, service: Service, words: &[&str]) -> Verdict {
        let log = self.disk.path(&service.log());
        let started = self.machine.start(&log, words);
        let pid = started.map_err(|failure| failure.with(&self.tail(service)))?;
        if let Some(slot) = self.services.get_mut(service as usize) {
            *slot = Some(pid);
        }
        Ok(())
    }

    /// The process of a daemon that lives, stopped or not.
    pub(crate) fn pid(&self, service: Service) -> Option<Pid> {
        let init = self.init().ok()?;
        let pid = (*self.services.get(service as usize)?)?;
        procs::is_alive(pid, init).then_some(pid)
    }

    /// Sends a signal to a daemon.
    pub(crate) fn signal(&self, service: Service, signal: Signal) -> Verdict {
        let Some(pid) = self.pid(service) else {
            fail!("{} on {} does not run", service.name(), self.id);
        };
        procs::signal(pid, signal)
    }

    /// Ends a daemon: by SIGTERM, and by SIGKILL when that does not help within three seconds.
    pub(crate) fn stop(&self, service: Service) -> Verdict {
        let Some(pid) = self.pid(service) else {
            return Ok(());
        };
        procs::signal(pid, Signal::SIGCONT)?;
        procs::signal(pid, Signal::SIGTERM)?;
        let ended = wait::until("the end", Duration::from_secs(3), || {
            self.pid(service).is_none()
        });
        if ended.is_err() {
            procs::signal(pid, Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Lets everything that is stopped by a signal go on.
    pub(crate) fn resume(&self) -> Verdict {
        self.machine.resume()
    }

    /// The QEMU process of a domain, whatever libvirt thinks of it.
    pub(crate) fn qemu(&self, domain: Domain) -> Option<Proc> {
        let mark = format!("-uuid {}", domain.uuid);
        procs::of_host(self.init().ok()?)
            .into_iter()
            .find(|proc| proc.command.contains("qemu-system") && proc.command.contains(&mark))
    }

    /// Every QEMU process that has a guest.
    pub(crate) fn qemus(&self) -> Vec<Proc> {
        let all = self.init().map(procs::of_host).unwrap_or_default();
        all.into_iter()
            .filter(|proc| proc.command.contains("qemu-system") && proc.command.contains(" -uuid "))
            .collect()
    }

    /// The end of a daemon's log.
    pub(crate) fn tail(&self, service: Service) -> String {
        const LINES: usize = 30;
        let log = self.disk.read(&service.log());
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        let end = lines.get(from..).unwrap_or_default().join("\n    | ");
        format!("    {} on {}:\n    | {end}", service.name(), self.id)
    }
}
