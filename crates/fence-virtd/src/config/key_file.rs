//! The key file: who may read it decides whether it is a secret. It is judged, never changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fence_proto::Key;
use fence_proto::key::KEY_MAX;
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use zeroize::Zeroizing;

/// Permission bits that a key file may have: `rw-r-----`.
const ALLOWED_MODE: u32 = 0o640;

/// The one that it must have: its owner can read it.
const REQUIRED_MODE: u32 = 0o400;

/// Why a file is not used as a key. Each message names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error(
        "there is no key file {}; copy the key of the other hosts and guests there, or make one: {}",
        .0.display(), creation(.0)
    )]
    Missing(PathBuf),
    /// The kernel does not let us read it.
    #[error("cannot read the key file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{} is not a regular file, so it cannot be a key file", .0.display())]
    NotAFile(PathBuf),
    /// More people can use it than should.
    #[error(
        "the key file {} has mode {mode:04o}: {}; cure: chmod 0640 {}, and a new key if somebody may \
         have read this one",
        path.display(), excess(*mode), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody owns it who could change its mode and content.
    #[error(
        "the key file {} belongs to user {owner}, who could read and replace it: it must belong to \
         root or to the daemon's own user; cure: chown root {}",
        path.display(), path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// An empty key would sign everything for everybody.
    #[error("the key file {} is empty; make a key: {}", .0.display(), creation(.0))]
    Empty(PathBuf),
}

fn creation(path: &Path) -> String {
    let file = path.display();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            format!("mkdir -p {} && ", parent.display())
        }
        _ => String::new(),
    };
    format!("{directory}(umask 077; dd if=/dev/urandom of={file} bs=4096 count=1)")
}

fn excess(mode: u32) -> &'static str {
    match mode & !ALLOWED_MODE {
        others if others & 0o007 != 0 => "everybody has access to it",
        group if group & 0o020 != 0 => "its group may write it",
        0 => "its owner may not read it",
        _ => "it is executable or has special bits",
    }
}

/// Reads a key from a file that only its owner, and perhaps its group, can read.
///
/// The file is opened first and what was opened is judged, so nothing can be swapped in between.
/// Symbolic links are followed: they are usual in /etc, and the target is what counts.
///
/// # Errors
/// [`KeyFileError`] says why the file is not a usable key.
pub fn read(path: &Path) -> Result<Key, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => unreadable(error),
    })?;
    judge(path, &file.metadata().map_err(unreadable)?)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_MAX));
    let most = u64::try_from(KEY_MAX).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Key::from_bytes(&bytes).map_err(|_| KeyFileError::Empty(path.to_owned()))
}

/// Opens without waiting, as a pipe would make us, and without taking a terminal.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
}

fn judge(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile(path));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !ALLOWED_MODE != 0 || mode & REQUIRED_MODE == 0 {
        return Err(KeyFileError::Mode { path, mode });
    }
    let owner = metadata.uid();
    if !Uid::from_raw(owner).is_root() && owner != Uid::effective().as_raw() {
        return Err(KeyFileError::Owner { path, owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::scratch::Scratch;

    fn key_file(scratch: &Scratch, bytes: &[u8], mode: u32) -> PathBuf {
        let path = scratch.path("key");
        // One that is there may refuse to be written.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    // L26
    #[test]
    fn owner_and_group_may_read_and_the_mode_stays_as_it_is() {
        let scratch = Scratch::new();
        for mode in [0o600, 0o400, 0o640, 0o440] {
            let path = key_file(&scratch, b"secret", mode);
            assert_eq!(read(&path).unwrap().len(), 6, "{mode:o}");
            let after = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(after, mode);
        }
    }

    #[test]
    fn wider_modes_are_refused_with_mode_and_cure_and_left_alone() {
        let scratch = Scratch::new();
        for (mode, why) in [
            (0o644, "everybody"),
            (0o604, "everybody"),
            (0o602, "everybody"),
            (0o601, "everybody"),
            (0o660, "group may write"),
            (0o700, "executable"),
            (0o650, "executable"),
            (0o4600, "special bits"),
            (0o000, "owner may not read"),
            (0o040, "owner may not read"),
        ] {
            let path = key_file(&scratch, b"secret", mode);
            // Not root: 0000 is refused by the kernel before we look.
            let Err(KeyFileError::Mode { mode: found, .. }) = read(&path) else {
                assert!(!Uid::effective().is_root(), "{mode:o} was taken");
                continue;
            };
            assert_eq!(found, mode);
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
            assert!(message.contains(&format!("mode {mode:04o}")), "{message}");
            assert!(message.contains("chmod 0640"), "{message}");
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    // L24, F16
    #[test]
    fn a_missing_key_file_is_an_error_with_the_cure() {
        let scratch = Scratch::new();
        let path = scratch.path("none/key");
        let error = read(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Missing(_)));
        let message = error.to_string();
        assert!(message.contains("mkdir -p"), "{message}");
        assert!(message.contains("dd if=/dev/urandom of="), "{message}");
        assert!(message.contains("bs=4096 count=1"), "{message}");
        let message = read(&scratch.path("key")).unwrap_err().to_string();
        assert!(!message.contains("mkdir"), "{message}");
    }

    // L24
    #[test]
    fn what_is_not_a_regular_file_is_no_key_and_does_not_block() {
        let scratch = Scratch::new();
        let pipe = scratch.path("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [
            pipe.as_path(),
            scratch.path("").as_path(),
            Path::new("/dev/null"),
        ] {
            assert!(
                matches!(read(path), Err(KeyFileError::NotAFile(_))),
                "{}",
                path.display()
            );
        }
        let inside = key_file(&scratch, b"x", 0o600).join("key");
        assert!(matches!(
            read(&inside),
            Err(KeyFileError::Unreadable { .. })
        ));
    }

    // L25
    #[test]
    fn an_empty_key_file_is_no_key() {
        let scratch = Scratch::new();
        let path = key_file(&scratch, b"", 0o600);
        let error = read(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Empty(_)));
        assert!(error.to_string().contains("dd if=/dev/urandom"));
    }

    #[test]
    fn a_stranger_must_not_own_the_key() {
        let scratch = Scratch::new();
        let path = key_file(&scratch, b"secret", 0o600);
        if !Uid::effective().is_root() {
            // Cannot give files away; what can be tested is that our own is taken.
            assert!(read(&path).is_ok());
            return;
        }
        chown(&path, Some(12345), None).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("belongs to user 12345"), "{message}");
        assert!(message.contains("chown root"), "{message}");
    }

    #[test]
    fn links_are_followed_and_the_target_is_judged() {
        let scratch = Scratch::new();
        let path = key_file(&scratch, b"secret", 0o640);
        let link = scratch.path("link");
        symlink(&path, &link).unwrap();
        assert!(read(&link).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&link), Err(KeyFileError::Mode { .. })));
    }

    #[test]
    fn only_the_first_4096_bytes_are_read() {
        let scratch = Scratch::new();
        let path = key_file(&scratch, &[7; KEY_MAX + 1], 0o600);
        assert_eq!(read(&path).unwrap().len(), KEY_MAX);
    }
}
