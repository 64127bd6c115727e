//! Status over TCP by one client.

use fence_proto::Action;

use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::Bench;
use crate::stats::{Samples, median_percentile};

/// Requests before the clock counts.
const WARM_UP: usize = 20;

/// Median and tail of one client's requests, one after the other.
pub(crate) fn measure(bench: &mut Bench<'_>, hosts: &[Host]) -> Vec<Line> {
    let amount = bench.amount();
    let mut rounds: PerKind<Vec<Samples>> = PerKind::empty();
    for host in hosts {
        bench.ask_each(host, "status", Action::Status, WARM_UP);
    }
    // Many short turns, so that what else the machine does meets all alike.
    let turns = amount.rounds * 4;
    for _ in 0..turns {
        for host in hosts {
            let (samples, _) = bench.ask_each(host, "status", Action::Status, amount.requests);
            rounds.entry(host.kind()).push(samples);
        }
    }
    let figures =
        |percent| rounds.map(|rounds| median_percentile(rounds, percent).map(Figure::new));
    let (p50, p99) = (figures(50), figures(99));
    let samples = format!("{turns} × {} each", amount.requests);
    let goals = vec![
        Goal::ratio("≤ 1 × C", &p50, Kind::C, Sense::AtMost, 1.0),
        Goal::ratio("≤ 1.5 × floor", &p50, Kind::Floor, Sense::AtMost, 1.5),
    ];
    vec![
        Line {
            name: "status over TCP, 1 client, p50".to_owned(),
            samples: samples.clone(),
            unit: Unit::Time,
            figures: p50,
            goals,
        },
        Line {
            name: "the same, p99".to_owned(),
            samples,
            unit: Unit::Time,
            figures: p99,
            goals: vec![],
        },
    ]
}
