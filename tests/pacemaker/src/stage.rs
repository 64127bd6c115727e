//! The host with libvirt and our daemon, and the cluster of its guests.

use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Duration;

use fence_lab::config::{GroupText, HostConfig, Transport};
use fence_lab::host::Launch;
use fence_lab::libvirtd::Libvirtd;
use fence_lab::machine::Maker;
use fence_lab::net::{self, Namespace};
use fence_lab::{Failure, Host, Programs, Side, Verdict, ensure, forge, wait};
use fence_proto::Family;
use nix::sys::signal::Signal;

use crate::cables;
use crate::calls::Call;
use crate::files;
use crate::names::{BRIDGE, NodeId};
use crate::node::{Node, Place};
use crate::power::{Nodes, Power};
use crate::view::View;

/// How long a cluster may take for what it does in some seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Domains that are no node: what a list is read for.
pub(crate) const SPARE: &str = "spare.one-2_b";
/// Its UUID.
pub(crate) const SPARE_UUID: &str = "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9d01";
/// Pacemaker would take it for two.
pub(crate) const BLANK: &str = "my vm";
/// Pacemaker would take it for a state.
pub(crate) const WORD: &str = "on";

/// Everything.
#[derive(Debug)]
pub(crate) struct Stage {
    programs: Programs,
    directory: PathBuf,
    key: PathBuf,
    daemon: Option<Host>,
    started: u32,
    // In this order: the watcher ends before the nodes, they before their networks.
    power: Power,
    nodes: Nodes,
    /// The hypervisor.
    pub(crate) libvirtd: Libvirtd,
    dom0: Namespace,
    _networks: Vec<Namespace>,
}

impl Stage {
    /// Builds everything, and waits for a cluster that can fence.
    pub(crate) fn build(directory: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
        let key = forge::write_key(&directory.join("key"))?;
        let prefix = net::unique();
        let dom0 = Namespace::new(&format!("{prefix}-dom0"))?;
        cables::add_bridge(&dom0)?;
        let libvirtd = Libvirtd::start(&directory.join("libvirtd"))?;
        let maker = Maker::new(directory)?;
        let cib = files::cib(&[files::BY_MAP, files::BY_LIST, files::BY_STATUS]);
        let mut networks = Vec::new();
        let mut make = |id: NodeId| {
            let network = cables::plug_in(&dom0, &prefix, id)?;
            let node = Node::new(
                id,
                &Place {
                    directory,
                    namespace: network.name(),
                    maker: &maker,
                    key: &key,
                    agent: programs.xvm(Side::Ours),
                    cib: &cib,
                },
            );
            networks.push(network);
            node
        };
        let nodes = [
            make(NodeId::First)?,
            make(NodeId::Second)?,
            make(NodeId::Third)?,
        ];
        let nodes = Nodes::new(nodes);
        let uri = libvirtd.uri();
        let mut stage = Self {
            power: Power::watch(&uri, directory, &dom0, nodes.clone())?,
            programs,
            directory: directory.to_owned(),
            key,
            daemon: None,
            started: 0,
            nodes,
            libvirtd,
            dom0,
            _networks: networks,
        };
        stage.start_daemon(Vec::new())?;
        stage.libvirtd.add_domain(SPARE, SPARE_UUID)?;
        stage
            .libvirtd
            .add_domain(BLANK, &SPARE_UUID.replace("d01", "d02"))?;
        stage
            .libvirtd
            .add_domain(WORD, &SPARE_UUID.replace("d01", "d03"))?;
        for id in NodeId::ALL {
            // The watcher boots the node.
            stage.libvirtd.add_domain(id.domain(), &id.uuid())?;
        }
        stage.settle()?;
        Ok(stage)
    }

    /// A node.
    pub(crate) fn node(&self, id: NodeId) -> MutexGuard<'_, Node> {
        self.nodes.node(id)
    }

    /// Freezes a node. When it has been fenced it waits for [`Self::release`] before it boots.
    pub(crate) fn freeze(&self, id: NodeId) -> Verdict {
        let mut node = self.node(id);
        node.is_held = true;
        node.freeze()
    }

    /// Lets a node boot that was fenced.
    pub(crate) fn release(&self, id: NodeId) -> Verdict {
        wait::until(&format!("{id} to have power"), PATIENCE, || {
            self.node(id).is_waiting
        })?;
        let mut node = self.node(id);
        (node.is_held, node.is_waiting) = (false, false);
        node.boot()
    }

    /// Starts the daemon on the host, with these access rules.
    pub(crate) fn start_daemon(&mut self, groups: Vec<GroupText>) -> Verdict {
        self.daemon = None;
        self.started += 1;
        let mut config = HostConfig::new(Transport::Multicast, Family::Ipv4, 1229);
        config.key_file.clone_from(&self.key);
        config.interface = Some(BRIDGE.to_owned());
        config.uris = vec![self.libvirtd.uri()];
        config.groups = groups;
        let launch = Launch {
            programs: &self.programs,
            side: Side::Ours,
            namespace: &self.dom0,
            directory: &self.directory,
            name: &format!("fence_virtd{}", self.started),
        };
        self.daemon = Some(launch.start_ready(config)?);
        Ok(())
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal_daemon(&self, signal: Signal) -> Verdict {
        let Some(daemon) = &self.daemon else {
            fence_lab::fail!("no daemon");
        };
        daemon.process.signal(signal)
    }

    /// Kills the daemon, as a crash does.
    pub(crate) fn kill_daemon(&mut self) -> Verdict {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        daemon.process.signal(Signal::SIGKILL)?;
        daemon.process.wait(wait::PATIENCE).map(drop)
    }

    /// Whether the daemon has called a guest back and the connection lives.
    pub(crate) fn is_daemon_connected(&self) -> bool {
        /// The agents' port as the kernel prints it, and the state of a connection that is made.
        const REMOTE: &str = ":04CD 01 ";
        self.daemon.as_ref().is_some_and(|daemon| {
            let table = format!("/proc/{}/net/tcp", daemon.process.pid());
            std::fs::read_to_string(table).is_ok_and(|table| table.contains(REMOTE))
        })
    }

    /// Libvirt must have destroyed a domain so often, since it came up, and not more often. What tells of it
    /// may be a moment later than the answer to who asked for it.
    pub(crate) fn was_destroyed(&self, domain: &str, times: usize) -> Verdict {
        let enough = || {
            self.libvirtd
                .destroyed(domain)
                .is_ok_and(|now| now >= times)
        };
        let _ = wait::until("libvirt's event", wait::PATIENCE, enough);
        let now = self.libvirtd.destroyed(domain)?;
        ensure!(
            now == times,
            "{domain} was destroyed {now} times instead of {times}"
        );
        Ok(())
    }

    /// Whether libvirt has a domain running.
    pub(crate) fn is_on(&self, domain: &str) -> Result<bool, Failure> {
        self.libvirtd.is_running(domain)
    }

    /// What the cluster says, seen from a node.
    pub(crate) fn view(&self, from: NodeId) -> Result<View, Failure> {
        self.node(from).view()
    }

    /// Waits until the cluster, seen from a node, is like this.
    pub(crate) fn sees(&self, from: NodeId, what: &str, is_so: impl Fn(&View) -> bool) -> Verdict {
        let waited = wait::until(&format!("{from} to see {what}"), PATIENCE, || {
            std::thread::sleep(Duration::from_millis(200));
            self.view(from).is_ok_and(|view| is_so(&view))
        });
        waited.map_err(|failure| {
            let view = self.view(from);
            failure.with(&format!("    {view:?}")).with(&self.tails())
        })
    }

    /// Waits until all nodes are in the cluster and what shall run runs.
    pub(crate) fn settle(&self) -> Verdict {
        for id in NodeId::ALL {
            self.sees(id, "three nodes, a fence device and the service", |view| {
                view.online.len() == 3
                    && view.place(files::BY_MAP.name).is_some()
                    && view.place(files::SERVICE).is_some()
            })?;
        }
        self.power.check()
    }

    /// What all nodes' pacemakers and agents told each other, in the order in which it began.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = NodeId::ALL.map(|id| self.node(id).calls());
        let mut calls: Vec<_> = calls.into_iter().flatten().collect();
        calls.sort_by(|one, other| one.began.cmp(&other.began));
        calls
    }

    /// How many calls there have been with this action, for this domain.
    pub(crate) fn calls_of(&self, action: &str, domain: Option<&str>) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.action() == action && call.value("port") == domain);
        calls
    }

    /// Runs a tool on a node and demands success.
    pub(crate) fn tool(
        &self,
        on: NodeId,
        program: &str,
        words: &[&str],
    ) -> Result<String, Failure> {
        // Fencing takes as long as it takes. Not under the lock: the node may be what is fenced.
        let answer = self.node(on).run_for(program, words, 60)?;
        ensure!(
            answer.code == 0,
            "{program} {}: {}\n{}",
            words.join(" "),
            answer.describe(),
            self.tails()
        );
        Ok(answer.stdout)
    }

    /// Lets a fence device run, or stops it.
    pub(crate) fn device(&self, device: files::Device, is_on: bool) -> Verdict {
        let role = if is_on { "Started" } else { "Stopped" };
        let name = device.name;
        self.tool(
            NodeId::First,
            "crm_resource",
            &["-r", name, "-m", "-p", "target-role", "-v", role],
        )?;
        for id in NodeId::ALL {
            self.sees(id, &format!("{name} {role}"), |view| {
                view.place(name).is_some() == is_on
            })?;
        }
        Ok(())
    }

    /// The ends of all logs, for a report.
    pub(crate) fn tails(&self) -> String {
        let nodes = NodeId::ALL.map(|id| self.node(id).tail()).join("\n");
        let daemon = self.daemon.as_ref().map(|daemon| daemon.process.tail());
        format!("{nodes}\n{}", daemon.unwrap_or_default())
    }
}
