//! The host and the four guests that most scenes are played by.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fence_lab::agent::Answer;
use fence_lab::vm::{Boot, Control, DomainXml, Hypervisor, Initramfs, Kernel, ProcessId};
use fence_lab::{Failure, Programs, Side, Verdict, ensure, forge, net, wait};
use fence_proto::Family;

use crate::way::Way;

/// How long an emulated guest may need to come up on a busy machine. It takes three seconds.
pub(crate) const BOOT: Duration = Duration::from_secs(120);

/// How long a command in a guest may take. Agents are told to take 20 s at most.
pub(crate) const COMMAND: Duration = Duration::from_secs(40);

/// The key's place in the guests, which is where agents look by themselves.
const KEY: &str = "/etc/cluster/fence_xvm.key";

/// Libraries that the C programs open at run time for their hashes.
pub(crate) const C_HASHES: [&str; 3] = ["libsoftokn3.so", "libfreebl3.so", "libfreeblpriv3.so"];

/// What every guest does once: its cards get their addresses. 10.0.2.15 is what QEMU's user network
/// expects of the card that the vmchannel is on.
const SCRIPT: &str = r#"
card=$(nic "$LAB_BRIDGE_MAC")
echo 0 >"/proc/sys/net/ipv6/conf/$card/accept_dad" # addresses are there at once
ip link set "$card" up
ip addr add "$LAB_IP4/24" dev "$card"
ip addr add "$LAB_IP6/64" dev "$card"
ip route add default dev "$card"
card=$(nic "$LAB_CHANNEL_MAC")
# QEMU would give it an IPv6 address, from which nobody can be called back.
echo 1 >"/proc/sys/net/ipv6/conf/$card/disable_ipv6"
ip link set "$card" up
ip addr add 10.0.2.15/24 dev "$card"
stty -F /dev/ttyS1 115200 raw -echo
"#;

/// Who takes part, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    /// Whose daemons.
    pub(crate) hosts: Vec<Side>,
    /// Whose agents.
    pub(crate) agents: Vec<Side>,
    /// Only the cases that say most.
    pub(crate) is_quick: bool,
}

/// A host with libvirt and four guests that run.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Who takes part.
    pub(crate) cast: Cast,
    /// Where the programs are.
    pub(crate) programs: Programs,
    /// The host.
    pub(crate) host: Hypervisor,
    /// Where everything of this stage is.
    pub(crate) directory: PathBuf,
    /// The guests: the one that asks, the one it may fence, and two that it may not.
    pub(crate) guests: [Vm; 4],
}

impl Stage {
    /// Makes the host, starts the guests and waits until they are up.
    pub(crate) fn build(directory: &Path, cast: Cast) -> Result<Self, Failure> {
        for place in ["", "serial", "vmchannel", "control"] {
            fs::create_dir_all(directory.join(place))?;
        }
        let programs = Programs::locate(directory, &cast.hosts, &cast.agents)?;
        let key = fs::read(forge::write_key(&directory.join("key"))?)?;
        let boot = image(&programs, &key, &directory.join("guest.cpio"))?;
        let host = Hypervisor::start(directory)?;
        let guests = ["a", "b", "c", "d"].map(|name| Vm::new(name, directory));
        for guest in &guests {
            host.define(&guest.xml(&boot))?;
            host.virsh(&["start", guest.name])?;
        }
        let stage = Self {
            cast,
            programs,
            host,
            directory: directory.to_owned(),
            guests,
        };
        for guest in &stage.guests {
            guest.run(":")?;
        }
        Ok(stage)
    }

    /// The guest that asks.
    pub(crate) const fn a(&self) -> &Vm {
        let [a, ..] = &self.guests;
        a
    }

    /// The guest that a may fence, and that may fence a.
    pub(crate) const fn b(&self) -> &Vm {
        let [_, b, ..] = &self.guests;
        b
    }

    /// The guest that a may not fence.
    pub(crate) const fn c(&self) -> &Vm {
        let [_, _, c, _] = &self.guests;
        c
    }

    /// Another one that a may not fence; c may.
    pub(crate) const fn d(&self) -> &Vm {
        let [.., d] = &self.guests;
        d
    }

    /// Runs an agent in a guest.
    pub(crate) fn ask(&self, from: &Vm, ask: Ask<'_>) -> Result<Answer, Failure> {
        let target = if ask.target.is_empty() {
            String::new()
        } else {
            format!("-n {}", ask.target)
        };
        from.run(&format!(
            "{} -t 20 -o {} {target}",
            ask.way.agent(ask.agent),
            ask.action
        ))
    }

    /// Runs an agent in a guest and demands an exit code and an output.
    pub(crate) fn expect(
        &self,
        from: &Vm,
        ask: Ask<'_>,
        (code, says): (i32, &str),
    ) -> Result<Duration, Failure> {
        let answer = self.ask(from, ask)?;
        ensure!(
            answer.code == code && answer.stdout.contains(says),
            "{} {} of {:?}: exit code {code} and {says:?} expected, but: {}",
            ask.way.name(),
            ask.action,
            ask.target,
            answer.describe()
        );
        Ok(answer.elapsed)
    }

    /// What there is to lose of a running guest.
    pub(crate) fn life(&self, guest: &Vm) -> Result<Life, Failure> {
        Ok(Life {
            qemu: self.qemu(guest)?,
            boot: guest.boot()?,
        })
    }

    /// The process of a guest that runs.
    pub(crate) fn qemu(&self, guest: &Vm) -> Result<ProcessId, Failure> {
        let qemu = self.host.qemu(guest.name);
        qemu.ok_or_else(|| Failure::new(format!("guest {} does not run", guest.name)))
    }

    /// A guest must have lost the process that it had, at this very moment.
    pub(crate) fn is_gone(&self, guest: &Vm, qemu: ProcessId) -> Verdict {
        if qemu.is_gone() {
            guest.hang_up();
            return Ok(());
        }
        let state = self.host.state(guest.name);
        let state = state.unwrap_or_else(|failure| failure.text().to_owned());
        Err(Failure::new(format!(
            "success was answered, but process {} of guest {} still runs; libvirt says: {state}",
            qemu.pid(),
            guest.name
        )))
    }

    /// A guest must live on: the same process, the same boot.
    pub(crate) fn lives(&self, guest: &Vm, life: &Life) -> Verdict {
        let now = self.life(guest)?;
        ensure!(
            now == *life,
            "guest {} did not live on: {life:?}, {now:?}",
            guest.name
        );
        Ok(())
    }

    /// Waits until a guest that was fenced has come up again: another process, and the guest itself
    /// says that it is another boot. Says how long that took.
    pub(crate) fn comes_back(&self, guest: &Vm, old: &Life) -> Result<Duration, Failure> {
        let start = Instant::now();
        let what = format!("a new process of guest {}", guest.name);
        let qemu = wait::value(&what, wait::PATIENCE, || self.host.qemu(guest.name))?;
        ensure!(
            qemu != old.qemu,
            "guest {} still has its process",
            guest.name
        );
        guest.hang_up();
        let boot = guest.boot()?;
        ensure!(
            boot != old.boot,
            "guest {} says that it never went down",
            guest.name
        );
        let console = fs::read_to_string(&guest.console)?;
        ensure!(
            console.contains(&format!("lab: up, boot {boot}")),
            "the console of guest {} does not show the boot: {console}",
            guest.name
        );
        Ok(start.elapsed())
    }

    /// Makes sure that a guest runs and is up, after a case that may have left it in any state.
    pub(crate) fn restore(&self, guest: &Vm) -> Verdict {
        let state = self.host.state(guest.name)?;
        if state != "running" || guest.run(":").is_err() {
            guest.hang_up();
            if state != "shut off" {
                self.host.virsh(&["destroy", guest.name])?;
            }
            self.host.virsh(&["start", guest.name])?;
            guest.run(":")?;
        }
        Ok(())
    }
}

/// What an agent is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// How it reaches the host.
    pub(crate) way: Way,
    /// Whose agent.
    pub(crate) agent: Side,
    /// The action.
    pub(crate) action: &'a str,
    /// The domain; empty for none.
    pub(crate) target: &'a str,
}

/// A guest's life from one boot to the end of its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// The process on the host.
    pub(crate) qemu: ProcessId,
    /// The guest kernel's own name for it.
    pub(crate) boot: String,
}

/// One of the guests.
#[derive(Debug)]
pub(crate) struct Vm {
    /// libvirt's name.
    pub(crate) name: &'static str,
    /// libvirt's UUID.
    pub(crate) uuid: String,
    /// Where its first serial port ends.
    pub(crate) console: PathBuf,
    /// Where its second serial port ends.
    pub(crate) serial: PathBuf,
    /// Where its vmchannel ends.
    pub(crate) vmchannel: PathBuf,
    control_socket: PathBuf,
    control: Mutex<Option<Control>>,
}

impl Vm {
    fn new(name: &'static str, directory: &Path) -> Self {
        Self {
            name,
            uuid: format!("6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9d{}", name.repeat(2)),
            console: directory.join(format!("{name}.console")),
            serial: directory.join(format!("serial/{name}")),
            vmchannel: directory.join(format!("vmchannel/{name}")),
            control_socket: directory.join(format!("control/{name}")),
            control: Mutex::new(None),
        }
    }

    /// Its address on the bridge.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        let letter = self.name.bytes().next().unwrap_or_default();
        net::address(family, letter - b'a' + 11)
    }

    fn xml(&self, boot: &Boot) -> DomainXml {
        let mut domain = DomainXml::new(self.name, &self.uuid, boot);
        let [bridge, channel] = ["00", "01"].map(|bus| {
            let letter = self.name.bytes().next().unwrap_or_default();
            format!("52:54:00:00:{bus}:{letter:02x}")
        });
        domain.parameter(&format!("LAB_BRIDGE_MAC={bridge}"));
        domain.parameter(&format!("LAB_CHANNEL_MAC={channel}"));
        domain.parameter(&format!("LAB_IP4={}", self.address(Family::Ipv4)));
        domain.parameter(&format!("LAB_IP6={}", self.address(Family::Ipv6)));
        domain.on_crash = "preserve";
        domain.pvpanic();
        domain.console(&self.console);
        domain.serial(&self.serial);
        domain.control(&self.control_socket);
        domain.bridge(net::BRIDGE, &bridge);
        domain.vmchannel(&self.vmchannel, &channel);
        domain
    }

    /// Runs a command in the guest, once it is up.
    pub(crate) fn run(&self, command: &str) -> Result<Answer, Failure> {
        self.with_control(|control| control.run(command, COMMAND))
    }

    /// Has a command begun in the guest; nobody waits for its end.
    pub(crate) fn begin(&self, command: &str) -> Verdict {
        self.with_control(|control| control.start(command))
    }

    /// Whether the guest answers within a time. The connection is given up if it does not.
    pub(crate) fn answers(&self, limit: Duration) -> bool {
        self.with_control(|control| control.run(":", limit)).is_ok()
    }

    /// Forgets a connection that ended, or will.
    pub(crate) fn hang_up(&self) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn boot(&self) -> Result<String, Failure> {
        let answer = self.run("cat /proc/sys/kernel/random/boot_id")?;
        Ok(answer.stdout.trim().to_owned())
    }

    fn with_control<T>(
        &self,
        work: impl FnOnce(&mut Control) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut held = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut control = match held.take() {
            Some(control) => control,
            None => Control::connect(&self.control_socket, BOOT)
                .map_err(|failure| failure.at(format!("guest {}", self.name)))?,
        };
        let done =
            work(&mut control).map_err(|failure| failure.at(format!("guest {}", self.name)))?;
        *held = Some(control);
        Ok(done)
    }
}

/// The guests' initramfs: both agents and the key.
fn image(programs: &Programs, key: &[u8], path: &Path) -> Result<Boot, Failure> {
    const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtio_net", "pvpanic_mmio"];
    let kernel = Kernel::locate()?;
    let mut image = Initramfs::new()?;
    image.modules(&kernel, &MODULES)?;
    add_agents(&mut image, programs, key)?;
    // Real time priority is what a guest hangs by.
    image.program(Path::new("/usr/bin/chrt"), "/usr/bin/chrt")?;
    image.script(SCRIPT);
    Ok(Boot::new(&kernel, &image.write(path)?))
}

/// The agents of both sides, in directories named after the side, and the key.
pub(crate) fn add_agents(
    image: &mut Initramfs,
    programs: &Programs,
    key: &[u8],
) -> Result<(), Failure> {
    image.program(programs.xvm(Side::Ours), "/opt/ours/fence_xvm")?;
    image.link("/opt/ours/fence_virt", "fence_xvm");
    image.program(programs.xvm(Side::C), "/opt/c/fence_xvm")?;
    image.program(programs.virt(Side::C), "/opt/c/fence_virt")?;
    for library in C_HASHES {
        image.library(library)?;
    }
    image.file(KEY, 0o600, key)
}
