//! Frames that are wrong: dropped, counted by reason, and never answered.

use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fence_lab::config::Transport;
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::{Failure, Guest, Host, Verdict, ensure, forge};
use fence_proto::frame::Signature;
use fence_proto::{Action, Key, Reason};

use crate::Case;
use crate::stage::{HASH, Stage, ends_well, succeeds, wait_for_reason};

const FRAMES: usize = 10_000;

/// What a flood may send at most.
const FLOOD: usize = 200_000;

/// More memory than this after a storm would be a leak.
const RESIDENT_KIB: u64 = 64 * 1024;

pub(crate) const CASES: &[Case] = &[
    (
        "10,000 malformed datagrams are dropped, each for its reason",
        datagrams,
    ),
    (
        "10,000 malformed streams are dropped, each for its reason",
        streams,
    ),
    ("a flood of forged packets holds up no honest guest", flood),
    (
        "impossible call-back addresses are never connected to",
        impossible_addresses,
    ),
    (
        "a loopback call-back address from another machine is refused",
        foreign_loopback,
    ),
];

/// What the malformed frames must have been dropped for, at the least.
const REASONS: [Reason; 8] = [
    Reason::WrongLength,
    Reason::UnknownAction,
    Reason::UnknownHash,
    Reason::MalformedDomain,
    Reason::MissingDomain,
    Reason::MalformedAddress,
    Reason::WeakHash,
    Reason::BadSignature,
];

/// 10,000 frames: every systematic one, then random bytes.
fn wrong_frames(key: &Key, callback: Option<SocketAddr>) -> Result<Vec<Vec<u8>>, Failure> {
    let honest = forge::request(Action::Off, BYSTANDER.name, callback)?;
    let mut frames: Vec<_> = forge::malformed(&honest, key)?
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    while frames.len() < FRAMES {
        let mut bytes = forge::random::<300>()?.to_vec();
        bytes.truncate(frames.len() % 301);
        frames.push(bytes);
    }
    Ok(frames)
}

fn still_well(stage: &Stage, host: &mut Host) -> Verdict {
    let agent = stage.agent(&host.config);
    let soon = Duration::from_secs(3);
    succeeds(&agent, "status", BYSTANDER.name, soon)?;
    succeeds(&agent, "off", VM1.name, soon)?;
    let resident = host.resident()?;
    ensure!(resident < RESIDENT_KIB, "it has grown to {resident} KiB");
    ends_well(host)
}

fn datagrams(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let sender = stage.sender(Guest::Second)?;
    for (index, frame) in wrong_frames(&stage.key, Some(stage.callback(Guest::Second)))?
        .iter()
        .enumerate()
    {
        sender.send(frame)?;
        if index % 50 == 0 {
            // Not a flood: every frame should be looked at.
            thread::sleep(Duration::from_millis(2));
        }
    }
    for reason in REASONS {
        wait_for_reason(&host, reason)?;
    }
    still_well(stage, &mut host)
}

fn streams(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let frames = wrong_frames(&stage.key, None)?;
    let to = stage.tcp_address();
    stage.net.guest(Guest::Second).inside(|| {
        for frame in &frames {
            let mut stream = TcpStream::connect(to)?;
            // The daemon may have hung up already: that is its right.
            let _ = stream.write_all(frame);
            let _ = stream.shutdown(Shutdown::Write);
        }
        Ok::<(), std::io::Error>(())
    })??;
    // Streams have no wrong length, only too little or too much.
    for reason in REASONS
        .into_iter()
        .filter(|reason| *reason != Reason::WrongLength)
    {
        wait_for_reason(&host, reason)?;
    }
    wait_for_reason(&host, Reason::PeerClosed)?;
    still_well(stage, &mut host)
}

fn flood(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let agent = stage.agent(&host.config);
    let sender = stage.sender(Guest::Second)?;
    let forged = forge::request(
        Action::Off,
        BYSTANDER.name,
        Some(stage.callback(Guest::Second)),
    )?;
    let stranger = Key::from_bytes(b"a key that the host does not have")?;
    let forged = forged.encode(Signature::Keyed(&stranger, HASH));
    let over = AtomicBool::new(false);
    let (sent, verdict) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            let mut sent = 0;
            while sent < FLOOD
                && start.elapsed() < Duration::from_secs(5)
                && !over.load(Ordering::Relaxed)
            {
                sent += usize::from(sender.send(&forged).is_ok());
            }
            sent
        });
        let mut verdict = Ok(());
        for _ in 0..5 {
            // One retransmission is fair: the kernel may have had no room for the first.
            verdict = verdict
                .and_then(|()| succeeds(&agent, "off", VM1.name, Duration::from_secs(5)))
                .and_then(|()| succeeds(&agent, "on", VM1.name, Duration::from_secs(5)));
        }
        over.store(true, Ordering::Relaxed);
        (flood.join().unwrap_or(0), verdict)
    });
    verdict?;
    ensure!(sent > 1000, "only {sent} packets were sent: no flood");
    wait_for_reason(&host, Reason::BadSignature)?;
    still_well(stage, &mut host)
}

fn impossible_addresses(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let sender = stage.sender(Guest::First)?;
    let addresses = [
        ([225, 0, 0, 12], 1229),
        ([224, 0, 0, 1], 1229),
        ([239, 255, 255, 255], 22),
        ([255, 255, 255, 255], 1229),
        ([0, 0, 0, 0], 1229),
        ([0, 1, 2, 3], 1229),
        ([10, 77, 0, 2], 0),
    ];
    for (before, (address, port)) in addresses.into_iter().enumerate() {
        let address = SocketAddr::new(IpAddr::from(address), port);
        sender.send(&stage.frame(Action::Off, BYSTANDER.name, Some(address))?.0)?;
        fence_lab::wait::until(
            &format!("the refusal of {address}"),
            Duration::from_secs(5),
            || {
                host.process
                    .stderr()
                    .matches(Reason::ImpossibleAddress.name())
                    .count()
                    > before
            },
        )?;
    }
    still_well(stage, &mut host)
}

/// The address means the sender's own machine; to the host it would mean the host.
fn foreign_loopback(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let bait = fence_lab::peer::listen(&stage.net.dom0, "127.0.0.1:4711".parse()?)?;
    let frame = stage.frame(Action::Off, BYSTANDER.name, Some("127.0.0.1:4711".parse()?))?;
    stage.sender(Guest::First)?.send(&frame.0)?;
    wait_for_reason(&host, Reason::ImpossibleAddress)?;
    ensure!(bait.accept().is_err(), "the daemon connected to itself");
    still_well(stage, &mut host)
}
