//! What a case has: nodes, members, daemons, an agent.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use fence_lab::config::C_MODULES;
use fence_lab::process::{self, Process};
use fence_lab::{Answer, Failure, Programs, Side, Verdict, ensure, wait};
use nix::sys::signal::Signal;

use crate::member;
use crate::node::{Node, Ring};

/// A case: what must hold is its name.
pub(crate) type Case = fn(&mut Stage) -> Verdict;

/// The group of the daemons.
pub(crate) const GROUP: &str = "fence-agents";

/// The stage.
pub(crate) struct Stage {
    programs: Programs,
    directory: PathBuf,
    ring: Option<Ring>,
    runs: u32,
}

/// A member that says what it hears. Ends when it is dropped, without leaving.
pub(crate) struct Member {
    process: Process,
    orders: ChildStdin,
}

/// A daemon.
pub(crate) struct Daemon {
    pub(crate) process: Process,
}

impl Stage {
    pub(crate) fn new(programs: Programs, directory: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&directory)?;
        Ok(Self {
            programs,
            directory,
            ring: None,
            runs: 0,
        })
    }

    /// Plays a case. Of one that fails the logs are kept.
    pub(crate) fn play(&mut self, case: Case) -> Verdict {
        let verdict = case(self);
        verdict.map_err(|failure| {
            let place = format!("    files: {}", self.directory.display());
            failure.with(&place)
        })
    }

    /// Sets up so many nodes, with quorum.
    pub(crate) fn nodes(&mut self, count: usize) -> Verdict {
        self.nodes_without_corosync(count)?;
        match &mut self.ring {
            Some(ring) => ring.start(),
            None => Ok(()),
        }
    }

    pub(crate) fn nodes_without_corosync(&mut self, count: usize) -> Verdict {
        self.ring = Some(Ring::new(count, &self.directory)?);
        Ok(())
    }

    /// A node by its number, from 1 on.
    pub(crate) fn node(&mut self, id: usize) -> Result<&mut Node, Failure> {
        let nodes = self.ring.iter_mut().flat_map(|ring| &mut ring.nodes);
        let mut found = nodes.filter(|node| node.id == id);
        found
            .next()
            .ok_or_else(|| Failure::new(format!("there is no node {id}")))
    }

    fn name(&mut self, what: &str) -> String {
        self.runs += 1;
        format!("{what}{}", self.runs)
    }

    /// Starts a member of the daemons' group.
    pub(crate) fn member(&mut self, node: usize) -> Result<Member, Failure> {
        let name = self.name("member");
        let node = self.node(node)?;
        let program = std::env::current_exe()?;
        let mut command = node.command(&program.to_string_lossy());
        command.args([member::ARGUMENT, GROUP]);
        command.stdin(Stdio::piped());
        let mut process = Process::spawn(command, &name, &node.directory)?;
        let orders = process.stdin();
        let orders = orders.ok_or_else(|| Failure::new("a member without standard input"))?;
        Ok(Member { process, orders })
    }

    /// Starts a daemon with further keys for its backend.
    pub(crate) fn daemon(
        &mut self,
        node: usize,
        keys: &str,
        options: &[&str],
    ) -> Result<Daemon, Failure> {
        let name = self.name("fence_virtd");
        let program = self.programs.virtd(Side::Ours).canonicalize()?;
        let node = self.node(node)?;
        let file = node.directory.join("fence_virt.conf");
        // Each node has domains of its own.
        let driver = node.directory.join("driver.xml");
        let id = node.id;
        fs::write(
            &driver,
            format!(
                "<node><domain type='test'><name>vm{id}</name>\
                 <uuid>00000000-0000-4000-8000-00000000000{id}</uuid>\
                 <memory>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain></node>"
            ),
        )?;
        fs::write(
            &file,
            format!(
                "fence_virtd {{ listener = \"tcp\"; backend = \"cpg\"; }}\n\
                 listeners {{ tcp {{ address = \"127.0.0.1\"; hash = \"none\"; auth = \"none\"; \
                 key_file = \"/nonexistent\"; }} }}\n\
                 backends {{ cpg {{ uri = \"test://{}\"; fence_proof = \"none\"; {keys} }} }}\n",
                driver.display()
            ),
        )?;
        let mut command = node.command(&program.to_string_lossy());
        command.args(["-F", "-d", "9", "-f"]).arg(&file);
        command.args(options);
        let directory = node.directory.clone();
        Ok(Daemon {
            process: Process::spawn(command, &name, &directory)?,
        })
    }

    /// Checks a node with the configuration of the last daemon there.
    pub(crate) fn check(&mut self, node: usize) -> Result<serde_json::Value, Failure> {
        let name = self.name("check");
        let program = self.programs.virtd(Side::Ours).canonicalize()?;
        let node = self.node(node)?;
        let mut command = node.command(&program.to_string_lossy());
        let file = node.directory.join("fence_virt.conf");
        command.args(["--check", "--json", "-f"]).arg(file);
        let directory = node.directory.clone();
        let mut process = Process::spawn(command, &name, &directory)?;
        process.wait(Duration::from_secs(60))?;
        serde_json::from_str(&process.stdout())
            .map_err(|error| Failure::from(error).with(&process.tail()))
    }

    /// Starts a daemon of the original.
    pub(crate) fn original(&mut self, node: usize) -> Result<Daemon, Failure> {
        let name = self.name("original");
        let program = self.programs.virtd(Side::C).to_owned();
        let node = self.node(node)?;
        let directory = node.directory.clone();
        let (file, key) = (directory.join("original.conf"), directory.join("key"));
        let driver = directory.join("original.xml");
        fs::write(&key, [7; 64])?;
        fs::write(
            &driver,
            "<node><domain type='test'><name>old</name><memory>1024</memory>\
             <os><type>hvm</type></os></domain></node>",
        )?;
        fs::write(
            &file,
            format!(
                "fence_virtd {{ listener = \"tcp\"; backend = \"cpg\"; module_path = \"{C_MODULES}\"; }}\n\
                 listeners {{ tcp {{ address = \"127.0.0.1\"; key_file = \"{}\"; }} }}\n\
                 backends {{ cpg {{ uri = \"test://{}\"; name_mode = \"name\"; }} }}\n",
                key.display(),
                driver.display()
            ),
        )?;
        let mut command = node.command(&program.to_string_lossy());
        command.args(["-F", "-d", "99", "-f"]).arg(&file);
        Ok(Daemon {
            process: Process::spawn(command, &name, &directory)?,
        })
    }

    /// Runs an agent on a node, against the daemon there.
    pub(crate) fn ask(&mut self, node: usize, words: &[&str]) -> Result<Answer, Failure> {
        let name = self.name("agent");
        let program = self.programs.virt(Side::Ours).to_owned();
        let node = self.node(node)?;
        let mut command = node.command(&program.to_string_lossy());
        command.args([
            "-T",
            "127.0.0.1",
            "-c",
            "none",
            "-C",
            "none",
            "-k",
            "/nonexistent",
        ]);
        command.args(words);
        let directory = node.directory.clone();
        let started = Instant::now();
        let mut process = Process::spawn(command, &name, &directory)?;
        let status = process.wait(Duration::from_secs(40))?;
        Ok(Answer {
            code: process::code(status),
            stdout: process.stdout(),
            stderr: process.stderr(),
            elapsed: started.elapsed(),
        })
    }

    /// Asks until the exit code is this one.
    pub(crate) fn ask_until(&mut self, node: usize, words: &[&str], code: i32) -> Verdict {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.ask(node, words)?;
            if answer.code == code {
                return Ok(());
            }
            ensure!(
                Instant::now() < limit,
                "{words:?} never ended with {code}: {}",
                answer.describe()
            );
        }
    }

    /// Asks once.
    pub(crate) fn expect(&mut self, node: usize, words: &[&str], code: i32) -> Verdict {
        let answer = self.ask(node, words)?;
        ensure!(answer.code == code, "{words:?}: {}", answer.describe());
        Ok(())
    }
}

impl Member {
    /// What it has said so far, a line each.
    pub(crate) fn said(&self) -> Vec<String> {
        self.process.stdout().lines().map(str::to_owned).collect()
    }

    /// Waits until it has said this line, after the first `from` lines. Where.
    pub(crate) fn hears(&self, line: &str, from: usize) -> Result<usize, Failure> {
        wait::value(
            &format!("a member to hear '{line}'"),
            Duration::from_secs(30),
            || {
                let said = self.said();
                let mut rest = said.iter().enumerate().skip(from);
                rest.find(|(_, said)| {
                    *said == line
                        || line.ends_with('*') && said.starts_with(line.trim_end_matches('*'))
                })
                .map(|(index, _)| index + 1)
            },
        )
        .map_err(|failure| failure.with(&self.process.tail()))
    }

    /// Tells it to do something.
    pub(crate) fn order(&mut self, order: &str) -> Verdict {
        writeln!(self.orders, "{order}")?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Verdict {
        self.process.signal(signal)
    }
}

impl Daemon {
    /// Waits until its log has this text, so many times.
    pub(crate) fn logs(&self, text: &str, times: usize) -> Verdict {
        wait::until(
            &format!("'{text}' in the log, {times} times"),
            Duration::from_secs(30),
            || self.process.log().matches(text).count() >= times,
        )
        .map_err(|failure| failure.with(&self.process.tail()))
    }

    /// Ends it by SIGTERM, in a second and what a busy machine needs.
    pub(crate) fn ends(&mut self) -> Verdict {
        let began = Instant::now();
        self.process.signal(Signal::SIGTERM)?;
        let status = self
            .process
            .wait(Duration::from_secs(10))
            .map_err(|failure| failure.with(&self.process.tail()))?;
        let took = began.elapsed();
        ensure!(
            status.code() == Some(0) && took < Duration::from_secs(3),
            "the end took {took:?}: {status}"
        );
        Ok(())
    }
}
