//! Word of interfaces that come, go or change, from the kernel's rtnetlink(7).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::sync::Notify;

/// Link, IPv4 address and IPv6 address changes: RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
/// RTMGRP_IPV6_IFADDR.
const CHANGES: u32 = 0x1 | 0x10 | 0x100;

/// The thread that listens needs next to nothing.
const STACK: usize = 64 * 1024;

/// Notifies after each change. Where the kernel gives no word, it never does, which is logged:
/// callers look from time to time in any case.
pub(super) fn watch() -> Arc<Notify> {
    let changed = Arc::new(Notify::new());
    let notify = Arc::clone(&changed);
    let started = open().and_then(|netlink| {
        thread::Builder::new()
            .name("interfaces".to_owned())
            .stack_size(STACK)
            .spawn(move || listen(&netlink, &notify))
    });
    if let Err(error) = started {
        tracing::warn!(%error, "the kernel tells no interface changes; looking every 10 s");
    }
    changed
}

fn open() -> io::Result<OwnedFd> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
    Ok(netlink)
}

/// What changed does not matter, everything is looked at anew; an overrun (ENOBUFS) is a change.
fn listen(netlink: &OwnedFd, changed: &Notify) {
    let mut buffer = [0; 8192];
    loop {
        match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => changed.notify_one(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::warn!(%errno, "no more word of interface changes; looking every 10 s");
                return;
            }
        }
    }
}
