//! Keeps the group joined on the right interfaces, while they come, go and change.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{InterfaceIndexOrAddress, Socket};
use tokio::time::sleep;

use super::Group;
use super::changes;
use super::interfaces::{self, Interface};
use crate::listener::ListenerError;

/// Changes come in bursts; they are looked at together.
const SETTLE: Duration = Duration::from_millis(100);

/// Looked at this often even if no change was announced.
const INTERVAL: Duration = Duration::from_secs(10);

/// The socket and where it has joined.
#[derive(Debug)]
pub(super) struct Membership {
    socket: Arc<Socket>,
    group: Group,
    joined: BTreeMap<u32, String>,
    /// What could not be joined and was complained about.
    failed: BTreeMap<u32, String>,
}

impl Membership {
    /// Joins wherever it is possible now.
    pub(super) fn join(socket: Socket, group: Group) -> Result<Self, ListenerError> {
        let mut membership = Self {
            socket: Arc::new(socket),
            group,
            joined: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        let failure = membership.update().err();
        if !membership.joined.is_empty() {
            return Ok(membership);
        }
        match (membership.group.interface.clone(), failure) {
            (Some(_), Some(error)) => Err(membership.socket_error(error)),
            (Some(name), None) => Err(ListenerError::NoInterface(name)),
            (None, _) => {
                tracing::warn!(
                    group = %membership.group.address,
                    "no interface is up that can do multicast; listening on the first that comes"
                );
                Ok(membership)
            }
        }
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Follows the interfaces for ever.
    pub(super) async fn follow(mut self) {
        let changed = changes::watch();
        loop {
            tokio::select! {
                () = changed.notified() => sleep(SETTLE).await,
                () = sleep(INTERVAL) => {}
            }
            if let Err(error) = self.update() {
                tracing::debug!(%error, "not joined everywhere");
            }
        }
    }

    fn socket_error(&self, error: io::Error) -> ListenerError {
        let interface = self.group.interface.as_deref().unwrap_or("any interface");
        let what = format!("join {} on {interface}", self.group.address);
        ListenerError::Socket { what, error }
    }

    /// Leaves what has gone, joins what has come; the last error, if anything failed.
    fn update(&mut self) -> io::Result<()> {
        let present = interfaces::all()?;
        self.forget_absent(&present);
        let mut result = Ok(());
        for interface in &present {
            if !self.wants(interface) || self.joined.contains_key(&interface.index) {
                continue;
            }
            match self.change(interface.index, Change::Join) {
                Ok(()) => self.note_joined(interface),
                Err(error) => {
                    self.complain(interface, &error);
                    result = Err(error);
                }
            }
        }
        result
    }

    fn wants(&self, interface: &Interface) -> bool {
        match &self.group.interface {
            Some(name) => interface.up && interface.name == *name,
            None => interface.worth_joining,
        }
    }

    /// The kernel keeps memberships of interfaces that are down, but not of deleted ones; those
    /// still count in the socket's list, so they are left.
    fn forget_absent(&mut self, present: &[Interface]) {
        let is_present = |index: &u32, name: &String| {
            present
                .iter()
                .any(|it| it.index == *index && it.name == *name)
        };
        self.failed.retain(|index, name| is_present(index, name));
        let gone: Vec<u32> = self
            .joined
            .iter()
            .filter(|(index, name)| !is_present(index, name))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            let name = self.joined.remove(&index);
            // There is nothing to leave if the kernel was quicker.
            let _ = self.change(index, Change::Leave);
            tracing::info!(interface = name, group = %self.group.address, "interface has gone");
        }
    }

    fn note_joined(&mut self, interface: &Interface) {
        self.failed.remove(&interface.index);
        self.joined.insert(interface.index, interface.name.clone());
        tracing::info!(
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
        let cure = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOBUFS) => {
                "; name one in `interface`, or raise the sysctl net.ipv4.igmp_max_memberships"
            }
            _ => "",
        };
        tracing::warn!(
            interface = interface.name,
            group = %self.group.address,
            "cannot join the group: {error}{cure}"
        );
    }

    fn change(&self, index: u32, change: Change) -> io::Result<()> {
        let by_index = InterfaceIndexOrAddress::Index(index);
        match (&self.group.address, change) {
            (IpAddr::V4(group), Change::Join) => self.socket.join_multicast_v4_n(group, &by_index),
            (IpAddr::V4(group), Change::Leave) => {
                self.socket.leave_multicast_v4_n(group, &by_index)
            }
            (IpAddr::V6(group), Change::Join) => self.socket.join_multicast_v6(group, index),
            (IpAddr::V6(group), Change::Leave) => self.socket.leave_multicast_v6(group, index),
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Join,
    Leave,
}
