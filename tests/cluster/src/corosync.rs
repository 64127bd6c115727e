//! A host's corosync: starting it, and what it says about the cluster.

use fence_lab::Verdict;

use crate::host::{Host, Service};

/// The closed process group of the daemons.
pub(crate) const GROUP: &str = "fence-agents";

impl Host {
    /// Starts corosync unless it runs.
    pub(crate) fn start_corosync(&mut self) -> Verdict {
        if self.pid(Service::Corosync).is_some() {
            return Ok(());
        }
        self.start(Service::Corosync, &["corosync", "-f"])
    }

    /// How many nodes this host's corosync sees, if it is quorate.
    pub(crate) fn quorate_nodes(&self) -> Option<usize> {
        quorate_nodes(&self.ask("corosync-quorumtool", &["-s"])?)
    }

    /// How many daemons this host sees in the group.
    pub(crate) fn group_members(&self) -> usize {
        group_members(&self.ask("corosync-cpgtool", &[]).unwrap_or_default())
    }

    /// A tool's output, whatever its exit code: quorumtool's says whether there is quorum.
    fn ask(&self, tool: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(tool).ok()?.args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What `corosync-quorumtool -s` says.
fn quorate_nodes(said: &str) -> Option<usize> {
    let field = |name: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    if field("Quorate:")? != "Yes" {
        return None;
    }
    field("Nodes:")?.parse().ok()
}

/// What `corosync-cpgtool` says: a group's name in a line that is not indented, then an indented line
/// for each member, with numbers.
fn group_members(said: &str) -> usize {
    let mut in_group = false;
    let mut members = 0;
    for line in said.lines() {
        if line.starts_with(char::is_whitespace) {
            let number = line.trim_start().starts_with(|c: char| c.is_ascii_digit());
            members += usize::from(in_group && number);
        } else {
            in_group = line.split_whitespace().next() == Some(GROUP);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::{group_members, quorate_nodes};

    #[test]
    fn members_of_other_groups_do_not_count() {
        let said = "Group Name\t       PID\t   Node ID\nfence-agents\n\t\t         7\t         1 (10.78.1.1)\n\
                    \t\t        12\t         2 (10.78.1.2)\ncrmd\n\t\t         9\t         1 (10.78.1.1)\n";
        assert_eq!(group_members(said), 2);
        assert_eq!(group_members(""), 0);
    }

    #[test]
    fn nodes_without_quorum_do_not_count() {
        let said =
            "Quorum information\n------------------\nNodes:            2\nQuorate:          Yes\n";
        assert_eq!(quorate_nodes(said), Some(2));
        assert_eq!(quorate_nodes(&said.replace("Yes", "No")), None);
        assert_eq!(quorate_nodes("Cannot initialize QUORUM service\n"), None);
    }
}
