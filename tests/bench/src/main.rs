//! Measures our daemon and agent, the packaged C ones, and a floor: a server that exchanges the
//! same bytes and does nothing. `tests/bench.sh` builds and runs it.
//!
//! It measures; it does not judge. Only errors of our programs make it fail.

mod ask;
mod error;
mod exchange;
mod floor;
mod guest;
mod host;
mod lan;
mod machine;
mod page;
mod place;
mod report;
mod rows;
mod settings;
mod stats;
mod swarm;
mod wire;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::host::{Host, Kind, Listener};
use crate::machine::Machine;
use crate::place::Place;
use crate::report::Line;
use crate::rows::{Bench, agent, list, load, memory, multicast, reboot, stalled, status};
use crate::settings::{HELP, Settings, Task};
use crate::wire::Requests;

/// Domains of the daemons that are asked for everything but the list.
const DOMAINS: usize = 50;

/// How long daemons have to put their house in order before their memory is looked at again.
const SETTLE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is gone too, the exit code still speaks.
            let _ignored = writeln!(io::stderr(), "fence-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BenchError> {
    match Settings::from_environment()? {
        Task::Help => say(HELP),
        Task::ServeFloor(port, domains) => floor::serve(port, domains),
        Task::ServeGroup(interface, group, port) => floor::serve_group(interface, group, port),
        Task::Ask(asking) => say(&ask::run(&asking)?),
        Task::Measure(settings) => measure(&settings),
    }
}

fn measure(settings: &Settings) -> Result<(), BenchError> {
    let place = Place::new()?;
    let key = place.make_key()?;
    let mut bench = Bench {
        settings,
        place: &place,
        requests: Requests::new(&key)?,
        faults: vec![],
    };
    let machine = Machine::observe();
    let mut lines = over_tcp(&mut bench)?;
    lines.extend(long_list(&mut bench)?);
    if settings.wants("multicast") {
        if nix::unistd::geteuid().is_root() {
            say("multicast …\n")?;
            let uri = place.make_domains(DOMAINS)?;
            lines.extend(multicast::measure(&mut bench, &uri)?);
        } else {
            say("multicast: skipped, network namespaces need root\n")?;
        }
    }
    let page = page::write(settings, &machine, &lines);
    say(&page)?;
    if let Some(path) = &settings.markdown {
        fs::write(path, &page).map_err(BenchError::file(path))?;
    }
    if bench.faults.is_empty() {
        return Ok(());
    }
    Err(BenchError::OursFailed(summary(&bench.faults)))
}

/// The rows that share one set of daemons, so that their memory is that of all they did.
fn over_tcp(bench: &mut Bench<'_>) -> Result<Vec<Line>, BenchError> {
    let uri = bench.place.make_domains(DOMAINS)?;
    let hosts = start(bench, &uri, DOMAINS)?;
    let mut lines = Vec::new();
    let wanted = bench.settings;
    if wanted.wants("memory") {
        lines.extend(memory::measure("idle", &hosts)?);
    }
    let mut step = |bench: &mut Bench<'_>, name: &str, row: Row| {
        if !wanted.wants(name) {
            return Ok(());
        }
        let started = Instant::now();
        lines.extend(row(bench, &hosts)?);
        say(&format!(
            "{name}: {:.1} s\n",
            started.elapsed().as_secs_f32()
        ))
    };
    step(bench, "status", |bench, hosts| {
        Ok(status::measure(bench, hosts))
    })?;
    step(bench, "load", load::measure)?;
    step(bench, "reboot", |bench, hosts| {
        Ok(reboot::measure_one(bench, hosts))
    })?;
    step(bench, "reboot50", reboot::measure_fifty)?;
    step(bench, "agent", agent::measure)?;
    step(bench, "stalled", stalled::measure)?;
    if wanted.wants("memory") {
        // Until the last of the peers that stalled is forgotten.
        thread::sleep(SETTLE);
        lines.extend(memory::measure("after all of that", &hosts)?);
    }
    Ok(lines)
}

/// What a row is measured by.
type Row = fn(&mut Bench<'_>, &[Host]) -> Result<Vec<Line>, BenchError>;

/// The long list, from daemons of its own.
fn long_list(bench: &mut Bench<'_>) -> Result<Vec<Line>, BenchError> {
    if !bench.settings.wants("list") {
        return Ok(vec![]);
    }
    let started = Instant::now();
    let uri = bench.place.make_domains(list::DOMAINS)?;
    let hosts = start(bench, &uri, list::DOMAINS)?;
    let mut lines = memory::measure("idle with 10,000 domains", &hosts)?;
    lines.extend(list::measure(bench, &hosts));
    thread::sleep(SETTLE);
    lines.extend(memory::measure("after listing 10,000 domains", &hosts)?);
    say(&format!("list: {:.1} s\n", started.elapsed().as_secs_f32()))?;
    Ok(lines)
}

fn start(bench: &mut Bench<'_>, uri: &str, domains: usize) -> Result<Vec<Host>, BenchError> {
    let mut hosts = Vec::new();
    for kind in bench.settings.kinds() {
        let what = (uri, domains);
        let mut host = Host::start(bench.settings, bench.place, kind, &Listener::Tcp, what)?;
        host.wait_until_serving(&mut bench.requests)?;
        hosts.push(host);
    }
    if !hosts.iter().any(|host| host.kind() == Kind::C) {
        say("the packaged C daemon is not there; its columns stay empty\n")?;
    }
    Ok(hosts)
}

/// The first few faults and the number of all.
fn summary(faults: &[String]) -> String {
    let first: Vec<&str> = faults.iter().take(5).map(String::as_str).collect();
    format!("{} times, such as {}", faults.len(), first.join("; "))
}

fn say(text: &str) -> Result<(), BenchError> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(BenchError::io("write to standard output"))
}
