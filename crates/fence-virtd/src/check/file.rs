//! The configuration file and its keys: what reading them comes to.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fence_doctor::Finding;
use fence_doctor::key::{self, Looks};
use fence_proto::Key;

use crate::config::{
    BackendSettings, ConfigError, KeyFileError, ListenerSettings, Settings, Surveyed,
};

const CHECK: &str = "config";
const KEY: &str = "key";

/// The permission bits of the file, and of the directory that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    pub(super) file: u32,
    pub(super) directory: u32,
}

/// Reads them; `None` if that is not possible.
pub(super) fn modes(path: &Path) -> Option<Modes> {
    let path = path.canonicalize().ok()?;
    let mode = |path: &Path| fs::metadata(path).ok().map(|it| it.mode() & 0o7777);
    Some(Modes {
        file: mode(&path)?,
        directory: mode(path.parent()?)?,
    })
}

/// Of a configuration that cannot be used.
pub(super) fn unusable(error: &ConfigError) -> Finding {
    let cure = match error {
        ConfigError::Read { path, .. } if error.is_missing_file() => {
            format!("make one: fence_virtd -c -f {}", path.display())
        }
        ConfigError::Read { .. } => "run this as root, or name another file with -f".to_owned(),
        _ => "correct that place; fence_virt.conf(5) describes every key".to_owned(),
    };
    Finding::problem(CHECK, error.to_string(), cure)
}

/// Of one that can.
pub(super) fn usable(path: &Path, surveyed: &Surveyed, modes: Option<Modes>) -> Vec<Finding> {
    let settings = &surveyed.loaded.settings;
    let mut findings = vec![Finding::ok(CHECK, summary(path, settings))];
    for warning in &surveyed.loaded.warnings {
        findings.push(Finding::warning(
            CHECK,
            warning.to_string(),
            "change that place; fence_virt.conf(5) describes every key",
        ));
    }
    if let Some(modes) = modes
        && let Some((who, what)) = writable(modes)
    {
        let path = path.display();
        let found = format!("{who} can replace {path}, and so decide who may fence what");
        let cure = format!("chmod go-w {what}");
        findings.push(if who == GROUP {
            Finding::warning(CHECK, found, cure)
        } else {
            Finding::problem(CHECK, found, cure)
        });
    }
    findings.extend(
        settings
            .listeners
            .iter()
            .filter_map(|it| out_of_reach(&it.settings)),
    );
    findings
}

const GROUP: &str = "its group";

fn writable(modes: Modes) -> Option<(&'static str, &'static str)> {
    // With the sticky bit only owners replace what is in a directory.
    let sticky = modes.directory & 0o1000 != 0;
    if modes.file & 0o002 != 0 {
        Some(("everybody", "the file"))
    } else if modes.file & 0o020 != 0 {
        Some((GROUP, "the file"))
    } else if modes.directory & 0o002 != 0 && !sticky {
        Some(("everybody", "its directory"))
    } else {
        None
    }
}

fn summary(path: &Path, settings: &Settings) -> String {
    let listeners = settings.listeners.iter();
    let listeners: Vec<_> = listeners
        .map(|it| format!("{} ({})", it.name, it.settings))
        .collect();
    let backend = match &settings.backend {
        BackendSettings::Libvirt(libvirt) => format!("libvirt ({})", libvirt.uris.join(", ")),
        BackendSettings::Cpg(cpg) => format!("cpg, group {} ({})", cpg.group, cpg.uris.join(", ")),
    };
    let listeners = listeners.join(", ");
    format!(
        "{}: listener {listeners}, backend {backend}",
        path.display()
    )
}

/// A listener that no guest can reach, whatever else is right.
fn out_of_reach(listener: &ListenerSettings) -> Option<Finding> {
    match listener {
        ListenerSettings::Tcp(tcp) if tcp.address.ip().is_loopback() => Some(Finding::warning(
            CHECK,
            format!(
                "the tcp listener's address {} reaches programs of this host only, no guest",
                tcp.address.ip()
            ),
            "set address to one of this host that guests can reach",
        )),
        ListenerSettings::Multicast(multicast) if is_link_control(multicast.address) => {
            Some(Finding::warning(
                CHECK,
                format!(
                    "the group {} is reserved for protocols of the link itself",
                    multicast.address
                ),
                "use the default, 225.0.0.12 or ff05::3:1, on hosts and guests",
            ))
        }
        ListenerSettings::Serial(serial) => {
            let path = serial.path.as_ref().filter(|path| !path.is_dir())?;
            Some(Finding::warning(
                CHECK,
                format!(
                    "the directory {} of the serial listener is not there",
                    path.display()
                ),
                format!(
                    "mkdir -p {} and name sockets in it in the domains' XML",
                    path.display()
                ),
            ))
        }
        _ => None,
    }
}

const fn is_link_control(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [224, 0, 0, _]),
        IpAddr::V6(group) => matches!(group.segments(), [0xff01 | 0xff02, ..]),
    }
}

/// What of a key is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFacts {
    pub(super) path: PathBuf,
    /// How it looks, or what is wrong with its file.
    pub(super) looks: Result<Looks, String>,
    pub(super) modes: Option<Modes>,
}

/// Of every key file once.
pub(super) fn key_facts(keys: &[(PathBuf, Result<Key, KeyFileError>)]) -> Vec<KeyFacts> {
    let mut facts: Vec<KeyFacts> = Vec::new();
    for (path, key) in keys {
        if facts.iter().any(|known| known.path == *path) {
            continue;
        }
        let looks = key.as_ref().map(|key| Looks {
            length: key.len(),
            values: key.distinct_values(),
        });
        facts.push(KeyFacts {
            path: path.clone(),
            looks: looks.map_err(ToString::to_string),
            modes: modes(path),
        });
    }
    facts
}

/// Of a key.
pub(super) fn key(facts: &KeyFacts) -> Finding {
    const NEW: &str = "give all hosts and guests a new key: (umask 077; dd if=/dev/urandom of=FILE bs=4096 count=1)";
    let path = facts.path.display();
    let looks = match &facts.looks {
        Ok(looks) => *looks,
        Err(error) => {
            return Finding::problem(
                KEY,
                error,
                format!(
                    "make {path} a file of mode 0600 that belongs to root, with the key of the other hosts and guests"
                ),
            );
        }
    };
    if let Some(modes) = facts.modes
        && modes.directory & 0o1002 == 0o002
    {
        return Finding::problem(
            KEY,
            format!("everybody can replace {path}: its directory is open to all"),
            "chmod o-w its directory",
        );
    }
    if let Some(weakness) = key::weakness(looks) {
        return Finding::warning(KEY, format!("the key in {path} {weakness}"), NEW);
    }
    let mode = facts
        .modes
        .map_or_else(String::new, |it| format!(", mode {:04o}", it.file));
    Finding::ok(KEY, format!("{path}: {} bytes{mode}", looks.length))
}

#[cfg(test)]
mod tests {
    use fence_doctor::Verdict;

    use super::*;
    use crate::config;
    use crate::scratch::Scratch;

    fn findings(text: &str) -> Vec<Finding> {
        let scratch = Scratch::new();
        let path = scratch.path("conf");
        fs::write(&path, text).unwrap();
        match config::survey(&path) {
            Ok(surveyed) => usable(&path, &surveyed, None),
            Err(error) => vec![unusable(&error)],
        }
    }

    fn verdicts(text: &str) -> Vec<Verdict> {
        findings(text)
            .iter()
            .map(|finding| finding.verdict)
            .collect()
    }

    #[test]
    fn configurations_are_fine_odd_or_unusable() {
        let serial = "fence_virtd { listener = \"serial\"; backend = \"libvirt\"; }";
        assert_eq!(verdicts(serial), [Verdict::Ok]);
        let odd = format!("{serial} listeners {{ serial {{ prot = \"x\"; }} }}");
        assert_eq!(verdicts(&odd), [Verdict::Ok, Verdict::Warning]);
        let all = findings("fence_virtd { listener = \"serial\"; backend = \"x\"; }");
        assert_eq!(all[0].verdict, Verdict::Problem);
        assert!(all[0].found.contains(":1:"), "{}", all[0].found);
        let missing = config::survey(Path::new("/nonexistent/conf")).unwrap_err();
        assert!(unusable(&missing).cure.unwrap().contains("fence_virtd -c"));
    }

    #[test]
    fn listeners_that_no_guest_can_reach_are_told() {
        let file = |listener: &str, section: &str| {
            format!(
                "fence_virtd {{ listener = \"{listener}\"; backend = \"libvirt\"; }} listeners {{ {section} }}"
            )
        };
        let tcp = file("tcp", "tcp { hash = \"none\"; auth = \"none\"; }");
        assert!(
            findings(&tcp)
                .iter()
                .any(|it| it.found.contains("no guest"))
        );
        let serial = file("serial", "serial { path = \"/nonexistent/dir\"; }");
        assert!(findings(&serial)[1].found.contains("not there"));
        let group = file(
            "multicast",
            "multicast { address = \"224.0.0.9\"; hash = \"none\"; auth = \"none\"; }",
        );
        assert!(
            findings(&group)
                .iter()
                .any(|it| it.found.contains("reserved"))
        );
    }

    #[test]
    fn whoever_can_replace_the_file_is_named() {
        let by = |file, directory| writable(Modes { file, directory }).map(|it| it.0);
        assert_eq!(by(0o644, 0o755), None);
        assert_eq!(by(0o666, 0o755), Some("everybody"));
        assert_eq!(by(0o664, 0o755), Some("its group"));
        assert_eq!(by(0o600, 0o777), Some("everybody"));
        assert_eq!(by(0o600, 0o1777), None);
    }

    #[test]
    fn keys_are_judged_by_file_length_and_looks() {
        let facts = |length, values| KeyFacts {
            path: "/k".into(),
            looks: Ok(Looks { length, values }),
            modes: Some(Modes {
                file: 0o600,
                directory: 0o755,
            }),
        };
        assert_eq!(key(&facts(4096, 256)).verdict, Verdict::Ok);
        assert_eq!(key(&facts(8, 8)).verdict, Verdict::Warning);
        assert_eq!(key(&facts(4096, 60)).verdict, Verdict::Warning);
        let open = KeyFacts {
            modes: Some(Modes {
                file: 0o600,
                directory: 0o777,
            }),
            ..facts(4096, 256)
        };
        assert_eq!(key(&open).verdict, Verdict::Problem);
        let broken = KeyFacts {
            looks: Err("no".to_owned()),
            ..facts(1, 1)
        };
        assert_eq!(key(&broken).verdict, Verdict::Problem);
    }

    #[test]
    fn one_key_of_two_listeners_is_judged_once_and_all_keys_are_looked_at() {
        let scratch = Scratch::new();
        let path = scratch.path("conf");
        let text = "fence_virtd { listener = \"tcp\"; listener = \"vsock\"; listener = \"multicast\"; backend = \"libvirt\"; }\n\
            listeners { tcp { key_file = \"/nonexistent/a\"; } vsock { key_file = \"/nonexistent/b\"; } \
            multicast { key_file = \"/nonexistent/a\"; } }";
        fs::write(&path, text).unwrap();
        let surveyed = config::survey(&path).unwrap();
        let facts = key_facts(&surveyed.keys);
        assert_eq!(facts.len(), 2);
        assert!(facts.iter().all(|facts| facts.looks.is_err()));
    }
}
