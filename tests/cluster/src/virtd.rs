//! The daemon under test: its configuration on a host, starting it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use fence_lab::{Programs, Side, Verdict};

use crate::fabric::GUEST_INTERFACE;
use crate::host::{Host, Service};
use crate::names::Domain;

/// Where the packaged C daemon keeps its plug-ins.
const C_MODULES: &str = "/usr/lib/x86_64-linux-gnu/fence-virt";
const CONFIG: &str = "etc/cluster/fence_virt.conf";
const KEY: &str = "/etc/cluster/fence_xvm.key";

/// What a daemon is told, beyond what all are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Whose daemon.
    pub(crate) side: Side,
    /// Keys of `backends { cpg { … } }` with their values.
    pub(crate) cpg: Vec<(&'static str, String)>,
}

impl Settings {
    /// The defaults.
    pub(crate) const fn new(side: Side) -> Self {
        Self {
            side,
            cpg: Vec::new(),
        }
    }

    /// What an agent must call a domain: a C daemon knows it by one of its names only.
    pub(crate) fn target(&self, domain: Domain) -> &'static str {
        let by_uuid = self
            .cpg
            .iter()
            .any(|(key, value)| *key == "name_mode" && value == "uuid");
        if self.side == Side::C && by_uuid {
            domain.uuid
        } else {
            domain.name
        }
    }

    fn text(&self) -> String {
        let mut text =
            String::from("fence_virtd {\n\tlistener = \"multicast\";\n\tbackend = \"cpg\";\n");
        if self.side == Side::C {
            let _ = writeln!(text, "\tmodule_path = \"{C_MODULES}\";");
        }
        let _ = writeln!(
            text,
            "}}\nlisteners {{\n\tmulticast {{\n\t\tkey_file = \"{KEY}\";\n\
             \t\tinterface = \"{GUEST_INTERFACE}\";\n\t}}\n}}\nbackends {{\n\tcpg {{"
        );
        let _ = writeln!(text, "\t\turi = \"qemu:///system\";");
        for (key, value) in &self.cpg {
            let _ = writeln!(text, "\t\t{key} = \"{value}\";");
        }
        text.push_str("\t}\n}\n");
        text
    }
}

impl Host {
    /// Starts the daemon with these settings.
    pub(crate) fn start_virtd(&mut self, settings: &Settings, programs: &Programs) -> Verdict {
        self.disk.write(CONFIG, &settings.text())?;
        fs::set_permissions(self.disk.path(CONFIG), fs::Permissions::from_mode(0o600))?;
        let program = programs.virtd(settings.side).to_string_lossy().into_owned();
        let config = format!("/{CONFIG}");
        match settings.side {
            Side::Ours => self.start(Service::Virtd, &[&program, "-F", "-d", "1", "-f", &config]),
            // Its log goes through stdio, which would keep it back when it is not a terminal.
            Side::C => self.start(
                Service::Virtd,
                &["stdbuf", "-oL", &program, "-F", "-d", "99", "-f", &config],
            ),
        }
    }

    /// Whether the daemon hears the group: it has joined on the guests' interface.
    pub(crate) fn virtd_listens(&self) -> bool {
        let Some(pid) = self.pid(Service::Virtd) else {
            return false;
        };
        let igmp = fs::read_to_string(format!("/proc/{pid}/net/igmp")).unwrap_or_default();
        // 225.0.0.12 as the kernel prints it on a little-endian machine.
        igmp.contains("0C0000E1")
    }

    /// Whether a C daemon has lost the thread that reads the cluster's messages, which a third of all
    /// starts come to: it stays a member of the group and answers nobody.
    pub(crate) fn virtd_is_deaf(&self) -> bool {
        let Some(pid) = self.pid(Service::Virtd) else {
            return true;
        };
        fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) < 2
    }
}
