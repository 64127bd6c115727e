//! The key file: read once, only where a key is used.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fence_proto::Key;
use fence_proto::key::KEY_MAX;
use zeroize::Zeroizing;

/// Why there is no key (rows L24, L25).
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Missing, or not for us.
    #[error(
        "key file {path}: {source}; copy the hosts' key there, name another file with -k, or set both hash and auth to none"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("key file {0} is not a regular file; name the file that holds the hosts' key with -k")]
    NotAFile(PathBuf),
    /// Nothing in it.
    #[error("key file {0} is empty; copy the hosts' key there")]
    Empty(PathBuf),
}

/// A key and what is odd about its file.
#[derive(Debug)]
pub struct KeyFile {
    /// The key.
    pub key: Key,
    /// A warning, if users who need not know the key can read it.
    pub warning: Option<String>,
}

/// Reads the key.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Asked before the open, which would wait for ever on a pipe.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    // Room for all of it, so that no copy of the key is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_MAX.saturating_add(1)));
    let limit = u64::try_from(KEY_MAX).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let key = Key::from_bytes(&bytes).map_err(|_| KeyFileError::Empty(path.to_owned()))?;
    Ok(KeyFile {
        key,
        warning: warning(path, &metadata),
    })
}

fn warning(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!("warning: every user can read or change key file {path}, mode {mode:04o}; make it 0600 or 0640")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory of this test's own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("fence-key-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_first_4096_bytes_are_the_key() {
        let directory = Directory::new("long");
        let path = directory.file("key", &[7; 5000], 0o600);
        let read = read(&path).unwrap();
        assert_eq!(read.key.len(), 4096);
        assert_eq!(read.warning, None);
    }

    #[test]
    fn missing_empty_and_odd_files_are_refused_by_name() {
        let directory = Directory::new("bad");
        let empty = directory.file("empty", b"", 0o600);
        for path in [
            empty,
            directory.0.clone(),
            directory.0.join("missing"),
            "/dev/zero".into(),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn key_for_everybody_is_warned_about() {
        let directory = Directory::new("open");
        let path = directory.file("key", b"key", 0o644);
        assert!(read(&path).unwrap().warning.unwrap().contains("0644"));
        let path = directory.file("group", b"key", 0o640);
        assert_eq!(read(&path).unwrap().warning, None);
    }
}
