//! Status over TCP by 256 clients at once.
//!
//! Measured in two ways. First each client has a number of requests, and the clock stops when the
//! last client has all its answers: that is what a cluster waits for. Then they ask without end
//! for a fixed time, which also counts the work of a server that serves a few clients again and
//! again and the others never.

use std::collections::BTreeMap;
use std::time::Duration;

use fence_proto::{Action, DomainRef};

use crate::error::BenchError;
use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::{Bench, domain};
use crate::stats::{figure, median};
use crate::swarm::{Swarm, Work};
use crate::wire::{Failure, Request, Requests};

/// Clients at once.
const CLIENTS: usize = 256;

/// How long a client waits for one answer before it counts as an error and tries again.
const PATIENCE: Duration = Duration::from_secs(5);

/// When waiting for the last client ends.
const BOUND: Duration = Duration::from_secs(20);

/// Second byte of the clients' source addresses.
const NETWORK: u8 = 2;

/// How much the clients ask.
#[derive(Debug, Clone, Copy)]
enum Share {
    /// Each client this many requests.
    Each(usize),
    /// As many as they can in this time.
    Endless(Duration),
}

/// What came of it.
#[derive(Debug, Clone)]
struct Tally {
    completed: usize,
    failed: BTreeMap<Failure, usize>,
    served: Vec<usize>,
}

impl Tally {
    fn new() -> Self {
        Self {
            completed: 0,
            failed: BTreeMap::new(),
            served: vec![0; CLIENTS],
        }
    }

    fn errors(&self) -> usize {
        self.failed.values().sum()
    }

    fn count(&mut self, client: usize, outcome: Result<u8, Failure>) {
        match outcome {
            Ok(0) => {
                self.completed += 1;
                if let Some(served) = self.served.get_mut(client) {
                    *served += 1;
                }
            }
            Ok(reply) => *self.failed.entry(Failure::Reply(reply)).or_default() += 1,
            Err(failure) => *self.failed.entry(failure).or_default() += 1,
        }
    }

    /// What there is to say about those that did not get what they asked for.
    fn remark(&self, share: Share) -> String {
        let enough = match share {
            Share::Each(count) => count,
            Share::Endless(_) => 1,
        };
        let short = self.served.iter().filter(|got| **got < enough).count();
        let mut parts: Vec<String> = self
            .failed
            .iter()
            .map(|(failure, count)| format!("{count} {failure}"))
            .collect();
        if !parts.is_empty() {
            let percent = self.errors() * 100 / (self.errors() + self.completed);
            parts.push(format!("{percent} % errors"));
        }
        if short > 0 {
            let what = match share {
                Share::Each(_) => "not done",
                Share::Endless(_) => "never served",
            };
            parts.push(format!("{short} clients {what}"));
        }
        parts.join(", ")
    }
}

/// Clients that ask for the state of some domains.
struct Asking {
    requests: Requests,
    domains: Vec<DomainRef>,
    share: Share,
    tally: Tally,
}

impl Work for Asking {
    fn next(&mut self, client: usize) -> Option<Request> {
        if let (Share::Each(count), Some(served)) = (self.share, self.tally.served.get(client))
            && *served >= count
        {
            return None;
        }
        let domain = self.domains.get(client % self.domains.len())?;
        Some(self.requests.next(Action::Status, domain, None))
    }

    fn done(&mut self, client: usize, outcome: Result<u8, Failure>, _took: Duration) {
        self.tally.count(client, outcome);
    }
}

/// Completed requests in a second, and how many failed.
pub(crate) fn measure(bench: &mut Bench<'_>, hosts: &[Host]) -> Result<Vec<Line>, BenchError> {
    let amount = bench.amount();
    let (mut each, errors) = in_rounds(bench, hosts, Share::Each(amount.of_each))?;
    each.name = format!(
        "status over TCP, {CLIENTS} clients with {} requests each, completed",
        amount.of_each
    );
    let (mut endless, more_errors) = in_rounds(bench, hosts, Share::Endless(amount.load))?;
    endless.name = format!("the same clients without end for {:?}", amount.load);
    let errors = errors.zip(more_errors).map(|(a, b)| figure(a + b));
    each.goals = vec![
        Goal::ratio("≥ 10 × C", &each.figures, Kind::C, Sense::AtLeast, 10.0),
        Goal::new("no errors", errors, Sense::AtMost, 0.0),
    ];
    Ok(vec![each, endless])
}

/// The line, and the errors of ours.
fn in_rounds(
    bench: &mut Bench<'_>,
    hosts: &[Host],
    share: Share,
) -> Result<(Line, Option<usize>), BenchError> {
    let rounds = bench.amount().rounds.min(3);
    let mut rates: PerKind<Vec<f64>> = PerKind::empty();
    let mut last: PerKind<Tally> = PerKind::empty();
    let mut errors = None;
    for _ in 0..rounds {
        for host in hosts {
            if host.kind() == Kind::C && bench.settings.quick {
                // It takes up to the bound.
                continue;
            }
            let (tally, took) = one_round(bench, host, share)?;
            let rate = figure(tally.completed) / took.as_secs_f64();
            rates.entry(host.kind()).push(rate);
            if host.kind() == Kind::Ours {
                *errors.get_or_insert(0) += tally.errors();
            }
            if !tally.remark(share).is_empty() {
                bench.note(host.kind(), "load", &tally.remark(share));
            }
            *last.of_mut(host.kind()) = Some(tally);
        }
    }
    let mut figures = rates.map(|rates| median(rates.clone()).map(Figure::new));
    for kind in [Kind::Ours, Kind::C, Kind::Floor] {
        if let (Some(figure), Some(tally)) = (figures.of_mut(kind), last.of(kind)) {
            figure.remark = tally.remark(share);
        }
    }
    let line = Line {
        name: String::new(),
        samples: format!("{rounds} rounds"),
        unit: Unit::Rate,
        figures,
        goals: vec![],
    };
    Ok((line, errors))
}

fn one_round(
    bench: &Bench<'_>,
    host: &Host,
    share: Share,
) -> Result<(Tally, Duration), BenchError> {
    let mut work = Asking {
        requests: bench.requests.fork()?,
        domains: (0..50).map(domain).collect(),
        share,
        tally: Tally::new(),
    };
    let bound = match share {
        Share::Each(_) => BOUND,
        Share::Endless(time) => time,
    };
    let requests = bench.requests.clone();
    let peer = host.peer(&requests, PATIENCE);
    let took = Swarm::new(peer, CLIENTS, NETWORK, &mut work)?.run(bound)?;
    Ok((work.tally, took))
}
