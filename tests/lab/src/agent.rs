//! An agent under test.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fence_proto::HashAlgorithm;

use crate::config::{HostConfig, Transport};
use crate::failure::Failure;
use crate::net::{Guest, Net};
use crate::process::{self, Process};
use crate::programs::{Programs, Side};

/// What an agent's run came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to exit.
    pub elapsed: Duration,
}

impl Answer {
    /// One line for a report.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "exit code {} after {:.2} s, stdout {:?}, stderr {:?}",
            self.code,
            self.elapsed.as_secs_f32(),
            brief(&self.stdout),
            brief(&self.stderr)
        )
    }
}

fn brief(text: &str) -> &str {
    text.get(..text.floor_char_boundary(400)).unwrap_or(text)
}

static RUNS: AtomicU32 = AtomicU32::new(0);

/// How an agent is run: where, against what, with which options.
#[derive(Debug, Clone)]
pub struct Agent<'a> {
    /// Whose agent.
    pub side: Side,
    /// Where the programs are.
    pub programs: &'a Programs,
    /// In which network.
    pub net: &'a Net,
    /// In which guest.
    pub guest: Guest,
    /// Where its output is kept.
    pub directory: &'a Path,
    /// Options that every run has: transport, port, key, hashes.
    pub base: Vec<String>,
}

impl<'a> Agent<'a> {
    /// An agent that fits a daemon's configuration.
    #[must_use]
    pub fn fitting(config: &HostConfig, host: Side, place: &Place<'a>) -> Self {
        let (hash, auth) = config.effective(host);
        let mut base = match config.transport {
            Transport::Tcp => vec!["-T".to_owned(), config.address()],
            Transport::Multicast => vec![
                "-i".to_owned(),
                config.family.name().to_owned(),
                "-a".to_owned(),
                config.address(),
            ],
        };
        base.extend(["-p".to_owned(), config.port.to_string()]);
        base.extend(["-k".to_owned(), config.key_file.display().to_string()]);
        base.extend(["-c".to_owned(), hash.name().to_owned()]);
        base.extend(["-C".to_owned(), auth.name().to_owned()]);
        Self {
            side: place.side,
            programs: place.programs,
            net: place.net,
            guest: Guest::First,
            directory: place.directory,
            base,
        }
    }

    /// A `fence_virt` with these options alone.
    #[must_use]
    pub fn on_line(options: &[String], place: &Place<'a>) -> Self {
        Self {
            side: place.side,
            programs: place.programs,
            net: place.net,
            guest: Guest::First,
            directory: place.directory,
            base: options.to_vec(),
        }
    }

    /// The same agent in another guest.
    #[must_use]
    pub fn from_guest(mut self, guest: Guest) -> Self {
        self.guest = guest;
        self
    }

    /// The same agent with another value of an option that it already has.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        let mut previous = String::new();
        for word in &mut self.base {
            if previous == option {
                value.clone_into(word);
            }
            previous.clone_from(word);
        }
        self
    }

    /// The same agent with another packet hash.
    #[must_use]
    pub fn with_hash(self, hash: HashAlgorithm) -> Self {
        self.with("-c", hash.name())
    }

    /// Starts it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self, options: &[&str]) -> Result<Running, Failure> {
        let virt = |word: &String| ["-T", "-D", "-A"].contains(&word.as_str());
        let program = if self.base.iter().any(virt) {
            self.programs.virt(self.side)
        } else {
            self.programs.xvm(self.side)
        };
        let mut command = self
            .net
            .guest(self.guest)
            .command(&program.to_string_lossy());
        command.args(&self.base).args(options);
        Running::spawn(command, self.directory)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It did not end within 20 s: a defect whatever it was asked.
    pub fn run(&self, options: &[&str]) -> Result<Answer, Failure> {
        self.spawn(options)?.finish(Duration::from_secs(20))
    }

    /// Runs an action on a domain, or one that names none.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn act(&self, action: &str, domain: &str) -> Result<Answer, Failure> {
        if domain.is_empty() {
            self.run(&["-o", action])
        } else {
            self.run(&["-o", action, "-n", domain])
        }
    }

    /// Asserts a domain's state as the daemon tells it.
    ///
    /// # Errors
    /// It is another one, or nobody knows.
    pub fn expect_state(&self, domain: &str, on: bool) -> Result<(), Failure> {
        let answer = self.act("status", domain)?;
        let wanted = if on {
            (0, "Status: ON\n")
        } else {
            (2, "Status: OFF\n")
        };
        if (answer.code, answer.stdout.as_str()) == wanted {
            return Ok(());
        }
        let state = if on { "on" } else { "off" };
        Err(Failure::new(format!(
            "{domain} should be {state}, but the status is: {}",
            answer.describe()
        )))
    }
}

/// What agents of one test have in common.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose agent.
    pub side: Side,
    /// Where the programs are.
    pub programs: &'a Programs,
    /// In which network.
    pub net: &'a Net,
    /// Where output is kept.
    pub directory: &'a Path,
}

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: Process,
    started: Instant,
}

impl Running {
    /// Starts any command as an agent.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(command: Command, directory: &Path) -> Result<Self, Failure> {
        let name = format!("agent{}", RUNS.fetch_add(1, Ordering::Relaxed));
        Ok(Self {
            process: Process::spawn(command, &name, directory)?,
            started: Instant::now(),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn finish(mut self, limit: Duration) -> Result<Answer, Failure> {
        let status = self.process.wait(limit)?;
        Ok(Answer {
            code: process::code(status),
            stdout: self.process.stdout(),
            stderr: self.process.stderr(),
            elapsed: self.started.elapsed(),
        })
    }
}
