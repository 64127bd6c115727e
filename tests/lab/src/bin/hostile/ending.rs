//! SIGTERM in every phase: the daemon ends within a second, with exit code 0, and what it has
//! begun to answer is answered.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fence_lab::config::Transport;
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::libvirtd::Libvirtd;
use fence_lab::process;
use fence_lab::proxy::procedure;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Guest, Host, Verdict, ensure, forge, peer};
use fence_proto::{Action, Family};
use nix::sys::signal::Signal;

use crate::Case;
use crate::held::{DOMAIN, Scene};
use crate::stage::{END, Stage, ends_well};

pub(crate) const CASES: &[Case] = &[
    ("SIGTERM while idle", idle),
    ("SIGINT while idle", interrupted),
    ("SIGTERM right after the start", at_once),
    ("SIGTERM while peers stall in the handshake", in_handshake),
    ("SIGTERM while a call-back is under way", in_callback),
    ("SIGTERM while libvirt hangs in an order", in_order),
    (
        "SIGTERM while an order is being executed lets it finish",
        finishes_reply,
    ),
    (
        "SIGTERM while waiting for a hypervisor under -w",
        waiting_for_hypervisor,
    ),
    (
        "SIGTERM while waiting for an interface under -w",
        waiting_for_interface,
    ),
    ("SIGTERM during a flood", in_flood),
];

fn idle(stage: &Stage) -> Verdict {
    for transport in [Transport::Multicast, Transport::Tcp] {
        let mut host = stage.host(transport)?;
        ends_well(&mut host)?;
        let pid_file = stage.directory.join("host.pid");
        ensure!(!pid_file.exists(), "the pid file is still there");
    }
    Ok(())
}

fn interrupted(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    host.process.signal(Signal::SIGINT)?;
    let code = process::code(host.process.wait(END)?);
    ensure!(code == 0, "exit code {code}");
    Ok(())
}

/// Before it had time to set anything up: the end may then be the signal's default.
fn at_once(stage: &Stage) -> Verdict {
    for delay in [0, 2, 5, 10, 20, 40] {
        let config = stage.config(Transport::Tcp, Family::Ipv4)?;
        let mut host = stage.launch("host").start(config, &[])?;
        thread::sleep(Duration::from_millis(delay));
        let code = host.terminate(END)?;
        ensure!(
            [0, 143].contains(&code),
            "after {delay} ms: exit code {code}"
        );
    }
    Ok(())
}

fn in_handshake(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let silent = stage.connect(Guest::First)?;
    let mut half = stage.connect(Guest::First)?;
    let frame = stage.frame(Action::Off, VM1.name, None)?;
    half.write_all(frame.0.get(..100).unwrap_or_default())?;
    let mut challenged = stage.connect(Guest::Second)?;
    challenged.write_all(&stage.frame(Action::Off, VM1.name, None)?.0)?;
    challenged.write_all(&forge::random::<64>()?)?;
    let _answer = peer::read_block(&mut challenged)?;
    ends_well(&mut host)?;
    for mut stream in [silent, half, challenged] {
        ensure!(
            peer::is_closed(&mut stream, END),
            "a connection is left open"
        );
    }
    Ok(())
}

fn in_callback(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let sender = stage.sender(Guest::First)?;
    let listener = stage.listen(Guest::First)?;
    sender.send(
        &stage
            .frame(Action::Off, VM1.name, Some(stage.callback(Guest::First)))?
            .0,
    )?;
    let call = peer::accept(&listener, PATIENCE);
    ensure!(call.is_some(), "no call-back came");
    // And one to an address where nobody is: connecting takes until the time-out.
    let nowhere = "10.77.0.99:1229".parse()?;
    sender.send(&stage.frame(Action::Off, VM1.name, Some(nowhere))?.0)?;
    thread::sleep(Duration::from_millis(100));
    ends_well(&mut host)
}

fn with_libvirtd(stage: &Stage) -> Result<(Libvirtd, Host), fence_lab::Failure> {
    let libvirtd = Libvirtd::start(&stage.directory.join("libvirt"))?;
    let mut config = stage.config(Transport::Tcp, Family::Ipv4)?;
    config.uris = vec![libvirtd.uri()];
    let host = stage.launch("host").start_ready(config)?;
    let agent = stage.agent(&host.config);
    wait::until("the daemon to find libvirtd", PATIENCE, || {
        agent
            .act("status", "test")
            .is_ok_and(|answer| answer.code == 0)
    })?;
    Ok((libvirtd, host))
}

fn in_order(stage: &Stage) -> Verdict {
    let (libvirtd, mut host) = with_libvirtd(stage)?;
    let agent = stage.agent(&host.config);
    libvirtd.process.signal(Signal::SIGSTOP)?;
    let running = agent.spawn(&["-o", "off", "-n", "test", "-t", "20"])?;
    thread::sleep(Duration::from_millis(300));
    let verdict = ends_well(&mut host);
    libvirtd.process.signal(Signal::SIGCONT)?;
    verdict?;
    let answer = running.finish(Duration::from_secs(3))?;
    ensure!(
        answer.code != 0,
        "nobody has proved it off: {}",
        answer.describe()
    );
    Ok(())
}

/// The domain is being destroyed when SIGTERM comes: the agent hears that it is off.
fn finishes_reply(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let running = scene.held("off", procedure::DESTROY)?;
    scene.host.process.signal(Signal::SIGTERM)?;
    thread::sleep(Duration::from_millis(300));
    scene.proxy.release();
    let code = process::code(scene.host.process.wait(END)?);
    ensure!(code == 0, "exit code {code}");
    let answer = running.finish(Duration::from_secs(3))?;
    ensure!(
        answer.code == 0,
        "the reply was lost: {}",
        answer.describe()
    );
    scene.is_off(DOMAIN)
}

fn waiting_for_hypervisor(stage: &Stage) -> Verdict {
    let mut config = stage.config(Transport::Tcp, Family::Ipv4)?;
    let socket = stage.directory.join("no-such-socket");
    config.uris = vec![format!("test+unix:///default?socket={}", socket.display())];
    let mut host = stage.launch("host").start(config, &["-w"])?;
    wait::until("the daemon to wait", PATIENCE, || {
        !host.process.stderr().is_empty()
    })?;
    thread::sleep(Duration::from_millis(500));
    ensure!(host.process.is_running(), "it does not wait");
    ends_well(&mut host)
}

fn waiting_for_interface(stage: &Stage) -> Verdict {
    let mut config = stage.config(Transport::Multicast, Family::Ipv4)?;
    config.interface = Some("nosuchif0".to_owned());
    let mut host = stage.launch("host").start(config, &["-w"])?;
    wait::until("the daemon to wait", PATIENCE, || {
        host.process.stderr().contains("nosuchif0")
    })?;
    ensure!(host.process.is_running(), "it does not wait");
    ends_well(&mut host)
}

fn in_flood(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let sender = stage.sender(Guest::Second)?;
    let over = AtomicBool::new(false);
    let frame = stage.frame(
        Action::Off,
        BYSTANDER.name,
        Some("10.77.0.99:1229".parse()?),
    )?;
    thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0..100_000_u32 {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let bytes = frame
                    .clone()
                    .put(forge::offset::SEQNO, &count.to_le_bytes());
                let _ = sender.send(&bytes.0);
            }
        });
        thread::sleep(Duration::from_millis(300));
        let verdict = ends_well(&mut host);
        over.store(true, Ordering::Relaxed);
        verdict
    })
}
