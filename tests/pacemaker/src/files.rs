//! The nodes' configuration: corosync's, and pacemaker's with its fence devices.

use std::fmt::Write as _;

use crate::names::NodeId;

/// The resource that has to survive its node.
pub(crate) const SERVICE: &str = "service";

/// A fence device. All of them use the same agent and the same host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it is given the map from nodes to domains.
    pub(crate) has_map: bool,
    /// `pcmk_host_check`, if it is set.
    pub(crate) check: Option<&'static str>,
    /// Whether it runs from the start.
    pub(crate) is_started: bool,
}

/// What nodes the device can fence is told by its map.
pub(crate) const BY_MAP: Device = Device {
    name: "by-map",
    has_map: true,
    check: None,
    is_started: true,
};
/// It is asked for a list, and has no map: pacemaker's default for an agent that can list.
pub(crate) const BY_LIST: Device = Device {
    name: "by-list",
    has_map: false,
    check: None,
    is_started: false,
};
/// It is asked for the status of the node's domain.
pub(crate) const BY_STATUS: Device = Device {
    name: "by-status",
    has_map: true,
    check: Some("status"),
    is_started: false,
};

/// corosync.conf. An emulated node needs more patience.
pub(crate) fn corosync(token_ms: u32) -> String {
    let mut text = format!(
        "totem {{\n version: 2\n cluster_name: lab\n transport: udpu\n crypto_cipher: none\n \
         crypto_hash: none\n token: {token_ms}\n}}\n\
         quorum {{\n provider: corosync_votequorum\n}}\n\
         system {{\n move_to_root_cgroup: no\n}}\n\
         logging {{\n to_stderr: yes\n to_syslog: no\n to_logfile: no\n timestamp: hires\n}}\nnodelist {{\n"
    );
    for id in NodeId::ALL {
        let (address, number) = (id.address(), id.number());
        let _ = writeln!(
            text,
            " node {{\n  ring0_addr: {address}\n  name: {id}\n  nodeid: {number}\n }}"
        );
    }
    text.push_str("}\n");
    text
}

/// /etc/hosts.
pub(crate) fn hosts() -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for id in NodeId::ALL {
        let _ = writeln!(text, "{} {id}", id.address());
    }
    text
}

/// `pcmk_host_map` for all nodes.
pub(crate) fn host_map() -> String {
    NodeId::ALL
        .map(|id| format!("{id}:{}", id.domain()))
        .join(";")
}

/// The cluster's configuration before its first start.
pub(crate) fn cib(devices: &[Device]) -> String {
    let mut nodes = String::new();
    for id in NodeId::ALL {
        let _ = write!(nodes, r#"<node id="{}" uname="{id}"/>"#, id.number());
    }
    let devices: String = devices.iter().map(device).collect();
    format!(
        r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.0" epoch="1" num_updates="0" admin_epoch="1"><configuration><crm_config><cluster_property_set id="options">{options}</cluster_property_set></crm_config><nodes>{nodes}</nodes><resources>{devices}<primitive id="{SERVICE}" class="ocf" provider="pacemaker" type="Dummy"><operations><op id="{SERVICE}-monitor" name="monitor" interval="10s" timeout="20s"/></operations></primitive></resources><constraints/></configuration><status/></cib>"#,
        options = [("dc-deadtime", "2s"), ("stonith-enabled", "true")]
            .map(|(name, value)| nvpair("options", name, value))
            .concat()
    )
}

fn device(device: &Device) -> String {
    let name = device.name;
    let mut attributes = nvpair(name, "timeout", "6");
    if device.has_map {
        attributes.push_str(&nvpair(name, "pcmk_host_map", &host_map()));
    }
    if let Some(check) = device.check {
        attributes.push_str(&nvpair(name, "pcmk_host_check", check));
    }
    let role = if device.is_started {
        "Started"
    } else {
        "Stopped"
    };
    format!(
        r#"<primitive id="{name}" class="stonith" type="fence_xvm"><instance_attributes id="{name}-a">{attributes}</instance_attributes><meta_attributes id="{name}-m">{meta}</meta_attributes><operations><op id="{name}-monitor" name="monitor" interval="5s" timeout="20s"/></operations></primitive>"#,
        meta = nvpair(name, "target-role", role)
    )
}

fn nvpair(owner: &str, name: &str, value: &str) -> String {
    format!(r#"<nvpair id="{owner}-{name}" name="{name}" value="{value}"/>"#)
}
