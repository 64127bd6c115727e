//! The cables: a network for the cluster and one for the guests, which can be cut host by host.
//!
//! Which host hears a multicast request is chosen at the guests' bridge: a port that is not flooded
//! with multicast frames carries everything else as before.

use fence_lab::net::Namespace;
use fence_lab::{Failure, Verdict};

use crate::names::{AGENT_ADDRESSES, HostId};

/// The network interface that a daemon listens on.
pub(crate) const GUEST_INTERFACE: &str = "eth1";

/// Switches, and the network namespaces at the ends of their cables.
#[derive(Debug)]
pub(crate) struct Fabric {
    switch: Namespace,
    /// Where the agent runs.
    pub(crate) agent: Namespace,
    /// Where another one runs.
    pub(crate) second_agent: Namespace,
    hosts: [Namespace; 3],
}

impl Fabric {
    /// Lays all cables.
    pub(crate) fn new(prefix: &str) -> Result<Self, Failure> {
        let switch = Namespace::new(&format!("{prefix}-switch"))?;
        for bridge in ["cluster", "guests"] {
            switch.ip(&format!(
                "link add br-{bridge} type bridge mcast_snooping 0 forward_delay 0\n\
                 link set br-{bridge} up\n"
            ))?;
        }
        let [first, second] = AGENT_ADDRESSES;
        let agent = agent_namespace(&switch, prefix, "agent", first);
        let second_agent = agent_namespace(&switch, prefix, "agent2", second);
        let [a, b, c] = HostId::ALL.map(|id| host_namespace(&switch, prefix, id));
        let hosts = [a?, b?, c?];
        Ok(Self {
            switch,
            agent: agent?,
            second_agent: second_agent?,
            hosts,
        })
    }

    /// A host's network namespace, which outlives the host's power.
    pub(crate) const fn host(&self, id: HostId) -> &Namespace {
        let [a, b, c] = &self.hosts;
        match id {
            HostId::A => a,
            HostId::B => b,
            HostId::C => c,
        }
    }

    /// Cuts a host's cable to the other hosts, or mends it.
    pub(crate) fn connect_cluster(&self, id: HostId, connected: bool) -> Verdict {
        self.switch.ip(&format!(
            "link set cl-{id} {}\n",
            word(connected, "up", "down")
        ))
    }

    /// Cuts a host's cable to the guests, or mends it.
    pub(crate) fn connect_guests(&self, id: HostId, connected: bool) -> Verdict {
        self.switch.ip(&format!(
            "link set gu-{id} {}\n",
            word(connected, "up", "down")
        ))
    }

    /// Decides which hosts hear multicast requests.
    pub(crate) fn hearers(&self, ids: &[HostId]) -> Verdict {
        let lines: String = HostId::ALL
            .iter()
            .map(|id| {
                let flood = word(ids.contains(id), "on", "off");
                format!("link set gu-{id} type bridge_slave mcast_flood {flood}\n")
            })
            .collect();
        self.switch.ip(&lines)
    }
}

const fn word(condition: bool, yes: &'static str, no: &'static str) -> &'static str {
    if condition { yes } else { no }
}

fn agent_namespace(
    switch: &Namespace,
    prefix: &str,
    name: &str,
    address: &str,
) -> Result<Namespace, Failure> {
    let made = Namespace::new(&format!("{prefix}-{name}"))?;
    plug(
        switch,
        "guests",
        &format!("up-{name}"),
        &made,
        "eth1",
        address,
    )?;
    Ok(made)
}

fn host_namespace(switch: &Namespace, prefix: &str, id: HostId) -> Result<Namespace, Failure> {
    let made = Namespace::new(&format!("{prefix}-{id}"))?;
    let cable = format!("cl-{id}");
    plug(
        switch,
        "cluster",
        &cable,
        &made,
        "eth0",
        &id.cluster_address(),
    )?;
    let cable = format!("gu-{id}");
    plug(
        switch,
        "guests",
        &cable,
        &made,
        GUEST_INTERFACE,
        &id.guest_address(),
    )?;
    Ok(made)
}

#[expect(
    clippy::too_many_arguments,
    reason = "two ends of a cable, each with a name and a place"
)]
fn plug(
    switch: &Namespace,
    bridge: &str,
    port: &str,
    namespace: &Namespace,
    interface: &str,
    address: &str,
) -> Verdict {
    switch.ip(&format!(
        "link add {port} type veth peer name {interface} netns {}\n\
         link set {port} master br-{bridge} up\n",
        namespace.name()
    ))?;
    let route = if bridge == "guests" {
        format!("route add 224.0.0.0/4 dev {interface}\n")
    } else {
        String::new()
    };
    namespace.ip(&format!(
        "link set {interface} up\naddr add {address}/24 dev {interface}\n{route}"
    ))
}
