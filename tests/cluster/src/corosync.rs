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
        let said = self.ask("corosync-quorumtool", &["-s"])?;
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        if field("Quorate:")? != "Yes" {
            return None;
        }
        field("Nodes:")?.parse().ok()
    }

    /// How many daemons this host sees in the group.
    pub(crate) fn group_members(&self) -> usize {
        let said = self.ask("corosync-cpgtool", &[]).unwrap_or_default();
        // A group's name, without an indentation, then a line for each member.
        let mut in_group = false;
        let mut members = 0;
        for line in said.lines() {
            if line.starts_with(char::is_whitespace) {
                if in_group && line.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
                    members += 1;
                }
            } else {
                in_group = line.starts_with(GROUP);
            }
        }
        members
    }

    /// A tool's output, whatever its exit code: quorumtool's says whether there is quorum.
    fn ask(&self, tool: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(tool).ok()?.args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
