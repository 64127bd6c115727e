//! What a guest consists of: busybox, an init, kernel modules, programs with their libraries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::cpio::Archive;
use super::kernel::Kernel;
use crate::failure::Failure;

/// Mounts what everything needs, loads the modules in their order, runs the scripts, and obeys the
/// control channel for ever. Kernel parameters of the form `NAME=value` are variables here.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ip link set lo up
while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order
# The name of the network card with a hardware address: the order of cards is the bus's.
nic() {
    for card in /sys/class/net/*; do
        [ "$(cat "$card/address")" != "$1" ] || basename "$card"
    done
}
. /etc/lab.sh
echo "lab: up, boot $(cat /proc/sys/kernel/random/boot_id)"
exec /usr/sbin/lab-control
"#;

/// Evaluates the lines of the control channel (see `Control`): a number, then a command. What the
/// command says is passed on line by line behind the number, then its exit code. Without somebody
/// at the other end reading gives an end of file.
const CONTROL: &str = r#"#!/bin/sh
port=
while [ -z "$port" ]; do
    for name in /sys/class/virtio-ports/*/name; do
        [ "$(cat "$name" 2>/dev/null)" = lab.control ] || continue
        port=/dev/$(basename "$(dirname "$name")")
    done
    [ -n "$port" ] || sleep 1
done
obey() {
    while read -r number line; do
        eval "$line" >/tmp/said 2>&1 </dev/null
        code=$?
        { sed "s/^/$number|/" /tmp/said; echo "$number=$code"; } >&3
    done
}
while :; do
    exec 3<>"$port"
    obey <&3
    exec 3>&-
    sleep 0.1
done
"#;

/// An initramfs in the making.
#[derive(Debug)]
pub struct Initramfs {
    archive: Archive,
    order: String,
    script: String,
}

impl Initramfs {
    /// Busybox (the package `busybox-static`) and the init.
    ///
    /// # Errors
    /// Busybox is missing or not static.
    pub fn new() -> Result<Self, Failure> {
        let busybox =
            PathBuf::from(env::var_os("BUSYBOX").unwrap_or_else(|| "/bin/busybox".into()));
        let output = Command::new(&busybox).arg("--list").output();
        let applets = output.map_err(|error| {
            Failure::from(error).at(format!("{} (busybox-static)", busybox.display()))
        })?;
        if !libraries(&busybox)?.is_empty() {
            return Err(Failure::new(format!(
                "{} is not static: install busybox-static",
                busybox.display()
            )));
        }
        let mut archive = Archive::new();
        for (merged, target) in [
            ("/bin", "usr/bin"),
            ("/sbin", "usr/sbin"),
            ("/lib", "usr/lib"),
            ("/lib64", "usr/lib64"),
        ] {
            archive.link(merged, target);
        }
        for directory in [
            "/dev",
            "/proc",
            "/sys",
            "/run",
            "/tmp",
            "/root",
            "/usr/lib64",
        ] {
            archive.directory(directory);
        }
        archive.file("/usr/bin/busybox", 0o755, &fs::read(&busybox)?);
        for applet in String::from_utf8_lossy(&applets.stdout).lines() {
            archive.link(&format!("/usr/bin/{applet}"), "busybox");
        }
        archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("/init", 0o755, INIT.as_bytes());
        archive.file("/usr/sbin/lab-control", 0o755, CONTROL.as_bytes());
        Ok(Self {
            archive,
            order: String::new(),
            script: String::new(),
        })
    }

    /// Adds kernel modules and what they depend on, to be loaded at the start.
    ///
    /// # Errors
    /// The kernel has no such module.
    pub fn modules(&mut self, kernel: &Kernel, names: &[&str]) -> Result<(), Failure> {
        for path in kernel.modules(names)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let place = format!("/usr/lib/modules/{name}");
            if !self.archive.contains(&place) {
                self.archive.file(&place, 0o644, &fs::read(&path)?);
                self.order.push_str(&name);
                self.order.push('\n');
            }
        }
        Ok(())
    }

    /// Adds a program of this machine as `place`, with the libraries it is linked with.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn program(&mut self, program: &Path, place: &str) -> Result<(), Failure> {
        let content = fs::read(program);
        let content = content.map_err(|error| Failure::from(error).at(program.display()))?;
        self.archive.file(&merged(place), 0o755, &content);
        for library in libraries(program)? {
            let place = merged(&library);
            if !self.archive.contains(&place) {
                self.archive.file(&place, 0o755, &fs::read(&library)?);
            }
        }
        Ok(())
    }

    /// Adds a library that is opened at run time, which no program names, with those it needs.
    ///
    /// # Errors
    /// It is not in the directories where Debian keeps libraries.
    pub fn library(&mut self, name: &str) -> Result<(), Failure> {
        const PLACES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nss"];
        let found = PLACES.iter().map(|place| format!("{place}/{name}"));
        let found = found.into_iter().find(|path| Path::new(path).exists());
        let path = found.ok_or_else(|| Failure::new(format!("there is no library {name}")))?;
        self.program(Path::new(&path), &path)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Something with that path is there already.
    pub fn file(&mut self, place: &str, permissions: u32, content: &[u8]) -> Result<(), Failure> {
        let place = merged(place);
        if self.archive.contains(&place) {
            return Err(Failure::new(format!("the initramfs has a {place} already")));
        }
        self.archive.file(&place, permissions, content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, place: &str, target: &str) {
        self.archive.link(&merged(place), target);
    }

    /// Adds shell commands that init runs once, after the modules are loaded. They may use `nic MAC`,
    /// which says the name of that network card.
    pub fn script(&mut self, commands: &str) {
        self.script.push_str(commands);
        self.script.push('\n');
    }

    /// Writes the archive, uncompressed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(mut self, path: &Path) -> Result<PathBuf, Failure> {
        self.archive
            .file("/usr/lib/modules/order", 0o644, self.order.as_bytes());
        self.archive
            .file("/etc/lab.sh", 0o755, self.script.as_bytes());
        fs::write(path, self.archive.finish())?;
        Ok(path.to_owned())
    }
}

/// The path without the links that Debian's merged `/usr` has.
fn merged(path: &str) -> String {
    let moved = ["/bin/", "/sbin/", "/lib/", "/lib64/"];
    if moved.iter().any(|prefix| path.starts_with(prefix)) {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

/// The libraries that a program is linked with, and the loader.
fn libraries(program: &Path) -> Result<BTreeSet<String>, Failure> {
    // Without a program to load ldd fails: it is a static one.
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(Failure::new(format!("{}: {missing}", program.display())));
    }
    let words = text.split_whitespace();
    Ok(words
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect())
}
