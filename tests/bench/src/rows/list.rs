//! The list of 10,000 domains.

use std::net::Ipv4Addr;

use fence_proto::Action;

use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::{AGENT_PATIENCE, Bench};
use crate::stats::{Samples, median_percentile};

/// Domains on the list.
pub(crate) const DOMAINS: usize = 10_000;

/// From `connect` to the closing entry.
pub(crate) fn measure(bench: &mut Bench<'_>, hosts: &[Host]) -> Vec<Line> {
    let amount = bench.amount();
    let rounds = amount.rounds.min(3);
    let mut taken: PerKind<Vec<Samples>> = PerKind::empty();
    for _ in 0..rounds {
        for host in hosts {
            let samples = one_round(bench, host, amount.lists);
            taken.entry(host.kind()).push(samples);
        }
    }
    let figures = taken.map(|rounds| median_percentile(rounds, 50).map(Figure::new));
    let goals = vec![Goal::ratio(
        "≤ 0.2 × C",
        &figures,
        Kind::C,
        Sense::AtMost,
        0.2,
    )];
    vec![Line {
        name: "list of 10,000 domains, p50".to_owned(),
        samples: format!("{rounds} × {} each", amount.lists),
        unit: Unit::Time,
        figures,
        goals,
    }]
}

fn one_round(bench: &mut Bench<'_>, host: &Host, count: usize) -> Samples {
    let prepared = bench.prepare(Action::List, count);
    let mut took = Vec::with_capacity(count);
    let mut problems = Vec::new();
    let peer = host.peer(&bench.requests, AGENT_PATIENCE);
    for request in &prepared {
        match peer.list(request, Ipv4Addr::LOCALHOST) {
            Ok((DOMAINS, time)) => took.push(time),
            Ok((other, _)) => problems.push(format!("{other} entries")),
            Err(failure) => problems.push(failure.to_string()),
        }
    }
    for problem in problems {
        bench.note(host.kind(), "list", &problem);
    }
    Samples::new(took)
}
