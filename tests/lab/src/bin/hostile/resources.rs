//! Too few descriptors: the daemon complains, goes on and recovers.

use std::net::TcpStream;
use std::time::Duration;

use fence_lab::config::Transport;
use fence_lab::domains::VM1;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Guest, Verdict, ensure};
use nix::sys::resource::rlim_t;

use crate::Case;
use crate::stage::{Stage, ends_well, succeeds};

pub(crate) const CASES: &[Case] = &[
    (
        "accept without descriptors leaves the daemon running (L13)",
        accept_fails,
    ),
    (
        "a call-back without descriptors leaves the daemon running (L13)",
        callback_fails,
    ),
    (
        "few descriptors from the start are enough to serve",
        few_from_the_start,
    ),
];

/// Sets the daemon's limit of open files while it runs.
fn limit_files(pid: nix::unistd::Pid, files: rlim_t) -> Verdict {
    let output = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={files}:")])
        .output()?;
    ensure!(
        output.status.success(),
        "prlimit: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn open_files(pid: nix::unistd::Pid) -> Result<rlim_t, fence_lab::Failure> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(rlim_t::try_from(files)?)
}

fn accept_fails(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Tcp)?;
    let agent = stage.agent(&host.config);
    succeeds(&agent, "status", VM1.name, Duration::from_secs(2))?;
    let pid = host.process.pid();
    limit_files(pid, open_files(pid)? + 5)?;
    let to = stage.tcp_address();
    let held: Vec<TcpStream> = stage.net.guest(Guest::Second).inside(|| {
        (0..60)
            .map(|_| TcpStream::connect(to))
            .collect::<Result<_, _>>()
    })??;
    wait::until("a complaint in the log", PATIENCE, || {
        host.process.stderr().contains("os error 24")
    })?;
    drop(held);
    limit_files(pid, 1024)?;
    ensure!(host.process.is_running(), "it has ended");
    succeeds(&agent, "status", VM1.name, Duration::from_secs(5))?;
    ends_well(&mut host)
}

fn callback_fails(stage: &Stage) -> Verdict {
    let mut host = stage.host(Transport::Multicast)?;
    let agent = stage.agent(&host.config);
    succeeds(&agent, "status", VM1.name, Duration::from_secs(2))?;
    let pid = host.process.pid();
    limit_files(pid, 3)?;
    let running = agent.spawn(&["-o", "off", "-n", VM1.name, "-t", "15", "-r", "3"])?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(host.process.is_running(), "it has ended");
    limit_files(pid, 1024)?;
    let answer = running.finish(Duration::from_secs(20))?;
    ensure!(
        answer.code == 0,
        "a retransmission should have been served: {}",
        answer.describe()
    );
    ends_well(&mut host)
}

fn few_from_the_start(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp, fence_proto::Family::Ipv4)?;
    let launch = stage.launch("host");
    let plain = launch.command(&config, &[])?;
    let mut command = std::process::Command::new("prlimit");
    command
        .arg("--nofile=64:64")
        .arg(plain.get_program())
        .args(plain.get_args());
    let process = fence_lab::process::Process::spawn(command, "host", &stage.directory)?;
    let mut host = fence_lab::Host {
        side: fence_lab::Side::Ours,
        config,
        process,
        namespace: stage.net.dom0.name().to_owned(),
    };
    host.wait_ready()?;
    let agent = stage.agent(&host.config);
    let to = stage.tcp_address();
    let _held: Vec<TcpStream> = stage.net.guest(Guest::Second).inside(|| {
        (0..200)
            .map(|_| TcpStream::connect(to))
            .collect::<Result<_, _>>()
    })??;
    succeeds(&agent, "status", VM1.name, Duration::from_secs(2))?;
    succeeds(&agent, "off", VM1.name, Duration::from_secs(2))?;
    ends_well(&mut host)
}
