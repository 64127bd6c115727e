//! The interop suite: every pairing of daemon and agent, each ours or the packaged C one.
//!
//! Variables: `FENCE_HOST` and `FENCE_AGENT` (`ours` or `c`; unset: both), the programs' paths (see
//! the library's `programs`). Arguments: words; only groups whose name contains one of them run.

mod clusters;
mod groups;
mod line_agent;
mod line_pair;
mod matrix;
mod owners;
mod regress_agent;
mod regress_host;
mod regress_pair;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use fence_lab::agent::Place;
use fence_lab::host::Launch;
use fence_lab::{Agent, Failure, Group, Host, HostConfig, Net, Programs, Report, Side, domains};
use fence_lab::{forge, programs, suite};

/// Jobs at a time. Most of a job is waiting for time-outs that are meant to expire.
const WORKERS: usize = 4;

/// Everything a job needs.
pub(crate) struct Bench<'a> {
    /// Where the programs are.
    pub(crate) programs: &'a Programs,
    /// The worker's network.
    pub(crate) net: &'a Net,
    /// The job's own directory.
    pub(crate) directory: PathBuf,
    /// Whose daemon.
    pub(crate) host: Side,
    /// Whose agent.
    pub(crate) agent: Side,
    /// The job's own port.
    pub(crate) port: u16,
}

impl Bench<'_> {
    /// Gives a configuration the lab's key and a domain file of its own.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn furnish(
        &self,
        mut config: HostConfig,
        name: &str,
    ) -> Result<HostConfig, Failure> {
        let file = self.directory.join(format!("{name}.xml"));
        domains::write(&file)?;
        config.uris = vec![format!("test://{}", file.display())];
        config.key_file = self.key()?;
        Ok(config)
    }

    /// The shared key's file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn key(&self) -> Result<PathBuf, Failure> {
        forge::write_key(&self.directory.join("key"))
    }

    /// The file of a key that nobody shares.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn wrong_key(&self) -> Result<PathBuf, Failure> {
        forge::write_key(&self.directory.join("wrong-key"))
    }

    /// How a daemon is started here.
    pub(crate) fn launch<'b>(&'b self, name: &'b str) -> Launch<'b> {
        Launch {
            programs: self.programs,
            side: self.host,
            namespace: &self.net.dom0,
            directory: &self.directory,
            name,
        }
    }

    /// An agent that fits a daemon.
    pub(crate) fn agent_for(&self, host: &Host) -> Agent<'_> {
        Agent::fitting(&host.config, host.side, &self.place())
    }

    /// Where agents run.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            side: self.agent,
            programs: self.programs,
            net: self.net,
            directory: &self.directory,
        }
    }
}

/// What a job does. A failure is one of the set-up; cases report theirs to the group.
pub(crate) type Run = Box<dyn Fn(&Bench<'_>, &mut Group) -> Result<(), Failure> + Send + Sync>;

/// A group of cases that one worker runs.
pub(crate) struct Job {
    /// The group's name.
    pub(crate) name: String,
    /// Whose daemon.
    pub(crate) host: Side,
    /// Whose agent.
    pub(crate) agent: Side,
    /// Runs the cases.
    pub(crate) run: Run,
}

fn main() -> ExitCode {
    suite::main(run)
}

fn run(directory: &Path, report: &Report) -> Result<(), Failure> {
    let hosts = programs::selected("FENCE_HOST")?;
    let agents = programs::selected("FENCE_AGENT")?;
    let programs = Programs::locate(directory, &hosts, &agents)?;
    let words: Vec<_> = env::args().skip(1).collect();
    let jobs: Vec<_> = all_jobs(&hosts, &agents)
        .into_iter()
        .filter(|job| suite::is_wanted(&words, &job.name))
        .collect();
    let suite = Suite {
        jobs,
        next: AtomicUsize::new(0),
        programs,
        directory: directory.to_owned(),
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(suite.jobs.len()) {
            scope.spawn(|| suite.work(report));
        }
    });
    Ok(())
}

fn all_jobs(hosts: &[Side], agents: &[Side]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for host in hosts {
        for agent in agents {
            jobs.extend(regress_pair::jobs(*host, *agent));
            jobs.extend(groups::jobs(*host, *agent));
            jobs.extend(matrix::jobs(*host, *agent));
            jobs.extend(line_pair::jobs(*host, *agent));
            jobs.extend(owners::jobs(*host, *agent));
            if *host == Side::Ours {
                jobs.extend(clusters::jobs(*agent));
            }
        }
        jobs.extend(regress_host::jobs(*host, agents));
    }
    for agent in agents {
        jobs.extend(regress_agent::jobs(*agent));
        jobs.extend(line_agent::jobs(*agent));
    }
    jobs
}

/// The jobs and how far they are done.
struct Suite {
    jobs: Vec<Job>,
    next: AtomicUsize,
    programs: Programs,
    directory: PathBuf,
}

impl Suite {
    /// Does jobs until none is left, all in one network.
    fn work(&self, report: &Report) {
        let net = Net::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(index) else {
                return;
            };
            let mut group = Group::new(job.name.clone());
            let verdict = match &net {
                Ok(net) => self.run(index, job, net, &mut group),
                Err(failure) => Err(Failure::new(failure.text())),
            };
            if verdict.is_err() {
                group.case("set-up", verdict);
            }
            report.add(&group);
        }
    }

    fn run(&self, index: usize, job: &Job, net: &Net, group: &mut Group) -> Result<(), Failure> {
        let directory = self.directory.join(format!("job{index}"));
        fs::create_dir_all(&directory)?;
        let bench = Bench {
            programs: &self.programs,
            net,
            directory,
            host: job.host,
            agent: job.agent,
            port: 1229 + u16::try_from(index)?,
        };
        (job.run)(&bench, group)
    }
}
