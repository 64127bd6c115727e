//! Which hosts corosync is configured for, and what they are called.

use std::collections::BTreeMap;

use fence_cluster::seam::NodeId;

use super::cmap::Value;

/// Where corosync's map has its hosts: `nodelist.node.POSITION.KEY`.
pub(super) const PREFIX: &str = "nodelist.node.";

/// One configured host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    id: Option<NodeId>,
    name: Option<String>,
    address: Option<String>,
}

/// The configured hosts by their id, each with its `name`, else its first address, which is what corosync and
/// pacemaker call it then.
///
/// # Errors
/// What is wrong with the list: without every host's id nobody can tell whether one is missing.
pub(super) fn hosts(keys: Vec<(String, Value)>) -> Result<Vec<(NodeId, String)>, String> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for (key, value) in keys {
        let Some((position, key)) = key
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let entry = entries.entry(position.to_owned()).or_default();
        match (key, value) {
            ("nodeid", Value::Number(id)) => entry.id = Some(NodeId(id)),
            ("name", Value::Text(name)) => entry.name = Some(name),
            ("ring0_addr", Value::Text(address)) => entry.address = Some(address),
            _ => {}
        }
    }
    let named = entries.into_iter().map(|(position, entry)| {
        let called = entry.name.or(entry.address).filter(|name| !name.is_empty());
        match entry.id {
            Some(id) => Ok((id, called.unwrap_or_else(|| format!("node {id}")))),
            None => Err(format!(
                "node {} of corosync's nodelist has no nodeid: set one in corosync.conf",
                called.unwrap_or(position)
            )),
        }
    });
    let hosts: Result<BTreeMap<_, _>, _> = named.collect();
    Ok(hosts?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str) -> (String, Value) {
        (format!("{PREFIX}{key}"), Value::Text(value.to_owned()))
    }

    fn number(key: &str, value: u32) -> (String, Value) {
        (format!("{PREFIX}{key}"), Value::Number(value))
    }

    #[test]
    fn hosts_are_called_by_name_or_else_by_address() {
        let keys = vec![
            text("0.name", "alpha"),
            number("0.nodeid", 2),
            text("0.ring0_addr", "10.0.0.1"),
            text("0.ring1_addr", "10.1.0.1"),
            number("1.nodeid", 1),
            text("1.ring0_addr", "10.0.0.2"),
            number("10.nodeid", 7),
            ("nodelist.local_node_pos".to_owned(), Value::Number(0)),
        ];
        let expected = [
            (NodeId(1), "10.0.0.2".to_owned()),
            (NodeId(2), "alpha".to_owned()),
            (NodeId(7), "node 7".to_owned()),
        ];
        assert_eq!(hosts(keys), Ok(expected.to_vec()));
    }

    #[test]
    fn host_without_an_id_spoils_the_list_rather_than_be_missed() {
        let keys = vec![number("0.nodeid", 1), text("1.name", "beta")];
        let message = hosts(keys).unwrap_err();
        assert!(message.contains("node beta"), "{message}");
    }
}
