//! The file with the process id, which also keeps a second daemon from starting.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// A locked pid file. Dropping it removes it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Not a device such as `/dev/null`, which is used but not removed.
    regular: bool,
    /// Holds the lock.
    _file: File,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another daemon holds it.
    #[error(
        "another fence_virtd is running: it holds the pid file {0}; stop it, or name another file with -p"
    )]
    Running(PathBuf),
    /// It cannot be written.
    #[error("cannot write the pid file {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        error: io::Error,
    },
}

impl PidFile {
    /// Locks and writes the file. What a daemon that was killed left behind is taken over.
    ///
    /// # Errors
    /// [`PidFileError`].
    pub fn create(path: &Path) -> Result<Self, PidFileError> {
        let io = |error| PidFileError::Io {
            path: path.to_owned(),
            error,
        };
        let mut file = open_locked(path)?;
        let regular = file.metadata().map_err(io)?.is_file();
        if regular {
            file.set_len(0).map_err(io)?;
        }
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            regular,
            _file: file,
        })
    }
}

/// Opens and locks the file that is at `path`, and not one that its last holder has just removed.
fn open_locked(path: &Path) -> Result<File, PidFileError> {
    let io = |error| PidFileError::Io {
        path: path.to_owned(),
        error,
    };
    loop {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        let here = file.metadata().map_err(io)?;
        if !here.is_file() {
            return Ok(file);
        }
        match lock(&file) {
            Ok(()) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(PidFileError::Running(path.to_owned()));
            }
            Err(errno) => return Err(io(errno.into())),
        }
        let there = fs::metadata(path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            return Ok(file);
        }
    }
}

/// Takes a write lock of the open file description. Nobody can hold it against us who may not write
/// the file, unlike a lock of flock(2).
#[expect(
    clippy::cast_possible_truncation,
    reason = "constants that fit the kernel's fields"
)]
fn lock(file: &File) -> nix::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).map(drop)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.regular {
            // If it cannot be removed, the next daemon takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_daemon_is_refused_and_leftovers_are_taken_over() {
        let path = std::env::temp_dir().join(format!("fence-pid-{}", std::process::id()));
        fs::write(&path, "999999999\nstale").unwrap();
        let first = PidFile::create(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        assert!(matches!(
            PidFile::create(&path),
            Err(PidFileError::Running(_))
        ));
        drop(first);
        assert!(!path.exists());
    }
}
