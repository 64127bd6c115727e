//! The agent from start to exit, for one status over TCP.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::host::{Host, Kind};
use crate::place::domain_name;
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};
use crate::rows::{Bench, host_of};
use crate::stats::Samples;

/// Starts each agent in turn against the same daemon; the floor is /bin/true.
pub(crate) fn measure(bench: &mut Bench<'_>, hosts: &[Host]) -> Result<Vec<Line>, BenchError> {
    let Some(host) = host_of(hosts, Kind::Ours).or_else(|| host_of(hosts, Kind::C)) else {
        return Ok(vec![]);
    };
    let starts = bench.amount().agents;
    let programs = programs(bench)?;
    let mut taken: PerKind<Vec<Duration>> = PerKind::empty();
    for _ in 0..starts {
        for (kind, program) in &programs {
            let started = Instant::now();
            let status = command(bench, host, program)
                .status()
                .map_err(BenchError::io(format!("start {}", program.display())))?;
            taken.entry(*kind).push(started.elapsed());
            if !status.success() {
                bench.note(*kind, "agent", &status.to_string());
            }
        }
    }
    let figures = |percent| {
        taken.map(|times| {
            Samples::new(times.clone())
                .percentile(percent)
                .map(Figure::new)
        })
    };
    let p50 = figures(50);
    let goals = vec![Goal::ratio("≤ 1 × C", &p50, Kind::C, Sense::AtMost, 1.0)];
    Ok(vec![Line {
        name: format!(
            "agent, start to exit for one status, p50 (daemon: {}; floor: /bin/true)",
            host.kind()
        ),
        samples: format!("{starts} each, in turn"),
        unit: Unit::Time,
        figures: p50,
        goals,
    }])
}

/// The agents that are there, ours under the name that makes it speak TCP.
fn programs(bench: &Bench<'_>) -> Result<Vec<(Kind, PathBuf)>, BenchError> {
    let mut programs = Vec::new();
    for kind in [Kind::Ours, Kind::C, Kind::Floor] {
        let Some(path) = bench.settings.agent(kind) else {
            continue;
        };
        let mut path = path.to_owned();
        if kind == Kind::Ours {
            let link = bench.place.path("fence_virt");
            symlink(&path, &link).map_err(BenchError::file(&link))?;
            path = link;
        }
        programs.push((kind, path));
    }
    Ok(programs)
}

fn command(bench: &Bench<'_>, host: &Host, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-T", "127.0.0.1", "-p", &host.port().to_string()])
        .args(["-o", "status", "-n", &domain_name(0), "-k"])
        .arg(bench.place.key_path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}
