//! What is on a host's disk before it is first switched on: the configuration of libvirt and corosync,
//! and the key that all hosts and the agent share.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fence_lab::{Failure, Verdict};

use crate::names::HostId;

/// A host's disk: a directory with the files that differ from the machine's.
#[derive(Debug, Clone)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Writes everything.
    pub(crate) fn new(root: &Path, id: HostId, key: &[u8]) -> Result<Self, Failure> {
        let disk = Self(root.to_owned());
        disk.write("etc/hosts", &hosts_file())?;
        disk.write(
            "etc/machine-id",
            &format!("{:032x}\n", 0xfe_ce00_u32 + u32::from(id.node())),
        )?;
        disk.write("etc/libvirt/libvirtd.conf", &libvirtd_conf(id))?;
        disk.write("etc/libvirt/qemu.conf", &qemu_conf(id))?;
        disk.write("etc/corosync/corosync.conf", &corosync_conf())?;
        fs::create_dir_all(disk.path("var/lib/libvirt/beat"))?;
        fs::create_dir_all(disk.path("etc/cluster"))?;
        fs::create_dir_all(disk.path("log"))?;
        let key_file = disk.path("etc/cluster/fence_xvm.key");
        fs::write(&key_file, key)?;
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
        Ok(disk)
    }

    /// Where a file of the host is on the machine; `file` without the leading slash.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// The disk's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, file: &str, text: &str) -> Verdict {
        let path = self.path(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// A file's text; empty if it is not there.
    pub(crate) fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(file)).unwrap_or_default()).into_owned()
    }
}

fn hosts_file() -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for id in HostId::ALL {
        let _ = writeln!(text, "{} {id}", id.cluster_address());
    }
    text
}

fn libvirtd_conf(id: HostId) -> String {
    format!(
        "listen_tls = 0\nlisten_tcp = 1\nauth_tcp = \"none\"\nlisten_addr = \"{}\"\n\
         auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
         host_uuid = \"6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9a{:02}\"\nlog_outputs = \"3:stderr\"\n",
        id.cluster_address(),
        id.node()
    )
}

fn qemu_conf(id: HostId) -> String {
    let address = id.cluster_address();
    format!(
        "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\n\
         remember_owner = 0\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n\
         migration_host = \"{address}\"\nmigration_address = \"{address}\"\n"
    )
}

fn corosync_conf() -> String {
    let mut text = String::from(
        "totem {\n version: 2\n cluster_name: lab\n transport: udpu\n crypto_cipher: none\n \
         crypto_hash: none\n token: 1000\n}\n\
         quorum {\n provider: corosync_votequorum\n}\n\
         system {\n move_to_root_cgroup: no\n}\n\
         logging {\n to_stderr: yes\n to_syslog: no\n to_logfile: no\n timestamp: hires\n}\nnodelist {\n",
    );
    for id in HostId::ALL {
        let _ = writeln!(
            text,
            " node {{\n  ring0_addr: {}\n  name: {id}\n  nodeid: {}\n }}",
            id.cluster_address(),
            id.node()
        );
    }
    text.push_str("}\n");
    text
}
