//! The scratch directory: key, configurations, domain definitions, logs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fence_proto::Key;
use fence_proto::key::KEY_MAX;

use crate::error::BenchError;

/// A directory that vanishes with the value.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
}

impl Place {
    /// Makes the directory under the system's directory for temporary files.
    pub(crate) fn new() -> Result<Self, BenchError> {
        let root = std::env::temp_dir().join(format!("fence-bench.{}", std::process::id()));
        fs::create_dir(&root).map_err(BenchError::file(&root))?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))
            .map_err(BenchError::file(&root))?;
        Ok(Self { root })
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the key is.
    pub(crate) fn key_path(&self) -> PathBuf {
        self.path("key")
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<PathBuf, BenchError> {
        let path = self.path(name);
        fs::write(&path, contents).map_err(BenchError::file(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(BenchError::file(&path))?;
        Ok(path)
    }

    /// Makes the key that all daemons and clients share, as long as a key can be.
    pub(crate) fn make_key(&self) -> Result<Key, BenchError> {
        let mut bytes = vec![0; KEY_MAX];
        getrandom::fill(&mut bytes).map_err(BenchError::io("read random bytes"))?;
        let path = self.write("key", &bytes)?;
        Key::from_bytes(&bytes).map_err(|error| BenchError::File {
            path,
            source: std::io::Error::other(error),
        })
    }

    /// Writes a definition file for libvirt's test driver: `vm0`, `vm1` and so on, all running.
    /// The URI that opens it.
    pub(crate) fn make_domains(&self, count: usize) -> Result<String, BenchError> {
        let mut xml = String::from(
            "<node><cpu><mhz>6000</mhz><model>i986</model><active>50</active><nodes>4</nodes>\
             <sockets>4</sockets><cores>4</cores><threads>2</threads></cpu>\
             <memory>819200000</memory>\n",
        );
        for number in 0..count {
            // Writing to a string cannot fail.
            let _infallible = writeln!(
                xml,
                "<domain type='test'><name>{name}</name>\
                 <uuid>6695eb01-f6a4-8304-79aa-{number:012x}</uuid><memory>8192</memory>\
                 <vcpu>1</vcpu><os><type>hvm</type></os></domain>",
                name = domain_name(number),
            );
        }
        xml.push_str("</node>\n");
        let path = self.write(&format!("domains-{count}.xml"), xml.as_bytes())?;
        Ok(format!("test://{}", path.display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing can be done about a directory that does not go away.
        let _ignored = fs::remove_dir_all(&self.root);
    }
}

/// The name of a domain of [`Place::make_domains`].
pub(crate) fn domain_name(number: usize) -> String {
    format!("vm{number}")
}

/// The last bytes of a log file.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let start = text.len().saturating_sub(400);
    String::from_utf8_lossy(&text[start..]).trim().to_owned()
}
