//! Daemons under test on the stage's host.

use core::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use fence_lab::config::{C_MODULES, HostConfig, Transport};
use fence_lab::process::Process;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Failure, Host, Side, ensure};
use fence_proto::Family;

use crate::stage::{Stage, Vm};
use crate::way::Way;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running daemon that serves some ways. Killed on drop.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The process and where it runs.
    pub(crate) host: Host,
    ways: Vec<Way>,
}

impl Daemon {
    /// Starts one and waits until it serves every guest that runs. Guests a and b may fence each
    /// other, and so may c and d.
    pub(crate) fn start(stage: &Stage, side: Side, ways: &[Way]) -> Result<Self, Failure> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let file = stage.directory.join(format!("daemon{number}.conf"));
        fs::write(&file, configuration(stage, side, ways)?)?;
        let program = stage.programs.virtd(side);
        let mut command = match side {
            Side::Ours => stage.host.namespace.command(&program.to_string_lossy()),
            // Its log goes through stdio, which would keep it back when it is not a terminal.
            Side::C => {
                let mut command = stage.host.namespace.command("stdbuf");
                command.arg("-oL").arg(program);
                command
            }
        };
        command.args(["-F", "-d", "99", "-f"]).arg(&file);
        command.arg("-p").arg(file.with_extension("pid"));
        let name = format!("daemon{number}");
        let mut made = Self {
            host: Host {
                side,
                config: HostConfig::new(Transport::Tcp, Family::Ipv4, 1229),
                process: Process::spawn(command, &name, &stage.directory)?,
                namespace: stage.host.namespace.name().to_owned(),
            },
            ways: ways.to_vec(),
        };
        made.wait_ready(stage)?;
        Ok(made)
    }

    /// Adds the end of the log to a failure.
    pub(crate) fn explain<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        outcome.map_err(|failure| failure.with(&self.host.process.tail()))
    }

    /// Waits until it serves a guest by all of its ways.
    pub(crate) fn serves(&mut self, stage: &Stage, guest: &Vm) -> Result<(), Failure> {
        for way in self.ways.clone() {
            let socket = match way {
                Way::Serial => &guest.serial,
                Way::Vmchannel => &guest.vmchannel,
                _ => continue,
            };
            let what = format!("the daemon at the {} of guest {}", way.name(), guest.name);
            let there = wait::until(&what, PATIENCE, || {
                !self.host.process.is_running() || stage.host.is_connected(socket)
            });
            let there = there.and_then(|()| {
                ensure!(self.host.process.is_running(), "the daemon has ended");
                Ok(())
            });
            self.explain(there)?;
        }
        Ok(())
    }

    fn wait_ready(&mut self, stage: &Stage) -> Result<(), Failure> {
        for way in self.ways.clone() {
            let transport = match way {
                Way::Multicast4 | Way::Multicast6 => Transport::Multicast,
                Way::Tcp => Transport::Tcp,
                Way::Serial | Way::Vmchannel => continue,
            };
            self.host.config = HostConfig::new(transport, way.family(), 1229);
            self.host.wait_ready()?;
        }
        for guest in &stage.guests {
            if stage.host.qemu(guest.name).is_some() {
                self.serves(stage, guest)?;
            }
        }
        Ok(())
    }
}

fn configuration(stage: &Stage, side: Side, ways: &[Way]) -> Result<String, Failure> {
    let mut text = String::from("fence_virtd {\n");
    // Ours may have several, which are told apart by their names.
    let name = |way: &Way| match side {
        Side::Ours => format!("lab {}", way.name()),
        Side::C => way.listener().to_owned(),
    };
    for way in ways {
        writeln!(text, "listener = \"{}\";", name(way))?;
    }
    writeln!(text, "backend = \"libvirt\";")?;
    if side == Side::C {
        writeln!(text, "module_path = \"{C_MODULES}\";")?;
    }
    writeln!(text, "}}\nlisteners {{")?;
    for way in ways {
        let named = match side {
            Side::Ours => format!("= \"{}\"", name(way)),
            Side::C => String::new(),
        };
        let section = way.section(stage, side)?;
        writeln!(text, "{} {named} {{\n{section}}}", way.listener())?;
    }
    writeln!(
        text,
        "}}\nbackends {{\nlibvirt {{ uri = \"{}\"; }}\n}}",
        stage.host.uri()
    )?;
    writeln!(text, "groups {{")?;
    for pair in stage.guests.chunks(2) {
        writeln!(text, "group {{")?;
        for guest in pair {
            // By both: the original compares the text that an agent sends, and a serial source has to
            // be a member by its UUID.
            writeln!(
                text,
                "uuid = \"{}\"; uuid = \"{}\";",
                guest.name, guest.uuid
            )?;
            for family in [Family::Ipv4, Family::Ipv6] {
                writeln!(text, "ip = \"{}\";", guest.address(family))?;
            }
        }
        writeln!(text, "}}")?;
    }
    writeln!(text, "}}")?;
    Ok(text)
}
