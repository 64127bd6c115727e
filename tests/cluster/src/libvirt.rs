//! A host's libvirt, asked from outside through its socket: what the tests change and look up by it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use fence_lab::process::Process;
use fence_lab::{Failure, Verdict, fail, wait};

use crate::host::{Host, PATIENCE, Service};
use crate::names::{Domain, HostId};

const LINE: [&str; 4] = ["libvirtd", "--listen", "-t", "0"];

impl Host {
    /// Starts libvirtd unless it runs.
    pub(crate) fn start_libvirtd(&mut self) -> Verdict {
        if self.pid(Service::Libvirtd).is_some() {
            return Ok(());
        }
        self.start(Service::Libvirtd, &LINE)
    }

    /// Waits until libvirtd answers.
    pub(crate) fn wait_for_libvirtd(&self) -> Verdict {
        wait::until(&format!("libvirtd on {}", self.id), PATIENCE, || {
            self.virsh(&["list"]).is_ok()
        })
        .map_err(|failure| failure.with(&self.tail(Service::Libvirtd)))
    }

    /// Runs virsh, for ten seconds at most.
    pub(crate) fn virsh(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self
            .virsh_command(&["timeout", "10"])?
            .args(arguments)
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        fail!("virsh {} on {}: {said}", arguments.join(" "), self.id)
    }

    fn virsh_command(&self, before: &[&str]) -> Result<Command, Failure> {
        let socket = PathBuf::from(format!(
            "/proc/{}/root/run/libvirt/libvirt-sock",
            self.init()?
        ));
        let mut words = before.iter();
        let mut command = Command::new(words.next().copied().unwrap_or("virsh"));
        command.args(words);
        if !before.is_empty() {
            command.arg("virsh");
        }
        command.args(["-q", "-c"]);
        command.arg(format!("qemu+unix:///system?socket={}", socket.display()));
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// What libvirt says of a domain's state; nothing if it has none or does not answer.
    pub(crate) fn state(&self, domain: Domain) -> Option<String> {
        let said = self.virsh(&["domstate", domain.uuid]).ok()?;
        Some(said.trim().to_owned())
    }

    /// The UUIDs of all domains that libvirt has here, with a definition or without.
    pub(crate) fn domains(&self) -> Result<Vec<String>, Failure> {
        let said = self.virsh(&["list", "--all", "--uuid"])?;
        Ok(said.split_whitespace().map(str::to_owned).collect())
    }

    /// Defines a domain from its XML.
    pub(crate) fn define(&self, xml: &str) -> Verdict {
        let file = self.disk.path("definition.xml");
        std::fs::write(&file, xml)?;
        self.virsh(&["define", &file.to_string_lossy()]).map(drop)
    }

    /// Starts a migration that goes on for as long as the link is slow, and comes back when both
    /// halves are there and memory is on its way.
    pub(crate) fn migrate_slowly(&self, domain: Domain, to: &Self) -> Result<Process, Failure> {
        let job = self.migrate(domain, to.id, &["--bandwidth", "1"])?;
        let moving = wait::until("the migration to be under way", PATIENCE, || {
            to.qemu(domain).is_some()
                && to.state(domain).as_deref() == Some("paused")
                && self
                    .virsh(&["domjobinfo", domain.uuid])
                    .is_ok_and(|info| is_moving(&info))
        });
        moving.map_err(|failure| failure.with(&job.tail()))?;
        Ok(job)
    }

    /// Starts a migration: live, from libvirtd to libvirtd, taking the definition along.
    pub(crate) fn migrate(
        &self,
        domain: Domain,
        to: HostId,
        options: &[&str],
    ) -> Result<Process, Failure> {
        let mut command = self.virsh_command(&[])?;
        command.args([
            "migrate",
            "--live",
            "--p2p",
            "--persistent",
            "--undefinesource",
        ]);
        command.args(options).arg(domain.uuid);
        command.arg(format!("qemu+tcp://{}/system", to.cluster_address()));
        Process::spawn(command, "migrate", &self.disk.path("log"))
    }

    /// Removes a domain, running or not, also in the middle of a migration. Nothing of it may be left.
    pub(crate) fn remove(&self, uuid: &str) -> Verdict {
        wait::until(
            &format!("the end of {uuid} on {}", self.id),
            PATIENCE,
            || {
                let _ = self.virsh(&["domjobabort", uuid]);
                let _ = self.virsh(&["destroy", uuid]);
                let _ = self.virsh(&["undefine", uuid]);
                let left = self.domains();
                left.is_ok_and(|left| !left.iter().any(|found| found == uuid))
            },
        )
    }
}

/// A migration's job has begun to copy memory: before, aborting it is another code path.
fn is_moving(info: &str) -> bool {
    info.lines()
        .find_map(|line| line.strip_prefix("Memory processed:"))
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|amount| amount.parse::<f32>().is_ok_and(|amount| amount > 0.0))
}
