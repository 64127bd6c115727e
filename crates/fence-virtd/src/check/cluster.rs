//! The cluster: corosync, quorum, the daemons' group, and who can prove that a host was fenced.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fence_cluster::seam::{MemberId, NodeId};
use fence_doctor::Finding;
use fence_doctor::finding::some_of;
use fence_doctor::program;

use super::ports::Daemon;
use crate::config::{CpgHost, CpgSettings, FenceProof};
use crate::corosync::look::{Look, OLDER_GROUP};
use crate::members;
use crate::proof;

const COROSYNC: &str = "corosync";
const QUORUM: &str = "quorum";
const GROUP: &str = "group";
const PROOF: &str = "proof";

/// What each member runs, as this host's daemon knows it.
pub(super) type Kinds = BTreeMap<MemberId, String>;

/// What the daemons that run here have written down of the members of their group.
pub(super) fn kinds(daemons: &[Daemon], group: &str) -> Kinds {
    let ours = daemons.iter().filter(|daemon| !daemon.original);
    ours.filter_map(|daemon| members::read(daemon.pid, group))
        .flatten()
        .collect()
}

/// Judges what was seen of corosync.
pub(super) fn judge(
    settings: &CpgSettings,
    look: &Result<Look, String>,
    daemons: &[Daemon],
    kinds: &Kinds,
) -> Vec<Finding> {
    let look = match look {
        Ok(look) => look,
        Err(why) => {
            return vec![Finding::problem(
                COROSYNC,
                format!("corosync cannot be asked: {why}"),
                "systemctl enable --now corosync, and run this as root; what it says: journalctl -u corosync",
            )];
        }
    };
    let mut findings = vec![corosync(look), quorum(look)];
    findings.extend(group(settings, look, daemons, kinds));
    findings
}

fn names(look: &Look) -> BTreeMap<NodeId, String> {
    look.hosts.iter().flatten().cloned().collect()
}

fn name(look: &Look, node: NodeId) -> String {
    let names = names(look);
    names
        .get(&node)
        .map_or_else(|| format!("node {node}"), |name| format!("{name} ({node})"))
}

fn corosync(look: &Look) -> Finding {
    match &look.hosts {
        Ok(hosts) => {
            let this = name(look, NodeId(look.node));
            Finding::ok(
                COROSYNC,
                format!("this is {this}, one of {} configured hosts", hosts.len()),
            )
        }
        Err(why) => Finding::problem(
            COROSYNC,
            format!("the configured hosts cannot be told: {why}"),
            "correct the nodelist of corosync.conf on all hosts: each node needs a name and a nodeid",
        ),
    }
}

fn quorum(look: &Look) -> Finding {
    if !look.provider {
        return Finding::problem(
            QUORUM,
            "corosync has no quorum provider, so nothing is claimed about other hosts' domains",
            "set provider: corosync_votequorum in section quorum of corosync.conf on all hosts",
        );
    }
    if !look.quorate {
        return Finding::problem(
            QUORUM,
            "this partition has no quorum, so nothing is claimed about other hosts' domains",
            "bring the other hosts' corosync back: corosync-quorumtool -s shows who is missing",
        );
    }
    Finding::ok(QUORUM, "this partition has quorum")
}

fn group(settings: &CpgSettings, look: &Look, daemons: &[Daemon], kinds: &Kinds) -> Vec<Finding> {
    let mut findings = vec![members_of(settings, look, kinds)];
    let here = look
        .members
        .iter()
        .any(|member| member.node == NodeId(look.node));
    if !daemons.is_empty() && !here {
        findings.push(Finding::problem(
            GROUP,
            format!("fence_virtd runs here, but is not in the group {}", settings.group),
            "restart it if its backend or group was changed; else see its log for what corosync says",
        ));
    }
    let missing: Vec<String> = expected(settings, look)
        .filter(|(node, _)| *node != NodeId(look.node))
        .filter(|(node, _)| look.members.iter().all(|member| member.node != *node))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        findings.push(Finding::warning(
            GROUP,
            format!("no daemon in the group on {}: nothing is done to domains that may be there", some_of(&missing)),
            "start fence_virtd there, or leave hosts that run no domains out by hosts in section cpg",
        ));
    }
    if !look.older_group.is_empty() {
        let count = look.older_group.len();
        findings.push(Finding::warning(
            GROUP,
            format!("{count} daemons are in the group {OLDER_GROUP}, where ours do not hear them"),
            format!(
                "set group = \"{OLDER_GROUP}\" on all hosts until the last of those is replaced"
            ),
        ));
    }
    findings
}

/// The hosts that may run domains.
fn expected<'a>(
    settings: &'a CpgSettings,
    look: &'a Look,
) -> impl Iterator<Item = (NodeId, String)> + 'a {
    let wanted = |(node, name): &&(NodeId, String)| {
        settings.hosts.is_empty()
            || settings.hosts.iter().any(|host| match host {
                CpgHost::Id(id) => *node == NodeId(*id),
                CpgHost::Name(wanted) => wanted.eq_ignore_ascii_case(name),
            })
    };
    look.hosts.iter().flatten().filter(wanted).cloned()
}

fn members_of(settings: &CpgSettings, look: &Look, kinds: &Kinds) -> Finding {
    if look.members.is_empty() {
        return Finding::warning(
            GROUP,
            format!("nobody is in the group {}", settings.group),
            "start fence_virtd on all hosts",
        );
    }
    let members = look.members.iter().map(|member| {
        let kind = kinds
            .get(member)
            .map_or("what it runs is not known", String::as_str);
        format!("{}: {kind}", name(look, member.node))
    });
    let members: Vec<_> = members.collect();
    Finding::ok(
        GROUP,
        format!(
            "{} members of {}: {}",
            members.len(),
            settings.group,
            some_of(&members)
        ),
    )
}

/// Whether the fencer's history can be read, or the program be run.
pub(super) fn proof(settings: &CpgSettings, patience: Duration) -> Finding {
    proof_with(settings, proof::stonith_admin(), patience)
}

fn proof_with(settings: &CpgSettings, stonith_admin: Option<&Path>, patience: Duration) -> Finding {
    let none = |found: &str| {
        Finding::warning(
            PROOF,
            format!("{found}: domains of a host that is gone are never reported fenced"),
            "install pacemaker-cli-utils where pacemaker fences the hosts, or set fence_proof and fence_proof_command",
        )
    };
    match &settings.fence_proof {
        Some(FenceProof::None) => none("fence_proof is none"),
        Some(FenceProof::Command(program)) => command(program),
        Some(FenceProof::Pacemaker) | None => match stonith_admin {
            None => none("stonith_admin is not installed"),
            Some(program) => history(program, patience),
        },
    }
}

fn command(path: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let runs = path
        .metadata()
        .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    if runs {
        Finding::ok(
            PROOF,
            format!("{shown} proves that hosts were fenced (it was not run)"),
        )
    } else {
        Finding::problem(
            PROOF,
            format!("{shown} is no program that can be run"),
            format!("put it there and chmod 0755 {shown}, or set fence_proof_command"),
        )
    }
}

fn history(path: &Path, patience: Duration) -> Finding {
    // Of a node that nobody has: whether the fencer answers is what counts.
    let arguments = ["--history=*", "--verbose", "--output-as=xml"];
    let answer = program::run(path, &arguments, patience).and_then(|ended| {
        let answer = proof::answers(&String::from_utf8_lossy(&ended.output));
        if ended.status.success() {
            return answer;
        }
        // With --output-as=xml it says why in its answer, and nothing on standard error.
        let printed = answer.err().unwrap_or_default();
        let why = Some(ended.complaint).filter(|complaint| !complaint.is_empty());
        Err(format!("{}: {}", ended.status, why.unwrap_or(printed)))
    });
    match answer {
        Ok(()) => Finding::ok(PROOF, "pacemaker's fencer tells its history"),
        Err(why) => Finding::problem(
            PROOF,
            format!("pacemaker's fencer does not tell its history: {why}"),
            "start pacemaker on this host, and run this as root: stonith_admin --history '*' must work",
        ),
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
