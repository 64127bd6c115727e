//! The chosen backend's section.

use std::path::PathBuf;
use std::time::Duration;

use super::schema::{CPG, LIBVIRT};
use super::settings::{
    BackendSettings, CpgHost, CpgSettings, DEFAULT_GROUP, DEFAULT_REQUEST_TIMEOUT, DEFAULT_URI,
    FenceProof, LibvirtSettings, NameMode, UnknownDomain,
};
use super::tree::Text;
use super::values::{absolute_path, cluster_group, cluster_host, number, one_of, uri};
use super::view::{Note, View};

/// Longer, and the agent would have given up: it waits 30 seconds.
const LONGEST_REQUEST: u32 = 25;

#[derive(Clone, Copy)]
enum BackendKind {
    Libvirt,
    Cpg,
}

/// What the section of the backend called `name` says.
pub(super) fn settings(
    name: &Text,
    daemon: &View<'_>,
    backends: &View<'_>,
    notes: &mut Vec<Note>,
) -> Result<BackendSettings, Note> {
    const KINDS: [(&str, BackendKind); 2] =
        [("libvirt", BackendKind::Libvirt), ("cpg", BackendKind::Cpg)];
    let libvirt = backends.child(&LIBVIRT, notes)?;
    let cpg = backends.child(&CPG, notes)?;
    let older = daemon.value("name_mode");
    let general = older.map(name_mode).transpose()?;
    Ok(match one_of(name, &KINDS)? {
        BackendKind::Libvirt => BackendSettings::Libvirt(LibvirtSettings {
            uris: uris(&libvirt, notes)?,
        }),
        BackendKind::Cpg => {
            let own = cpg.value("name_mode").map(name_mode).transpose()?;
            if let (Some(older), Some(_)) = (older, own)
                && own != general
            {
                let message = "this 'name_mode' yields to the one in section 'cpg'";
                notes.push(Note::at(older.position, message));
            }
            let name_mode = own.or(general).unwrap_or(NameMode::Name);
            BackendSettings::Cpg(cpg_settings(&cpg, name_mode, notes)?)
        }
    })
}

fn cpg_settings(
    cpg: &View<'_>,
    name_mode: NameMode,
    notes: &mut Vec<Note>,
) -> Result<CpgSettings, Note> {
    let seconds = cpg.value("request_timeout");
    let seconds = seconds.map(|value| number(value, 1, LONGEST_REQUEST));
    let request_timeout = seconds.transpose()?.map_or(DEFAULT_REQUEST_TIMEOUT, |it| {
        Duration::from_secs(u64::from(it))
    });
    let group = cpg.value("group").map(cluster_group).transpose()?;
    let hosts = cpg.list("hosts").iter().map(|host| cluster_host(host));
    Ok(CpgSettings {
        uris: uris(cpg, notes)?,
        name_mode,
        group: group.unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
        request_timeout,
        unknown_domain: unknown_domain(cpg, notes)?,
        fence_proof: fence_proof(cpg, notes)?,
        hosts: hosts.collect::<Result<Vec<CpgHost>, _>>()?,
    })
}

fn unknown_domain(cpg: &View<'_>, notes: &mut Vec<Note>) -> Result<UnknownDomain, Note> {
    const NAMES: [(&str, UnknownDomain); 2] = [
        ("failure", UnknownDomain::Failure),
        ("off", UnknownDomain::Off),
    ];
    let Some(value) = cpg.value("unknown_domain") else {
        return Ok(UnknownDomain::Failure);
    };
    let unknown = one_of(value, &NAMES)?;
    if unknown == UnknownDomain::Off {
        let message = "with unknown_domain off a mistyped name is reported as fenced";
        notes.push(Note::at(value.position, message));
    }
    Ok(unknown)
}

fn fence_proof(cpg: &View<'_>, notes: &mut Vec<Note>) -> Result<Option<FenceProof>, Note> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Pacemaker,
        Command,
        None,
    }
    const NAMES: [(&str, Kind); 3] = [
        ("pacemaker", Kind::Pacemaker),
        ("command", Kind::Command),
        ("none", Kind::None),
    ];
    let value = cpg.value("fence_proof");
    let kind = value.map(|value| one_of(value, &NAMES)).transpose()?;
    let command = cpg.value("fence_proof_command");
    let path = command.map(absolute_path).transpose()?;
    if let (Some(command), true) = (command, kind != Some(Kind::Command)) {
        let message = "'fence_proof_command' is not used: set fence_proof to command";
        notes.push(Note::at(command.position, message));
    }
    Ok(match (kind, value) {
        (None, _) | (_, None) => None,
        (Some(Kind::Pacemaker), _) => Some(FenceProof::Pacemaker),
        (Some(Kind::Command), Some(value)) => Some(FenceProof::Command(command_of(value, path)?)),
        (Some(Kind::None), Some(value)) => {
            let message =
                "with fence_proof none, domains of a host that is gone are never reported fenced";
            notes.push(Note::at(value.position, message));
            Some(FenceProof::None)
        }
    })
}

fn command_of(proof: &Text, path: Option<PathBuf>) -> Result<PathBuf, Note> {
    path.ok_or_else(|| {
        let message = "fence_proof is command, and there is no fence_proof_command: set it to the program, an absolute path";
        Note::at(proof.position, message)
    })
}

fn name_mode(value: &Text) -> Result<NameMode, Note> {
    one_of(value, &[("name", NameMode::Name), ("uuid", NameMode::Uuid)])
}

/// `uri`, `uri1`, `uri2`, … by number. Gaps are allowed; the original stops at the first.
fn uris(section: &View<'_>, notes: &mut Vec<Note>) -> Result<Vec<String>, Note> {
    let mut uris = Vec::new();
    for value in section.numbered("uri") {
        let uri = uri(value)?;
        if uris.contains(&uri) {
            let message = "the same URI is given twice: it is used once";
            notes.push(Note::at(value.position, message));
        } else {
            uris.push(uri);
        }
    }
    if uris.is_empty() {
        uris.push(DEFAULT_URI.to_owned());
    }
    Ok(uris)
}
