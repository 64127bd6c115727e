//! Finding a domain's socket on disk, so that what is connected to is what was looked at.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::sys::stat::{Mode, SFlag, fstat};

/// A socket that may be connected to. It stays the same file, whatever happens to its path.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// Why a path cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It leads out of the directory in which sockets must be. Not an error: it is somebody else's.
    Outside,
    /// There is something, but no socket.
    NotASocket,
    /// It cannot be opened, or the directory cannot.
    Missing(io::Error),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("it leads out of the configured directory"),
            Self::NotASocket => f.write_str("it is not a socket"),
            Self::Missing(error) => write!(f, "{error}"),
        }
    }
}

impl From<Errno> for Unfit {
    fn from(errno: Errno) -> Self {
        Self::Missing(errno.into())
    }
}

impl Socket {
    /// Opens what is at `path`, which must really be below `directory` if one is given: links are
    /// followed, and where they end counts. Blocks on the file system.
    pub(super) fn find(path: &Path, directory: Option<&Path>) -> Result<Self, Unfit> {
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if directory.is_some() && climbs {
            return Err(Unfit::Outside);
        }
        let descriptor = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        if let Some(directory) = directory {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let directory = open(directory, flags, Mode::empty())?;
            if !real_path(&descriptor)?.starts_with(real_path(&directory)?) {
                return Err(Unfit::Outside);
            }
        }
        let stat = fstat(&descriptor)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
            return Err(Unfit::NotASocket);
        }
        Ok(Self(descriptor))
    }

    /// What to connect to: leads to this file and no other for as long as `self` lives.
    pub(super) fn address(&self) -> PathBuf {
        own_path(&self.0)
    }
}

fn own_path(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Where the kernel says that an open file is.
fn real_path(descriptor: &OwnedFd) -> Result<PathBuf, Errno> {
    readlink(&own_path(descriptor)).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::scratch::Scratch;

    /// A directory `in` and one beside it, `out`, with a socket each.
    fn place() -> (Scratch, [UnixListener; 2]) {
        let scratch = Scratch::new();
        let listeners = ["in", "out"].map(|name| {
            fs::create_dir(scratch.path(name)).unwrap();
            UnixListener::bind(scratch.path(name).join("socket")).unwrap()
        });
        (scratch, listeners)
    }

    fn find(scratch: &Scratch, path: &str) -> Result<Socket, Unfit> {
        Socket::find(&scratch.path(path), Some(&scratch.path("in")))
    }

    #[test]
    fn socket_below_the_directory_is_found_and_leads_to_its_listener() {
        let (scratch, [listener, _other]) = place();
        let socket = find(&scratch, "in/socket").unwrap();
        let _stream = UnixStream::connect(socket.address()).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn paths_that_lead_out_of_the_directory_are_refused() {
        let (scratch, _listeners) = place();
        symlink(scratch.path("out/socket"), scratch.path("in/link")).unwrap();
        symlink(scratch.path("out"), scratch.path("in/dir")).unwrap();
        fs::create_dir(scratch.path("in-not")).unwrap();
        let _beside = UnixListener::bind(scratch.path("in-not/socket")).unwrap();
        for path in [
            "out/socket",
            "in/link",
            "in/dir/socket",
            "in/../out/socket",
            "in/../in/socket",
            "in-not/socket",
        ] {
            assert!(
                matches!(find(&scratch, path), Err(Unfit::Outside)),
                "{path}"
            );
        }
        // Without a directory to stay in all of these are good.
        for path in ["out/socket", "in/link", "in/dir/socket", "in/../out/socket"] {
            assert!(Socket::find(&scratch.path(path), None).is_ok(), "{path}");
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed_and_so_are_links_to_the_directory() {
        let (scratch, _listeners) = place();
        symlink(scratch.path("in/socket"), scratch.path("in/link")).unwrap();
        symlink(scratch.path("in"), scratch.path("alias")).unwrap();
        let file = |found: Result<Socket, Unfit>| {
            let stat = fstat(found.unwrap().0).unwrap();
            (stat.st_dev, stat.st_ino)
        };
        let direct = file(find(&scratch, "in/socket"));
        assert_eq!(file(find(&scratch, "in/link")), direct);
        assert_eq!(file(find(&scratch, "alias/socket")), direct);
        let alias = Some(scratch.path("alias"));
        let aliased = Socket::find(&scratch.path("in/socket"), alias.as_deref());
        assert_eq!(file(aliased), direct);
    }

    #[test]
    fn only_sockets_are_connected_to() {
        let (scratch, _listeners) = place();
        fs::write(scratch.path("in/file"), "").unwrap();
        for path in ["in/file", "in"] {
            assert!(
                matches!(find(&scratch, path), Err(Unfit::NotASocket)),
                "{path}"
            );
        }
        assert!(matches!(find(&scratch, "in/none"), Err(Unfit::Missing(_))));
        let nowhere = scratch.path("nowhere");
        let found = Socket::find(&scratch.path("in/socket"), Some(&nowhere));
        assert!(matches!(found, Err(Unfit::Missing(_))));
    }

    #[test]
    fn socket_that_takes_the_place_of_the_one_that_was_found_is_not_connected_to() {
        let (scratch, [listener, _other]) = place();
        let socket = find(&scratch, "in/socket").unwrap();
        fs::remove_file(scratch.path("in/socket")).unwrap();
        let impostor = UnixListener::bind(scratch.path("in/socket")).unwrap();
        let _stream = UnixStream::connect(socket.address());
        impostor.set_nonblocking(true).unwrap();
        assert!(impostor.accept().is_err());
        drop(listener);
        assert!(UnixStream::connect(socket.address()).is_err());
        assert!(impostor.accept().is_err());
    }
}
