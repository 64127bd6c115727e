//! Running a program: without a shell, for so long, with so much output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// More than any history has: pacemaker keeps 500 events.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// Where programs are looked for that the program runs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What came of a program.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed on standard output.
    pub output: Vec<u8>,
}

/// The processes that a program started, itself among them. They are killed when this is dropped.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Its number is not given to anybody else while something of the group is left, and as long as the
            // program itself was not waited for.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

/// Runs a program to its end, or kills it and all that it started when its time is over.
///
/// # Errors
/// Why there is no result.
pub async fn run(program: &Path, arguments: &[&str], patience: Duration) -> Result<Ran, String> {
    if !program.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group {
        child,
        id: id.map(Pid::from_raw),
    };
    match timeout(patience, finish(&mut group)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer in {} s", patience.as_secs())),
    }
}

async fn finish(group: &mut Group) -> Result<Ran, String> {
    let output = match group.child.stdout.take() {
        Some(stdout) => bounded(stdout).await?,
        None => Vec::new(),
    };
    let status = group.child.wait().await;
    let status = status.map_err(|error| error.to_string())?;
    // It was waited for: the number may be somebody else's from now on.
    group.id = None;
    Ok(Ran {
        code: status.code(),
        output,
    })
}

async fn bounded(stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    let read = stdout.take(MAX_OUTPUT).read_to_end(&mut output).await;
    let read = read.map_err(|error| error.to_string())?;
    if u64::try_from(read).is_ok_and(|read| read < MAX_OUTPUT) {
        Ok(output)
    } else {
        Err("too much output".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn shell(script: &str, patience: Duration) -> Result<Ran, String> {
        run(Path::new("/bin/sh"), &["-c", script], patience).await
    }

    #[tokio::test]
    async fn output_and_exit_code_are_told() {
        let ran = shell("echo out; echo err >&2; exit 7", LONG).await.unwrap();
        assert_eq!((ran.code, &*ran.output), (Some(7), &b"out\n"[..]));
        let ran = shell("kill -9 $$", LONG).await.unwrap();
        assert_eq!(ran.code, None);
    }

    #[tokio::test]
    async fn program_that_hangs_is_killed_with_all_that_it_started() {
        let marker = format!("/tmp/fence-virtd-program-{}", std::process::id());
        let script = format!("(sleep 3; touch {marker}) & sleep 60");
        let began = Instant::now();
        let error = shell(&script, Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(error.contains("no answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!Path::new(&marker).exists());
    }

    #[tokio::test]
    async fn grandchild_that_keeps_the_output_open_does_not_keep_us() {
        let error = shell("sleep 60 & exit 0", Duration::from_millis(300)).await;
        assert!(error.unwrap_err().contains("no answer"));
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = shell("yes", LONG).await.unwrap_err();
        assert_eq!(error, "too much output");
    }

    #[tokio::test]
    async fn program_must_be_there_and_its_path_absolute() {
        assert!(run(Path::new("sh"), &[], LONG).await.is_err());
        assert!(run(Path::new("/nonexistent"), &[], LONG).await.is_err());
    }
}
