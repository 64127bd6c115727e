//! An initramfs is a cpio archive, format "newc" (Documentation/driver-api/early-userspace/
//! buffer-format.rst of the kernel).

use std::collections::BTreeSet;

/// Bits of a mode that say what it is.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that grows in memory. Paths are absolute; directories come by themselves.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    paths: BTreeSet<String>,
    inode: usize,
}

impl Default for Archive {
    fn default() -> Self {
        Self::new()
    }
}

impl Archive {
    /// An archive with nothing but the root directory, whose mode the kernel takes over.
    #[must_use]
    pub fn new() -> Self {
        let mut made = Self {
            bytes: Vec::new(),
            paths: BTreeSet::new(),
            inode: 0,
        };
        made.entry(".", DIRECTORY | 0o755, &[]);
        made
    }

    /// Whether something has this path.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Adds a directory, unless it is there.
    pub fn directory(&mut self, path: &str) {
        if path.is_empty() || path == "/" || !self.paths.insert(path.to_owned()) {
            return;
        }
        self.parents(path);
        self.entry(relative(path), DIRECTORY | 0o755, &[]);
    }

    /// Adds a file, unless something is there.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        if self.paths.insert(path.to_owned()) {
            self.parents(path);
            self.entry(relative(path), FILE | permissions, content);
        }
    }

    /// Adds a symbolic link, unless something is there.
    pub fn link(&mut self, path: &str, target: &str) {
        if self.paths.insert(path.to_owned()) {
            self.parents(path);
            self.entry(relative(path), LINK | 0o777, target.as_bytes());
        }
    }

    /// The archive with its closing entry.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let name_length = name.len() + 1;
        // inode, mode, uid, gid, links, time, size, four device numbers, length of the name, checksum
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            self.inode,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name_length,
            0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new();
        archive.file("/etc/cluster/key", 0o600, b"12345");
        archive.file("/etc/hosts", 0o644, b"");
        let bytes = archive.finish();
        let names: Vec<_> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, magic)| *magic == b"070701")
            .map(|(at, _)| {
                let name = bytes.get(at + 110..).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                String::from_utf8_lossy(name).into_owned()
            })
            .collect();
        let expected = [
            ".",
            "etc",
            "etc/cluster",
            "etc/cluster/key",
            "etc/hosts",
            "TRAILER!!!",
        ];
        assert_eq!(names, expected);
        assert_eq!(bytes.len() % 4, 0);
    }
}
