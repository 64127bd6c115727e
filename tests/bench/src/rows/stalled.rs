//! Honest requests while 500 peers stall in the middle of the handshake.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::Action;
use socket2::{Domain, Socket, Type};

use crate::error::BenchError;
use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::{Bench, expect_zero, host_of};
use crate::stats::{Samples, figure, median, median_percentile};
use crate::swarm::source;
use crate::wire::Failure;

/// Peers that stall.
const PEERS: usize = 500;

/// Second byte of their source addresses: each is a guest of its own.
const NETWORK: u8 = 3;

/// How long the peers may take to get where they stall.
const ASSEMBLY: Duration = Duration::from_secs(3);

/// How long an honest client of the C daemon waits, and how often it tries: it is known to wait in
/// vain.
const C_PATIENCE: Duration = Duration::from_secs(5);
const C_TRIES: usize = 3;

/// Quiet and disturbed, in turn.
pub(crate) fn measure(bench: &mut Bench<'_>, hosts: &[Host]) -> Result<Vec<Line>, BenchError> {
    let rounds = bench.amount().rounds.min(3);
    let mut quiet: PerKind<Vec<Samples>> = PerKind::empty();
    let mut disturbed: PerKind<Vec<Samples>> = PerKind::empty();
    let mut standing = Vec::new();
    for _ in 0..rounds {
        for host in hosts.iter().filter(|host| host.kind() != Kind::C) {
            let count = bench.amount().honest;
            let (samples, _) = bench.ask_each(host, "quiet", Action::Status, count);
            quiet.entry(host.kind()).push(samples);
            let peers = Stalled::assemble(bench, host)?;
            let (samples, _) = bench.ask_each(host, "stalled", Action::Status, count);
            disturbed.entry(host.kind()).push(samples);
            if host.kind() == Kind::Ours {
                standing.push(figure(peers.standing()));
            }
        }
    }
    let mut c_figure = None;
    if let Some(host) = host_of(hosts, Kind::C).filter(|_| !bench.settings.quick) {
        let (samples, _) = bench.ask_each(host, "quiet", Action::Status, 100);
        quiet.entry(Kind::C).push(samples);
        c_figure = Some(patient_c(bench, host)?);
    }
    Ok(lines(
        bench,
        &quiet,
        &disturbed,
        (c_figure, median(standing)),
    ))
}

/// The C daemon serves one at a time: a few tries, each cut off.
fn patient_c(bench: &mut Bench<'_>, host: &Host) -> Result<Figure, BenchError> {
    let prepared = bench.prepare(Action::Status, C_TRIES);
    let peers = Stalled::assemble(bench, host)?;
    let peer = host.peer(&bench.requests, C_PATIENCE);
    let mut took = Vec::new();
    let mut answered = 0;
    for request in &prepared {
        let started = Instant::now();
        let outcome = expect_zero(&peer, request);
        answered += usize::from(outcome.is_ok());
        took.push(outcome.unwrap_or_else(|_| started.elapsed()));
    }
    drop(peers);
    // It works off what is left of them; the next row is to find it idle.
    bench.ask_each(host, "stalled", Action::Status, 1);
    let value = Samples::new(took).percentile(99).unwrap_or_default();
    Ok(Figure {
        value,
        cut_off: answered < C_TRIES,
        remark: format!("{answered} of {C_TRIES} answered"),
    })
}

fn lines(
    bench: &Bench<'_>,
    quiet: &PerKind<Vec<Samples>>,
    disturbed: &PerKind<Vec<Samples>>,
    (c_figure, standing): (Option<Figure>, Option<f64>),
) -> Vec<Line> {
    let amount = bench.amount();
    let samples = format!("{} × {}; C 1", amount.rounds.min(3), amount.honest);
    let line = |name: &str, rounds: &PerKind<Vec<Samples>>, percent| Line {
        name: name.to_owned(),
        samples: samples.clone(),
        unit: Unit::Time,
        figures: rounds.map(|rounds| median_percentile(rounds, percent).map(Figure::new)),
        goals: vec![],
    };
    let quiet_p99 = line("honest status, quiet, p99", quiet, 99);
    let mut p99 = line(
        &format!("honest status while {PEERS} peers stall mid-handshake, p99"),
        disturbed,
        99,
    );
    let value = |line: &Line| line.figures.of(Kind::Ours).map(|figure| figure.value);
    let share = value(&p99)
        .zip(value(&quiet_p99))
        .map(|(busy, idle)| busy / idle);
    p99.goals = vec![Goal::new("≤ 2 × quiet p99", share, Sense::AtMost, 2.0)];
    if let (Some(figure), Some(standing)) = (p99.figures.of_mut(Kind::Ours), standing) {
        figure.remark = format!("{standing:.0} still stalled at the end");
    }
    *p99.figures.of_mut(Kind::C) = c_figure;
    vec![
        line("honest status, quiet, p50", quiet, 50),
        quiet_p99,
        line("the same while 500 peers stall, p50", disturbed, 50),
        p99,
    ]
}

/// Peers that sent frame and challenge, and then nothing.
struct Stalled {
    sockets: Vec<Socket>,
}

impl Stalled {
    /// Brings as many of them into place as the host lets in.
    fn assemble(bench: &mut Bench<'_>, host: &Host) -> Result<Self, BenchError> {
        let target = host.peer(&bench.requests, ASSEMBLY).target;
        let mut sockets = Vec::with_capacity(PEERS);
        for client in 0..PEERS {
            sockets.push(
                connecting(client, SocketAddr::V4(target))
                    .map_err(BenchError::io("connect a peer that stalls"))?,
            );
        }
        let openings = bench.prepare(Action::Status, PEERS);
        let mut waiting: Vec<_> = sockets.iter().zip(&openings).collect();
        let give_up = Instant::now() + ASSEMBLY;
        while !waiting.is_empty() && Instant::now() < give_up {
            // Those that are not connected yet try again.
            waiting.retain(|(socket, request)| socket.send(&request.opening).is_err());
            thread::sleep(Duration::from_millis(1));
        }
        // What the host answers to the last of them is answered before the clock starts.
        thread::sleep(Duration::from_millis(100));
        Ok(Self { sockets })
    }

    /// How many the host has not closed.
    fn standing(&self) -> usize {
        self.sockets.iter().filter(|socket| is_open(socket)).count()
    }
}

fn connecting(client: usize, target: SocketAddr) -> Result<Socket, std::io::Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::from((source(NETWORK, client), 0)).into())?;
    // In progress: the result shows when the first bytes are sent.
    let _in_progress = socket.connect(&target.into());
    Ok(socket)
}

/// Reads what is there; the end of the stream or an error other than "nothing yet" is a no.
fn is_open(socket: &Socket) -> bool {
    use std::io::Read as _;
    let mut stream = socket;
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return Failure::from(error) == Failure::TimedOut,
        }
    }
}
