//! The same with real guests: three emulated machines with corosync and pacemaker inside, the daemon on
//! their host. Each boots a memory disk with everything on it, so that a fenced node comes back by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fence_lab::agent::Answer;
use fence_lab::config::{HostConfig, Transport};
use fence_lab::host::Launch;
use fence_lab::vm::{Boot, Control, DomainXml, Hypervisor, Initramfs, Kernel, ProcessId};
use fence_lab::{Failure, Host, Programs, Side, Verdict, ensure, forge, net, wait};
use fence_proto::Family;

use crate::files::{self, BY_MAP, SERVICE};
use crate::names::{HOST, NodeId};
use crate::view::View;

/// Emulated machines that all start at once on a busy computer.
const BOOT: Duration = Duration::from_secs(240);

/// A command in a guest.
const COMMAND: Duration = Duration::from_secs(60);

/// What a cluster of them may take for anything.
const PATIENCE: Duration = Duration::from_secs(240);

/// An emulated node is slow to answer the others.
const TOKEN_MS: u32 = 10_000;

const PROGRAMS: [&str; 8] = [
    "/usr/sbin/corosync",
    "/usr/sbin/corosync-cfgtool",
    "/usr/sbin/pacemakerd",
    "/usr/sbin/crm_mon",
    "/usr/sbin/crm_node",
    "/usr/sbin/crm_resource",
    "/usr/sbin/attrd_updater",
    "/usr/sbin/stonith_admin",
];

/// Directories whose files go along, without what is below.
const DIRECTORIES: [&str; 3] = [
    "/usr/lib/ocf/lib/heartbeat",
    "/usr/share/pacemaker",
    "/usr/lib/pacemaker",
];

/// What a node does when it boots, after which it obeys the lab. The cluster starts beside that.
const SCRIPT: &str = r#"
hostname "$LAB_NAME"
card=$(nic "$LAB_MAC")
ip link set "$card" up
ip addr add "$LAB_IP/24" dev "$card"
ip route add default dev "$card"
mkdir -p /dev/shm /run/crm /run/lock /var/lib/corosync /var/log/corosync /var/log/pacemaker
mount -t tmpfs tmpfs /dev/shm
ln -s /run /var/run
echo hacluster:x:189:189::/:/bin/false >>/etc/passwd
printf 'root:x:0:\nhaclient:x:189:\n' >/etc/group
for directory in cib cores pengine blackbox; do mkdir -p /var/lib/pacemaker/$directory; done
cp /etc/cluster/cib.xml /var/lib/pacemaker/cib/cib.xml
chmod 600 /var/lib/pacemaker/cib/cib.xml
chmod 770 /run/crm
chown -R 189:189 /var/lib/pacemaker /var/log/pacemaker /run/crm
{
    setsid corosync -f >/var/log/corosync.log 2>&1 &
    until corosync-cfgtool -s >/dev/null 2>&1; do sleep 0.2; done
    exec setsid env -i PATH=/usr/sbin:/usr/bin pacemakerd -f >/var/log/pacemakerd.log 2>&1
} &
"#;

/// The host and its guests.
#[derive(Debug)]
struct Guests {
    host: Hypervisor,
    _daemon: Host,
    directory: PathBuf,
}

/// A paused guest is fenced, its service goes on elsewhere, and it comes back into the cluster.
pub(crate) fn frozen(directory: &Path) -> Verdict {
    let guests = Guests::build(directory)?;
    guests.settle()?;
    let began = Instant::now();
    let view = guests.view(NodeId::First)?;
    let id = NodeId::ALL
        .into_iter()
        .find(|id| view.place(SERVICE) == Some(id.name()))
        .ok_or_else(|| Failure::new(format!("the service runs nowhere: {view:?}")))?;
    let old = guests.qemu(id)?;
    let watcher = id.others().next().unwrap_or(id);
    guests.host.virsh(&["suspend", id.domain()])?;
    wait::until("the service to run elsewhere", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        guests
            .view(watcher)
            .is_ok_and(|view| view.place(SERVICE).is_some_and(|place| place != id.name()))
    })
    .map_err(|failure| failure.with(&guests.tail(watcher)))?;
    ensure!(
        old.is_gone(),
        "the service was started elsewhere, and {id}'s machine is the one that was paused"
    );
    let view = guests.view(watcher)?;
    ensure!(
        view.count(id.name(), "success") == 1,
        "one fencing of {id} expected: {view:?}"
    );
    guests.settle()?;
    ensure!(
        guests.qemu(id)? != old && guests.host.state(id.domain())? == "running",
        "{id} did not come back as another machine"
    );
    ensure!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    Ok(())
}

impl Guests {
    fn build(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
        let key = forge::write_key(&directory.join("key"))?;
        let boot = image(&programs, &fs::read(&key)?, &directory.join("guest.cpio"))?;
        let host = Hypervisor::start(directory)?;
        let bridge = net::BRIDGE;
        host.namespace
            .ip(&format!("addr add {HOST}/24 dev {bridge}\n"))?;
        let mut config = HostConfig::new(Transport::Multicast, Family::Ipv4, 1229);
        config.key_file = key;
        config.uris = vec![host.uri()];
        let launch = Launch {
            programs: &programs,
            side: Side::Ours,
            namespace: &host.namespace,
            directory,
            name: "fence_virtd",
        };
        let daemon = launch.start_ready(config)?;
        let guests = Self {
            _daemon: daemon,
            host,
            directory: directory.to_owned(),
        };
        for id in NodeId::ALL {
            guests.host.define(&guests.domain(id, &boot))?;
            guests.host.virsh(&["start", id.domain()])?;
        }
        Ok(guests)
    }

    fn domain(&self, id: NodeId, boot: &Boot) -> DomainXml {
        let mac = format!("52:54:00:00:02:{:02x}", id.number());
        let mut domain = DomainXml::new(id.domain(), &id.uuid(), boot);
        domain.memory = 640;
        domain.parameter(&format!("LAB_NAME={id}"));
        domain.parameter(&format!("LAB_MAC={mac}"));
        domain.parameter(&format!("LAB_IP={}", id.address()));
        domain.console(&self.directory.join(format!("{id}.console")));
        domain.control(&self.directory.join(format!("{id}.control")));
        domain.bridge(net::BRIDGE, &mac);
        domain
    }

    fn qemu(&self, id: NodeId) -> Result<ProcessId, Failure> {
        let qemu = self.host.qemu(id.domain());
        qemu.ok_or_else(|| Failure::new(format!("{id} does not run")))
    }

    fn run(&self, id: NodeId, command: &str) -> Result<Answer, Failure> {
        let socket = self.directory.join(format!("{id}.control"));
        Control::connect(&socket, BOOT)?.run(command, COMMAND)
    }

    fn view(&self, id: NodeId) -> Result<View, Failure> {
        let answer = self.run(id, "crm_mon -1 -m2 --output-as=xml")?;
        View::parse(&answer.stdout).map_err(|failure| failure.at(answer.describe()))
    }

    /// Waits until every node sees all of them, and what shall run runs.
    fn settle(&self) -> Verdict {
        for id in NodeId::ALL {
            let what = format!("{id} to see three nodes, a fence device and the service");
            let settled = wait::until(&what, PATIENCE, || {
                std::thread::sleep(Duration::from_secs(1));
                self.view(id).is_ok_and(|view| {
                    view.online.len() == 3
                        && view.place(BY_MAP.name).is_some()
                        && view.place(SERVICE).is_some()
                })
            });
            settled.map_err(|failure| failure.with(&self.tail(id)))?;
        }
        Ok(())
    }

    fn tail(&self, id: NodeId) -> String {
        let words = "tail -n 12 /var/log/corosync.log /var/log/pacemakerd.log; \
                     grep -v pacemaker-based /var/log/pacemaker/pacemaker.log | tail -n 25";
        let said = self.run(id, words);
        said.map_or_else(|failure| failure.text().to_owned(), |said| said.stdout)
    }
}

fn image(programs: &Programs, key: &[u8], path: &Path) -> Result<Boot, Failure> {
    let kernel = Kernel::locate()?;
    let mut image = Initramfs::new()?;
    image.modules(&kernel, &["virtio_pci", "virtio_console", "virtio_net"])?;
    for program in PROGRAMS {
        image.program(Path::new(program), program)?;
    }
    for directory in DIRECTORIES {
        for entry in fs::read_dir(directory)?.flatten() {
            let path = entry.path();
            if path.is_file() {
                image.program(&path, &path.to_string_lossy())?;
            }
        }
    }
    let dummy = "/usr/lib/ocf/resource.d/pacemaker/Dummy";
    image.program(Path::new(dummy), dummy)?;
    image.link(
        "/usr/lib/ocf/resource.d/heartbeat/.ocf-shellfuncs",
        "../../lib/heartbeat/ocf-shellfuncs",
    );
    image.program(programs.xvm(Side::Ours), "/usr/sbin/fence_xvm")?;
    image.file("/etc/cluster/fence_xvm.key", 0o600, key)?;
    let cib = files::cib(&[BY_MAP]);
    image.file("/etc/cluster/cib.xml", 0o600, cib.as_bytes())?;
    let corosync = files::corosync(TOKEN_MS);
    image.file("/etc/corosync/corosync.conf", 0o644, corosync.as_bytes())?;
    image.file("/etc/hosts", 0o644, files::hosts().as_bytes())?;
    image.script(SCRIPT);
    Ok(Boot::new(&kernel, &image.write(path)?))
}
