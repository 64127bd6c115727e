//! Honest multicast requests while another guest floods the group with forged packets.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::guest::{self, Honest};
use crate::host::{Host, Kind, Listener};
use crate::lan::Lan;
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::Bench;
use crate::stats::{Samples, figure, median, median_percentile};
use crate::wire::Failure;

/// The default group.
const GROUP: Ipv4Addr = Ipv4Addr::new(225, 0, 0, 12);

/// How long a daemon may take until it answers.
const START_BOUND: Duration = Duration::from_secs(20);

/// How long the flood lasts before honest requests are counted.
const HEAD_START: Duration = Duration::from_millis(300);

/// What was measured of one daemon.
#[derive(Debug, Default)]
struct Measured {
    quiet: Vec<Samples>,
    flooded: Vec<Samples>,
    asked: usize,
    failed: usize,
    resent: usize,
    packets_per_second: Vec<f64>,
}

/// Quiet and flooded, in turn.
pub(crate) fn measure(bench: &mut Bench<'_>, uri: &str) -> Result<Vec<Line>, BenchError> {
    let lan = Lan::new()?;
    let hosts = start(bench, &lan, uri)?;
    let mut measured: PerKind<Measured> = PerKind::empty();
    for _ in 0..bench.amount().rounds.min(2) {
        for (host, group) in &hosts {
            let verify = host.kind().has_key();
            let honest = ask(bench, &lan, (*group, verify), bench.amount().honest)?;
            note(bench, host.kind(), "multicast, quiet", &honest);
            measured.entry(host.kind()).quiet.push(honest.samples);
            let (honest, rate) = ask_during_flood(bench, &lan, (*group, verify))?;
            note(bench, host.kind(), "multicast, flooded", &honest);
            let entry = measured.entry(host.kind());
            entry.asked += honest.samples.len() + honest.failures.len();
            entry.failed += honest.failures.len();
            entry.resent += honest.resent;
            entry.flooded.push(honest.samples);
            entry.packets_per_second.push(rate);
        }
    }
    Ok(lines(bench, &measured))
}

/// Starts our daemon and the C one on ports of their own, so that each is asked alone.
fn start(bench: &Bench<'_>, lan: &Lan, uri: &str) -> Result<Vec<(Host, SocketAddrV4)>, BenchError> {
    let mut hosts = Vec::new();
    for kind in bench.settings.kinds() {
        let port = match kind {
            Kind::Ours => 1229,
            Kind::C => 1230,
            Kind::Floor => 1231,
        };
        let listener = Listener::Multicast {
            namespace: lan.host_namespace(),
            group: GROUP,
            port,
        };
        let host = Host::start(bench.settings, bench.place, kind, &listener, (uri, 0))?;
        let group = SocketAddrV4::new(GROUP, port);
        wait_until_answering(bench, lan, &host, group)?;
        hosts.push((host, group));
    }
    Ok(hosts)
}

fn wait_until_answering(
    bench: &Bench<'_>,
    lan: &Lan,
    host: &Host,
    group: SocketAddrV4,
) -> Result<(), BenchError> {
    let give_up = Instant::now() + START_BOUND;
    loop {
        // An honest request is sent again every two seconds, so one is enough.
        let honest = ask(bench, lan, (group, host.kind().has_key()), 1)?;
        if honest.samples.len() == 1 {
            return Ok(());
        }
        if Instant::now() > give_up {
            let last = honest.failures.first().copied();
            return Err(host.not_serving(last.unwrap_or(Failure::TimedOut)));
        }
    }
}

fn ask(
    bench: &Bench<'_>,
    lan: &Lan,
    (group, verify): (SocketAddrV4, bool),
    count: usize,
) -> Result<Honest, BenchError> {
    let honest = lan.guest(1);
    let requests = bench.requests.fork()?;
    let amount = (count, bench.amount().honest_bound);
    let address = honest.address;
    honest
        .run(move || guest::ask(requests, address, (group, verify), amount))
        .join()
        .map_err(|_| BenchError::Thread("honest guest"))??
}

fn ask_during_flood(
    bench: &Bench<'_>,
    lan: &Lan,
    (group, verify): (SocketAddrV4, bool),
) -> Result<(Honest, f64), BenchError> {
    let stop = Arc::new(AtomicBool::new(false));
    let bad = lan.guest(2);
    let requests = bench.requests.fork()?;
    let (address, until) = (bad.address, Arc::clone(&stop));
    let rate = bench.settings.flood_rate;
    let flood = bad.run(move || guest::flood(requests, address, group, rate, &until));
    thread::sleep(HEAD_START);
    let honest = ask(bench, lan, (group, verify), bench.amount().honest);
    stop.store(true, Ordering::Relaxed);
    let (sent, took) = flood.join().map_err(|_| BenchError::Thread("flood"))???;
    let rate = figure(sent) / took.as_secs_f64();
    Ok((honest?, rate))
}

fn note(bench: &mut Bench<'_>, kind: Kind, row: &str, honest: &Honest) {
    for failure in &honest.failures {
        bench.note(kind, row, &failure.to_string());
    }
}

fn lines(bench: &Bench<'_>, measured: &PerKind<Measured>) -> Vec<Line> {
    let amount = bench.amount();
    let samples = format!("{} × {} each", amount.rounds.min(2), amount.honest);
    let line = |name: &str, pick: fn(&Measured) -> &Vec<Samples>, percent| Line {
        name: name.to_owned(),
        samples: samples.clone(),
        unit: Unit::Time,
        figures: measured
            .map(|measured| median_percentile(pick(measured), percent).map(Figure::new)),
        goals: vec![],
    };
    let quiet_p99 = line("multicast status, quiet, p99", |m| &m.quiet, 99);
    let mut p99 = line(
        "multicast status during a flood of forged packets, p99",
        |m| &m.flooded,
        99,
    );
    let value = |line: &Line| line.figures.of(Kind::Ours).map(|figure| figure.value);
    let share = value(&p99)
        .zip(value(&quiet_p99))
        .map(|(busy, idle)| busy / idle);
    let unanswered = measured.of(Kind::Ours).map(|ours| figure(ours.failed));
    p99.goals = vec![
        Goal::new("all answered: failures", unanswered, Sense::AtMost, 0.0),
        Goal::new("≤ 5 × quiet p99", share, Sense::AtMost, 5.0),
    ];
    for kind in [Kind::Ours, Kind::C, Kind::Floor] {
        if let (Some(figure), Some(of)) = (p99.figures.of_mut(kind), measured.of(kind)) {
            figure.remark = format!(
                "{} of {} answered, {} sent again, flood {:.0}/s",
                of.asked - of.failed,
                of.asked,
                of.resent,
                median(of.packets_per_second.clone()).unwrap_or(0.0),
            );
        }
    }
    vec![
        line("multicast status, quiet, p50", |m| &m.quiet, 50),
        quiet_p99,
        line("the same during the flood, p50", |m| &m.flooded, 50),
        p99,
    ]
}
