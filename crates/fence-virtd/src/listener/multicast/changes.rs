//! Word of interfaces that come, go or change, from the kernel's rtnetlink(7).

use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::Interest;

use crate::descriptor::Watched;

/// Link, IPv4 address and IPv6 address changes: RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
/// RTMGRP_IPV6_IFADDR.
const CHANGES: u32 = 0x1 | 0x10 | 0x100;

/// Messages that are taken before anything else has its turn.
const AT_ONCE: usize = 64;

/// Where the kernel tells of changes.
#[derive(Debug)]
pub(super) struct Changes(Option<Watched>);

impl Changes {
    /// Begins to listen. Where the kernel gives no word, there never is one, which is logged: callers
    /// look from time to time in any case.
    pub(super) fn watch() -> Self {
        let opened = open().and_then(|netlink| Watched::new(netlink, Interest::READABLE));
        Self(opened.inspect_err(no_word).ok())
    }

    /// Resolves after a change. Cancel-safe: what was not told is told the next time.
    pub(super) async fn happen(&mut self) {
        let Some(netlink) = &self.0 else {
            return pending().await;
        };
        match told(netlink).await {
            Ok(()) => {}
            Err(error) => {
                no_word(&error);
                self.0 = None;
            }
        }
    }
}

fn no_word(error: &io::Error) {
    tracing::warn!(%error, "the kernel tells no interface changes; looking every 10 s");
}

fn open() -> io::Result<OwnedFd> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
    Ok(netlink)
}

/// Waits for a message and takes those that are there. What changed does not matter, everything is looked at
/// anew; an overrun (ENOBUFS) is a change.
async fn told(netlink: &Watched) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        let mut ready = netlink.readable().await?;
        let mut any = false;
        for _ in 0..AT_ONCE {
            match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    ready.clear_ready();
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        if any {
            return Ok(());
        }
    }
}
