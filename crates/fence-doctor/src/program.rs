//! Running a program that only reads: without a shell, for so long, with so much output.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Rules of a large firewall have some MiB.
const MAX_OUTPUT: u64 = 16 << 20;

/// Where programs are looked for.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// How often the end is looked for once the output has ended.
const STEP: Duration = Duration::from_millis(5);

/// Where a program is, if it is installed.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let places = PLACES.iter().map(|place| Path::new(place).join(name));
    places.into_iter().find(|path| path.is_file())
}

/// What it printed on standard output, and whether it ended with 0.
///
/// # Errors
/// Why there is none, with the first line of what it said on standard error.
pub fn output(program: &Path, arguments: &[&str], patience: Duration) -> Result<Vec<u8>, String> {
    let ended = run(program, arguments, patience)?;
    if ended.status.success() {
        return Ok(ended.output);
    }
    Err(format!("{}: {}", ended.status, ended.complaint))
}

/// What came of a program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub output: Vec<u8>,
    /// The first line of what it said on standard error.
    pub complaint: String,
}

/// Runs it to its end.
///
/// # Errors
/// Why it has not come to one, or too much output of one that did not fail.
pub fn run(program: &Path, arguments: &[&str], patience: Duration) -> Result<Ended, String> {
    let deadline = Instant::now() + patience;
    let late = || format!("no answer in {} s", patience.as_secs());
    let mut child = Group(spawn(program, arguments).map_err(|error| error.to_string())?);
    let stdout = drain(child.0.stdout.take());
    let stderr = drain(child.0.stderr.take());
    let left = || deadline.saturating_duration_since(Instant::now());
    let output = stdout.recv_timeout(left()).map_err(|_| late())?;
    let complaint = stderr.recv_timeout(left()).map_err(|_| late())?;
    loop {
        match child.0.try_wait().map_err(|error| error.to_string())? {
            Some(status) => {
                if output.is_none() && status.success() {
                    return Err("too much output".to_owned());
                }
                let complaint = complaint.unwrap_or_default();
                let complaint = String::from_utf8_lossy(&complaint);
                return Ok(Ended {
                    status,
                    output: output.unwrap_or_default(),
                    complaint: complaint.lines().next().unwrap_or_default().to_owned(),
                });
            }
            None if Instant::now() >= deadline => return Err(late()),
            None => thread::sleep(STEP),
        }
    }
}

fn spawn(program: &Path, arguments: &[&str]) -> std::io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PLACES.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Reads to the end on another thread; `None` for more than is taken.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Option<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What came before an error is as good as nothing.
            if pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).is_err() {
                bytes.clear();
            }
        }
        let whole = u64::try_from(bytes.len()).is_ok_and(|length| length < MAX_OUTPUT);
        let _ = sender.send(whole.then_some(bytes));
    });
    receiver
}

/// The program and what it started. Killed when it is dropped, unless it has ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Ok(id) = i32::try_from(self.0.id()) {
                let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str, patience: Duration) -> Result<Vec<u8>, String> {
        output(Path::new("/bin/sh"), &["-c", script], patience)
    }

    #[test]
    fn output_is_told_and_a_failure_with_its_first_line() {
        assert_eq!(shell("echo out; echo err >&2", LONG), Ok(b"out\n".to_vec()));
        let error = shell("echo first >&2; echo second >&2; exit 3", LONG).unwrap_err();
        assert!(error.contains("3") && error.ends_with("first"), "{error}");
        assert!(output(Path::new("/nonexistent"), &[], LONG).is_err());
    }

    #[test]
    fn program_that_hangs_is_given_up_with_all_that_it_started() {
        for script in ["sleep 60", "sleep 60 & exit 0", "exec >&- 2>&-; sleep 60"] {
            let began = Instant::now();
            let error = shell(script, Duration::from_millis(200)).unwrap_err();
            assert!(error.contains("no answer"), "{script}: {error}");
            assert!(began.elapsed() < Duration::from_secs(20), "{script}");
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        let error = shell("yes; exit 0", LONG).unwrap_err();
        assert!(!error.contains("no answer"), "{error}");
    }
}
