//! Rows of regressions that are about the daemon alone: the guest is played by the lab, by hand.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::VM1;
use fence_lab::forge::RawFrame;
use fence_lab::wait::PATIENCE;
use fence_lab::{Agent, Failure, Guest, Host, Side, Verdict, ensure, forge, peer};
use fence_proto::{Action, Family, HashAlgorithm, Key, Reply};
use nix::sys::signal::Signal;

use crate::{Bench, Job};

const HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// How long a call-back that must not come is waited for. One that does come takes milliseconds.
const SILENCE: Duration = Duration::from_millis(700);

type Case = fn(&Bench<'_>) -> Verdict;

const CASES: &[(&str, Case)] = &[
    (
        "retransmissions are called back once (F14)",
        retransmissions,
    ),
    (
        "a datagram one byte short is not a frame (L18)",
        short_datagram,
    ),
    ("a served request is a replay for good", late_replay),
    (
        "an old datagram is not executed through the next agent (L37)",
        old_datagram,
    ),
    ("a silent client costs nobody's time (L12)", silent_client),
    (
        "an order whose requester has gone is not executed (L37)",
        requester_gone,
    ),
    (
        "a failed handshake leaves no mark on the next request (L27)",
        failed_then_honest,
    ),
    ("an empty key file is no key (L25)", empty_key),
    ("a missing key file ends the daemon (L24)", missing_key),
    ("a key file of mode 0640 keeps its mode (L26)", key_mode),
    (
        "an interface that does not exist is an error (L22)",
        bad_interface,
    ),
    (
        "a multicast address that is none is an error (L22)",
        bad_group,
    ),
];

/// One job for each case, with the daemon of one side. Where an agent is needed at all it is of the
/// same side, if that is among those that run.
pub(crate) fn jobs(host: Side, agents: &[Side]) -> Vec<Job> {
    let agent = if agents.contains(&host) {
        None
    } else {
        agents.first()
    };
    let agent = agent.copied().unwrap_or(host);
    CASES
        .iter()
        .map(|(name, case)| Job {
            name: format!("host {host}: {name}"),
            host,
            agent,
            run: Box::new(move |bench, group| {
                group.case(name, case(bench));
                Ok(())
            }),
        })
        .collect()
}

/// A daemon, and the lab in the guest's place.
struct Stage<'a> {
    host: Host,
    agent: Agent<'a>,
    key: Key,
    bench: &'a Bench<'a>,
}

impl<'a> Stage<'a> {
    fn new(
        bench: &'a Bench<'a>,
        transport: Transport,
        auth: HashAlgorithm,
    ) -> Result<Self, Failure> {
        let mut config = HostConfig::new(transport, Family::Ipv4, bench.port);
        config.auth = auth;
        let config = bench.furnish(config, "host")?;
        let key = Key::from_bytes(&fs::read(&config.key_file)?)?;
        let host = bench.launch("host").start_ready(config)?;
        let agent = bench.agent_for(&host);
        Ok(Self {
            host,
            agent,
            key,
            bench,
        })
    }

    /// Where the guest waits for the call-back.
    fn callback(&self) -> SocketAddr {
        SocketAddr::new(Guest::First.address(Family::Ipv4), self.bench.port)
    }

    fn listen(&self) -> Result<TcpListener, Failure> {
        peer::listen(self.bench.net.guest(Guest::First), self.callback())
    }

    fn sender(&self) -> Result<UdpSocket, Failure> {
        let guest = self.bench.net.guest(Guest::First);
        let sender = peer::multicast_sender(guest, self.callback().ip())?;
        let group = SocketAddr::new(self.host.config.address().parse()?, self.bench.port);
        sender.connect(group)?;
        Ok(sender)
    }

    fn frame(&self, action: Action, domain: &str) -> Result<RawFrame, Failure> {
        let frame = forge::request(action, domain, Some(self.callback()))?;
        Ok(RawFrame::of(&frame).sign(&self.key, HASH))
    }

    /// A request and its retransmissions: the same identifier, fresh random bytes.
    fn retransmissions(&self, domain: &str) -> Result<[RawFrame; 4], Failure> {
        let mut frame = forge::request(Action::Off, domain, Some(self.callback()))?;
        let randoms: [[u8; 6]; 4] = [
            forge::random()?,
            forge::random()?,
            forge::random()?,
            forge::random()?,
        ];
        Ok(randoms.map(|random| {
            frame.id.random = random;
            RawFrame::of(&frame).sign(&self.key, HASH)
        }))
    }

    /// Serves one call-back to its end.
    fn serve(&self, listener: &TcpListener) -> Result<u8, Failure> {
        let Some(mut stream) = peer::accept(listener, PATIENCE) else {
            return Err(Failure::new("no call-back came").with(&self.host.process.tail()));
        };
        peer::handshake_as_guest(&mut stream, &self.key, HASH)?;
        peer::read_reply(&mut stream)
    }
}

fn nobody_calls(listener: &TcpListener) -> bool {
    peer::accept(listener, SILENCE).is_none()
}

fn retransmissions(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast, HASH)?;
    let (listener, sender) = (stage.listen()?, stage.sender()?);
    let [first, second, third, late] = stage.retransmissions(VM1.name)?;
    for frame in [&first, &second, &first, &third] {
        sender.send(&frame.0)?;
    }
    let reply = stage.serve(&listener)?;
    ensure!(reply == Reply::Success.to_wire(), "the reply is {reply}");
    ensure!(
        nobody_calls(&listener),
        "the daemon called back twice for one request"
    );
    for frame in [&first, &late] {
        sender.send(&frame.0)?;
    }
    ensure!(
        nobody_calls(&listener),
        "a request that was served is called back again"
    );
    drop(listener);
    stage.agent.expect_state(VM1.name, false)
}

/// A frame that has lost its last byte, which is zero anyway. The C daemon reads it on top of the
/// previous datagram's bytes (D9).
fn short_datagram(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast, HASH)?;
    let (listener, sender) = (stage.listen()?, stage.sender()?);
    sender.send(&stage.frame(Action::Status, VM1.name)?.0)?;
    stage.serve(&listener)?;
    let frame = stage.frame(Action::Off, VM1.name)?;
    let short = frame.0.get(..frame.0.len() - 1).unwrap_or_default();
    sender.send(short)?;
    let silent = nobody_calls(&listener);
    match bench.host {
        Side::Ours => ensure!(silent, "175 bytes were taken for a frame"),
        Side::C => ensure!(!silent, "C has changed"),
    }
    Ok(())
}

/// Somebody who has listened sends a served request again when the host's memory of it is over.
/// The C daemon calls back again (D16), and whoever answers there has it executed again.
fn late_replay(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast, HASH)?;
    let (listener, sender) = (stage.listen()?, stage.sender()?);
    let frame = stage.frame(Action::Status, VM1.name)?;
    sender.send(&frame.0)?;
    stage.serve(&listener)?;
    std::thread::sleep(Duration::from_millis(13_000));
    sender.send(&frame.0)?;
    let silent = nobody_calls(&listener);
    match bench.host {
        Side::Ours => ensure!(silent, "a recorded request is called back"),
        Side::C => ensure!(!silent, "C has changed"),
    }
    Ok(())
}

/// The daemon stands still while an agent asks for a fence and gives up. When the daemon goes on,
/// another agent waits at the same address with the same key, for something harmless. The C daemon
/// executes the old request through it (D17).
fn old_datagram(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast, HASH)?;
    stage.host.process.signal(Signal::SIGSTOP)?;
    let stopped = std::time::Instant::now();
    let first = stage.agent.run(&["-o", "off", "-n", VM1.name, "-t", "2"]);
    let rest = Duration::from_millis(11_000).saturating_sub(stopped.elapsed());
    std::thread::sleep(rest);
    let second = stage
        .agent
        .spawn(&["-o", "status", "-n", VM1.name, "-t", "15"]);
    // It is given time to listen before the old datagrams are read.
    std::thread::sleep(Duration::from_millis(300));
    stage.host.process.signal(Signal::SIGCONT)?;
    ensure!(first?.code != 0, "nobody could have answered");
    let second = second?.finish(Duration::from_secs(20))?;
    match bench.host {
        Side::Ours => {
            ensure!(second.stdout == "Status: ON\n", "{}", second.describe());
            stage.agent.expect_state(VM1.name, true)
        }
        Side::C => stage.agent.expect_state(VM1.name, false),
    }
}

/// D11: the C daemon serves one connection at a time; one that says nothing costs a second.
fn silent_client(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp, HASH)?;
    let address = SocketAddr::new(stage.host.config.address().parse()?, bench.port);
    let _silent = peer::connect(bench.net.guest(Guest::Second), address)?;
    let answer = stage
        .agent
        .run(&["-o", "status", "-n", VM1.name, "-t", "2"])?;
    let waited = answer.elapsed > Duration::from_millis(900);
    ensure!(answer.code == 0, "{}", answer.describe());
    ensure!(
        waited == (bench.host == Side::C),
        "only the C daemon waits for the silent one: {}",
        answer.describe()
    );
    Ok(())
}

/// The daemon stands still while an agent asks, waits and gives up. Without `auth` the whole order
/// is already in its socket; the C TCP listener knows no such setting (D1), so it always needs the
/// agent to answer.
fn requester_gone(bench: &Bench<'_>) -> Verdict {
    for auth in [HASH, HashAlgorithm::None] {
        let stage = Stage::new(bench, Transport::Tcp, auth)?;
        stage.host.process.signal(Signal::SIGSTOP)?;
        let answer = stage.agent.run(&["-o", "off", "-n", VM1.name, "-t", "1"]);
        stage.host.process.signal(Signal::SIGCONT)?;
        let answer = answer?;
        ensure!(
            answer.code != 0,
            "nobody could have answered: {}",
            answer.describe()
        );
        stage
            .agent
            .expect_state(VM1.name, true)
            .map_err(|failure| failure.at(format!("auth {auth}")))?;
    }
    Ok(())
}

fn failed_then_honest(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast, HASH)?;
    let (listener, sender) = (stage.listen()?, stage.sender()?);
    let [frame, again, ..] = stage.retransmissions(VM1.name)?;
    sender.send(&frame.0)?;
    let Some(stream) = peer::accept(&listener, PATIENCE) else {
        return Err(Failure::new("no call-back came"));
    };
    drop(stream);
    std::thread::sleep(Duration::from_millis(200));
    sender.send(&again.0)?;
    let reply = stage.serve(&listener)?;
    ensure!(reply == Reply::Success.to_wire(), "the reply is {reply}");
    Ok(())
}

/// Whether the C daemon refuses a configuration too.
#[derive(PartialEq, Eq)]
enum Original {
    Refuses,
    GoesOn,
}

/// Starts a daemon that must refuse, naming the culprit.
fn refuses(bench: &Bench<'_>, config: HostConfig, names: &str, original: &Original) -> Verdict {
    let mut host = bench.launch("host").start(config, &[])?;
    if bench.host == Side::C && *original == Original::GoesOn {
        // D13.
        return host.wait_ready();
    }
    let status = host.process.wait(PATIENCE)?;
    ensure!(!status.success(), "it ended with success");
    let log = host.process.log();
    ensure!(
        log.contains(names),
        "the message does not name {names}: {log}"
    );
    Ok(())
}

fn multicast(bench: &Bench<'_>) -> Result<HostConfig, Failure> {
    let config = HostConfig::new(Transport::Multicast, Family::Ipv4, bench.port);
    bench.furnish(config, "host")
}

fn empty_key(bench: &Bench<'_>) -> Verdict {
    let mut config = multicast(bench)?;
    config.key_file = bench.directory.join("empty-key");
    fs::write(&config.key_file, b"")?;
    fs::set_permissions(&config.key_file, fs::Permissions::from_mode(0o600))?;
    refuses(bench, config, "empty-key", &Original::GoesOn)
}

fn missing_key(bench: &Bench<'_>) -> Verdict {
    let mut config = multicast(bench)?;
    config.key_file = bench.directory.join("no-such-key");
    refuses(bench, config, "no-such-key", &Original::Refuses)
}

fn key_mode(bench: &Bench<'_>) -> Verdict {
    let config = multicast(bench)?;
    let file = config.key_file.clone();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    let _host = bench.launch("host").start_ready(config)?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    let wanted = match bench.host {
        Side::Ours => 0o640,
        // D14: the C daemon changes it.
        Side::C => 0o600,
    };
    ensure!(mode == wanted, "the mode is {mode:o}");
    Ok(())
}

fn bad_interface(bench: &Bench<'_>) -> Verdict {
    let mut config = multicast(bench)?;
    config.interface = Some("nosuchif0".to_owned());
    refuses(bench, config, "nosuchif0", &Original::GoesOn)
}

fn bad_group(bench: &Bench<'_>) -> Verdict {
    let mut config = multicast(bench)?;
    config.address = Some("10.1.2.3".to_owned());
    refuses(bench, config, "10.1.2.3", &Original::Refuses)
}
