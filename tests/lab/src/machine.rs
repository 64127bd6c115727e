//! A computer made of namespaces: a pid 1, a network, mounts of its own, a disk that outlives its power.
//!
//! The program that makes one must become a pid 1 itself when it is called with [`reaper::ARGUMENT`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::fail;
use crate::failure::{Failure, Verdict};
use crate::process::Process;
use crate::{procs, reaper, wait};

/// How long anything on a machine may take that normally takes well under a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// What makes machines out of namespaces, in a directory.
#[derive(Debug, Clone)]
pub struct Maker(PathBuf);

impl Maker {
    /// Puts the script and a copy of this program into `directory`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(directory: &Path) -> Result<Self, Failure> {
        fs::copy(std::env::current_exe()?, directory.join(reaper::PROGRAM))?;
        let script = directory.join("host-init.sh");
        fs::write(&script, include_str!("../host-init.sh"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Self(directory.to_owned()))
    }
}

/// A machine, switched on or off.
#[derive(Debug)]
pub struct Machine {
    name: String,
    disk: PathBuf,
    namespace: String,
    maker: Maker,
    power: Option<Power>,
}

#[derive(Debug)]
struct Power {
    /// `unshare`, which waits for pid 1 and takes it along when it is killed itself.
    _launcher: Process,
    init: Pid,
}

impl Machine {
    /// A machine that is switched off. `disk` holds what survives a loss of power, `namespace` is its
    /// network.
    #[must_use]
    pub fn new(name: &str, disk: &Path, namespace: &str, maker: &Maker) -> Self {
        Self {
            name: name.to_owned(),
            disk: disk.to_owned(),
            namespace: namespace.to_owned(),
            maker: maker.clone(),
            power: None,
        }
    }

    /// Switches it on and waits until programs can be started.
    ///
    /// # Errors
    /// It does not come up.
    pub fn power_on(&mut self) -> Verdict {
        let Maker(tools) = &self.maker;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        command.args(["unshare", "-m", "-u", "-i", "-p", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "--propagation", "private"]);
        command
            .arg(tools.join("host-init.sh"))
            .arg(&self.name)
            .arg(&self.disk);
        command
            .arg(tools.join(reaper::PROGRAM))
            .arg(reaper::ARGUMENT);
        command.stdin(Stdio::null());
        let launcher = Process::spawn(command, "power", &self.disk)?;
        let what = format!("pid 1 of {}", self.name);
        let init = wait::value(&what, PATIENCE, || procs::child_of(launcher.pid()))?;
        let up = PathBuf::from(format!("/proc/{init}/root/run/host-is-up"));
        let what = format!("{} to come up", self.name);
        wait::until(&what, PATIENCE, || up.exists())
            .map_err(|failure| failure.with(&launcher.tail()))?;
        self.power = Some(Power {
            _launcher: launcher,
            init,
        });
        Ok(())
    }

    /// Takes the power away. Cut its cables first: the kernel says good-bye for the killed.
    ///
    /// # Errors
    /// It does not end.
    pub fn power_off(&mut self) -> Verdict {
        let Some(power) = self.power.take() else {
            return Ok(());
        };
        procs::signal(power.init, Signal::SIGKILL)
    }

    /// Whether it has power.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// Its pid 1, as the test sees it.
    ///
    /// # Errors
    /// It is off.
    pub fn init(&self) -> Result<Pid, Failure> {
        let power = self.power.as_ref();
        power
            .map(|power| power.init)
            .ok_or_else(|| Failure::new(format!("{} is off", self.name)))
    }

    /// A command that will run inside, for ten seconds at most.
    ///
    /// # Errors
    /// It is off.
    pub fn command(&self, program: &str) -> Result<Command, Failure> {
        let mut command = self.enter()?;
        command.args(["timeout", "-k", "1", "10", program]);
        Ok(command)
    }

    /// The words that lead inside; the program is still to come.
    ///
    /// # Errors
    /// It is off.
    pub fn enter(&self) -> Result<Command, Failure> {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.init()?.to_string());
        command.args(["-m", "-u", "-i", "-n", "-p"]);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a daemon as a child of pid 1: one that is stopped later keeps nothing else alive. What it
    /// says is appended to `log`.
    ///
    /// # Errors
    /// It cannot be started or ends at once.
    pub fn start(&self, log: &Path, words: &[&str]) -> Result<Pid, Failure> {
        const LAUNCH: &str = r#"log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!"#;
        let mut command = self.enter()?;
        command.args(["sh", "-c", LAUNCH, "sh"]);
        command.arg(log).args(words);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Ok(inner) = text.trim().parse::<i32>() else {
            fail!("{words:?} on {} was not started: {text}", self.name);
        };
        let found = procs::of_host(self.init()?)
            .into_iter()
            .find(|proc| proc.inner == inner);
        found
            .map(|found| found.pid)
            .ok_or_else(|| Failure::new(format!("{words:?} on {} ended at once", self.name)))
    }

    /// Lets everything that is stopped by a signal go on.
    ///
    /// # Errors
    /// A process that cannot be signalled.
    pub fn resume(&self) -> Verdict {
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
}
