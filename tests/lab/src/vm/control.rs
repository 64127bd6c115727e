//! Makes a guest do things: commands go through a virtio channel to the guest's init, which sends
//! back what they said.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::agent::Answer;
use crate::failure::Failure;
use crate::wait;

/// Commands are numbered over all connections: an answer that an earlier one did not wait for is
/// never taken for that to another command.
static COMMANDS: AtomicU32 = AtomicU32::new(1);

/// A connection to the init of one running guest.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    number: u32,
    /// What has come and is not yet a whole line.
    rest: Vec<u8>,
}

impl Control {
    /// Connects to the socket of [`super::DomainXml::control`] and waits until the guest answers.
    ///
    /// # Errors
    /// The guest did not get that far in time.
    pub fn connect(socket: &Path, limit: Duration) -> Result<Self, Failure> {
        let start = Instant::now();
        let stream = wait::value("a guest's control socket", limit, || {
            UnixStream::connect(socket).ok()
        })?;
        stream.set_write_timeout(Some(limit))?;
        let mut made = Self {
            stream,
            number: 0,
            rest: Vec::new(),
        };
        // The channel keeps what comes before the guest opens its end, so one question is enough.
        made.run(":", limit.saturating_sub(start.elapsed()))?;
        Ok(made)
    }

    /// Runs a shell command in the guest. Its standard error is part of its standard output.
    ///
    /// # Errors
    /// The guest did not answer in time or is gone.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Answer, Failure> {
        let started = Instant::now();
        self.start(command)?;
        let (end, said) = (format!("{}=", self.number), format!("{}|", self.number));
        let mut stdout = String::new();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let line = self
                .line(left)
                .map_err(|failure| failure.at(format!("'{command}', which had said {stdout:?}")))?;
            if let Some(text) = line.strip_prefix(&said) {
                stdout.push_str(text);
                stdout.push('\n');
            } else if let Some(code) = line.strip_prefix(&end) {
                return Ok(Answer {
                    code: code.parse()?,
                    stdout,
                    stderr: String::new(),
                    elapsed: started.elapsed(),
                });
            }
        }
    }

    /// Sends a command whose end nobody waits for; answers to it are passed over later.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn start(&mut self, command: &str) -> Result<(), Failure> {
        self.number = COMMANDS.fetch_add(1, Ordering::Relaxed);
        let line = format!("{} {command}\n", self.number);
        Ok(self.stream.write_all(line.as_bytes())?)
    }

    fn line(&mut self, limit: Duration) -> Result<String, Failure> {
        let until = Instant::now() + limit;
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.rest.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new("the guest did not answer in time"));
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Failure::new("the guest is gone")),
                Ok(count) => self.rest.extend(bytes.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
