//! The network: one host with a bridge and two guests, as three network namespaces.
//!
//! Names carry the process id and a counter, so that two runs never meet. Everything is removed when
//! the value is dropped; the scripts remove what a killed run leaves behind, by the same prefix.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process, thread};

use fence_proto::Family;
use nix::sched::{CloneFlags, setns};

use crate::failure::Failure;

/// The bridge in the host's namespace, which plays libvirt's `virbr0`.
pub const BRIDGE: &str = "br0";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Which guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// The one that asks.
    First,
    /// Another one on the same bridge: a bystander or an attacker.
    Second,
}

impl Guest {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    const fn host_part(self) -> u8 {
        match self {
            Self::First => 2,
            Self::Second => 3,
        }
    }

    /// Its address on the bridge.
    #[must_use]
    pub const fn address(self, family: Family) -> IpAddr {
        address(family, self.host_part())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::First => "g1",
            Self::Second => "g2",
        }
    }
}

/// The host's address on the bridge.
#[must_use]
pub const fn host_address(family: Family) -> IpAddr {
    address(family, 1)
}

/// The address on the bridge that ends with this number.
#[must_use]
pub const fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host as u16)),
    }
}

/// A named network namespace. Removed on drop together with the processes in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up.
    ///
    /// # Errors
    /// `ip` is missing or refuses: mostly for want of root.
    pub fn new(name: &str) -> Result<Self, Failure> {
        ip(&["netns", "add", name])?;
        let made = Self {
            name: name.to_owned(),
        };
        made.ip("link set lo up")?;
        Ok(made)
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in this namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, program])
            .stdin(Stdio::null());
        command
    }

    /// Runs `ip` commands, one a line, inside.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, lines: &str) -> Result<(), Failure> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("ip -n {}: {said}", self.name)))
    }

    /// Runs `work` on a thread of its own inside the namespace: sockets made there belong to it.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok::<T, nix::Error>(work())
            });
            match worker.join() {
                Ok(result) => Ok(result?),
                Err(_) => Err(Failure::new("a lab thread panicked")),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let pids = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .output();
        if let Ok(pids) = pids {
            for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
                // Only processes that were started in this namespace, which is ours alone.
                let _ = Command::new("kill")
                    .args(["-KILL", pid])
                    .stderr(Stdio::null())
                    .status();
            }
        }
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("ip {}: {said}", arguments.join(" "))))
}

/// A name that no other run uses.
#[must_use]
pub fn unique() -> String {
    let prefix = env::var("FENCE_LAB_PREFIX").unwrap_or_else(|_| format!("fence{}", process::id()));
    format!("{prefix}x{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes a bridge with the host's addresses.
///
/// # Errors
/// What `ip` said.
pub fn add_bridge(host: &Namespace) -> Result<(), Failure> {
    host.ip(&format!(
        "link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0\n\
         link set {BRIDGE} up\n\
         addr add {v4}/24 dev {BRIDGE}\n\
         addr add {v6}/64 dev {BRIDGE} nodad\n\
         route add 224.0.0.0/4 dev {BRIDGE}\n",
        v4 = host_address(Family::Ipv4),
        v6 = host_address(Family::Ipv6),
    ))
}

/// One host, two guests, one bridge.
#[derive(Debug)]
pub struct Net {
    /// The host's namespace.
    pub dom0: Namespace,
    guests: [Namespace; 2],
}

impl Net {
    /// Builds the network: IPv4 and IPv6, multicast without snooping.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn new() -> Result<Self, Failure> {
        let id = unique();
        let dom0 = Namespace::new(&format!("{id}-dom0"))?;
        let [first, second] =
            Guest::ALL.map(|guest| Namespace::new(&format!("{id}-{}", guest.name())));
        let net = Self {
            dom0,
            guests: [first?, second?],
        };
        net.add_bridge()?;
        for guest in Guest::ALL {
            net.plug_in(guest)?;
        }
        Ok(net)
    }

    /// A guest's namespace.
    #[must_use]
    pub const fn guest(&self, guest: Guest) -> &Namespace {
        let [first, second] = &self.guests;
        match guest {
            Guest::First => first,
            Guest::Second => second,
        }
    }

    /// Makes the bridge with the host's addresses.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn add_bridge(&self) -> Result<(), Failure> {
        add_bridge(&self.dom0)
    }

    /// Removes the bridge; the guests' cables stay, unplugged.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn remove_bridge(&self) -> Result<(), Failure> {
        self.dom0.ip(&format!("link del {BRIDGE}\n"))
    }

    /// Plugs the cables of both guests into the bridge again.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn replug(&self) -> Result<(), Failure> {
        for guest in Guest::ALL {
            self.dom0
                .ip(&format!("link set {} master {BRIDGE} up\n", guest.name()))?;
        }
        Ok(())
    }

    fn plug_in(&self, guest: Guest) -> Result<(), Failure> {
        let cable = guest.name();
        let inside = self.guest(guest);
        self.dom0.ip(&format!(
            "link add {cable} type veth peer name eth0 netns {}\n\
             link set {cable} master {BRIDGE} up\n",
            inside.name()
        ))?;
        let (v4, v6) = (guest.address(Family::Ipv4), guest.address(Family::Ipv6));
        inside.ip(&format!(
            "link set eth0 up\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             route add default via {}\n\
             route add default via {}\n",
            host_address(Family::Ipv4),
            host_address(Family::Ipv6),
        ))
    }
}
