//! A node: a network namespace on a common bridge, mounts of its own, and a corosync.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fence_lab::net::{Namespace, unique};
use fence_lab::process::Process;
use fence_lab::{Failure, Verdict, ensure, wait};
use nix::sys::signal::Signal;

/// How long corosync may take to form a membership on a busy machine.
pub(crate) const FORMS: Duration = Duration::from_secs(30);

/// What makes a node of namespaces, and keeps it.
const HOLD: &str = "mount -t tmpfs tmpfs /dev/shm\n\
    mount -t tmpfs tmpfs /run\n\
    mount --bind \"$1/etc\" /etc/corosync\n\
    mount --bind \"$1/lib\" /var/lib/corosync\n\
    touch \"$1/up\"\n\
    exec sleep infinity\n";

/// The nodes and the bridge between them.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) nodes: Vec<Node>,
    /// Dropped after the nodes.
    _bridge: Namespace,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Node {
    /// Corosync's number of it, from 1 on.
    pub(crate) id: usize,
    /// Where its files are.
    pub(crate) directory: PathBuf,
    namespace: Namespace,
    holder: Process,
    corosync: Option<Process>,
}

impl Ring {
    /// So many nodes, without corosync yet.
    pub(crate) fn new(count: usize, directory: &Path) -> Result<Self, Failure> {
        let name = unique();
        let bridge = Namespace::new(&format!("{name}-br"))?;
        bridge
            .ip("link add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up\n")?;
        let nodes = (1..=count).map(|id| {
            let namespace = Namespace::new(&format!("{name}-n{id}"))?;
            let outer = namespace.name().to_owned();
            bridge.ip(&format!(
                "link add n{id} type veth peer name eth0 netns {outer}\n\
                 link set n{id} master br0 up\n"
            ))?;
            namespace.ip(&format!(
                "link set eth0 up\naddr add 10.88.0.{id}/24 dev eth0\n"
            ))?;
            Node::new(id, namespace, directory.join(format!("n{id}")))
        });
        let nodes: Result<Vec<_>, Failure> = nodes.collect();
        let ring = Self {
            nodes: nodes?,
            _bridge: bridge,
        };
        for node in &ring.nodes {
            node.configure(count)?;
        }
        Ok(ring)
    }

    /// Starts corosync on all nodes and waits until they have quorum together.
    pub(crate) fn start(&mut self) -> Verdict {
        let all = self.nodes.len();
        for node in &mut self.nodes {
            node.start_corosync()?;
        }
        for node in &self.nodes {
            node.wait_for(all)?;
        }
        Ok(())
    }
}

impl Node {
    fn new(id: usize, namespace: Namespace, directory: PathBuf) -> Result<Self, Failure> {
        for part in ["etc", "lib"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let mut command = namespace.command("unshare");
        command.args(["-m", "-i", "--propagation", "private", "sh", "-ec", HOLD]);
        command.arg("sh").arg(&directory);
        let holder = Process::spawn(command, "holder", &directory)?;
        wait::until("the node's mounts", wait::PATIENCE, || {
            directory.join("up").exists()
        })
        .map_err(|failure| failure.with(&holder.tail()))?;
        Ok(Self {
            id,
            directory,
            namespace,
            holder,
            corosync: None,
        })
    }

    /// Its name in corosync: longer than what rust-corosync's `cmap::get` can read.
    pub(crate) fn name(id: usize) -> String {
        format!("a-rather-long-name-of-node-{id}.example")
    }

    /// Writes a configuration with so many nodes.
    pub(crate) fn configure(&self, nodes: usize) -> Verdict {
        let mut text = String::from(
            "totem {\n version: 2\n cluster_name: lab\n transport: udpu\n token: 1000\n \
             crypto_cipher: none\n crypto_hash: none\n}\n\
             quorum {\n provider: corosync_votequorum\n}\n\
             system {\n move_to_root_cgroup: no\n}\n\
             logging {\n to_stderr: yes\n to_logfile: no\n to_syslog: no\n}\nnodelist {\n",
        );
        for id in 1..=nodes {
            let name = Self::name(id);
            let _ = writeln!(
                text,
                " node {{\n  ring0_addr: 10.88.0.{id}\n  name: {name}\n  nodeid: {id}\n }}"
            );
        }
        text.push_str("}\n");
        fs::write(self.directory.join("etc/corosync.conf"), text)?;
        Ok(())
    }

    /// A command that will run on this node.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.pid().to_string();
        command.args(["-t", &holder, "-n", "-m", "-i", program]);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn start_corosync(&mut self) -> Verdict {
        let mut command = self.command("corosync");
        command.arg("-f");
        self.corosync = Some(Process::spawn(command, "corosync", &self.directory)?);
        Ok(())
    }

    /// Waits until corosync sees so many nodes, and has quorum.
    pub(crate) fn wait_for(&self, nodes: usize) -> Verdict {
        wait::until(&format!("{nodes} nodes with quorum"), FORMS, || {
            let said = self.command("corosync-quorumtool").arg("-s").output();
            let said = said.map(|output| output.stdout).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
            let number = |text: &str| text.trim().parse() == Ok(nodes);
            field("Quorate:").is_some_and(|it| it.trim() == "Yes")
                && field("Nodes:").is_some_and(number)
        })
        .map_err(|failure| match &self.corosync {
            Some(corosync) => failure.with(&corosync.tail()),
            None => failure,
        })
    }

    /// Has corosync read its configuration anew.
    pub(crate) fn reload(&self) -> Verdict {
        let output = self.command("corosync-cfgtool").arg("-R").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "corosync-cfgtool -R: {said}");
        Ok(())
    }

    /// Sends corosync a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Verdict {
        match &self.corosync {
            Some(corosync) => corosync.signal(signal),
            None => Err(Failure::new("corosync does not run")),
        }
    }

    /// Kills corosync, whatever it does.
    pub(crate) fn kill_corosync(&mut self) {
        self.corosync = None;
    }

    /// Cuts or mends its cable.
    pub(crate) fn plug(&self, plugged: bool) -> Verdict {
        let state = if plugged { "up" } else { "down" };
        self.namespace.ip(&format!("link set eth0 {state}\n"))
    }
}
