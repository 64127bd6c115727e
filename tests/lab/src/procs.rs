//! The processes of a host, as the machine sees them: what really runs, whatever libvirt says.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::failure::{Failure, Verdict};
use crate::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A living process inside a host. The dead that nobody has collected yet do not count.
#[derive(Debug, Clone)]
pub struct Proc {
    /// Its id on the machine.
    pub pid: Pid,
    /// Its id inside the host.
    pub inner: i32,
    /// Its command line, with blanks between the words.
    pub command: String,
}

/// All processes of the host whose pid 1 is `init`.
pub fn of_host(init: Pid) -> Vec<Proc> {
    let Some(namespace) = pid_namespace(init) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw);
    pids.filter(|pid| pid_namespace(*pid).as_ref() == Some(&namespace))
        .filter_map(read)
        .collect()
}

/// The child of a process that has one.
pub fn child_of(parent: Pid) -> Option<Pid> {
    let entries = fs::read_dir("/proc").ok()?;
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| parent_of(*pid) == Some(parent.as_raw()))
        .map(Pid::from_raw)
}

/// Whether it still lives in the host whose pid 1 is `init`.
pub fn is_alive(pid: Pid, init: Pid) -> bool {
    let same = pid_namespace(pid).is_some_and(|found| pid_namespace(init) == Some(found));
    same && read(pid).is_some()
}

/// Whether it is stopped by a signal.
pub fn is_stopped(pid: Pid) -> bool {
    state(pid) == Some('T')
}

/// Sends a signal and waits until it has had its effect, where that can be seen.
pub fn signal(pid: Pid, signal: Signal) -> Verdict {
    kill(pid, signal).map_err(|error| Failure::from(error).at(format!("{signal} to {pid}")))?;
    let limit = Duration::from_secs(10);
    match signal {
        Signal::SIGKILL => wait::until(&format!("the end of {pid}"), limit, || {
            matches!(state(pid), None | Some('Z' | 'X'))
        }),
        Signal::SIGSTOP => wait::until(&format!("{pid} to stop"), limit, || is_stopped(pid)),
        _ => Ok(()),
    }
}

fn pid_namespace(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn read(pid: Pid) -> Option<Proc> {
    if matches!(state(pid), None | Some('Z' | 'X')) {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let inner = ids.split_whitespace().next_back()?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Proc {
        pid,
        inner,
        command,
    })
}
