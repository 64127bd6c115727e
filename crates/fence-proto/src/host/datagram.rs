//! A multicast datagram: the part of the ladder that comes before a call-back.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;

use super::policy::Policy;
use crate::access::Source;
use crate::frame::{AuthenticFrame, can_be_a_guest};
use crate::reason::Reason;
use crate::time::Moment;

/// What a socket received.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The payload, whole.
    pub bytes: &'a [u8],
    /// Who sent it, as the kernel says.
    pub from: SocketAddr,
    /// How long ago the kernel received it.
    pub age: Duration,
}

/// A request that asks to be called back: well-formed, authentic and not too old. Whether it is a
/// retransmission is [`super::Replay`]'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallBack {
    /// The request.
    pub frame: AuthenticFrame,
    /// Where the agent listens.
    pub address: SocketAddr,
    /// When the kernel received the request: the order's time counts from here.
    pub arrived: Moment,
}

/// Reads a datagram. Needs no state, so that a flood can be sifted before anything else sees it.
///
/// # Errors
/// The [`Reason`] to drop it.
pub fn datagram(policy: &Policy, now: Moment, datagram: Datagram<'_>) -> Result<CallBack, Reason> {
    let frame = policy.demand().accept(datagram.bytes)?;
    if datagram.age > policy.timing().datagram_age {
        return Err(Reason::Stale);
    }
    let address = frame.frame().callback.ok_or(Reason::MalformedAddress)?;
    // A loopback address means this machine only if it comes from this machine.
    let foreign_loopback = is_loopback(address.ip()) && !is_loopback(datagram.from.ip());
    if !can_be_a_guest(address) || foreign_loopback {
        return Err(Reason::ImpossibleAddress);
    }
    // Groups go by the call-back address, which the sender chooses: it must not gain by it. A C agent
    // with several IPv6 addresses sends from one of them for all.
    let sender = Source::Ip(datagram.from.ip().to_canonical());
    if !policy
        .access()
        .covers(sender, Source::Ip(address.ip().to_canonical()))
    {
        return Err(Reason::SenderMismatch);
    }
    Ok(CallBack {
        frame,
        address: scoped(address, datagram.from),
        arrived: now.ago(datagram.age),
    })
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A link-local address means nothing without an interface: take the sender's.
fn scoped(address: SocketAddr, from: SocketAddr) -> SocketAddr {
    match (address, from) {
        (SocketAddr::V6(to), SocketAddr::V6(from)) if to.ip().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*to.ip(), to.port(), 0, from.scope_id()))
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::{Access, Group, GroupSource};
    use crate::action::Action;
    use crate::domain::DomainRef;
    use crate::frame::{RequestFrame, RequestId, Signature};
    use crate::hash::HashAlgorithm;
    use crate::host::Timing;
    use crate::key::Key;

    fn read(callback: Option<&str>, from: &str, age: u64) -> Result<CallBack, Reason> {
        read_with(Access::unrestricted(), callback, from, age)
    }

    fn read_with(
        access: Access,
        callback: Option<&str>,
        from: &str,
        age: u64,
    ) -> Result<CallBack, Reason> {
        let key = Key::from_bytes(b"0123456789").unwrap();
        let frame = RequestFrame {
            action: Action::Off,
            domain: DomainRef::new("vm").unwrap(),
            uuid_flag: false,
            callback: callback.map(|text| text.parse().unwrap()),
            id: RequestId {
                random: [1; 6],
                seqno: 1,
            },
        };
        let bytes = frame.encode(Signature::Keyed(&key, HashAlgorithm::Sha256));
        let hashes = (HashAlgorithm::Sha256, HashAlgorithm::Sha256);
        let policy = Policy::new(Some(key), hashes, Arc::new(access), Timing::default()).unwrap();
        let from = from.parse().unwrap();
        datagram(
            &policy,
            Moment::from_epoch(Duration::from_secs(100)),
            Datagram {
                bytes: &bytes,
                from,
                age: Duration::from_secs(age),
            },
        )
    }

    #[test]
    fn datagram_older_than_agents_wait_is_dropped() {
        assert!(read(Some("10.0.0.1:1229"), "10.0.0.1:9", 10).is_ok());
        assert_eq!(
            read(Some("10.0.0.1:1229"), "10.0.0.1:9", 11),
            Err(Reason::Stale)
        );
    }

    #[test]
    fn request_counts_from_when_the_kernel_received_it() {
        let call = read(Some("10.0.0.1:1229"), "10.0.0.1:9", 7).unwrap();
        assert_eq!(call.arrived, Moment::from_epoch(Duration::from_secs(93)));
    }

    #[test]
    fn address_that_cannot_be_a_guest_is_refused() {
        for bad in [
            "225.0.0.12:1229",
            "255.255.255.255:1229",
            "0.0.0.0:1229",
            "10.0.0.1:0",
        ] {
            assert_eq!(
                read(Some(bad), "10.0.0.1:9", 0),
                Err(Reason::ImpossibleAddress),
                "{bad}"
            );
        }
        assert_eq!(read(None, "10.0.0.1:9", 0), Err(Reason::MalformedAddress));
    }

    #[test]
    fn with_groups_nobody_speaks_for_another_address() {
        let group = Group {
            sources: vec![GroupSource::Ip([10, 0, 0, 1].into())],
            ..Group::default()
        };
        let groups = || Access::groups(vec![group.clone()]);
        let other = read_with(groups(), Some("10.0.0.1:1229"), "10.0.0.2:9", 0);
        assert_eq!(other, Err(Reason::SenderMismatch));
        assert!(read_with(groups(), Some("10.0.0.1:1229"), "10.0.0.1:9", 0).is_ok());
        // Nothing is gained by naming an address without rights, or where there are no groups.
        assert!(read_with(groups(), Some("10.0.0.3:1229"), "10.0.0.2:9", 0).is_ok());
        assert!(read(Some("10.0.0.1:1229"), "10.0.0.2:9", 0).is_ok());
    }

    #[test]
    fn loopback_is_believed_of_loopback_only() {
        let foreign = read(Some("127.0.0.1:1229"), "10.0.0.1:9", 0);
        assert_eq!(foreign, Err(Reason::ImpossibleAddress));
        assert!(read(Some("127.0.0.1:1229"), "127.0.0.1:9", 0).is_ok());
    }

    #[test]
    fn link_local_call_back_takes_the_senders_interface() {
        let call = read(Some("[fe80::1]:1229"), "[fe80::1%7]:9", 0).unwrap();
        assert_eq!(call.address, "[fe80::1%7]:1229".parse().unwrap());
    }
}
