//! What every case has: a network, a key, a directory, our programs, and what a check says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fence_lab::host::Launch;
use fence_lab::net::{BRIDGE, unique};
use fence_lab::process::{self, Process};
use fence_lab::{Failure, Guest, HostConfig, Net, Programs, Side, Transport, Verdict, forge};
use fence_proto::Family;
use serde_json::Value;

/// The port of every case.
pub(crate) const PORT: u16 = 1229;

/// A check promises to end in less, whatever hangs.
const LIMIT: Duration = Duration::from_secs(60);

static RUNS: AtomicU32 = AtomicU32::new(0);

/// A case's surroundings.
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) directory: PathBuf,
    pub(crate) programs: Programs,
}

impl Stage {
    pub(crate) fn new(programs: Programs, root: &Path) -> Result<Self, Failure> {
        let directory = root.join(unique());
        fs::create_dir_all(&directory)?;
        forge::write_key(&directory.join("key"))?;
        Ok(Self {
            net: Net::new()?,
            directory,
            programs,
        })
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key")
    }

    /// A configuration of which nothing is wrong.
    pub(crate) fn config(&self, transport: Transport) -> HostConfig {
        let mut config = HostConfig::new(transport, Family::Ipv4, PORT);
        config.uris = vec!["test:///default".to_owned()];
        config.key_file = self.key();
        config
    }

    /// How a daemon is started.
    pub(crate) fn launch<'a>(&'a self, side: Side, name: &'a str) -> Launch<'a> {
        Launch {
            programs: &self.programs,
            side,
            namespace: &self.net.dom0,
            directory: &self.directory,
            name,
        }
    }

    /// Writes a configuration file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Checks the host with this configuration.
    pub(crate) fn check(&self, config: &HostConfig) -> Result<Checked, Failure> {
        let file = self.write("check.conf", &config.text(Side::Ours)?)?;
        self.check_file(&file)
    }

    /// Checks the host with this file.
    pub(crate) fn check_file(&self, file: &Path) -> Result<Checked, Failure> {
        let program = self.programs.virtd(Side::Ours);
        let mut command = self.net.dom0.command(&program.to_string_lossy());
        command.args(["--check", "--json", "-f"]).arg(file);
        self.run(command)
    }

    /// Checks the first guest.
    pub(crate) fn check_guest(&self, options: &[&str]) -> Result<Checked, Failure> {
        let program = self.programs.xvm(Side::Ours);
        let mut command = self
            .net
            .guest(Guest::First)
            .command(&program.to_string_lossy());
        command
            .args(["--check", "--json", "-r", "5", "-k"])
            .arg(self.key());
        command.args(options);
        self.run(command)
    }

    /// Runs a check and reads what it says.
    pub(crate) fn run(&self, command: Command) -> Result<Checked, Failure> {
        let name = format!("check{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let began = Instant::now();
        let mut process = Process::spawn(command, &name, &self.directory)?;
        let status = process.wait(LIMIT)?;
        let took = began.elapsed();
        let json: Value = serde_json::from_str(&process.stdout())
            .map_err(|error| Failure::from(error).with(&process.tail()))?;
        let code = process::code(status);
        if json["exit_code"] != code {
            return Err(Failure::new(format!("exit code {code}")).with(&process.tail()));
        }
        Ok(Checked { json, code, took })
    }

    /// Runs a program to its end in the host's network.
    pub(crate) fn in_dom0(&self, words: &[&str]) -> Verdict {
        let [program, arguments @ ..] = words else {
            return Ok(());
        };
        let output = self.net.dom0.command(program).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("{}: {said}", words.join(" "))))
    }

    /// Changes a setting of the bridge.
    pub(crate) fn bridge(&self, setting: &str) -> Verdict {
        self.net
            .dom0
            .ip(&format!("link set {BRIDGE} type bridge {setting}\n"))
    }
}

/// What a check said.
#[derive(Debug)]
pub(crate) struct Checked {
    json: Value,
    pub(crate) code: i32,
    pub(crate) took: Duration,
}

impl Checked {
    /// The worst verdict of one check, and everything that it found.
    pub(crate) fn of(&self, check: &str) -> (String, String) {
        let all = self.json["checks"].as_array().cloned().unwrap_or_default();
        let rank = |verdict: &str| {
            ["ok", "skipped", "warning", "problem"]
                .iter()
                .position(|it| *it == verdict)
        };
        let mut worst = ("nothing".to_owned(), String::new());
        for one in all.iter().filter(|one| one["check"] == check) {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let verdict = text("verdict");
            if rank(&verdict) >= rank(&worst.0) {
                worst.0 = verdict;
            }
            worst.1 += &format!("{}; ", text("found"));
        }
        worst
    }

    /// One check must have this verdict, and say these words.
    pub(crate) fn expect(&self, check: &str, verdict: &str, words: &str) -> Verdict {
        let (found, text) = self.of(check);
        if found == verdict && text.contains(words) {
            return Ok(());
        }
        let whole = format!("{:#}", self.json);
        Err(Failure::new(format!(
            "{check} is {found} and not {verdict} with '{words}': {text}"
        ))
        .with(&whole))
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        self.json.to_string()
    }
}
