//! The nodes' power: what libvirt does to a domain happens to the node that it is.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fence_lab::net::Namespace;
use fence_lab::process::Process;
use fence_lab::{Failure, Verdict};

use crate::names::NodeId;
use crate::node::Node;

/// The nodes, which the power watcher switches on and off while the cases look at them.
#[derive(Debug, Clone)]
pub(crate) struct Nodes(Arc<[Mutex<Node>; 3]>);

impl Nodes {
    /// All of them.
    pub(crate) fn new(nodes: [Node; 3]) -> Self {
        Self(Arc::new(nodes.map(Mutex::new)))
    }

    /// One of them, as long as the guard is held.
    pub(crate) fn node(&self, id: NodeId) -> MutexGuard<'_, Node> {
        let [first, second, third] = &*self.0;
        let node = match id {
            NodeId::First => first,
            NodeId::Second => second,
            NodeId::Third => third,
        };
        node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does to the nodes what libvirt does to their domains, until it is dropped.
#[derive(Debug)]
pub(crate) struct Power {
    is_over: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<Failure>>>,
    worker: Option<JoinHandle<()>>,
}

impl Power {
    /// Watches a hypervisor's events. `cables` is where the nodes' cables are plugged in.
    pub(crate) fn watch(
        uri: &str,
        directory: &std::path::Path,
        cables: &Namespace,
        nodes: Nodes,
    ) -> Result<Self, Failure> {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "virsh", "-q", "-c", uri]);
        command.args(["event", "--event", "lifecycle", "--loop"]);
        command.stdin(Stdio::null());
        let events = Process::spawn(command, "power", directory)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let watcher = Watcher {
            events,
            cables: cables.name().to_owned(),
            nodes,
        };
        let (over, found) = (Arc::clone(&is_over), Arc::clone(&failures));
        let worker = thread::spawn(move || watcher.run(&over, &found));
        Ok(Self {
            is_over,
            failures,
            worker: Some(worker),
        })
    }

    /// A node that could not be switched on or off makes every case worthless.
    pub(crate) fn check(&self) -> Verdict {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.pop().map_or(Ok(()), Err)
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

struct Watcher {
    events: Process,
    cables: String,
    nodes: Nodes,
}

impl Watcher {
    fn run(&self, is_over: &AtomicBool, failures: &Mutex<Vec<Failure>>) {
        let mut seen = 0;
        while !is_over.load(Ordering::Relaxed) {
            let said = self.events.stdout();
            let new: Vec<_> = said.lines().skip(seen).collect();
            // The last line may still be written.
            let whole = new.len() - usize::from(!said.ends_with('\n') && !new.is_empty());
            for line in new.iter().take(whole) {
                seen += 1;
                if let Err(failure) = self.event(line) {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(failure.at(line));
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn event(&self, line: &str) -> Verdict {
        let domain = |id: &NodeId| line.contains(&format!("'{}':", id.domain()));
        let Some(id) = NodeId::ALL.into_iter().find(domain) else {
            return Ok(());
        };
        if line.contains(": Stopped") {
            // First the cable: the kernel says good-bye for the killed.
            self.plug(id, "down")?;
            let mut node = self.nodes.node(id);
            node.is_waiting = false;
            node.power_off()?;
        } else if line.contains(": Started") {
            self.plug(id, "up")?;
            let mut node = self.nodes.node(id);
            if node.is_held {
                node.is_waiting = true;
            } else {
                node.boot()?;
            }
        }
        Ok(())
    }

    fn plug(&self, id: NodeId, state: &str) -> Verdict {
        let output = Command::new("ip")
            .args(["-n", &self.cables, "link", "set", id.name(), state])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        fence_lab::ensure!(output.status.success(), "the cable of {id}: {said}");
        Ok(())
    }
}
