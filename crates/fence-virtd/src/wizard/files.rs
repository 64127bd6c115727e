//! Replacing the configuration file and making a key: whole or not at all, and nothing that was there is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fence_proto::key::KEY_MAX;
use nix::fcntl::{Flock, FlockArg};
use zeroize::Zeroizing;

use crate::config::MAX_BYTES;

/// Copies of older files that may be beside the file.
const MAX_COPIES: u32 = 1000;

/// How long another wizard that replaces a file in the same directory is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What went wrong. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The kernel does not let us.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What could not be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Longer than a configuration may be.
    #[error("{} is longer than {MAX_BYTES} bytes, so it is no configuration file", .0.display())]
    TooLong(PathBuf),
    /// Somebody changed it meanwhile.
    #[error("{} was changed by somebody else meanwhile: begin again", .0.display())]
    Changed(PathBuf),
    /// Somebody else is replacing a file there, and does not come to an end.
    #[error("another program has locked the directory {}", .0.display())]
    Locked(PathBuf),
    /// There are too many copies of older files.
    #[error("there are {MAX_COPIES} copies of {} already: remove some", .0.display())]
    TooManyCopies(PathBuf),
}

fn failed<'p>(what: &'static str, path: &'p Path) -> impl Fn(io::Error) -> FileError + 'p {
    move |source| FileError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The file as it is before anything is asked.
#[derive(Debug)]
pub(super) struct Present {
    /// Where it is in truth: links are followed, and the target is what is replaced.
    pub(super) path: PathBuf,
    /// What is in it; `None` if there is no such file.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Present, FileError> {
    if path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        return Ok(Present { path, bytes: None });
    }
    let path = path.canonicalize().map_err(failed("find", path))?;
    let bytes = Some(content(&path)?);
    Ok(Present { path, bytes })
}

fn content(path: &Path) -> Result<Vec<u8>, FileError> {
    // A pipe would have to be waited for.
    let metadata = path.metadata().map_err(failed("read", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed("read", path))?;
    let file = file.take(most.saturating_add(1));
    { file }
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() > MAX_BYTES {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

/// Replaces the file, which becomes 0600, by `text` at once, and keeps the old one under a name that nobody had. That
/// name, if there was an old one.
pub(super) fn replace(present: &Present, text: &str) -> Result<Option<PathBuf>, FileError> {
    let path = &present.path;
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Until the end: two wizards must not both believe that the file is as they have read it.
    let _lock = lock(directory)?;
    let now = match path.symlink_metadata() {
        Ok(_) => Some(content(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", path)(error)),
    };
    if now != present.bytes {
        return Err(FileError::Changed(path.clone()));
    }
    let new = Temporary::write(directory, text.as_bytes())?;
    keep_owner(&new.path, path);
    let copy = if now.is_some() {
        Some(keep(path)?)
    } else {
        None
    };
    if let Err(error) = fs::rename(&new.path, path) {
        if let Some(copy) = &copy {
            // The file itself is still in its place.
            let _ = fs::remove_file(copy);
        }
        return Err(failed("replace", path)(error));
    }
    sync(directory);
    Ok(copy)
}

fn lock(directory: &Path) -> Result<Flock<File>, FileError> {
    let began = Instant::now();
    let mut file = File::open(directory).map_err(failed("open", directory))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, nix::Error::EWOULDBLOCK)) if began.elapsed() > PATIENCE => {
                return Err(FileError::Locked(directory.to_owned()));
            }
            Err((back, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => file = back,
            Err((_, error)) => return Err(failed("lock", directory)(error.into())),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives the old file a second name, which nobody had: a link is made whole or not at all.
fn keep(path: &Path) -> Result<PathBuf, FileError> {
    for number in 0..MAX_COPIES {
        let mut name = path.as_os_str().to_owned();
        name.push(".bak");
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let copy = PathBuf::from(name);
        match fs::hard_link(path, &copy) {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make a copy of", path)(error)),
        }
    }
    Err(FileError::TooManyCopies(path.to_owned()))
}

/// The daemon may run as a user of its own, which has to be able to read the file.
fn keep_owner(new: &Path, old: &Path) {
    if let Ok(metadata) = old.metadata() {
        // Somebody who may write there may have put a link in its place.
        let _ = std::os::unix::fs::lchown(new, Some(metadata.uid()), Some(metadata.gid()));
    }
}

/// Names are on disk once this has returned, as far as the file system does that.
fn sync(directory: &Path) {
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

/// A file with a name of its own, removed unless it was renamed.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(directory: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let number = getrandom::u64().map_err(|error| {
            failed("name a file in", directory)(io::Error::other(error.to_string()))
        })?;
        let path = directory.join(format!(".fence_virt.{number:016x}"));
        write_new(&path, bytes)?;
        Ok(Self { path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Not there any more if all went well.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a file that was not there, mode 0600, and does not leave half of one.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed("make", path))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed("write", path)(error)
    })
}

/// A key that was just made, and the directories for it. Removed again unless it is kept.
#[derive(Debug)]
pub(super) struct NewKey {
    path: PathBuf,
    directories: Vec<PathBuf>,
    kept: bool,
}

impl NewKey {
    /// Makes a key of 4096 random bytes, mode 0600, where there is nothing.
    pub(super) fn make(path: &Path) -> Result<Self, FileError> {
        let mut bytes = Zeroizing::new(vec![0; KEY_MAX]);
        getrandom::fill(&mut bytes)
            .map_err(|error| failed("make", path)(io::Error::other(error.to_string())))?;
        let mut made = Self {
            path: path.to_owned(),
            directories: Vec::new(),
            kept: false,
        };
        let missing: Vec<_> = path
            .ancestors()
            .skip(1)
            .take_while(|it| !it.exists())
            .collect();
        for directory in missing.into_iter().rev() {
            let mut builder = fs::DirBuilder::new();
            builder
                .mode(0o755)
                .create(directory)
                .map_err(failed("make", directory))?;
            made.directories.push(directory.to_owned());
        }
        if let Err(error) = write_new(path, &bytes) {
            // It may be somebody else's file that is there.
            made.path = PathBuf::new();
            return Err(error);
        }
        sync(path.parent().unwrap_or(Path::new("/")));
        Ok(made)
    }

    /// It stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
        for directory in self.directories.iter().rev() {
            // Only if nobody has put anything there.
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
