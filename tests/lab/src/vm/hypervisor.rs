//! A private libvirtd with the qemu driver on a host of its own: network, processes, mounts and run
//! time files are apart from the machine's, and end with the value, or with the test that made it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::domain::DomainXml;
use crate::ensure;
use crate::failure::Failure;
use crate::net::{self, Namespace};
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// The first process of the host. It hides the machine's own libvirt and its cgroups (libvirt reads
/// /proc/mounts, where hidden ones still count), then runs what it is told. When there is no more to
/// read, because the test is over or has died, it ends, and the kernel ends all that runs here. It
/// is bash, which reaps orphans: a dead qemu that nobody reaps looks alive to libvirt.
const INIT: &str = r#"
set -e
while read -r _ place _; do
    case $place in /sys | /sys/*) umount -l "$place" 2>/dev/null || true ;; esac
done </proc/mounts
mount -t sysfs sysfs /sys
for place in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    if [ -d "$place" ]; then mount -t tmpfs tmpfs "$place"; fi
done
cp "$1"/qemu.conf "$1"/libvirtd.conf /etc/libvirt/
set +e
while read -r line; do eval "$line"; done
"#;

/// Everything runs as root and unconfined; there is no other process to hand output to.
const QEMU_CONF: &str = "security_driver = \"none\"\n\
    user = \"root\"\n\
    group = \"root\"\n\
    dynamic_ownership = 0\n\
    remember_owner = 0\n\
    namespaces = []\n\
    cgroup_controllers = []\n\
    stdio_handler = \"file\"\n";

/// Emulated machines on a loaded computer may be slow to start.
const START: Duration = Duration::from_secs(60);

/// A host: libvirtd, a bridge (`net::BRIDGE` with `net::host_address`), and what runs there.
#[derive(Debug)]
pub struct Hypervisor {
    /// The host's network.
    pub namespace: Namespace,
    directory: PathBuf,
    orders: ChildStdin,
    init: Process,
    life: ProcessId,
}

impl Hypervisor {
    /// Starts one whose files live in `directory` and waits until it answers.
    ///
    /// # Errors
    /// libvirtd is not installed or does not come up.
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let id = net::unique();
        let namespace = Namespace::new(&format!("{id}-hv"))?;
        net::add_bridge(&namespace)?;
        fs::write(directory.join("qemu.conf"), QEMU_CONF)?;
        fs::write(directory.join("libvirtd.conf"), configuration(directory)?)?;
        let mut command = namespace.command("unshare");
        command.args(["-m", "-u", "-i", "-p", "--fork", "--kill-child=KILL"]);
        command.args(["--mount-proc", "--propagation", "private"]);
        command.args(["bash", "-c", INIT, "init"]).arg(directory);
        command.stdin(Stdio::piped());
        let mut init = Process::spawn(command, "hypervisor", directory)?;
        let orders = init.stdin();
        let gone = || Failure::new("the host's init ended").with(&init.tail());
        let made = Self {
            orders: orders.ok_or_else(gone)?,
            life: ProcessId::of(init.pid().as_raw()).ok_or_else(gone)?,
            namespace,
            directory: directory.to_owned(),
            init,
        };
        made.start_libvirtd()?;
        Ok(made)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("libvirt-sock")
    }

    /// The URI for a daemon's configuration.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// Starts libvirtd, after [`Self::kill_libvirtd`], and waits until it answers. Domains that run
    /// are found again.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_libvirtd(&self) -> Result<(), Failure> {
        let log = self.directory.join("libvirtd.log");
        self.order(&format!("setsid libvirtd -t 0 >>{} 2>&1 &", log.display()))?;
        let ready = wait::until("libvirtd to answer", 3 * PATIENCE, || {
            self.life.is_gone() || self.virsh(&["list"]).is_ok()
        });
        let ready = ready.and_then(|()| {
            ensure!(!self.life.is_gone(), "the host's init ended");
            Ok(())
        });
        ready.map_err(|failure| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            failure.with(&log).with(&self.init.tail())
        })
    }

    /// Kills libvirtd; the domains run on.
    ///
    /// # Errors
    /// It is not there or does not die.
    pub fn kill_libvirtd(&self) -> Result<(), Failure> {
        let pid = self
            .find(|words| words.first().is_some_and(|word| word == "libvirtd"))
            .ok_or_else(|| Failure::new("libvirtd does not run"))?;
        pid.signal(Signal::SIGKILL)?;
        wait::until("libvirtd's end", PATIENCE, || pid.is_gone())?;
        // A socket that nobody listens on; what takes its place is a new one.
        let _ = fs::remove_file(self.socket());
        Ok(())
    }

    /// Tells the host's init to do something.
    fn order(&self, line: &str) -> Result<(), Failure> {
        let mut orders = &self.orders;
        Ok(orders.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Runs virsh.
    ///
    /// # Errors
    /// What it said.
    pub fn virsh(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new("timeout");
        command.arg(START.as_secs().to_string());
        command.args(["virsh", "-q", "-c", &self.uri()]);
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

    /// Defines a domain.
    ///
    /// # Errors
    /// What virsh said.
    pub fn define(&self, domain: &DomainXml) -> Result<(), Failure> {
        let file = self.directory.join(format!("{}.xml", domain.name));
        fs::write(&file, domain.xml()?)?;
        self.virsh(&["define", &file.to_string_lossy()]).map(drop)
    }

    /// A domain's state in libvirt's words.
    ///
    /// # Errors
    /// What virsh said.
    pub fn state(&self, domain: &str) -> Result<String, Failure> {
        let said = self.virsh(&["domstate", domain])?;
        Ok(said.trim().to_owned())
    }

    /// The process that a domain runs in, found without libvirt: in the host's network, by its
    /// command line.
    #[must_use]
    pub fn qemu(&self, domain: &str) -> Option<ProcessId> {
        let name = format!("guest={domain},");
        self.find(|words| words.iter().any(|word| word.starts_with(&name)))
    }

    /// Whether somebody is connected to a socket that one of the host's processes listens on.
    #[must_use]
    pub fn is_connected(&self, socket: &Path) -> bool {
        const CONNECTED: &str = "03";
        let path = socket.to_string_lossy();
        let table = fs::read_to_string(format!("/proc/{}/net/unix", self.init.pid()));
        table.unwrap_or_default().lines().any(|line| {
            let mut words = line.split_whitespace();
            words.nth(5) == Some(CONNECTED) && words.nth(1) == Some(&path)
        })
    }

    fn find(&self, is_it: impl Fn(&[String]) -> bool) -> Option<ProcessId> {
        let pids = Command::new("ip")
            .args(["netns", "pids", self.namespace.name()])
            .output()
            .ok()?;
        String::from_utf8_lossy(&pids.stdout)
            .split_whitespace()
            .filter_map(|pid| ProcessId::of(pid.parse().ok()?))
            .find(|found| is_it(&found.command_line()))
    }
}

fn configuration(directory: &Path) -> Result<String, Failure> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(format!(
        "unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
         log_outputs = \"3:stderr\"\nhost_uuid = \"{}\"\n",
        directory.display(),
        uuid.trim()
    ))
}

/// A process on the host: QEMU's, mostly. A number that the kernel gave away again is not it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    pid: i32,
    /// When it was started, in the kernel's ticks.
    started: u64,
}

impl ProcessId {
    fn of(pid: i32) -> Option<Self> {
        let started = started(pid)?;
        Some(Self { pid, started })
    }

    fn command_line(self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    /// Its process id, as the test sees it.
    #[must_use]
    pub const fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it has ended. One that only waits to be reaped has.
    #[must_use]
    pub fn is_gone(self) -> bool {
        started(self.pid) != Some(self.started)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(self, signal: Signal) -> Result<(), Failure> {
        if self.is_gone() {
            return Err(Failure::new(format!("process {} is gone", self.pid)));
        }
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }
}

/// When a process was started; none if it is dead (proc(5): fields 3 and 22 of stat).
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
