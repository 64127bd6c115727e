//! Serial lines whose guests misbehave, and the end of a daemon that serves some.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fence_lab::agent::Running;
use fence_lab::libvirtd::Libvirtd;
use fence_lab::line::{Noise, Port, Way};
use fence_lab::process::{self, Process};
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Failure, Guest, Verdict, domains, ensure};
use fence_proto::serial::Request;
use fence_proto::{Action, DomainRef};
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};

use crate::Case;
use crate::stage::{END, Stage};

/// The domain that every test driver has.
const VICTIM: &str = "test";

/// Lines of one case, where they are many.
const MANY: usize = 50;

pub(crate) const CASES: &[Case] = &[
    (
        "serial lines that close at once cost no processor time (L16)",
        closing,
    ),
    (
        "serial lines are served again after libvirtd has died (L16)",
        libvirtd_dies,
    ),
    (
        "guests that flood their serial lines hold up nobody",
        flooding,
    ),
    ("SIGTERM with idle serial lines (L40)", idle),
    (
        "SIGTERM while an order of a serial line waits for libvirt (L40)",
        in_order,
    ),
];

struct Scene<'a> {
    stage: &'a Stage,
    libvirtd: Libvirtd,
    sockets: PathBuf,
    daemon: Option<Process>,
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage) -> Result<Self, Failure> {
        let sockets = stage.directory.join("sockets");
        fs::create_dir(&sockets)?;
        Ok(Self {
            stage,
            libvirtd: Libvirtd::start(&stage.directory.join("libvirt"))?,
            sockets,
            daemon: None,
        })
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// Starts a domain whose serial lines are these sockets.
    fn create(&self, number: usize, sockets: &[PathBuf]) -> Verdict {
        let lines = sockets.iter().map(|path| {
            let path = path.display();
            format!("<serial type='unix'><source mode='bind' path='{path}'/></serial>")
        });
        let devices = format!("<devices>{}</devices>", lines.collect::<String>());
        let uuid = format!("6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2ea{number:03}");
        let name = format!("guest{number}");
        let file = self.sockets.with_file_name(format!("{name}.xml"));
        fs::write(&file, domains::definition(&name, &uuid, &devices)?)?;
        self.libvirtd
            .virsh(&["create", &file.to_string_lossy()])
            .map(drop)
    }

    fn serve(&mut self) -> Result<&mut Process, Failure> {
        let (uri, path) = (self.libvirtd.uri(), self.sockets.display());
        let text = format!(
            "fence_virtd {{ listener = \"serial\"; backend = \"libvirt\"; }}\n\
             listeners {{ serial {{ uri = \"{uri}\"; path = \"{path}\"; }} }}\n\
             backends {{ libvirt {{ uri = \"{uri}\"; }} }}\n"
        );
        let file = self.stage.directory.join("serial.conf");
        fs::write(&file, text)?;
        let program = self.stage.program();
        let mut command = self.stage.net.dom0.command(&program.to_string_lossy());
        command.args(["-F", "-d", "1", "-f"]).arg(&file);
        command
            .arg("-p")
            .arg(self.stage.directory.join("serial.pid"));
        let mut daemon = Process::spawn(command, "host-serial", &self.stage.directory)?;
        wait::until("the daemon to serve", PATIENCE, || {
            !daemon.is_running() || daemon.stderr().contains("ready")
        })?;
        Ok(self.daemon.insert(daemon))
    }

    /// A serial device whose host's end is the socket of this name.
    fn plug(&self, name: &str) -> Result<Port, Failure> {
        let guest = self.stage.net.guest(Guest::First);
        let silence = Noise {
            host: b"",
            guest: b"",
        };
        Port::open(Way::Serial, &self.socket(name), guest, silence)
    }

    fn asks(&self, port: &Port, action: &str) -> Result<Running, Failure> {
        let agent = self.stage.agent_on(port);
        agent.spawn(&["-t", "20", "-o", action, "-n", VICTIM])
    }

    fn succeeds(&self, port: &Port, action: &str) -> Result<Duration, Failure> {
        let answer = self.asks(port, action)?.finish(3 * PATIENCE)?;
        ensure!(answer.code == 0, "{action}: {}", answer.describe());
        Ok(answer.elapsed)
    }

    fn ends_well(&mut self) -> Verdict {
        let daemon = self.daemon.as_mut();
        let daemon = daemon.ok_or_else(|| Failure::new("there is no daemon"))?;
        daemon.signal(Signal::SIGTERM)?;
        let code = process::code(daemon.wait(END)?);
        ensure!(code == 0, "exit code {code}");
        Ok(())
    }
}

/// Processor time of a process, of all its threads (proc(5): fields 14 and 15 of stat).
fn processor_time(process: &Process) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
    let fields: Vec<_> = rest.split(' ').collect();
    let ticks = fields
        .iter()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok());
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs(ticks.sum()) / u32::try_from(per_second)?)
}

/// Takes connections and closes them at once, and says how many.
fn slam(path: &Path) -> Result<Arc<AtomicUsize>, Failure> {
    let listener = UnixListener::bind(path)?;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(count)
}

fn closing(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let mut sockets = Vec::new();
    let mut counts = Vec::new();
    for number in 0..MANY {
        let path = scene.socket(&format!("closing{number}"));
        counts.push(slam(&path)?);
        sockets.push(path);
    }
    scene.create(1, &sockets)?;
    let healthy = scene.plug("healthy")?;
    scene.create(2, &[scene.socket("healthy")])?;
    let daemon = scene.serve()?;
    let (began, before) = (Instant::now(), processor_time(daemon)?);
    // Each line has been tried some times, with growing pauses.
    wait::until("every line to be tried again", 6 * PATIENCE, || {
        counts
            .iter()
            .all(|count| count.load(Ordering::Relaxed) >= 6)
    })?;
    let (used, elapsed) = (
        processor_time(daemon)?.saturating_sub(before),
        began.elapsed(),
    );
    ensure!(
        elapsed > Duration::from_secs(3),
        "tried too fast: {elapsed:?}"
    );
    ensure!(
        used < elapsed / 5,
        "{used:?} of processor time in {elapsed:?}"
    );
    healthy.wait_connected()?;
    scene.succeeds(&healthy, "status")?;
    scene.ends_well()
}

fn libvirtd_dies(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let sockets = [scene.socket("guest")];
    let port = scene.plug("guest")?;
    scene.create(1, &sockets)?;
    scene.serve()?;
    port.wait_connected()?;
    scene.succeeds(&port, "off")?;
    for _ in 0..2 {
        scene.libvirtd.restart()?;
        // The test driver has forgotten the domain, and so its line goes.
        wait::until("the line to be dropped", 3 * PATIENCE, || {
            !port.is_connected()
        })?;
        scene.create(1, &sockets)?;
        port.wait_connected()?;
        scene.succeeds(&port, "off")?;
        ensure!(!scene.libvirtd.is_running(VICTIM)?, "{VICTIM} runs");
    }
    scene.ends_well()
}

/// Sends requests for as long as somebody takes them.
fn flood(listener: &UnixListener) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    let Ok(domain) = DomainRef::new(VICTIM) else {
        return;
    };
    let drain = stream.try_clone().map(|mut stream: UnixStream| {
        thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()))
    });
    for seqno in 0.. {
        let request = Request {
            action: Action::Status,
            domain: domain.clone(),
            uuid_flag: false,
            seqno,
        };
        if stream.write_all(&request.encode()).is_err() {
            break;
        }
    }
    drop(drain);
}

fn flooding(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    for number in 0..8 {
        let path = scene.socket(&format!("loud{number}"));
        let listener = UnixListener::bind(&path)?;
        scene.create(number + 10, &[path])?;
        thread::spawn(move || flood(&listener));
    }
    let port = scene.plug("honest")?;
    scene.create(1, &[scene.socket("honest")])?;
    let daemon = scene.serve()?;
    let before = processor_time(daemon)?;
    port.wait_connected()?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let elapsed = scene.succeeds(&port, "status")?;
        ensure!(
            elapsed < Duration::from_secs(3),
            "an answer took {elapsed:?}"
        );
    }
    let daemon = scene
        .daemon
        .as_ref()
        .ok_or_else(|| Failure::new("no daemon"))?;
    let used = processor_time(daemon)?.saturating_sub(before);
    ensure!(used < began.elapsed() / 2, "{used:?} of processor time");
    scene.ends_well()
}

fn idle(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let ports: Result<Vec<_>, _> = (0..5)
        .map(|number| scene.plug(&number.to_string()))
        .collect();
    let ports = ports?;
    let sockets: Vec<_> = (0..5)
        .map(|number| scene.socket(&number.to_string()))
        .collect();
    scene.create(1, &sockets)?;
    scene.serve()?;
    for port in &ports {
        port.wait_connected()?;
    }
    scene.ends_well()
}

fn in_order(stage: &Stage) -> Verdict {
    let mut scene = Scene::new(stage)?;
    let port = scene.plug("guest")?;
    scene.create(1, &[scene.socket("guest")])?;
    scene.serve()?;
    port.wait_connected()?;
    scene.libvirtd.process.signal(Signal::SIGSTOP)?;
    let running = scene.asks(&port, "off")?;
    thread::sleep(Duration::from_secs(1));
    let verdict = scene.ends_well();
    scene.libvirtd.process.signal(Signal::SIGCONT)?;
    verdict?;
    let answer = running.finish(3 * PATIENCE)?;
    ensure!(
        answer.code != 0,
        "nobody has proved it off: {}",
        answer.describe()
    );
    Ok(())
}
