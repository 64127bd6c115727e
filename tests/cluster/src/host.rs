//! A physical host: namespaces with a pid 1, its power, and the programs on it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fence_lab::process::Process;
use fence_lab::{Failure, Verdict, fail, wait};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::disk::Disk;
use crate::names::{Domain, HostId};
use crate::procs::{self, Proc};

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
    namespace: String,
    script: PathBuf,
    power: Option<Power>,
}

#[derive(Debug)]
struct Power {
    /// `unshare`, which waits for pid 1 and takes it along when it is killed itself.
    _launcher: Process,
    init: Pid,
    services: [Option<Pid>; Service::COUNT],
}

impl Host {
    /// A host that is switched off. `namespace` is its network, `script` makes a host of namespaces.
    pub(crate) const fn new(id: HostId, disk: Disk, namespace: String, script: PathBuf) -> Self {
        Self {
            id,
            disk,
            namespace,
            script,
            power: None,
        }
    }

    /// Switches it on and waits until programs can be started.
    pub(crate) fn power_on(&mut self) -> Verdict {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        command.args(["unshare", "-m", "-u", "-i", "-p", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "--propagation", "private"]);
        command
            .arg(&self.script)
            .arg(self.id.name())
            .arg(self.disk.root());
        command
            .arg(self.script.with_file_name(crate::reaper::PROGRAM))
            .arg(crate::reaper::ARGUMENT);
        command.stdin(std::process::Stdio::null());
        let launcher = Process::spawn(command, "power", self.disk.root())?;
        let what = format!("pid 1 of {}", self.id);
        let init = wait::value(&what, PATIENCE, || procs::child_of(launcher.pid()))?;
        let up = PathBuf::from(format!("/proc/{init}/root/run/host-is-up"));
        wait::until(&format!("{} to come up", self.id), PATIENCE, || up.exists())
            .map_err(|failure| failure.with(&launcher.tail()))?;
        self.power = Some(Power {
            _launcher: launcher,
            init,
            services: [None; Service::COUNT],
        });
        Ok(())
    }

    /// Takes the power away. Cut its cables first: the kernel says good-bye for the killed.
    pub(crate) fn power_off(&mut self) -> Verdict {
        let Some(power) = self.power.take() else {
            return Ok(());
        };
        procs::signal(power.init, Signal::SIGKILL)
    }

    /// Whether it has power.
    pub(crate) const fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// Its pid 1, as the machine sees it.
    pub(crate) fn init(&self) -> Result<Pid, Failure> {
        let power = self.power.as_ref();
        power
            .map(|power| power.init)
            .ok_or_else(|| Failure::new(format!("{} is off", self.id)))
    }

    /// A command that will run inside, for ten seconds at most.
    pub(crate) fn command(&self, program: &str) -> Result<Command, Failure> {
        let mut command = self.enter()?;
        command.args(["timeout", "-k", "1", "10", program]);
        Ok(command)
    }

    fn enter(&self) -> Result<Command, Failure> {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.init()?.to_string());
        command.args(["-m", "-u", "-i", "-n", "-p"]);
        command.stdin(std::process::Stdio::null());
        Ok(command)
    }

    /// Starts a daemon as a child of pid 1: one that is stopped later keeps nothing else alive.
    pub(crate) fn start(&mut self, service: Service, words: &[&str]) -> Verdict {
        const LAUNCH: &str = r#"log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!"#;
        let mut command = self.enter()?;
        command.args(["sh", "-c", LAUNCH, "sh"]);
        command.arg(self.disk.path(&service.log())).args(words);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Ok(inner) = text.trim().parse::<i32>() else {
            fail!("{} on {} was not started: {text}", service.name(), self.id);
        };
        let init = self.init()?;
        let found = procs::of_host(init)
            .into_iter()
            .find(|proc| proc.inner == inner);
        let Some(found) = found else {
            fail!(
                "{} on {} ended at once:\n{}",
                service.name(),
                self.id,
                self.tail(service)
            );
        };
        if let Some(slot) = self.slot(service) {
            *slot = Some(found.pid);
        }
        Ok(())
    }

    fn slot(&mut self, service: Service) -> Option<&mut Option<Pid>> {
        self.power.as_mut()?.services.get_mut(service as usize)
    }

    /// The process of a daemon that lives, stopped or not.
    pub(crate) fn pid(&self, service: Service) -> Option<Pid> {
        let power = self.power.as_ref()?;
        let pid = (*power.services.get(service as usize)?)?;
        procs::is_alive(pid, power.init).then_some(pid)
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
        let Ok(init) = self.init() else {
            return Ok(());
        };
        for proc in procs::of_host(init) {
            if procs::is_stopped(proc.pid) {
                procs::signal(proc.pid, Signal::SIGCONT)?;
            }
        }
        Ok(())
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
