//! libvirt that hangs, dies and comes back. A private libvirtd tells what was really done.

use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::{BYSTANDER, DARK, NOBODY, VM1};
use fence_lab::libvirtd::Libvirtd;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Host, Verdict, ensure};
use fence_proto::Family;
use nix::sys::signal::Signal;

use crate::Case;
use crate::stage::{Stage, ends_well, succeeds};

/// The domain that the private libvirtd has from the start.
const DOMAIN: &str = "test";

const SOON: Duration = Duration::from_secs(1);

/// A daemon that has lost its libvirt finds it again within this.
const RECOVERY: Duration = Duration::from_secs(25);

pub(crate) const CASES: &[Case] = &[
    (
        "retransmissions to a slow libvirt destroy once (F14)",
        slow_destroys_once,
    ),
    ("a reboot destroys once and starts once", reboot_once),
    (
        "libvirtd that hangs costs its own domains' requests only",
        hung,
    ),
    (
        "a crowd that asks while a hypervisor hangs is answered",
        crowd_while_hung,
    ),
    (
        "libvirtd that dies during a request is an answer, and is found again",
        dies_during_request,
    ),
    (
        "libvirtd that dies between requests is found again",
        dies_between,
    ),
    (
        "status of an unknown domain is a failure while a hypervisor is away",
        unknown_while_away,
    ),
    ("monitor asks the hypervisor (L31)", monitor_while_away),
    (
        "an order that nobody waits for any more is not started (L37)",
        order_outlived,
    ),
    (
        "list over two hypervisors has the domains of both (L20)",
        two_hypervisors,
    ),
    (
        "two orders for one domain are executed one after another",
        one_domain,
    ),
];

struct Scene<'a> {
    libvirtd: Libvirtd,
    host: Host,
    agent: Agent<'a>,
}

impl<'a> Scene<'a> {
    /// A daemon with two hypervisors: the private libvirtd and, in itself, the lab's domains.
    fn new(stage: &'a Stage, transport: Transport) -> Result<Self, Failure> {
        let libvirtd = Libvirtd::start(&stage.directory.join("libvirt"))?;
        let mut config: HostConfig = stage.config(transport, Family::Ipv4)?;
        config.uris.insert(0, libvirtd.uri());
        let host = stage.launch("host").start_ready(config)?;
        let agent = stage.agent(&host.config);
        let scene = Self {
            libvirtd,
            host,
            agent,
        };
        scene.comes_back()?;
        Ok(scene)
    }

    /// Waits until the daemon has the private libvirtd.
    fn comes_back(&self) -> Verdict {
        wait::until("the daemon to find libvirtd", RECOVERY, || {
            self.agent
                .run(&["-o", "status", "-n", DOMAIN, "-t", "5"])
                .is_ok_and(|answer| answer.code == 0)
        })
    }

    fn hang(&self) -> Verdict {
        self.libvirtd.process.signal(Signal::SIGSTOP)
    }

    fn resume(&self) -> Verdict {
        self.libvirtd.process.signal(Signal::SIGCONT)
    }

    fn ends_well(mut self) -> Verdict {
        ends_well(&mut self.host)
    }
}

/// libvirt answers only after several retransmissions.
fn slow_destroys_once(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Multicast)?;
    scene.hang()?;
    let running = scene
        .agent
        .spawn(&["-o", "reboot", "-n", DOMAIN, "-r", "1", "-t", "10"])?;
    std::thread::sleep(SOON);
    scene.resume()?;
    let answer = running.finish(PATIENCE)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    did(&scene, 1, 1)?;
    scene.ends_well()
}

/// What libvirt has destroyed and started, after what it is still doing had its time.
fn did(scene: &Scene<'_>, destroyed: usize, started: usize) -> Verdict {
    wait::until("libvirt's events", PATIENCE, || {
        scene
            .libvirtd
            .started(DOMAIN)
            .is_ok_and(|count| count >= started)
            && scene
                .libvirtd
                .destroyed(DOMAIN)
                .is_ok_and(|count| count >= destroyed)
    })?;
    std::thread::sleep(Duration::from_millis(300));
    let counts = (
        scene.libvirtd.destroyed(DOMAIN)?,
        scene.libvirtd.started(DOMAIN)?,
    );
    ensure!(
        counts == (destroyed, started),
        "destroyed {} times and started {} times",
        counts.0,
        counts.1
    );
    Ok(())
}

fn reboot_once(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    // No fixed sleeps (L17): far less than the original's second.
    succeeds(&scene.agent, "reboot", DOMAIN, Duration::from_millis(700))?;
    did(&scene, 1, 1)?;
    ensure!(
        scene.libvirtd.is_running(DOMAIN)?,
        "it is not running afterwards"
    );
    scene.ends_well()
}

fn hung(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    scene.hang()?;
    let stuck = scene.agent.spawn(&["-o", "off", "-n", DOMAIN, "-t", "5"])?;
    succeeds(&scene.agent, "status", VM1.name, SOON)?;
    // What is off here may run there: until a hypervisor counts as hung, answers about what is off
    // wait a moment for it.
    succeeds(&scene.agent, "off", VM1.name, Duration::from_secs(5))?;
    succeeds(&scene.agent, "on", VM1.name, Duration::from_secs(5))?;
    wait::until("the hypervisor to count as hung", PATIENCE, || {
        scene
            .host
            .process
            .stderr()
            .contains("the hypervisor does not answer")
    })?;
    for _ in 0..5 {
        succeeds(&scene.agent, "off", VM1.name, SOON)?;
        succeeds(&scene.agent, "on", VM1.name, SOON)?;
        succeeds(&scene.agent, "status", VM1.name, SOON)?;
    }
    let answer = stuck.finish(Duration::from_secs(7))?;
    ensure!(
        answer.code != 0,
        "nobody can have fenced it: {}",
        answer.describe()
    );
    scene.resume()?;
    // Whether the order was carried out late is libvirt's to say; that the daemon works again is ours.
    wait::until("the daemon to speak with libvirtd again", RECOVERY, || {
        scene
            .agent
            .act("status", DOMAIN)
            .is_ok_and(|answer| [0, 2].contains(&answer.code))
    })?;
    succeeds(&scene.agent, "on", DOMAIN, Duration::from_secs(5))?;
    scene.ends_well()
}

/// More questions than the daemon has threads for the hypervisor that hangs.
fn crowd_while_hung(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    scene.hang()?;
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push((1, scene.agent.spawn(&["-o", "status", "-n", NOBODY])?));
        running.push((0, scene.agent.spawn(&["-o", "status", "-n", VM1.name])?));
        running.push((0, scene.agent.spawn(&["-o", "on", "-n", VM1.name])?));
        running.push((0, scene.agent.spawn(&["-o", "on", "-n", DARK.name])?));
        running.push((0, scene.agent.spawn(&["-o", "off", "-n", BYSTANDER.name])?));
    }
    for (code, agent) in running {
        let answer = agent.finish(Duration::from_secs(20))?;
        ensure!(
            answer.code == code && answer.elapsed < Duration::from_secs(15),
            "exit code {code} expected: {}",
            answer.describe()
        );
    }
    scene.resume()?;
    scene.comes_back()?;
    scene.ends_well()
}

fn dies_during_request(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage, Transport::Tcp)?;
    scene.hang()?;
    let running = scene
        .agent
        .spawn(&["-o", "off", "-n", DOMAIN, "-t", "12"])?;
    std::thread::sleep(Duration::from_millis(500));
    scene.libvirtd.restart()?;
    let answer = running.finish(Duration::from_secs(14))?;
    if answer.code == 0 {
        ensure!(
            !scene.libvirtd.is_running(DOMAIN)?,
            "it was reported off, but it runs"
        );
        scene.libvirtd.virsh(&["start", DOMAIN])?;
    }
    succeeds(&scene.agent, "status", VM1.name, SOON)?;
    scene.comes_back()?;
    scene.ends_well()
}

fn dies_between(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage, Transport::Tcp)?;
    for _ in 0..2 {
        scene.libvirtd.restart()?;
        succeeds(&scene.agent, "off", VM1.name, SOON)?;
        succeeds(&scene.agent, "on", VM1.name, SOON)?;
        scene.comes_back()?;
        succeeds(&scene.agent, "off", DOMAIN, SOON)?;
        ensure!(
            !scene.libvirtd.is_running(DOMAIN)?,
            "it was reported off, but it runs"
        );
    }
    scene.ends_well()
}

fn unknown_while_away(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage, Transport::Tcp)?;
    let answer = scene.agent.act("status", NOBODY)?;
    ensure!(answer.code == 2, "all can be asked: {}", answer.describe());
    scene.libvirtd.kill()?;
    let answer = scene.agent.act("status", NOBODY)?;
    ensure!(answer.code == 1, "nobody knows: {}", answer.describe());
    let answer = scene.agent.act("off", NOBODY)?;
    ensure!(answer.code == 1, "nobody knows: {}", answer.describe());
    scene.libvirtd.restart()?;
    scene.comes_back()?;
    let answer = scene.agent.act("status", NOBODY)?;
    ensure!(
        answer.code == 2,
        "all can be asked again: {}",
        answer.describe()
    );
    scene.ends_well()
}

fn monitor_while_away(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage, Transport::Tcp)?;
    succeeds(&scene.agent, "monitor", "", SOON)?;
    scene.libvirtd.kill()?;
    let answer = scene.agent.act("monitor", "")?;
    ensure!(
        answer.code != 0,
        "a hypervisor is away: {}",
        answer.describe()
    );
    scene.libvirtd.restart()?;
    scene.comes_back()?;
    succeeds(&scene.agent, "monitor", "", SOON)?;
    scene.ends_well()
}

/// The first order keeps the domain busy in a libvirtd that stands still; the second waits behind
/// it, and its agent gives up. When libvirtd goes on, the second must not be executed.
fn order_outlived(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    scene.hang()?;
    let first = scene
        .agent
        .spawn(&["-o", "status", "-n", DOMAIN, "-t", "8"])?;
    std::thread::sleep(Duration::from_millis(300));
    let second = scene.agent.run(&["-o", "off", "-n", DOMAIN, "-t", "1"])?;
    ensure!(second.code != 0, "{}", second.describe());
    scene.resume()?;
    first.finish(PATIENCE)?;
    scene.comes_back()?;
    ensure!(
        scene.libvirtd.destroyed(DOMAIN)? == 0,
        "an order was started after its agent had gone"
    );
    scene.ends_well()
}

fn two_hypervisors(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    let answer = scene.agent.act("list", "")?;
    ensure!(answer.code == 0, "{}", answer.describe());
    for name in [DOMAIN, VM1.name] {
        ensure!(
            answer
                .stdout
                .lines()
                .any(|line| line.split(' ').next() == Some(name)),
            "{name} is missing: {}",
            answer.describe()
        );
    }
    succeeds(&scene.agent, "off", VM1.name, SOON)?;
    succeeds(&scene.agent, "off", DOMAIN, SOON)?;
    ensure!(
        !scene.libvirtd.is_running(DOMAIN)?,
        "it was reported off, but it runs"
    );
    scene.ends_well()
}

fn one_domain(stage: &Stage) -> Verdict {
    let scene = Scene::new(stage, Transport::Tcp)?;
    let running: Vec<_> = (0..6)
        .map(|_| scene.agent.spawn(&["-o", "reboot", "-n", DOMAIN]))
        .collect::<Result<_, _>>()?;
    for agent in running {
        let answer = agent.finish(PATIENCE)?;
        ensure!(answer.code == 0, "{}", answer.describe());
    }
    did(&scene, 6, 6)?;
    ensure!(
        scene.libvirtd.is_running(DOMAIN)?,
        "it is not running afterwards"
    );
    scene.ends_well()
}
