//! What every case has: a network, a key, a directory, and our programs.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fence_lab::agent::Place;
use fence_lab::config::{HostConfig, Transport};
use fence_lab::forge::{self, RawFrame};
use fence_lab::host::Launch;
use fence_lab::line::Port;
use fence_lab::net::host_address;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Guest, Host, Net, Programs, Side, Verdict, domains, ensure, peer};
use fence_proto::{Action, Family, HashAlgorithm, Key, Reason};

/// The hash of every case, both of frames and challenges.
pub(crate) const HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// The port of every case.
pub(crate) const PORT: u16 = 1229;

/// How long what must not happen is waited for. When it does happen it takes milliseconds.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// The daemon has promised to end within this after SIGTERM.
pub(crate) const END: Duration = Duration::from_secs(1);

/// A case's surroundings.
pub(crate) struct Stage {
    /// The network of the case.
    pub(crate) net: Net,
    /// The shared key.
    pub(crate) key: Key,
    /// Where files go.
    pub(crate) directory: PathBuf,
    programs: Programs,
}

impl Stage {
    /// Builds them.
    pub(crate) fn new(programs: Programs, directory: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&directory)?;
        let key = Key::from_bytes(&fs::read(forge::write_key(&directory.join("key"))?)?)?;
        Ok(Self {
            net: Net::new()?,
            key,
            directory,
            programs,
        })
    }

    /// A configuration with the test driver behind it.
    pub(crate) fn config(
        &self,
        transport: Transport,
        family: Family,
    ) -> Result<HostConfig, Failure> {
        let file = self.directory.join("domains.xml");
        domains::write(&file)?;
        let mut config = HostConfig::new(transport, family, PORT);
        config.uris = vec![format!("test://{}", file.display())];
        config.key_file = self.directory.join("key");
        Ok(config)
    }

    /// How a daemon is started.
    pub(crate) fn launch<'a>(&'a self, name: &'a str) -> Launch<'a> {
        Launch {
            programs: &self.programs,
            side: Side::Ours,
            namespace: &self.net.dom0,
            directory: &self.directory,
            name,
        }
    }

    /// The daemon's program.
    pub(crate) fn program(&self) -> &Path {
        self.programs.virtd(Side::Ours)
    }

    /// An agent on a line.
    pub(crate) fn agent_on(&self, port: &Port) -> Agent<'_> {
        let place = Place {
            side: Side::Ours,
            programs: &self.programs,
            net: &self.net,
            directory: &self.directory,
        };
        Agent::on_line(port.options(), &place)
    }

    /// A running daemon with the plain configuration of a transport, IPv4.
    pub(crate) fn host(&self, transport: Transport) -> Result<Host, Failure> {
        let config = self.config(transport, Family::Ipv4)?;
        self.launch("host").start_ready(config)
    }

    /// An agent in the first guest.
    pub(crate) fn agent(&self, config: &HostConfig) -> Agent<'_> {
        let place = Place {
            side: Side::Ours,
            programs: &self.programs,
            net: &self.net,
            directory: &self.directory,
        };
        Agent::fitting(config, Side::Ours, &place)
    }

    /// The TCP address of a daemon.
    pub(crate) fn tcp_address(&self) -> SocketAddr {
        SocketAddr::new(host_address(Family::Ipv4), PORT)
    }

    /// A connection from a guest to the TCP listener.
    pub(crate) fn connect(&self, from: Guest) -> Result<TcpStream, Failure> {
        peer::connect(self.net.guest(from), self.tcp_address())
    }

    /// Where a guest waits for call-backs.
    pub(crate) fn callback(&self, guest: Guest) -> SocketAddr {
        SocketAddr::new(guest.address(Family::Ipv4), PORT)
    }

    /// Waits for call-backs in a guest.
    pub(crate) fn listen(&self, guest: Guest) -> Result<TcpListener, Failure> {
        peer::listen(self.net.guest(guest), self.callback(guest))
    }

    /// A socket that sends to the group from a guest.
    pub(crate) fn sender(&self, from: Guest) -> Result<UdpSocket, Failure> {
        let source = from.address(Family::Ipv4);
        let sender = peer::multicast_sender(self.net.guest(from), source)?;
        sender.connect(SocketAddr::new(IpAddr::from([225, 0, 0, 12]), PORT))?;
        Ok(sender)
    }

    /// A socket that hears the group in a guest.
    pub(crate) fn ear(&self, at: Guest) -> Result<UdpSocket, Failure> {
        let group = SocketAddr::new(IpAddr::from([225, 0, 0, 12]), PORT);
        peer::eavesdropper(self.net.guest(at), "eth0", group)
    }

    /// A signed frame.
    pub(crate) fn frame(
        &self,
        action: Action,
        domain: &str,
        callback: Option<SocketAddr>,
    ) -> Result<RawFrame, Failure> {
        let frame = forge::request(action, domain, callback)?;
        Ok(RawFrame::of(&frame).sign(&self.key, HASH))
    }

    /// The ends of all daemons' logs.
    pub(crate) fn logs(&self) -> String {
        let mut all = String::new();
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return all;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("host") && name.ends_with(".err") {
                all.push_str(&tail(&path, &name));
            }
        }
        all
    }
}

fn tail(path: &Path, name: &str) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(20);
    let end = lines.get(from..).unwrap_or_default().join("\n    | ");
    format!("    end of {name}:\n    | {end}\n")
}

/// Waits until the daemon's log names a reason.
pub(crate) fn wait_for_reason(host: &Host, reason: Reason) -> Verdict {
    wait::until(&format!("'{reason}' in the log"), PATIENCE, || {
        host.process.stderr().contains(reason.name())
    })
}

/// Ends a daemon: within a second and with exit code 0.
pub(crate) fn ends_well(host: &mut Host) -> Verdict {
    let code = host.terminate(END)?;
    ensure!(code == 0, "SIGTERM ends it with exit code {code}");
    Ok(())
}

/// An agent's run must have succeeded within a time.
pub(crate) fn succeeds(agent: &Agent<'_>, action: &str, domain: &str, within: Duration) -> Verdict {
    let answer = agent.act(action, domain)?;
    ensure!(
        answer.code == 0 && answer.elapsed <= within,
        "{action} of {domain} must succeed within {} s: {}",
        within.as_secs_f32(),
        answer.describe()
    );
    Ok(())
}
