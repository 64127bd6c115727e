//! Three physical hosts on one machine, each with corosync, libvirtd, QEMU guests and a `fence_virtd` of
//! its own, and an agent beside them: what is answered when a part of this fails, and what has really
//! become of the domain.
//!
//! Arguments: `--quick` for a representative part, `--side c|ours` (ours) for the daemons under test,
//! `--agent c|ours` (ours), `--jobs N` for the number of clusters at a time (2), `--rounds N` (1),
//! `--markdown FILE` for a page with the table; other words select the cases whose name contains one of them.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod case;
mod cases;
mod cluster;
mod corosync;
mod disk;
mod fabric;
mod guest;
mod heal;
mod host;
mod libvirt;
mod names;
mod options;
mod pacemaker;
mod run;
mod sight;
mod table;
mod virtd;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, fs, thread};

use fence_lab::{Failure, Group, Programs, Report, Side, Verdict, net, reaper, suite};

use case::Case;
use cluster::Cluster;
use options::Options;
use table::Row;

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(reaper::ARGUMENT) {
        return reaper::run();
    }
    suite::main(|directory, report| {
        let options = Options::read(env::args().skip(1))?;
        run_all(&options, directory, report)
    })
}

/// What the workers share.
struct Work<'a> {
    options: &'a Options,
    cases: Vec<Case>,
    next: AtomicUsize,
    rows: Mutex<Vec<(usize, Vec<Row>)>>,
    programs: Programs,
    directory: &'a Path,
    report: &'a Report,
}

fn run_all(options: &Options, directory: &Path, report: &Report) -> Verdict {
    let sides: &[Side] = match options.side {
        Side::Ours => &[Side::Ours, Side::C],
        Side::C => &[Side::C],
    };
    let programs = Programs::locate(directory, sides, &[options.agent])?;
    for round in 0..options.rounds {
        let work = Work {
            options,
            cases: cases::all()
                .into_iter()
                .filter(|case| options.selects(case))
                .collect(),
            next: AtomicUsize::new(0),
            rows: Mutex::new(Vec::new()),
            programs: programs.clone(),
            directory,
            report,
        };
        thread::scope(|scope| {
            for job in 0..options.jobs.min(work.cases.len()) {
                let work = &work;
                scope.spawn(move || worker(work, &format!("round{round}job{job}")));
            }
        });
        let mut rows = work.rows.into_inner().unwrap_or_default();
        rows.sort_by_key(|(index, _)| *index);
        let rows: Vec<_> = rows.into_iter().flat_map(|(_, rows)| rows).collect();
        let table = table::text(&options.title(), &rows);
        println!("\n{table}\n");
        if let Some(file) = &options.markdown {
            fs::write(file, table::page(&table, options.rounds))?;
        }
    }
    Ok(())
}

fn worker(work: &Work<'_>, name: &str) {
    let started = Instant::now();
    let made = Cluster::new(
        &work.directory.join(name),
        &net::unique(),
        &work.programs,
        work.options.agent,
    );
    let mut cluster = match made {
        Ok(cluster) => cluster,
        Err(failure) => return refuse(work, failure),
    };
    loop {
        let index = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(case) = work.cases.get(index) else {
            return;
        };
        let mut rows = Vec::new();
        let mut group = Group::new(case.name);
        let verdict = run::run(&mut cluster, case, work.options.side, &mut rows);
        group.case(case.name, verdict);
        if let Ok(mut all) = work.rows.lock() {
            all.push((index, rows));
        }
        work.report.add(&group);
        if index == 0 {
            group.note(&format!(
                "{:.1} s from nothing",
                started.elapsed().as_secs_f32()
            ));
        }
    }
}

fn refuse(work: &Work<'_>, failure: Failure) {
    let mut group = Group::new("a cluster");
    group.case("building it", Err(failure));
    work.report.add(&group);
}
