//! What this host's daemon knows of the members of its cluster's group, written down for `--check`: only who is in
//! the group hears what each of them runs, and a second member would disturb the others.
//!
//! One small file for each daemon below `/run/fence_virtd`, replaced whole. Nothing depends on it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fence_cluster::seam::{MemberId, NodeId, Runs};

/// Where it is, by the unit's RuntimeDirectory.
const DIRECTORY: &str = "/run/fence_virtd";

/// More than all members of a group can need.
const MAX_BYTES: u64 = 64 * 1024;

/// What each member runs, in words.
pub type Kinds = BTreeMap<MemberId, String>;

/// The file of this process, removed when it is dropped.
#[derive(Debug)]
pub struct Record {
    group: String,
    path: PathBuf,
}

impl Record {
    /// A file for the members of `group`. It is not there before something is written.
    #[must_use]
    pub fn of(group: &str) -> Self {
        Self::within(Path::new(DIRECTORY), group)
    }

    fn within(directory: &Path, group: &str) -> Self {
        Self {
            group: group.to_owned(),
            path: directory.join(format!("members.{}", std::process::id())),
        }
    }

    /// Writes what is known. A few milliseconds at most: the directory is in memory.
    ///
    /// # Errors
    /// The kernel does not let us; nothing depends on it.
    pub fn write(&self, kinds: &Kinds) -> io::Result<()> {
        let mut text = format!("{}\n", self.group.escape_default());
        for (member, kind) in kinds {
            text += &format!("{} {} {kind}\n", member.node, member.pid);
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
            clean(directory);
        }
        let new = self
            .path
            .with_extension(format!("{}.new", std::process::id()));
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)
    }
}

/// Removes what daemons that were killed have left behind.
fn clean(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("members."));
        let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes the file when something has changed, without holding anybody up.
#[derive(Debug)]
pub struct Teller {
    record: Arc<Record>,
    told: Kinds,
}

impl Teller {
    /// For the members of `group`.
    #[must_use]
    pub fn of(group: &str) -> Self {
        Self {
            record: Arc::new(Record::of(group)),
            told: Kinds::new(),
        }
    }

    /// These are the members now. Needs a runtime.
    pub fn tell(&mut self, members: Vec<(MemberId, Runs)>) {
        let kinds = members.into_iter().map(|(member, runs)| {
            let kind = match runs {
                Runs::Unheard => "nothing was heard of it yet",
                Runs::Ours => "this fence_virtd",
                Runs::Original => "the original",
            };
            (member, kind.to_owned())
        });
        let kinds: Kinds = kinds.collect();
        if kinds == self.told {
            return;
        }
        self.told.clone_from(&kinds);
        let record = Arc::clone(&self.record);
        // Nobody waits for it.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = record.write(&kinds) {
                tracing::debug!(%error, "the members of the group are not written down for --check");
            }
        }));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // What is left behind is found out by the number of the process that nobody has.
        let _ = fs::remove_file(&self.path);
    }
}

/// What the daemon with this process id has written of the members of `group`.
///
/// Only of a process of root's or of our own user: anybody may call a program `fence_virtd`, and make a `/run` for it.
#[must_use]
pub fn read(pid: u32, group: &str) -> Option<Kinds> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let ours = nix::unistd::Uid::effective().to_string();
    if !users
        .split_whitespace()
        .all(|user| user == "0" || user == ours)
    {
        return None;
    }
    // It may have a /run of its own.
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let directory = root.join(DIRECTORY.trim_start_matches('/'));
    read_from(&directory.join(format!("members.{pid}")), group)
}

fn read_from(path: &Path, group: &str) -> Option<Kinds> {
    let mut text = String::new();
    // A pipe would have to be waited for.
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    if lines.next()? != group.escape_default().to_string() {
        return None;
    }
    let kinds = lines.filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let node = NodeId(words.next()?.parse().ok()?);
        let pid = words.next()?.parse().ok()?;
        Some((MemberId { node, pid }, words.next()?.to_owned()))
    });
    Some(kinds.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_is_written_is_read_for_the_same_group_only_and_goes_in_the_end() {
        let scratch = Scratch::new();
        let record = Record::within(&scratch.path("run"), "a\ngroup");
        let member = MemberId {
            node: NodeId(3),
            pid: 77,
        };
        let kinds = Kinds::from([(member, "the original".to_owned())]);
        record.write(&Kinds::new()).unwrap();
        record.write(&kinds).unwrap();
        let path = record.path.clone();
        assert_eq!(read_from(&path, "a\ngroup"), Some(kinds));
        assert_eq!(read_from(&path, "other"), None);
        assert_eq!(fs::read_dir(scratch.path("run")).unwrap().count(), 1);
        drop(record);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_is_taken_from_other_users_processes_nor_from_a_pipe() {
        let scratch = Scratch::new();
        let pipe = scratch.path("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(read_from(&pipe, "g"), None);
        assert_eq!(read(u32::MAX, "g"), None);
    }

    #[test]
    fn rubbish_is_left_out() {
        let scratch = Scratch::new();
        let path = scratch.path("x");
        fs::write(&path, "g\nnonsense\n1 two three\n1 2 ours\n").unwrap();
        assert_eq!(read_from(&path, "g").unwrap().len(), 1);
    }
}
