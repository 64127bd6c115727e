//! Rows of regressions that are about the agent alone: the host is played by the lab, by hand.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fence_lab::agent::Running;
use fence_lab::config::{HostConfig, Transport};
use fence_lab::net::{BRIDGE, host_address};
use fence_lab::{Agent, Answer, Failure, Side, Verdict, ensure, peer};
use fence_proto::host_list::{self, Entry};
use fence_proto::{Family, HashAlgorithm, Key, Reply, RequestFrame, Uuid};

use crate::{Bench, Job};

const AUTH: HashAlgorithm = HashAlgorithm::Sha256;

type Case = fn(&Bench<'_>) -> Verdict;

const CASES: &[(&str, Case)] = &[
    (
        "authentication that fails is never success (F1)",
        host_without_the_key,
    ),
    (
        "a host that closes without an answer is no success",
        host_without_an_answer,
    ),
    ("an unknown reply byte is no success", unknown_reply),
    (
        "a list that is cut short is no success (L6)",
        list_cut_short,
    ),
    ("a list that stalls is no success (L6)", list_that_stalls),
    ("full name and UUID fields are printed (F17)", full_fields),
    (
        "time-out shorter than one retransmission ends (L14)",
        short_timeout,
    ),
    (
        "a host that stalls costs no more than the time-out (L14)",
        stalled_host,
    ),
    (
        "an unreachable host costs no more than the time-out",
        unreachable_host,
    ),
    (
        "a stranger that connects first and stalls (L15)",
        stranger_stalls,
    ),
    (
        "a stranger that connects first with rubbish (L15)",
        stranger_babbles,
    ),
    (
        "a stray word is an error and nothing is sent (L36)",
        stray_word,
    ),
];

/// One group, with the agent of one side.
pub(crate) fn jobs(agent: Side) -> Vec<Job> {
    CASES
        .iter()
        .map(|(name, case)| Job {
            name: format!("agent {agent}: {name}"),
            host: agent,
            agent,
            run: Box::new(move |bench, group| {
                group.case(name, case(bench));
                Ok(())
            }),
        })
        .collect()
}

/// What the cases share: an agent, the key, and the lab in the host's place.
struct Stage<'a> {
    agent: Agent<'a>,
    key: Key,
    config: HostConfig,
}

impl<'a> Stage<'a> {
    fn new(bench: &'a Bench<'_>, transport: Transport) -> Result<Self, Failure> {
        let mut config = HostConfig::new(transport, Family::Ipv4, bench.port);
        config.key_file = bench.key()?;
        let key = Key::from_bytes(&std::fs::read(&config.key_file)?)?;
        let agent = Agent::fitting(&config, Side::Ours, &bench.place());
        Ok(Self { agent, key, config })
    }

    fn listen(&self) -> Result<TcpListener, Failure> {
        let address = SocketAddr::new(host_address(Family::Ipv4), self.config.port);
        peer::listen(&self.agent.net.dom0, address)
    }

    /// Takes a TCP agent's connection and its frame.
    fn take(&self, listener: &TcpListener) -> Result<TcpStream, Failure> {
        let Some(mut stream) = peer::accept(listener, Duration::from_secs(5)) else {
            return Err(Failure::new("the agent did not connect"));
        };
        let mut frame = [0; 176];
        std::io::Read::read_exact(&mut stream, &mut frame)?;
        Ok(stream)
    }

    /// As [`Self::take`], through the handshake.
    fn serve(&self, listener: &TcpListener) -> Result<TcpStream, Failure> {
        let mut stream = self.take(listener)?;
        peer::handshake_as_host(&mut stream, &self.key, AUTH)?;
        Ok(stream)
    }

    fn ear(&self) -> Result<UdpSocket, Failure> {
        let group = SocketAddr::new(self.config.address().parse()?, self.config.port);
        peer::eavesdropper(&self.agent.net.dom0, BRIDGE, group)
    }

    /// The frame of a multicast agent that waits on the bridge, not on its loopback.
    fn frame(&self, ear: &UdpSocket) -> Result<RequestFrame, Failure> {
        Ok(peer::next_frame(ear, &self.key)?.0)
    }

    /// Plays the host of one TCP exchange and says what the agent made of it.
    fn exchange(
        &self,
        options: &[&str],
        play: impl FnOnce(&Self, &TcpListener) -> Verdict,
    ) -> Result<Answer, Failure> {
        let listener = self.listen()?;
        let running = self.agent.spawn(options)?;
        play(self, &listener)?;
        running.finish(Duration::from_secs(15))
    }
}

fn must_fail(answer: &Answer) -> Verdict {
    ensure!(
        answer.code != 0,
        "it should fail, but: {}",
        answer.describe()
    );
    Ok(())
}

fn host_without_the_key(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let wrong = Key::from_bytes(b"another key")?;
    let answer = stage.exchange(&["-o", "off", "-n", "vm1", "-t", "3"], |stage, listener| {
        let mut stream = stage.take(listener)?;
        // It may close at the wrong answer already; that it must not believe the reply is the point.
        let _ = peer::respond(&mut stream, &wrong, AUTH);
        let _ = stream.write_all(&[0x11; 64]);
        let _ = peer::read_block(&mut stream);
        let _ = stream.write_all(&[Reply::Success.to_wire()]);
        Ok(())
    })?;
    must_fail(&answer)
}

fn host_without_an_answer(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let answer = stage.exchange(&["-o", "off", "-n", "vm1", "-t", "3"], |stage, listener| {
        stage.serve(listener).map(drop)
    })?;
    must_fail(&answer)
}

fn unknown_reply(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let answer = stage.exchange(&["-o", "off", "-n", "vm1", "-t", "3"], |stage, listener| {
        Ok(stage.serve(listener)?.write_all(&[77])?)
    })?;
    must_fail(&answer)
}

fn entry(name: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        uuid: Uuid([0x1f; 16]),
        state: host_list::STATE_RUNNING,
    }
}

/// 253 and a list of two, of which only so many bytes are sent.
fn partial_list(stream: &mut TcpStream) -> Verdict {
    let list = host_list::encode(&[entry("one"), entry("two")]);
    stream.write_all(&[Reply::HostListFollows.to_wire()])?;
    let part = list.get(..host_list::ENTRY_LEN + 60).unwrap_or_default();
    Ok(stream.write_all(part)?)
}

fn list_cut_short(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let listener = stage.listen()?;
    let running = stage.agent.spawn(&["-o", "list", "-t", "2"])?;
    partial_list(&mut stage.serve(&listener)?)?;
    match (bench.agent, running.finish(Duration::from_secs(4))) {
        (Side::Ours, answer) => judge_partial_list(&answer?, bench.agent),
        // D6: it never notices that the connection has ended.
        (Side::C, Err(_)) => Ok(()),
        (Side::C, Ok(answer)) => fence_lab::fail!("C has changed: {}", answer.describe()),
    }
}

fn list_that_stalls(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let listener = stage.listen()?;
    let running = stage.agent.spawn(&["-o", "list", "-t", "2"])?;
    let mut stream = stage.serve(&listener)?;
    partial_list(&mut stream)?;
    let answer = running.finish(Duration::from_secs(15))?;
    judge_partial_list(&answer, bench.agent)?;
    ensure!(
        bench.agent == Side::C || answer.elapsed < Duration::from_secs(3),
        "it took longer than its time-out of 2 s: {}",
        answer.describe()
    );
    Ok(())
}

/// The C agent believes a list that stalls (D6).
fn judge_partial_list(answer: &Answer, agent: Side) -> Verdict {
    match agent {
        Side::Ours => {
            must_fail(answer)?;
            ensure!(
                answer.stdout.is_empty(),
                "half a list was printed: {}",
                answer.describe()
            );
        }
        Side::C => ensure!(answer.code == 0, "C has changed: {}", answer.describe()),
    }
    Ok(())
}

fn full_fields(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let answer = stage.exchange(&["-o", "list", "-t", "3"], |stage, listener| {
        let mut stream = stage.serve(listener)?;
        let mut list = vec![Reply::HostListFollows.to_wire()];
        list.extend([b'n'; 64]);
        list.extend([b'u'; 64]);
        list.extend([1, 0]);
        list.extend(host_list::encode(&[]));
        Ok(stream.write_all(&list)?)
    })?;
    ensure!(answer.code == 0, "{}", answer.describe());
    let wanted = format!("{} {} on\n", "n".repeat(64), "u".repeat(64));
    ensure!(
        bench.agent == Side::C || answer.stdout == wanted,
        "the fields are not printed whole: {}",
        answer.describe()
    );
    Ok(())
}

fn short_timeout(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast)?;
    let options = ["-o", "off", "-n", "vm1", "-t", "1", "-r", "20"];
    let running = stage.agent.spawn(&options)?;
    let end = running.finish(Duration::from_secs(3));
    match (bench.agent, end) {
        (Side::Ours, Ok(answer)) => {
            must_fail(&answer)?;
            ensure!(
                answer.elapsed < Duration::from_millis(1800),
                "it took too long: {}",
                answer.describe()
            );
        }
        (Side::Ours, Err(failure)) => return Err(failure),
        (Side::C, Ok(answer)) => fence_lab::fail!("C has changed (D7): {}", answer.describe()),
        (Side::C, Err(_)) => {}
    }
    Ok(())
}

fn stalled_host(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let listener = stage.listen()?;
    let running = stage.agent.spawn(&["-o", "off", "-n", "vm1", "-t", "2"])?;
    let _held = stage.take(&listener)?;
    let answer = running.finish(Duration::from_secs(20))?;
    must_fail(&answer)?;
    within(bench.agent, &answer, Duration::from_millis(2800))
}

fn unreachable_host(bench: &Bench<'_>) -> Verdict {
    let mut stage = Stage::new(bench, Transport::Tcp)?;
    // On the bridge's network, but nobody's: the kernel gives up after 3 s.
    stage.agent = stage.agent.with("-T", "10.77.0.99");
    let answer = stage.agent.run(&["-o", "off", "-n", "vm1", "-t", "1"])?;
    must_fail(&answer)?;
    within(bench.agent, &answer, Duration::from_millis(1800))
}

fn within(agent: Side, answer: &Answer, limit: Duration) -> Verdict {
    // The C agent's reads have time-outs of their own (D7).
    ensure!(
        agent == Side::C || answer.elapsed < limit,
        "it took longer than its time-out: {}",
        answer.describe()
    );
    Ok(())
}

fn stranger_stalls(bench: &Bench<'_>) -> Verdict {
    after_stranger(bench, |_| Ok(()))
}

fn stranger_babbles(bench: &Bench<'_>) -> Verdict {
    after_stranger(bench, |stream| Ok(stream.write_all(&[0x42; 300])?))
}

/// A stranger is the first to connect; then the host, played by the lab, comes.
fn after_stranger(bench: &Bench<'_>, act: fn(&mut TcpStream) -> Verdict) -> Verdict {
    let stage = Stage::new(bench, Transport::Multicast)?;
    let ear = stage.ear()?;
    let running = stage
        .agent
        .spawn(&["-o", "off", "-n", "vm1", "-t", "6", "-r", "5"])?;
    let frame = stage.frame(&ear)?;
    let dom0 = &stage.agent.net.dom0;
    let mut stranger = peer::call_back(dom0, &frame)?;
    act(&mut stranger)?;
    let served = serve_multicast(&stage, &frame);
    let answer = finish(running)?;
    match bench.agent {
        Side::Ours => {
            served?;
            ensure!(
                answer.code == 0,
                "the host was not heard: {}",
                answer.describe()
            );
        }
        // D8: whoever connects first denies the service.
        Side::C => ensure!(answer.code != 0, "C has changed: {}", answer.describe()),
    }
    Ok(())
}

fn serve_multicast(stage: &Stage<'_>, frame: &RequestFrame) -> Verdict {
    let mut stream = peer::call_back(&stage.agent.net.dom0, frame)?;
    peer::handshake_as_host(&mut stream, &stage.key, AUTH)?;
    Ok(stream.write_all(&[Reply::Success.to_wire()])?)
}

fn finish(running: Running) -> Result<Answer, Failure> {
    running.finish(Duration::from_secs(20))
}

fn stray_word(bench: &Bench<'_>) -> Verdict {
    let stage = Stage::new(bench, Transport::Tcp)?;
    let listener = stage.listen()?;
    let running = stage
        .agent
        .spawn(&["stray", "-o", "off", "-n", "vm1", "-t", "2"])?;
    let connection = peer::accept(&listener, Duration::from_millis(700));
    drop(listener);
    let connected = connection.is_some();
    drop(connection);
    let answer = finish(running)?;
    match bench.agent {
        Side::Ours => {
            must_fail(&answer)?;
            ensure!(
                !connected,
                "it asked the host in spite of a word that makes no sense"
            );
        }
        // D10: the C agent ignores what it does not understand.
        Side::C => ensure!(connected, "C has changed: {}", answer.describe()),
    }
    Ok(())
}
