//! The file with the process id, which also keeps a second daemon from starting.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PidFileError::Running(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
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
