//! A server under test: our daemon, the packaged C daemon, or the floor.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::{Action, DomainRef};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::BenchError;
use crate::exchange::Peer;
use crate::lan;
use crate::place::{Place, domain_name, tail};
use crate::settings::Settings;
use crate::wire::{Failure, Requests};

/// How long a daemon may take until it serves; 10,000 domains have to be read.
const START_BOUND: Duration = Duration::from_secs(30);

/// How long a daemon may take to end before it is killed.
const STOP_BOUND: Duration = Duration::from_secs(5);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This project's daemon.
    Ours,
    /// The packaged C daemon.
    C,
    /// The server that does nothing.
    Floor,
}

impl Kind {
    /// Whether it computes a response that a client can check.
    pub(crate) const fn has_key(self) -> bool {
        !matches!(self, Self::Floor)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::C => "c",
            Self::Floor => "floor",
        })
    }
}

/// How a daemon listens.
#[derive(Debug, Clone)]
pub(crate) enum Listener {
    /// On a port of 127.0.0.1.
    Tcp,
    /// On a multicast group in a network namespace.
    Multicast {
        /// Name of the namespace.
        namespace: String,
        /// The group.
        group: Ipv4Addr,
        /// The UDP port.
        port: u16,
    },
}

/// A running server; it is stopped with the value.
#[derive(Debug)]
pub(crate) struct Host {
    kind: Kind,
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Host {
    /// Starts a daemon on the domains of `uri`.
    pub(crate) fn start(
        settings: &Settings,
        place: &Place,
        kind: Kind,
        listener: &Listener,
        (uri, domains): (&str, usize),
    ) -> Result<Self, BenchError> {
        let port = match listener {
            Listener::Tcp => free_port()?,
            Listener::Multicast { port, .. } => *port,
        };
        let name = format!("{kind}-{port}");
        let log = place.path(&format!("{name}.log"));
        let mut command = match kind {
            Kind::Floor => floor_command(listener, port, domains)?,
            Kind::Ours | Kind::C => {
                let text = configuration(place, listener, port, uri);
                let path = place.write(&format!("{name}.conf"), text.as_bytes())?;
                daemon_command(settings.daemon(kind), listener, &path)
            }
        };
        let output = fs::File::create(&log).map_err(BenchError::file(&log))?;
        let errors = output.try_clone().map_err(BenchError::file(&log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(BenchError::io(format!("start {command:?}")))?;
        Ok(Self {
            kind,
            child,
            port,
            log,
        })
    }

    /// Which server it is.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The port it listens on.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// How to ask it over TCP.
    pub(crate) fn peer<'a>(&self, requests: &'a Requests, patience: Duration) -> Peer<'a> {
        Peer {
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port),
            key: requests.key(),
            verify: self.kind.has_key(),
            patience,
        }
    }

    /// Waits until it answers a status request over TCP.
    pub(crate) fn wait_until_serving(&mut self, requests: &mut Requests) -> Result<(), BenchError> {
        let domain = DomainRef::new(&domain_name(0)).unwrap_or_default();
        let give_up = Instant::now() + START_BOUND;
        loop {
            let request = requests.next(Action::Status, &domain, None);
            let peer = self.peer(requests, Duration::from_secs(2));
            match peer.ask(&request, Ipv4Addr::LOCALHOST) {
                Ok((0, _)) => return Ok(()),
                Ok((reply, _)) if Instant::now() > give_up => {
                    return Err(self.not_serving(Failure::Reply(reply)));
                }
                Err(failure) if Instant::now() > give_up || self.has_ended() => {
                    return Err(self.not_serving(failure));
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Says that it does not do what it should, with its own words.
    pub(crate) fn not_serving(&self, last: Failure) -> BenchError {
        BenchError::NotServing {
            name: self.kind.to_string(),
            last,
            log: tail(&self.log),
        }
    }

    /// Its resident memory in bytes, and how much of that is not of files.
    pub(crate) fn resident(&self) -> Result<(f64, f64), BenchError> {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let text = fs::read_to_string(&path).map_err(BenchError::file(&path))?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kib * 1024.0)
        };
        bytes("VmRSS:")
            .zip(bytes("RssAnon:"))
            .ok_or_else(|| self.not_serving(Failure::Closed))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended already.
            let _ignored = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let give_up = Instant::now() + STOP_BOUND;
        while Instant::now() < give_up {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ignored = self.child.kill();
        let _ignored = self.child.wait();
    }
}

/// A command that runs in the network where the listener is to be.
fn command_in(listener: &Listener, program: &Path) -> Command {
    match listener {
        Listener::Tcp => Command::new(program),
        Listener::Multicast { namespace, .. } => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
    }
}

fn daemon_command(program: &Path, listener: &Listener, configuration: &Path) -> Command {
    let mut command = command_in(listener, program);
    command
        // With -w a busy machine may take its time to read 10,000 domains.
        .args(["-F", "-w", "-d", "0", "-f"])
        .arg(configuration)
        // The C daemon refuses to run beside another one with the same pid file.
        .arg("-p")
        .arg(configuration.with_extension("pid"))
        .env_remove("RUST_LOG");
    command
}

fn floor_command(listener: &Listener, port: u16, domains: usize) -> Result<Command, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("find this program"))?;
    let mut command = command_in(listener, &program);
    let port = port.to_string();
    match listener {
        Listener::Tcp => command.args(["--serve-floor", &port, &domains.to_string()]),
        Listener::Multicast { group, .. } => command.args([
            "--serve-group",
            &lan::HOST.to_string(),
            &group.to_string(),
            &port,
        ]),
    };
    Ok(command)
}

fn configuration(place: &Place, listener: &Listener, port: u16, uri: &str) -> String {
    let key = place.key_path();
    let (name, rest) = match listener {
        Listener::Tcp => ("tcp", "address = \"127.0.0.1\";".to_owned()),
        Listener::Multicast { group, .. } => (
            "multicast",
            format!("address = \"{group}\"; interface = \"{}\";", lan::BRIDGE),
        ),
    };
    format!(
        "fence_virtd {{ listener = \"{name}\"; backend = \"libvirt\"; }}\n\
         listeners {{ {name} {{ key_file = \"{key}\"; port = \"{port}\"; {rest} }} }}\n\
         backends {{ libvirt {{ uri = \"{uri}\"; }} }}\n",
        key = key.display(),
    )
}

/// A port of 127.0.0.1 that nobody has at the moment.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    let doing = "find a free port";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::io(doing))?;
    let address = listener.local_addr().map_err(BenchError::io(doing))?;
    Ok(address.port())
}
