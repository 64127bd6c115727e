//! A private libvirtd with the test driver, whose state outlives the daemon's connections, that can
//! be stopped, killed and started again, and that tells what was really done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::domains;
use crate::failure::Failure;
use crate::net::{Namespace, unique};
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// What hides the machine's own libvirt: its run-time files, its networks, its domains.
const HIDE: &str = "for d in /run /var/lib/libvirt /var/cache/libvirt /etc/libvirt/qemu; do \
     if [ -d $d ]; then mount -t tmpfs tmpfs $d || exit 1; fi; done; exec libvirtd \"$@\"";

/// A running private libvirtd.
#[derive(Debug)]
pub struct Libvirtd {
    /// The process, to stop and to kill.
    pub process: Process,
    directory: PathBuf,
    watcher: Option<Process>,
    namespace: Namespace,
}

impl Libvirtd {
    /// Starts one whose files live in `directory` and waits until it answers.
    ///
    /// # Errors
    /// libvirtd is not installed or does not come up.
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let namespace = Namespace::new(&format!("{}-lv", unique()))?;
        let process = spawn(&namespace, directory)?;
        let mut made = Self {
            process,
            directory: directory.to_owned(),
            watcher: None,
            namespace,
        };
        made.settle()?;
        Ok(made)
    }

    /// Kills it and starts another one in its place. The test driver's state starts anew.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill()?;
        self.process = spawn(&self.namespace, &self.directory)?;
        self.settle()
    }

    /// Kills it, unless it is dead already.
    ///
    /// # Errors
    /// It does not die.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.watcher = None;
        if self.process.is_running() {
            self.process.signal(nix::sys::signal::Signal::SIGKILL)?;
            self.process.wait(PATIENCE)?;
        }
        let _ = fs::remove_file(socket(&self.directory));
        Ok(())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// The URI for a daemon's configuration.
    #[must_use]
    pub fn uri(&self) -> String {
        format!(
            "test+unix:///default?socket={}",
            socket(&self.directory).display()
        )
    }

    /// Defines and starts a domain more.
    ///
    /// # Errors
    /// What virsh said.
    pub fn add_domain(&self, name: &str, uuid: &str) -> Result<(), Failure> {
        let file = self.directory.join(format!("{name}.xml"));
        fs::write(&file, domains::definition(name, uuid, "")?)?;
        self.virsh(&["define", &file.to_string_lossy()])?;
        self.virsh(&["start", name])?;
        Ok(())
    }

    /// Whether a domain runs, asked of libvirt itself.
    ///
    /// # Errors
    /// What virsh said.
    pub fn is_running(&self, domain: &str) -> Result<bool, Failure> {
        Ok(self.virsh(&["domstate", domain])?.trim() == "running")
    }

    /// How often libvirt destroyed a domain since this libvirtd came up.
    ///
    /// # Errors
    /// The watcher is gone.
    pub fn destroyed(&self, domain: &str) -> Result<usize, Failure> {
        self.events(&format!("for domain '{domain}': Stopped Destroyed"))
    }

    /// How often libvirt started a domain since this libvirtd came up.
    ///
    /// # Errors
    /// The watcher is gone.
    pub fn started(&self, domain: &str) -> Result<usize, Failure> {
        self.events(&format!("for domain '{domain}': Started"))
    }

    fn events(&self, what: &str) -> Result<usize, Failure> {
        let watcher = self.watcher.as_ref();
        let watcher = watcher.ok_or_else(|| Failure::new("nobody watches libvirt's events"))?;
        Ok(watcher.stdout().matches(what).count())
    }

    /// Runs virsh.
    ///
    /// # Errors
    /// What it said.
    pub fn virsh(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new("timeout");
        command.args(["10", "virsh", "-q", "-c", &self.uri()]);
        let output = command.args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!(
            "virsh {}: {said}",
            arguments.join(" ")
        )))
    }

    /// Waits until it answers, then watches its events. The watcher's connection also keeps the
    /// state of `test:///default` alive, which would end with the last connection.
    fn settle(&mut self) -> Result<(), Failure> {
        let ready = wait::until("libvirtd to answer", 2 * PATIENCE, || {
            !self.process.is_running() || self.virsh(&["domstate", "test"]).is_ok()
        });
        ready.map_err(|failure| failure.with(&self.process.tail()))?;
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "virsh", "-q", "-c", &self.uri()]);
        command.args(["event", "--event", "lifecycle", "--loop"]);
        command.stdin(std::process::Stdio::null());
        let watcher = Process::spawn(command, "events", &self.directory)?;
        self.watcher = Some(watcher);
        self.prove_watcher()
    }

    /// The watcher has no way to say that it is ready, but the first event that it shows does. The
    /// events are those of a domain of its own: a daemon may be at work on the others already.
    fn prove_watcher(&self) -> Result<(), Failure> {
        const CANARY: &str = "canary";
        const UUID: &str = "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9bff";
        let file = self.directory.join("canary.xml");
        fs::write(&file, domains::definition(CANARY, UUID, "")?)?;
        let seen = format!("for domain '{CANARY}': Defined");
        let proven = wait::until("libvirt's first event", PATIENCE, || {
            let _ = self.virsh(&["define", &file.to_string_lossy()]);
            std::thread::sleep(Duration::from_millis(20));
            matches!(self.events(&seen), Ok(1..))
        });
        let _ = self.virsh(&["undefine", CANARY]);
        proven
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("libvirt-sock")
}

fn spawn(namespace: &Namespace, directory: &Path) -> Result<Process, Failure> {
    let file = directory.join("libvirtd.conf");
    fs::write(
        &file,
        format!(
            "unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
             log_outputs = \"3:stderr\"\n",
            directory.display()
        ),
    )?;
    let mut command = namespace.command("unshare");
    command.args([
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        HIDE,
        "libvirtd",
    ]);
    command.arg("-f").arg(&file);
    command.arg("-p").arg(directory.join("libvirtd.pid"));
    command.args(["-t", "0"]);
    Process::spawn(command, "libvirtd", directory)
}
