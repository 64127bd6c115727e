//! Peers that stall: honest requests go on beside them.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use fence_lab::config::Transport;
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::{Agent, Failure, Guest, Net, Verdict, ensure, forge, peer};
use fence_proto::{Action, Family};
use socket2::{Domain, Socket, Type};

use crate::Case;
use crate::stage::{Stage, ends_well, succeeds};

const PEERS: u8 = 250;

/// An honest request may take this long: it takes some 10 ms when nobody else works.
const SOON: Duration = Duration::from_secs(1);

pub(crate) const CASES: &[Case] = &[
    ("500 peers of many sources connect and say nothing", silent),
    ("500 peers of many sources send half a frame", half_frame),
    (
        "500 peers of many sources stall after the challenge",
        after_challenge,
    ),
    (
        "500 stalled peers of the honest guest's own address",
        same_source,
    ),
    (
        "500 call-backs that are accepted and never answered",
        silent_callbacks,
    ),
];

fn silent(stage: &Stage) -> Verdict {
    stalled(stage, |_, _| Ok(()))
}

fn half_frame(stage: &Stage) -> Verdict {
    stalled(stage, |stage, stream| {
        let frame = stage.frame(Action::Off, BYSTANDER.name, None)?;
        Ok(stream.write_all(frame.0.get(..88).unwrap_or_default())?)
    })
}

/// They have a good frame (recorded, say) and let the host wait for its answer.
fn after_challenge(stage: &Stage) -> Verdict {
    stalled(stage, |stage, stream| {
        let frame = stage.frame(Action::Off, BYSTANDER.name, None)?;
        stream.write_all(&frame.0)?;
        Ok(stream.write_all(&forge::random::<64>()?)?)
    })
}

fn stalled(stage: &Stage, act: fn(&Stage, &mut TcpStream) -> Verdict) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let agent = stage.agent(&host.config);
    let mut held = Vec::new();
    for _ in 0..2 {
        for mut stream in from_many_addresses(&stage.net, stage.tcp_address())? {
            act(stage, &mut stream)?;
            held.push(stream);
        }
    }
    honest_work(&agent)?;
    drop(held);
    honest_work(&agent)?;
    ends_well(&mut host)
}

fn honest_work(agent: &Agent<'_>) -> Verdict {
    for _ in 0..5 {
        succeeds(agent, "off", VM1.name, SOON)?;
        succeeds(agent, "on", VM1.name, SOON)?;
        succeeds(agent, "status", BYSTANDER.name, SOON)?;
        succeeds(agent, "list", "", SOON)?;
    }
    Ok(())
}

/// Connections from the second guest, each from an address of its own.
fn from_many_addresses(net: &Net, to: SocketAddr) -> Result<Vec<TcpStream>, Failure> {
    let guest = net.guest(Guest::Second);
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 77, 1, last));
    let lines: String = (1..=PEERS)
        .map(|last| format!("addr replace {}/15 dev eth0\n", address(last)))
        .collect();
    guest.ip(&lines)?;
    net.dom0.ip("route replace 10.77.1.0/24 dev br0\n")?;
    guest.inside(|| {
        (1..=PEERS)
            .map(|last| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.bind(&SocketAddr::new(address(last), 0).into())?;
                socket.connect(&to.into())?;
                Ok(TcpStream::from(socket))
            })
            .collect()
    })?
}

fn same_source(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let agent = stage.agent(&host.config);
    let to = stage.tcp_address();
    let held: Vec<TcpStream> = stage.net.guest(Guest::First).inside(|| {
        (0..500)
            .map(|_| TcpStream::connect(to))
            .collect::<Result<_, _>>()
    })??;
    honest_work(&agent)?;
    drop(held);
    ends_well(&mut host)
}

/// A guest that has the key asks 500 times and never answers the call-backs. They are accepted by
/// its kernel alone.
fn silent_callbacks(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let agent = stage.agent(&host.config);
    let mut quiet = Vec::new();
    let sender = stage.sender(Guest::Second)?;
    for index in 0..500_u16 {
        let address = SocketAddr::new(Guest::Second.address(Family::Ipv4), 20_000 + index % 50);
        if index < 50 {
            quiet.push(peer::listen(stage.net.guest(Guest::Second), address)?);
        }
        let frame = stage.frame(Action::Off, BYSTANDER.name, Some(address))?;
        sender.send(&frame.0)?;
    }
    for _ in 0..3 {
        succeeds(&agent, "off", VM1.name, SOON)?;
        succeeds(&agent, "on", VM1.name, SOON)?;
    }
    let calls = quiet.iter().filter(|listener| listener.accept().is_ok());
    ensure!(calls.count() > 25, "the daemon did not even call back");
    succeeds(&agent, "status", BYSTANDER.name, SOON)?;
    ends_well(&mut host)
}
