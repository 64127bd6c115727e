//! Keeps the group joined on the right interfaces, while they come, go and change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{InterfaceIndexOrAddress, Socket};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::changes::Changes;
use super::interfaces::{self, Interface};
use super::{Group, socket};
use crate::listener::ListenerError;

/// Changes come in bursts; they are looked at together.
const SETTLE: Duration = Duration::from_millis(100);

/// Looked at this often even if no change was announced.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sockets at the most. Each can join 20 interfaces (net.ipv4.igmp_max_memberships).
const SOCKETS_MAX: usize = 32;

/// The sockets and where each has joined.
#[derive(Debug)]
pub(super) struct Membership {
    group: Group,
    /// The listener's name, for the log.
    listener: String,
    sockets: Vec<Arc<Socket>>,
    joined: BTreeMap<u32, Joined>,
    /// What could not be joined and was complained about.
    failed: BTreeMap<u32, String>,
    /// Tells of every socket that was opened.
    opened: mpsc::UnboundedSender<Arc<Socket>>,
}

#[derive(Debug)]
struct Joined {
    name: String,
    /// Index in `sockets`.
    socket: usize,
}

impl Membership {
    /// Opens a socket and joins wherever it is possible now. Every socket that is opened, now or
    /// later, comes out of the receiver.
    pub(super) fn join(
        group: Group,
        listener: &str,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Arc<Socket>>), ListenerError> {
        let (opened, sockets) = mpsc::unbounded_channel();
        let mut membership = Self {
            group,
            listener: listener.to_owned(),
            sockets: Vec::new(),
            joined: BTreeMap::new(),
            failed: BTreeMap::new(),
            opened,
        };
        membership.open()?;
        let failure = membership.update().err();
        if membership.joined.is_empty() {
            membership.complain_of_nothing(failure)?;
        }
        Ok((membership, sockets))
    }

    /// Follows the interfaces for ever.
    pub(super) async fn follow(mut self) {
        let mut changes = Changes::watch();
        loop {
            // The first time for what changed before the watch was there.
            if let Err(error) = self.update() {
                tracing::debug!(listener = self.listener, %error, "not joined everywhere");
            }
            tokio::select! {
                () = changes.happen() => sleep(SETTLE).await,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    fn open(&mut self) -> Result<usize, ListenerError> {
        let socket = Arc::new(socket::open(self.group.address, self.group.port)?);
        self.sockets.push(Arc::clone(&socket));
        // Nobody listens any more when the daemon is ending.
        let _ = self.opened.send(socket);
        Ok(self.sockets.len().saturating_sub(1))
    }

    fn complain_of_nothing(&self, failure: Option<io::Error>) -> Result<(), ListenerError> {
        match (&self.group.interface, failure) {
            (Some(name), Some(error)) => {
                let what = format!("join {} on {name}", self.group.address);
                Err(ListenerError::Socket { what, error })
            }
            (Some(name), None) => Err(ListenerError::NoInterface(name.clone())),
            (None, _) => {
                tracing::warn!(
                    listener = self.listener,
                    group = %self.group.address,
                    "no interface is up that can do multicast; listening on the first that comes"
                );
                Ok(())
            }
        }
    }

    /// Leaves what has gone, joins what has come; the last error, if anything failed.
    fn update(&mut self) -> io::Result<()> {
        let present = interfaces::all()?;
        self.forget_absent(&present);
        let mut result = Ok(());
        for interface in &present {
            if !wants(&self.group, interface) {
                continue;
            }
            if let Err(error) = self.ensure(interface) {
                self.complain(interface, &error);
                result = Err(error);
            }
        }
        result
    }

    /// Joins, also where that was done before: the kernel drops memberships without a word when an
    /// interface is replaced by one of the same index and name, or loses IPv6 for a moment.
    fn ensure(&mut self, interface: &Interface) -> io::Result<()> {
        let known = self
            .joined
            .get(&interface.index)
            .map(|joined| joined.socket);
        let mut last = known.unwrap_or_else(|| self.sockets.len().saturating_sub(1));
        let result = match self.change(last, interface.index, Change::Join) {
            Err(error) if is(&error, Errno::ENOBUFS) && self.sockets.len() < SOCKETS_MAX => {
                last = self.open().map_err(io::Error::other)?;
                self.change(last, interface.index, Change::Join)
            }
            other => other,
        };
        match result {
            Ok(()) => self.note_joined(interface, last),
            Err(error) if known.is_some() && is(&error, Errno::EADDRINUSE) => {
                if self.was_dropped(interface.index) {
                    let _ = self.change(last, interface.index, Change::Leave);
                    self.change(last, interface.index, Change::Join)?;
                    self.note_joined(interface, last);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the kernel has dropped an IPv6 membership that the socket still has: it does when an
    /// interface's MTU was below 1280 for a moment.
    fn was_dropped(&self, index: u32) -> bool {
        let IpAddr::V6(group) = self.group.address else {
            return false;
        };
        let Ok(table) = fs::read_to_string("/proc/net/igmp6") else {
            return false;
        };
        let (index, group) = (index.to_string(), format!("{:032x}", group.to_bits()));
        !table.lines().any(|line| {
            let mut fields = line.split_whitespace();
            fields.next() == Some(index.as_str()) && fields.nth(1) == Some(group.as_str())
        })
    }

    /// The kernel keeps memberships of interfaces that are down, but not of deleted ones; those
    /// still count in the socket's list, so they are left.
    fn forget_absent(&mut self, present: &[Interface]) {
        let is_present = |index: u32, name: &str| {
            present
                .iter()
                .any(|interface| interface.index == index && interface.name == name)
        };
        self.failed.retain(|index, name| is_present(*index, name));
        let gone: Vec<u32> = self
            .joined
            .iter()
            .filter(|(index, joined)| !is_present(**index, &joined.name))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            let Some(Joined { name, socket }) = self.joined.remove(&index) else {
                continue;
            };
            // There is nothing to leave if the kernel was quicker.
            let _ = self.change(socket, index, Change::Leave);
            tracing::info!(
                listener = self.listener,
                interface = name,
                group = %self.group.address,
                "interface has gone"
            );
        }
    }

    fn note_joined(&mut self, interface: &Interface, socket: usize) {
        self.failed.remove(&interface.index);
        let joined = Joined {
            name: interface.name.clone(),
            socket,
        };
        self.joined.insert(interface.index, joined);
        tracing::info!(
            listener = self.listener,
            interface = interface.name,
            group = %self.group.address,
            port = self.group.port,
            "listening"
        );
    }

    fn complain(&mut self, interface: &Interface, error: &io::Error) {
        if self
            .failed
            .insert(interface.index, interface.name.clone())
            .is_some()
        {
            return;
        }
        let cure = if is(error, Errno::ENOBUFS) {
            "; name one in `interface`, or raise the sysctl net.ipv4.igmp_max_memberships"
        } else {
            ""
        };
        tracing::warn!(
            listener = self.listener,
            interface = interface.name,
            group = %self.group.address,
            "cannot join the group: {error}{cure}"
        );
    }

    fn change(&self, socket: usize, index: u32, change: Change) -> io::Result<()> {
        let Some(socket) = self.sockets.get(socket) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let by_index = InterfaceIndexOrAddress::Index(index);
        match (&self.group.address, change) {
            (IpAddr::V4(group), Change::Join) => socket.join_multicast_v4_n(group, &by_index),
            (IpAddr::V4(group), Change::Leave) => socket.leave_multicast_v4_n(group, &by_index),
            (IpAddr::V6(group), Change::Join) => socket.join_multicast_v6(group, index),
            (IpAddr::V6(group), Change::Leave) => socket.leave_multicast_v6(group, index),
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Join,
    Leave,
}

fn wants(group: &Group, interface: &Interface) -> bool {
    match &group.interface {
        Some(name) => interface.up && interface.name == *name,
        None => interface.worth_joining,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(errno)
}
