//! Many requests to one host, one after another: what `tests/bench-cluster.sh` times a cluster with.

use std::fs;
use std::net::Ipv4Addr;

use fence_proto::{Action, DomainRef, Key, Reply};

use crate::error::BenchError;
use crate::exchange::Peer;
use crate::settings::Asking;
use crate::stats::Samples;
use crate::wire::Requests;

/// Asks, and says in one line how the replies were and how long they took: `on=COUNT off=COUNT
/// failed=COUNT p50_us=N p99_us=N`.
pub(crate) fn run(asking: &Asking) -> Result<String, BenchError> {
    let key = fs::read(&asking.key_file).map_err(BenchError::file(&asking.key_file))?;
    let key = Key::from_bytes(&key).map_err(|error| usage("the key", &error))?;
    let actions = [Action::Status, Action::Off, Action::On, Action::Reboot];
    let action = actions
        .into_iter()
        .find(|action| action.name() == asking.action);
    let action = action.ok_or_else(|| usage("the action", &asking.action))?;
    let domain = DomainRef::new(&asking.domain).map_err(|error| usage("the domain", &error))?;
    let mut requests = Requests::new(&key)?;
    let peer = Peer {
        target: asking.target,
        key: &key,
        verify: true,
        patience: asking.patience,
    };
    let (mut on, mut off, mut failed) = (0, 0, 0);
    let mut times = Vec::with_capacity(asking.count);
    for _ in 0..asking.count {
        match peer.ask(&requests.next(action, &domain, None), Ipv4Addr::UNSPECIFIED) {
            Ok((reply, time)) => {
                times.push(time);
                match Reply::from_wire(reply) {
                    Reply::Success => on += 1,
                    Reply::Off => off += 1,
                    _ => failed += 1,
                }
            }
            Err(_) => failed += 1,
        }
    }
    let samples = Samples::new(times);
    let micros = |percent| {
        samples
            .percentile(percent)
            .map_or(0.0, |time| (time * 1e6).round())
    };
    Ok(format!(
        "on={on} off={off} failed={failed} p50_us={} p99_us={}\n",
        micros(50),
        micros(99)
    ))
}

fn usage(what: &str, why: &dyn std::fmt::Display) -> BenchError {
    BenchError::Usage(lexopt::Error::from(format!("{what}: {why}")))
}
