//! A daemon under test.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fence_proto::Family;
use nix::sys::signal::Signal;

use crate::config::{HostConfig, Transport};
use crate::failure::Failure;
use crate::net::Namespace;
use crate::process::{self, Process};
use crate::programs::{Programs, Side};
use crate::wait::{self, PATIENCE};

/// A running daemon and what it was told.
#[derive(Debug)]
pub struct Host {
    /// Whose daemon.
    pub side: Side,
    /// Its configuration.
    pub config: HostConfig,
    /// The process.
    pub process: Process,
    /// The name of the namespace that it is started in.
    pub namespace: String,
}

/// How to start a daemon.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Where the programs are.
    pub programs: &'a Programs,
    /// Whose daemon.
    pub side: Side,
    /// In which namespace.
    pub namespace: &'a Namespace,
    /// Where the configuration and the log go.
    pub directory: &'a Path,
    /// A name for these files.
    pub name: &'a str,
}

impl Launch<'_> {
    /// Writes the configuration and starts the daemon; it may not be ready yet.
    ///
    /// # Errors
    /// The file cannot be written, the program not started.
    pub fn start(&self, config: HostConfig, options: &[&str]) -> Result<Host, Failure> {
        let command = self.command(&config, options)?;
        Ok(Host {
            side: self.side,
            config,
            process: Process::spawn(command, self.name, self.directory)?,
            namespace: self.namespace.name().to_owned(),
        })
    }

    /// As [`Self::start`], and waits until it listens.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start_ready(&self, config: HostConfig) -> Result<Host, Failure> {
        let mut host = self.start(config, &[])?;
        host.wait_ready()?;
        Ok(host)
    }

    /// The daemon's command line, after its configuration was written.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn command(&self, config: &HostConfig, options: &[&str]) -> Result<Command, Failure> {
        let file = self.path("conf");
        fs::write(&file, config.text(self.side)?)?;
        let program = self.programs.virtd(self.side);
        let mut command = match self.side {
            Side::Ours => self.namespace.command(&program.to_string_lossy()),
            // Its log goes through stdio, which would keep it back when it is not a terminal.
            Side::C => {
                let mut command = self.namespace.command("stdbuf");
                command.arg("-oL").arg(program);
                command
            }
        };
        command.args(["-F", "-d", "99", "-f"]).arg(file);
        command.arg("-p").arg(self.path("pid")).args(options);
        Ok(command)
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }
}

impl Host {
    /// Waits until it listens: its sockets are looked up in its own network namespace.
    ///
    /// # Errors
    /// It ended or never listened.
    pub fn wait_ready(&mut self) -> Result<(), Failure> {
        let result = wait::until("the daemon to listen", PATIENCE, || {
            !self.process.is_running() || self.listens()
        });
        let result = result.and_then(|()| {
            if self.process.is_running() {
                Ok(())
            } else {
                Err(Failure::new("the daemon ended at once"))
            }
        });
        result.map_err(|failure| failure.with(&self.process.tail()))
    }

    /// Whether its sockets are there; for multicast also whether it has joined the group.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.is_bound() && (self.config.transport == Transport::Tcp || self.has_joined())
    }

    /// Whether its socket has the port.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        if !self.has_arrived() {
            return false;
        }
        let port = format!(":{:04X} ", self.config.port);
        match self.config.transport {
            Transport::Tcp => ["tcp", "tcp6"].iter().any(|table| {
                self.net_table(table)
                    .lines()
                    // State 0A is LISTEN.
                    .any(|line| line.contains(&port) && line.contains(" 0A "))
            }),
            Transport::Multicast => ["udp", "udp6"]
                .iter()
                .any(|table| self.net_table(table).contains(&port)),
        }
    }

    /// Whether the process is in its namespace already. Before, what its tables show is the
    /// machine's own network.
    fn has_arrived(&self) -> bool {
        let inode = |path: String| fs::metadata(path).map(|meta| meta.ino()).ok();
        let there = inode(format!("/run/netns/{}", self.namespace));
        there.is_some() && there == inode(format!("/proc/{}/ns/net", self.process.pid()))
    }

    fn has_joined(&self) -> bool {
        match self.config.family {
            // 225.0.0.12 as the kernel prints it on a little-endian machine.
            Family::Ipv4 => self.net_table("igmp").contains("0C0000E1"),
            Family::Ipv6 => self
                .net_table("igmp6")
                .contains("ff050000000000000000000000030001"),
        }
    }

    /// Its resident memory in KiB.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resident(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Failure::new("the daemon's memory cannot be read"))
    }

    fn net_table(&self, table: &str) -> String {
        fs::read_to_string(format!("/proc/{}/net/{table}", self.process.pid())).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn terminate(&mut self, limit: Duration) -> Result<i32, Failure> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(limit);
        status
            .map(process::code)
            .map_err(|failure| failure.with(&self.process.tail()))
    }
}
