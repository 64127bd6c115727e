//! Reboots: of one domain, and of fifty at once.

use std::time::Duration;

use fence_proto::Action;

use crate::error::BenchError;
use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::{AGENT_PATIENCE, Bench, domain};
use crate::stats::{Samples, median, median_percentile};
use crate::swarm::{Swarm, Work};
use crate::wire::{Failure, Request, Requests};

/// Domains that are rebooted at once.
const AT_ONCE: usize = 50;

/// When waiting for fifty reboots ends.
const BOUND: Duration = Duration::from_secs(80);

/// Second byte of the clients' source addresses.
const NETWORK: u8 = 4;

/// One domain after the other, by one client.
pub(crate) fn measure_one(bench: &mut Bench<'_>, hosts: &[Host]) -> Vec<Line> {
    let amount = bench.amount();
    let rounds = amount.rounds.min(3);
    let mut taken: PerKind<Vec<Samples>> = PerKind::empty();
    for _ in 0..rounds {
        for host in hosts {
            let count = match host.kind() {
                // It sleeps for a second in each (row L17).
                Kind::C => 1,
                Kind::Ours | Kind::Floor => amount.reboots,
            };
            let (samples, _) = bench.ask_each(host, "reboot", Action::Reboot, count);
            taken.entry(host.kind()).push(samples);
        }
    }
    let figures = taken.map(|rounds| median_percentile(rounds, 50).map(Figure::new));
    let goals = vec![Goal::ratio(
        "≤ 0.1 × C",
        &figures,
        Kind::C,
        Sense::AtMost,
        0.1,
    )];
    vec![Line {
        name: "reboot of one domain, p50".to_owned(),
        samples: format!("{rounds} × {}; C {rounds} × 1", amount.reboots),
        unit: Unit::Time,
        figures,
        goals,
    }]
}

/// Each client reboots its own domain, and tries again until that succeeds.
struct Fifty {
    requests: Requests,
    rebooted: Vec<bool>,
    failures: Vec<Failure>,
}

impl Work for Fifty {
    fn next(&mut self, client: usize) -> Option<Request> {
        let rebooted = *self.rebooted.get(client)?;
        (!rebooted).then(|| self.requests.next(Action::Reboot, &domain(client), None))
    }

    fn done(&mut self, client: usize, outcome: Result<u8, Failure>, _took: Duration) {
        match outcome {
            Ok(0) => {
                if let Some(rebooted) = self.rebooted.get_mut(client) {
                    *rebooted = true;
                }
            }
            Ok(reply) => self.failures.push(Failure::Reply(reply)),
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// Fifty domains at once, each by a client of its own, until all are rebooted.
pub(crate) fn measure_fifty(
    bench: &mut Bench<'_>,
    hosts: &[Host],
) -> Result<Vec<Line>, BenchError> {
    let rounds = bench.amount().rounds;
    let mut taken: PerKind<Vec<f64>> = PerKind::empty();
    let mut remarks: PerKind<String> = PerKind::empty();
    let mut cut_off: PerKind<bool> = PerKind::empty();
    for round in 0..rounds {
        for host in hosts {
            if host.kind() == Kind::C && (round > 0 || bench.settings.quick) {
                continue;
            }
            let (work, took) = fifty_once(bench, host)?;
            let done = work.rebooted.iter().filter(|done| **done).count();
            taken.entry(host.kind()).push(took.as_secs_f64());
            if done < AT_ONCE || !work.failures.is_empty() {
                let problem = format!("{done} of {AT_ONCE}, {} errors", work.failures.len());
                bench.note(host.kind(), "reboot50", &problem);
                *remarks.entry(host.kind()) = problem;
            }
            *cut_off.entry(host.kind()) |= done < AT_ONCE;
        }
    }
    let mut figures = taken.map(|times| median(times.clone()).map(Figure::new));
    for kind in [Kind::Ours, Kind::C, Kind::Floor] {
        if let Some(figure) = figures.of_mut(kind) {
            figure.remark = remarks.of(kind).cloned().unwrap_or_default();
            figure.cut_off = cut_off.of(kind).copied().unwrap_or(false);
        }
    }
    let goals = vec![Goal::ratio(
        "≤ 0.02 × C",
        &figures,
        Kind::C,
        Sense::AtMost,
        0.02,
    )];
    Ok(vec![Line {
        name: format!("{AT_ONCE} domains rebooted at once, until all are"),
        samples: format!("{rounds}; C 1"),
        unit: Unit::Time,
        figures,
        goals,
    }])
}

fn fifty_once(bench: &Bench<'_>, host: &Host) -> Result<(Fifty, Duration), BenchError> {
    let mut work = Fifty {
        requests: bench.requests.fork()?,
        rebooted: vec![false; AT_ONCE],
        failures: vec![],
    };
    let requests = bench.requests.clone();
    let peer = host.peer(&requests, AGENT_PATIENCE);
    let took = Swarm::new(peer, AT_ONCE, NETWORK, &mut work)?.run(BOUND)?;
    Ok((work, took))
}
