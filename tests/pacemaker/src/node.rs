//! A node whose body is namespaces: corosync, pacemaker and our agent on a machine of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use fence_lab::agent::{Answer, Running};
use fence_lab::machine::{Machine, Maker};
use fence_lab::{Failure, Verdict, procs, wait};
use nix::sys::signal::Signal;
use nix::unistd::{Group, Pid, User};

use crate::calls::{self, Call};
use crate::files;
use crate::names::NodeId;
use crate::view::View;

const CIB: &str = "var/lib/pacemaker/cib/cib.xml";
const CALLS: &str = "var/log/pacemaker/calls";
const AGENT: &str = "etc/cluster/agent/fence_xvm";

/// A node, switched on or off.
#[derive(Debug)]
pub(crate) struct Node {
    /// Which one.
    pub(crate) id: NodeId,
    /// How often it was switched on.
    pub(crate) boots: u32,
    /// Whether it boots no further than its firmware when it gets power: these nodes boot in two
    /// seconds, and would take back what others are to recover.
    pub(crate) is_held: bool,
    /// Whether it has power and is held.
    pub(crate) is_waiting: bool,
    disk: PathBuf,
    machine: Machine,
}

impl Node {
    /// A node that is switched off, with everything on its disk.
    pub(crate) fn new(id: NodeId, place: &Place<'_>) -> Result<Self, Failure> {
        let disk = place.directory.join(id.name());
        let node = Self {
            id,
            boots: 0,
            is_held: false,
            is_waiting: false,
            machine: Machine::new(id.name(), &disk, place.namespace, place.maker),
            disk,
        };
        node.write("etc/hosts", &files::hosts())?;
        node.write("etc/machine-id", &format!("{:032x}\n", id.number()))?;
        node.write("etc/corosync/corosync.conf", &files::corosync(1000))?;
        fs::create_dir_all(node.path("log"))?;
        fs::create_dir_all(node.path("etc/cluster/agent"))?;
        let key = node.path("etc/cluster/fence_xvm.key");
        fs::copy(place.key, &key)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::copy(place.agent, node.path(AGENT))?;
        let recorder = "usr/sbin/fence_xvm";
        node.write(recorder, include_str!("../fence-xvm-recorder.sh"))?;
        fs::set_permissions(node.path(recorder), fs::Permissions::from_mode(0o755))?;
        node.own(place.cib)?;
        Ok(node)
    }

    /// Pacemaker's own files, which belong to its user.
    fn own(&self, cib: &str) -> Verdict {
        let (uid, gid) = owner()?;
        self.write(CIB, cib)?;
        fs::set_permissions(self.path(CIB), fs::Permissions::from_mode(0o600))?;
        fs::create_dir_all(self.path(CALLS))?;
        // The agent's metadata are read by pacemaker's user, everything else is done by root.
        fs::set_permissions(self.path(CALLS), fs::Permissions::from_mode(0o1777))?;
        for directory in ["cib", "cores", "pengine", "blackbox"] {
            let path = self.path("var/lib/pacemaker").join(directory);
            fs::create_dir_all(&path)?;
            chown(&path, uid, gid)?;
        }
        for path in [CIB, "var/lib/pacemaker", "var/log/pacemaker"] {
            chown(self.path(path), uid, gid)?;
        }
        Ok(())
    }

    /// Where a file of the node is on this machine.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.disk.join(file)
    }

    fn write(&self, file: &str, text: &str) -> Verdict {
        let path = self.path(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// Switches it on: it starts corosync and pacemaker.
    pub(crate) fn boot(&mut self) -> Verdict {
        self.machine.power_on()?;
        self.boots += 1;
        let (uid, gid) = owner()?;
        let run = PathBuf::from(format!("/proc/{}/root/run/crm", self.machine.init()?));
        fs::create_dir_all(&run)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o770))?;
        chown(&run, uid, gid)?;
        self.start("corosync", &["corosync", "-f"])?;
        wait::until("corosync to answer", wait::PATIENCE, || {
            let said = self.run("corosync-cfgtool", &["-s"]);
            said.is_ok_and(|answer| answer.code == 0)
        })?;
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        self.start("pacemakerd", &["env", "-i", path, "pacemakerd", "-f"])
    }

    fn start(&self, name: &str, words: &[&str]) -> Verdict {
        self.machine.start(&self.log(name), words).map(drop)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("log/{name}.log"))
    }

    /// Takes its power away.
    pub(crate) fn power_off(&mut self) -> Verdict {
        self.machine.power_off()
    }

    /// Its first process, as this machine sees it; none if it is off.
    pub(crate) fn init(&self) -> Option<Pid> {
        self.machine.init().ok()
    }

    /// Stops everything that runs on it, as a hypervisor does that pauses it.
    pub(crate) fn freeze(&self) -> Verdict {
        let init = self.machine.init()?;
        // Twice: what was started meanwhile.
        for _ in 0..2 {
            for proc in procs::of_host(init) {
                if proc.pid != init && !procs::is_stopped(proc.pid) {
                    let _ = procs::signal(proc.pid, Signal::SIGSTOP);
                }
            }
        }
        Ok(())
    }

    /// The words that lead inside; the program is still to come.
    pub(crate) fn enter(&self) -> Result<Command, Failure> {
        self.machine.enter()
    }

    /// Runs a program on it.
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Result<Answer, Failure> {
        self.run_for(program, words, 20)
    }

    /// As [`Self::run`], for so many seconds at most.
    pub(crate) fn run_for(
        &self,
        program: &str,
        words: &[&str],
        seconds: u64,
    ) -> Result<Answer, Failure> {
        let mut command = self.machine.enter()?;
        let limit = seconds.to_string();
        command.args(["timeout", "-k", "1", &limit, program]);
        command.args(words);
        let limit = std::time::Duration::from_secs(seconds + 5);
        Running::spawn(command, &self.path("log"))?.finish(limit)
    }

    /// What its pacemaker says.
    pub(crate) fn view(&self) -> Result<View, Failure> {
        let answer = self.run("crm_mon", &["-1", "-m2", "--output-as=xml"])?;
        View::parse(&answer.stdout).map_err(|failure| failure.at(answer.describe()))
    }

    /// What its pacemaker and the agent told each other.
    pub(crate) fn calls(&self) -> Vec<Call> {
        calls::read(&self.path(CALLS))
    }

    /// Runs the agent without the recorder, as pacemaker would: everything on standard input.
    pub(crate) fn agent(&self, input: &str) -> Result<Answer, Failure> {
        let file = self.path("log/replayed");
        fs::write(&file, input)?;
        let mut command = self.machine.command(&format!("/{AGENT}"))?;
        command.stdin(fs::File::open(&file)?);
        Running::spawn(command, &self.path("log"))?.finish(wait::PATIENCE * 2)
    }

    /// The end of its pacemaker's log, for a failure's report.
    pub(crate) fn tail(&self) -> String {
        const LINES: usize = 25;
        let log = self.pacemaker_log();
        // What the cluster's database says of itself is most of the log.
        let said = log.lines().filter(|line| !line.contains("pacemaker-based"));
        let lines: Vec<_> = said.collect();
        let from = lines.len().saturating_sub(LINES);
        let end = lines.get(from..).unwrap_or_default().join("\n    | ");
        format!("    pacemaker on {}:\n    | {end}", self.id)
    }

    /// Its pacemaker's log.
    pub(crate) fn pacemaker_log(&self) -> String {
        let log = fs::read(self.path("var/log/pacemaker/pacemaker.log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

/// What all nodes are made with.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// Where their disks are.
    pub(crate) directory: &'a Path,
    /// The node's network.
    pub(crate) namespace: &'a str,
    /// What makes machines.
    pub(crate) maker: &'a Maker,
    /// The key that host and nodes share.
    pub(crate) key: &'a Path,
    /// The agent.
    pub(crate) agent: &'a Path,
    /// The cluster's configuration at the start.
    pub(crate) cib: &'a str,
}

fn owner() -> Result<(Option<u32>, Option<u32>), Failure> {
    let missing = |what: &str| Failure::new(format!("there is no {what}: install pacemaker"));
    let user = User::from_name("hacluster")?.ok_or_else(|| missing("user hacluster"))?;
    let group = Group::from_name("haclient")?.ok_or_else(|| missing("group haclient"))?;
    Ok((Some(user.uid.as_raw()), Some(group.gid.as_raw())))
}
