//! What is measured and how much of it: command line and environment.

use std::env;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::BenchError;
use crate::host::Kind;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Print the help.
    Help,
    /// Be the floor server: port and length of the list.
    ServeFloor(u16, usize),
    /// Be the floor server of a multicast group: interface, group, port.
    ServeGroup(Ipv4Addr, Ipv4Addr, u16),
    /// Ask a host many times: for `tests/bench-cluster.sh`.
    Ask(Asking),
    /// Measure.
    Measure(Box<Settings>),
}

/// One request, made again and again over TCP.
#[derive(Debug)]
pub(crate) struct Asking {
    /// The host.
    pub(crate) target: SocketAddrV4,
    /// The shared key.
    pub(crate) key_file: PathBuf,
    /// What is asked.
    pub(crate) action: String,
    /// Of which domain.
    pub(crate) domain: String,
    /// How often.
    pub(crate) count: usize,
    /// How long for each reply.
    pub(crate) patience: Duration,
}

/// The help text.
pub(crate) const HELP: &str = "\
usage: fence-bench [--quick] [--only ROW]... [--flood-rate N] [--markdown FILE]

  --quick          few samples, no slow row of the C daemon: does the harness work?
  --only ROW       status, load, reboot, reboot50, agent, stalled, memory, list or
                   multicast; may be repeated
  --flood-rate N   forged packets per second (default: as many as one thread can send)
  --markdown FILE  also write the result there

environment: FENCE_VIRTD, FENCE_VIRT      our programs (default: beside this one)
             C_FENCE_VIRTD, C_FENCE_VIRT  the packaged ones (default: in /usr/sbin)
";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// Rounds, in each of which every server has its turn.
    pub(crate) rounds: usize,
    /// Sequential requests of one client in a round.
    pub(crate) requests: usize,
    /// Requests of each client of the swarm in a round.
    pub(crate) of_each: usize,
    /// How long the swarm asks without end in a round.
    pub(crate) load: Duration,
    /// Reboots by one client in a round; the C daemon sleeps for a second in each.
    pub(crate) reboots: usize,
    /// Starts of each agent.
    pub(crate) agents: usize,
    /// Honest requests while others stall or flood, in a round.
    pub(crate) honest: usize,
    /// How long such requests are made at most, in a round.
    pub(crate) honest_bound: Duration,
    /// Lists in a round.
    pub(crate) lists: usize,
}

const FULL: Amount = Amount {
    rounds: 5,
    requests: 100,
    of_each: 20,
    load: Duration::from_secs(2),
    reboots: 100,
    agents: 200,
    honest: 300,
    honest_bound: Duration::from_secs(8),
    lists: 5,
};

const QUICK: Amount = Amount {
    rounds: 1,
    requests: 50,
    of_each: 2,
    load: Duration::from_millis(500),
    reboots: 10,
    agents: 10,
    honest: 50,
    honest_bound: Duration::from_secs(4),
    lists: 2,
};

/// Everything that can be chosen.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How much is measured.
    pub(crate) amount: Amount,
    /// Whether this is only a check of the harness.
    pub(crate) quick: bool,
    /// Where the page is written.
    pub(crate) markdown: Option<PathBuf>,
    /// Forged packets per second; `None` is as many as one thread can send.
    pub(crate) flood_rate: Option<u32>,
    only: Vec<String>,
    our_daemon: PathBuf,
    our_agent: PathBuf,
    c_daemon: PathBuf,
    c_agent: PathBuf,
}

impl Settings {
    /// Reads command line and environment.
    pub(crate) fn from_environment() -> Result<Task, BenchError> {
        use lexopt::prelude::*;
        let mut quick = false;
        let mut only = Vec::new();
        let mut markdown = None;
        let mut flood_rate = None;
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Task::Help),
                Long("quick") => quick = true,
                Long("only") => only.push(parser.value()?.string()?),
                Long("markdown") => markdown = Some(PathBuf::from(parser.value()?)),
                Long("flood-rate") => flood_rate = Some(parser.value()?.parse()?),
                Long("serve-floor") => {
                    let port = parser.value()?.parse()?;
                    return Ok(Task::ServeFloor(port, parser.value()?.parse()?));
                }
                Long("ask") => {
                    return Ok(Task::Ask(Asking {
                        target: parser.value()?.parse()?,
                        key_file: PathBuf::from(parser.value()?),
                        action: parser.value()?.string()?,
                        domain: parser.value()?.string()?,
                        count: parser.value()?.parse()?,
                        patience: Duration::from_secs(parser.value()?.parse()?),
                    }));
                }
                Long("serve-group") => {
                    let interface = parser.value()?.parse()?;
                    let group = parser.value()?.parse()?;
                    return Ok(Task::ServeGroup(interface, group, parser.value()?.parse()?));
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let beside = env::current_exe().map_err(BenchError::io("find this program"))?;
        let program =
            |variable: &str, default: PathBuf| env::var_os(variable).map_or(default, PathBuf::from);
        Ok(Task::Measure(Box::new(Self {
            amount: if quick { QUICK } else { FULL },
            quick,
            markdown,
            flood_rate,
            only,
            our_daemon: program("FENCE_VIRTD", beside.with_file_name("fence_virtd")),
            our_agent: program("FENCE_VIRT", beside.with_file_name("fence_xvm")),
            c_daemon: program("C_FENCE_VIRTD", PathBuf::from("/usr/sbin/fence_virtd")),
            c_agent: program("C_FENCE_VIRT", PathBuf::from("/usr/sbin/fence_virt")),
        })))
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == row)
    }

    /// The daemon's path. The floor has none but this program's.
    pub(crate) fn daemon(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Ours | Kind::Floor => &self.our_daemon,
            Kind::C => &self.c_daemon,
        }
    }

    /// The agent's path, or `None` if it is not there. The floor's agent is /bin/true.
    pub(crate) fn agent(&self, kind: Kind) -> Option<&Path> {
        let path = match kind {
            Kind::Ours => self.our_agent.as_path(),
            Kind::C => self.c_agent.as_path(),
            Kind::Floor => Path::new("/bin/true"),
        };
        path.exists().then_some(path)
    }

    /// What the C agent says of its version, or that it is not there.
    pub(crate) fn c_version(&self) -> String {
        Command::new(&self.c_agent)
            .arg("-V")
            .stdin(Stdio::null())
            .output()
            .map_or_else(
                |_| "not installed".to_owned(),
                |output| {
                    let text = String::from_utf8_lossy(&output.stdout);
                    text.lines().collect::<Vec<_>>().join(", ")
                },
            )
    }

    /// The servers that are there.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        [Kind::Ours, Kind::C, Kind::Floor]
            .into_iter()
            .filter(|kind| *kind == Kind::Floor || self.daemon(*kind).exists())
            .collect()
    }
}
