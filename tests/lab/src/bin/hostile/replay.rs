//! What somebody who has listened can do: send frames again, and hand challenges round.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fence_lab::config::Transport;
use fence_lab::domains::VM1;
use fence_lab::host::Launch;
use fence_lab::wait::PATIENCE;
use fence_lab::{Failure, Guest, Verdict, ensure, forge, peer};
use fence_proto::frame::Signature;
use fence_proto::{Action, Reason, Reply};

use crate::Case;
use crate::stage::{HASH, SILENCE, Stage, ends_well, wait_for_reason};

pub(crate) const CASES: &[Case] = &[
    (
        "a captured datagram is not called back after it was served",
        after_success,
    ),
    (
        "a captured datagram is a replay even after the ten seconds",
        after_ten_seconds,
    ),
    (
        "a datagram that is being served is not called back again",
        while_served,
    ),
    ("a recorded TCP request is a replay", recorded_stream),
    (
        "the host's own challenge on a second connection is refused",
        reflection,
    ),
    (
        "another host's challenge is refused",
        reflection_to_another_host,
    ),
    (
        "a handshake that was recorded does not open the next one",
        recorded_handshake,
    ),
    (
        "a call-back for somebody else's request is not taken for the own answer",
        provoked_call_backs,
    ),
];

/// How many requests an insider sends in the victim's name, at the most.
const PROVOCATIONS: usize = 20_000;

/// An honest agent fences, somebody listens.
fn captured(stage: &Stage, agent: &fence_lab::Agent<'_>) -> Result<Vec<u8>, Failure> {
    let ear = stage.ear(Guest::Second)?;
    let answer = agent.act("off", VM1.name)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    let (_, frame) = peer::next_frame(&ear, &stage.key)?;
    let answer = agent.act("on", VM1.name)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    Ok(frame.to_vec())
}

fn after_success(stage: &Stage) -> Verdict {
    replayed_after(stage, Duration::ZERO)
}

/// The original forgets a request after ten seconds (section 2.6), and would act again.
fn after_ten_seconds(stage: &Stage) -> Verdict {
    replayed_after(stage, Duration::from_millis(10_500))
}

fn replayed_after(stage: &Stage, pause: Duration) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let agent = stage.agent(&host.config);
    let frame = captured(stage, &agent)?;
    thread::sleep(pause);
    let listener = stage.listen(Guest::First)?;
    for from in [Guest::Second, Guest::First] {
        stage.sender(from)?.send(&frame)?;
    }
    ensure!(
        peer::accept(&listener, SILENCE).is_none(),
        "the daemon called back for a frame that it had served"
    );
    drop(listener);
    let reason = if pause.is_zero() {
        Reason::DuplicateServed
    } else {
        Reason::Replayed
    };
    wait_for_reason(&host, reason)?;
    agent.expect_state(VM1.name, true)?;
    ends_well(&mut host)
}

fn while_served(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let listener = stage.listen(Guest::First)?;
    let frame = stage.frame(Action::Off, VM1.name, Some(stage.callback(Guest::First)))?;
    let sender = stage.sender(Guest::First)?;
    sender.send(&frame.0)?;
    let Some(mut call) = peer::accept(&listener, PATIENCE) else {
        return Err(Failure::new("no call-back came"));
    };
    for _ in 0..5 {
        sender.send(&frame.0)?;
    }
    let second = peer::accept(&listener, SILENCE);
    ensure!(
        second.is_none(),
        "the daemon called back twice for one request"
    );
    wait_for_reason(&host, Reason::DuplicateInProgress)?;
    peer::handshake_as_guest(&mut call, &stage.key, HASH)?;
    let reply = peer::read_reply(&mut call)?;
    ensure!(reply == Reply::Success.to_wire(), "the reply is {reply}");
    drop(listener);
    stage.agent(&host.config).expect_state(VM1.name, false)?;
    ends_well(&mut host)
}

fn recorded_stream(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let frame = stage.frame(Action::Status, VM1.name, None)?;
    let mut stream = stage.connect(Guest::First)?;
    stream.write_all(&frame.0)?;
    peer::handshake_as_guest(&mut stream, &stage.key, HASH)?;
    peer::read_reply(&mut stream)?;
    let mut again = stage.connect(Guest::Second)?;
    again.write_all(&frame.0)?;
    ensure!(
        peer::is_closed(&mut again, Duration::from_secs(2)),
        "a recorded frame is still listened to"
    );
    wait_for_reason(&host, Reason::Replayed)?;
    ends_well(&mut host)
}

/// Sends a good frame and a challenge of its own, and gets the host's challenge.
fn host_challenge(stage: &Stage, stream: &mut TcpStream) -> Result<[u8; 64], Failure> {
    let frame = stage.frame(Action::Off, VM1.name, None)?;
    stream.write_all(&frame.0)?;
    stream.write_all(&forge::random::<64>()?)?;
    let _answer = peer::read_block(stream)?;
    peer::read_block(stream)
}

/// Sends a good frame and `challenge`, as an attacker with a second recorded frame; the host must
/// not answer.
fn must_not_answer(stage: &Stage, stream: &mut TcpStream, challenge: &[u8; 64]) -> Verdict {
    let frame = stage.frame(Action::Off, VM1.name, None)?;
    stream.write_all(&frame.0)?;
    stream.write_all(challenge)?;
    if let Ok(answer) = peer::read_block(stream) {
        let right = stage.key.verify(HASH, challenge, &answer);
        ensure!(
            !right,
            "the host has answered a host's challenge: the attack works"
        );
        fence_lab::fail!("the host has answered, if not rightly");
    }
    Ok(())
}

fn reflection(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let mut first = stage.connect(Guest::Second)?;
    let challenge = host_challenge(stage, &mut first)?;
    let mut second = stage.connect(Guest::Second)?;
    must_not_answer(stage, &mut second, &challenge)?;
    wait_for_reason(&host, Reason::ReflectedChallenge)?;
    // Also on the same connection's heels, when the first is gone.
    drop(first);
    let mut third = stage.connect(Guest::First)?;
    must_not_answer(stage, &mut third, &challenge)?;
    stage.agent(&host.config).expect_state(VM1.name, true)?;
    ends_well(&mut host)
}

fn reflection_to_another_host(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let mut config = host.config.clone();
    config.port += 1;
    let launch: Launch<'_> = stage.launch("host2");
    let other = launch.start_ready(config)?;
    let mut first = stage.connect(Guest::Second)?;
    let challenge = host_challenge(stage, &mut first)?;
    let mut address = stage.tcp_address();
    address.set_port(other.config.port);
    let mut second = peer::connect(stage.net.guest(Guest::Second), address)?;
    must_not_answer(stage, &mut second, &challenge)?;
    wait_for_reason(&other, Reason::ReflectedChallenge)?;
    stage.agent(&host.config).expect_state(VM1.name, true)?;
    ends_well(&mut host)
}

/// A whole exchange is recorded and its guest's half played again behind a fresh frame.
fn recorded_handshake(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let mut honest = stage.connect(Guest::First)?;
    honest.write_all(&stage.frame(Action::Status, VM1.name, None)?.0)?;
    peer::challenge(&mut honest, &stage.key, HASH)?;
    let challenge = peer::read_block(&mut honest)?;
    let recorded = stage.key.digest(HASH, &challenge);
    honest.write_all(&recorded)?;
    peer::read_reply(&mut honest)?;

    let mut attacker = stage.connect(Guest::Second)?;
    let next = host_challenge(stage, &mut attacker)?;
    ensure!(
        next != challenge,
        "the host challenges twice with the same bytes"
    );
    attacker.write_all(&recorded)?;
    ensure!(
        peer::read_reply(&mut attacker).is_err(),
        "the host has taken an old answer"
    );
    wait_for_reason(&host, Reason::BadResponse)?;
    stage.agent(&host.config).expect_state(VM1.name, true)?;
    ends_well(&mut host)
}

/// An insider, who has the key, has the host call the victim back for his own harmless request, over
/// and over, while the victim switches a domain off. Handshakes do not say which request they are
/// for: without what our hosts put into their challenges, `monitor`'s success would be taken for
/// that of `off`.
fn provoked_call_backs(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let agent = stage.agent(&host.config);
    let sender = stage.sender(Guest::Second)?;
    let victim = Some(stage.callback(Guest::First));
    let over = AtomicBool::new(false);
    let verdict = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..PROVOCATIONS {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let signature = Signature::Keyed(&stage.key, HASH);
                if let Ok(request) = forge::request(Action::Monitor, "", victim) {
                    let _ = sender.send(&request.encode(signature));
                }
                thread::sleep(Duration::from_micros(200));
            }
        });
        let verdict = (0..8).try_for_each(|_| off_is_off(&agent));
        over.store(true, Ordering::Relaxed);
        verdict
    });
    verdict?;
    ends_well(&mut host)
}

/// Off says done: then the domain is off. That it fails would be no lie.
fn off_is_off(agent: &fence_lab::Agent<'_>) -> Verdict {
    let off = agent.act("off", VM1.name)?;
    if off.code == 0 {
        let status = agent.act("status", VM1.name)?;
        ensure!(
            status.code != 0,
            "off said done, and the domain is on: {}",
            status.describe()
        );
    }
    agent.act("on", VM1.name)?;
    Ok(())
}
