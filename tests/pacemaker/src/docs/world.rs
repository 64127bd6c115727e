//! Where a page's commands run: a host with libvirt, and three guests of it that are a pacemaker cluster.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fence_lab::agent::{Answer, Running};
use fence_lab::machine::{Machine, Maker};
use fence_lab::net::{self, Namespace};
use fence_lab::{Failure, Programs, Side, Verdict, ensure, forge, wait};

use super::page::Place;
use crate::names::NodeId;
use crate::node::{self, Node};
use crate::power::{Nodes, Power};
use crate::{cables, files};

/// How long a block may take. In the repository something may have to be built.
const BLOCK: Duration = Duration::from_secs(180);
const BUILD: Duration = Duration::from_secs(900);

/// How long a cluster takes to form, at most.
const FORMS: Duration = Duration::from_secs(90);

const UNIT: &str = "systemd/fence_virtd.service";
const KEYS: &str = "etc/cluster";

/// A machine that is not there: only libvirt's part of it is looked at, so a BIOS that finds no disk does.
const DOMAIN: &str = "<domain type='qemu'><name>NAME</name><uuid>UUID</uuid><memory unit='MiB'>32</memory>\
    <vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
    <memballoon model='none'/></devices></domain>";

const QEMU_CONF: &str = "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\n\
    dynamic_ownership = 0\nremember_owner = 0\nnamespaces = []\ncgroup_controllers = []\n\
    stdio_handler = \"file\"\n";

/// The world of one page.
pub(super) struct World {
    repository: PathBuf,
    /// The current directory on the host: as the repository after a build.
    checkout: PathBuf,
    disk: PathBuf,
    directory: PathBuf,
    // In this order: the watcher ends before the nodes, the machines before their networks.
    power: Option<Power>,
    nodes: Option<Nodes>,
    host: Machine,
    dom0: Namespace,
    networks: Vec<Namespace>,
    prefix: String,
    maker: Maker,
    programs: Programs,
}

impl World {
    /// A host with libvirt and three domains. `is_bare`: nothing of ours is on it yet; else it is as the
    /// README leaves it.
    pub(super) fn new(directory: &Path, repository: &Path, is_bare: bool) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
        let prefix = net::unique();
        let dom0 = Namespace::new(&format!("{prefix}-dom0"))?;
        cables::add_bridge(&dom0)?;
        let maker = Maker::new(directory)?;
        let disk = directory.join("host");
        write_disk(&disk)?;
        let mut world = Self {
            repository: repository.to_owned(),
            checkout: directory.join("checkout"),
            directory: directory.to_owned(),
            power: None,
            nodes: None,
            host: Machine::new("host", &disk, dom0.name(), &maker),
            disk,
            dom0,
            networks: Vec::new(),
            prefix,
            maker,
            programs,
        };
        world.check_out()?;
        world.host.power_on()?;
        world.start_domains()?;
        if is_bare {
            // The original's, which the tests' machine has.
            world.on_host(
                "rm -f /usr/sbin/fence_* /etc/fence_virt.conf /usr/lib/systemd/system/fence_*",
            )?;
        } else {
            let (virtd, xvm) = (
                world.programs.virtd(Side::Ours),
                world.programs.xvm(Side::Ours),
            );
            world.on_host(&format!(
                "install {} {} /usr/sbin/ && install -m 0644 {UNIT} /etc/systemd/system/ && \
                 install -m 0600 etc/fence_virt.conf /etc/ && \
                 (umask 077 && head -c 4096 /dev/urandom >/etc/cluster/fence_xvm.key) && \
                 systemctl start fence_virtd",
                virtd.display(),
                xvm.display()
            ))?;
        }
        Ok(world)
    }

    /// The repository as it is after `make release` and `make static-agent`.
    fn check_out(&self) -> Verdict {
        for entry in fs::read_dir(&self.repository)?.flatten() {
            if entry.file_name() != "target" {
                fs::create_dir_all(&self.checkout)?;
                symlink(entry.path(), self.checkout.join(entry.file_name()))?;
            }
        }
        let (release, agent) = ("target/release", "target/static");
        for (program, place) in [
            (self.programs.virtd(Side::Ours), release),
            (self.programs.xvm(Side::Ours), release),
            (self.programs.xvm(Side::Ours), agent),
        ] {
            let place = self.checkout.join(place);
            fs::create_dir_all(&place)?;
            if let Some(name) = program.file_name() {
                fs::copy(program, place.join(name))?;
            }
        }
        Ok(())
    }

    fn on_host(&self, script: &str) -> Result<Answer, Failure> {
        let answer = self.run(Place::Host, script)?;
        ensure!(answer.code == 0, "{script}: {}", answer.describe());
        Ok(answer)
    }

    fn start_domains(&self) -> Verdict {
        let log = self.disk.join("log/libvirtd.log");
        self.host.start(&log, &["libvirtd", "-t", "0"])?;
        wait::until("libvirtd to answer", wait::PATIENCE * 3, || {
            let said = self.run(Place::Host, "virsh list");
            said.is_ok_and(|answer| answer.code == 0)
        })?;
        for id in NodeId::ALL {
            let xml = DOMAIN
                .replace("NAME", id.domain())
                .replace("UUID", &id.uuid());
            fs::write(self.disk.join("log/domain.xml"), xml)?;
            let file = self.disk.join("log/domain.xml");
            self.on_host(&format!(
                "virsh define {} && virsh start {}",
                file.display(),
                id.domain()
            ))?;
        }
        Ok(())
    }

    /// Starts the guests and waits until they are a cluster. From then on libvirt's domains are their power.
    fn start_nodes(&mut self) -> Verdict {
        let key = forge::write_key(&self.directory.join("no-key-yet"))?;
        let cib = files::cib(&[]);
        let mut make = |id: NodeId| {
            let network = cables::plug_in(&self.dom0, &self.prefix, id)?;
            self.dom0.ip(&format!("link set {id} up\n"))?;
            let place = node::Place {
                directory: &self.directory,
                namespace: network.name(),
                maker: &self.maker,
                key: &key,
                agent: self.programs.xvm(Side::Ours),
                cib: &cib,
            };
            let mut node = Node::new(id, &place)?;
            fs::remove_file(node.path("etc/cluster/fence_xvm.key"))?;
            fs::copy(self.programs.xvm(Side::Ours), node.path("log/fence_xvm"))?;
            node.boot()?;
            self.networks.push(network);
            Ok::<_, Failure>(node)
        };
        let nodes = Nodes::new([
            make(NodeId::First)?,
            make(NodeId::Second)?,
            make(NodeId::Third)?,
        ]);
        for id in NodeId::ALL {
            wait::until(&format!("{id} to see three nodes"), FORMS, || {
                nodes
                    .node(id)
                    .view()
                    .is_ok_and(|view| view.online.len() == 3)
            })
            .map_err(|failure| failure.with(&nodes.node(id).tail()))?;
        }
        let socket = format!("/proc/{}/root/run/libvirt/libvirt-sock", self.host.init()?);
        let uri = format!("qemu+unix:///system?socket={socket}");
        self.power = Some(Power::watch(
            &uri,
            &self.directory,
            &self.dom0,
            nodes.clone(),
        )?);
        self.nodes = Some(nodes);
        Ok(())
    }

    /// What the pages tell in words: the host's keys go to the guests.
    fn carry_keys(&self) -> Verdict {
        let Some(nodes) = &self.nodes else {
            return Ok(());
        };
        for entry in fs::read_dir(self.disk.join(KEYS))?.flatten() {
            for id in NodeId::ALL {
                let copy = nodes.node(id).path(KEYS).join(entry.file_name());
                fs::copy(entry.path(), &copy)?;
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
            }
        }
        Ok(())
    }

    /// Puts a configuration file where the host's commands find it.
    pub(super) fn write_example(&self, text: &str) -> Verdict {
        Ok(fs::write(
            self.checkout.join("fence_virt.conf.example"),
            text,
        )?)
    }

    /// Runs the commands of a block.
    pub(super) fn play(&mut self, place: Place, script: &str) -> Verdict {
        if place == Place::Node {
            if self.nodes.is_none() {
                self.start_nodes()?;
            }
            self.carry_keys()?;
        }
        let answer = self.run(place, script)?;
        if answer.code == 0 {
            return self.power.as_ref().map_or(Ok(()), Power::check);
        }
        let said = format!(
            "exit code {}\n{}{}",
            answer.code, answer.stdout, answer.stderr
        );
        let log = fs::read_to_string(self.disk.join("log/fence_virtd.log"));
        Err(Failure::new(said).with(&log.unwrap_or_default()))
    }

    fn run(&self, place: Place, script: &str) -> Result<Answer, Failure> {
        let stand_ins = self.repository.join("tests/pacemaker/stand-ins");
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let (mut command, directory, path) = match (place, &self.nodes) {
            (Place::Node, Some(nodes)) => {
                let node = nodes.node(NodeId::First);
                (node.enter()?, node.path("log"), path.to_owned())
            }
            (Place::Repository, _) => {
                let path = std::env::var("PATH").unwrap_or_default();
                (Command::new("env"), self.repository.clone(), path)
            }
            _ => {
                let path = format!("{}:{path}", stand_ins.display());
                (self.host.enter()?, self.checkout.clone(), path)
            }
        };
        command.args(["env", "-C"]).arg(directory);
        command.arg(format!("PATH={path}"));
        command.args(["bash", "-c", script]).stdin(Stdio::null());
        let limit = if place == Place::Repository {
            BUILD
        } else {
            BLOCK
        };
        Running::spawn(command, &self.directory)?.finish(limit)
    }
}

fn write_disk(disk: &Path) -> Verdict {
    for directory in ["etc/libvirt", KEYS, "log"] {
        fs::create_dir_all(disk.join(directory))?;
    }
    fs::write(disk.join("etc/hosts"), files::hosts())?;
    fs::write(disk.join("etc/machine-id"), format!("{:032x}\n", 9))?;
    fs::write(disk.join("etc/libvirt/qemu.conf"), QEMU_CONF)?;
    let libvirtd = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nlog_outputs = \"3:stderr\"\n\
                    host_uuid = \"6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9aff\"\n";
    Ok(fs::write(disk.join("etc/libvirt/libvirtd.conf"), libvirtd)?)
}
