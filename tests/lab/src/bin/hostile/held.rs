//! A call that libvirt has taken and does not come back from: a domain is being destroyed, or
//! started, for as long as the case wants.

use std::time::Duration;

use fence_lab::agent::Running;
use fence_lab::config::Transport;
use fence_lab::libvirtd::Libvirtd;
use fence_lab::proxy::{Proxy, procedure};
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Host, Verdict, ensure};
use fence_proto::Family;

use crate::Case;
use crate::stage::{Stage, ends_well, succeeds};

/// The domain that is destroyed or started.
pub(crate) const DOMAIN: &str = "test";
const OTHER: (&str, &str) = ("other", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9b99");
const SOON: Duration = Duration::from_secs(1);

pub(crate) const CASES: &[Case] = &[
    (
        "a destroy that never ends is a failure before the agent gives up",
        never_ends,
    ),
    (
        "a domain that is being destroyed holds up no other domain",
        other_domain,
    ),
    (
        "a second off waits for the first and destroys nothing twice",
        second_off,
    ),
    (
        "a libvirtd that dies while it destroys has proved nothing",
        dies_while_destroying,
    ),
    (
        "a start that fails after a proven off is still a success",
        start_is_lost,
    ),
    (
        "an agent that leaves while its domain is destroyed harms nobody",
        agent_leaves,
    ),
];

/// A daemon whose calls to its libvirtd can be held.
pub(crate) struct Scene<'a> {
    pub(crate) libvirtd: Libvirtd,
    pub(crate) proxy: Proxy,
    pub(crate) host: Host,
    pub(crate) agent: Agent<'a>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Result<Self, Failure> {
        let libvirtd = Libvirtd::start(&stage.directory.join("libvirt"))?;
        libvirtd.add_domain(OTHER.0, OTHER.1)?;
        let proxy = Proxy::start(&stage.directory.join("proxy"), &libvirtd.socket())?;
        let mut config = stage.config(Transport::Tcp, Family::Ipv4)?;
        config.uris = vec![proxy.uri()];
        let host = stage.launch("host").start_ready(config)?;
        let agent = stage.agent(&host.config);
        Ok(Self {
            libvirtd,
            proxy,
            host,
            agent,
        })
    }

    /// Asks for something and waits until libvirt is at it.
    pub(crate) fn held(&self, action: &str, procedure: u32) -> Result<Running, Failure> {
        self.proxy.hold(procedure);
        let running = self.agent.spawn(&["-o", action, "-n", DOMAIN])?;
        wait::until("libvirt to be called", PATIENCE, || self.proxy.is_holding())?;
        Ok(running)
    }

    pub(crate) fn is_off(&self, domain: &str) -> Verdict {
        ensure!(
            !self.libvirtd.is_running(domain)?,
            "{domain} was reported off, but it runs"
        );
        Ok(())
    }
}

/// The agent's patience is 30 s.
fn never_ends(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;
    let answer = running.finish(Duration::from_secs(29))?;
    ensure!(answer.code == 1, "{}", answer.describe());
    ensure!(
        answer.stderr.contains("failed"),
        "it ran into its own time-out: {}",
        answer.describe()
    );
    scene.proxy.release();
    ends_well(&mut scene.host)
}

fn other_domain(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;
    for _ in 0..3 {
        succeeds(&scene.agent, "off", OTHER.0, SOON)?;
        scene.is_off(OTHER.0)?;
        succeeds(&scene.agent, "on", OTHER.0, SOON)?;
        succeeds(&scene.agent, "status", OTHER.0, SOON)?;
        succeeds(&scene.agent, "list", "", SOON)?;
    }
    scene.proxy.release();
    let answer = running.finish(PATIENCE)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    scene.is_off(DOMAIN)?;
    ends_well(&mut scene.host)
}

fn second_off(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let first = scene.held("off", procedure::DESTROY)?;
    let second = scene.agent.spawn(&["-o", "off", "-n", DOMAIN])?;
    std::thread::sleep(Duration::from_millis(300));
    scene.proxy.release();
    for running in [first, second] {
        let answer = running.finish(PATIENCE)?;
        ensure!(answer.code == 0, "{}", answer.describe());
    }
    scene.is_off(DOMAIN)?;
    let destroyed = scene.libvirtd.destroyed(DOMAIN)?;
    ensure!(destroyed == 1, "destroyed {destroyed} times");
    ends_well(&mut scene.host)
}

/// The call is lost with libvirtd, and the domain runs in the one that is started in its place.
fn dies_while_destroying(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;
    scene.libvirtd.restart()?;
    scene.proxy.release();
    let answer = running.finish(Duration::from_secs(29))?;
    if answer.code == 0 {
        // It may have been destroyed again in the new one: then it is off there.
        scene.is_off(DOMAIN)?;
    } else {
        ensure!(answer.code == 1, "{}", answer.describe());
    }
    wait::until(
        "the daemon to find libvirtd",
        Duration::from_secs(15),
        || {
            scene
                .agent
                .act("off", DOMAIN)
                .is_ok_and(|answer| answer.code == 0)
        },
    )?;
    scene.is_off(DOMAIN)?;
    ends_well(&mut scene.host)
}

/// A reboot whose start is lost: the domain is proven off, which is what fencing is for.
fn start_is_lost(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("reboot", procedure::CREATE)?;
    scene.is_off(DOMAIN)?;
    scene.libvirtd.kill()?;
    scene.proxy.release();
    let answer = running.finish(Duration::from_secs(29))?;
    ensure!(answer.code == 0, "{}", answer.describe());
    wait::until("the lost start in the log", Duration::from_secs(20), || {
        let log = scene.host.process.stderr();
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains("starting the domain failed"))
    })?;
    ends_well(&mut scene.host)
}

fn agent_leaves(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;
    drop(running);
    std::thread::sleep(Duration::from_millis(200));
    scene.proxy.release();
    succeeds(&scene.agent, "off", OTHER.0, SOON)?;
    // What libvirt had begun it ends.
    wait::until("the domain to be off", PATIENCE, || {
        scene
            .libvirtd
            .is_running(DOMAIN)
            .is_ok_and(|running| !running)
    })?;
    succeeds(&scene.agent, "off", DOMAIN, Duration::from_secs(3))?;
    ends_well(&mut scene.host)
}
