//! The network: a bridge on the host, with a cable to each node.

use fence_lab::net::Namespace;
use fence_lab::{Failure, Verdict};

use crate::names::{BRIDGE, HOST, NodeId};

/// Makes the bridge, which plays libvirt's default network.
pub(crate) fn add_bridge(host: &Namespace) -> Verdict {
    host.ip(&format!(
        "link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0\n\
         link set {BRIDGE} up\n\
         addr add {HOST}/24 dev {BRIDGE}\n\
         route add 224.0.0.0/4 dev {BRIDGE}\n"
    ))
}

/// Makes a node's network with its cable, which has no power yet.
pub(crate) fn plug_in(host: &Namespace, prefix: &str, id: NodeId) -> Result<Namespace, Failure> {
    let network = Namespace::new(&format!("{prefix}-{id}"))?;
    host.ip(&format!(
        "link add {id} type veth peer name eth0 netns {}\n\
         link set {id} master {BRIDGE} down\n",
        network.name()
    ))?;
    network.ip(&format!(
        "link set eth0 up\n\
         addr add {}/24 dev eth0\n\
         route add default via {HOST}\n",
        id.address()
    ))?;
    Ok(network)
}
