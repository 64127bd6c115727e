//! vsock, inside one guest: the kernel's loopback transport joins daemon and agents, so that real
//! vsock sockets are used and nothing can leave the guest. The domains are libvirt's test driver's.

use core::cell::RefCell;
use core::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fence_lab::config::C_MODULES;
use fence_lab::vm::{Boot, Control, DomainXml, Hypervisor, Initramfs, Kernel};
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Answer, Failure, Programs, Side, Verdict, ensure, forge};

use crate::sheet::{Pair, Sheet};
use crate::stage::{self, Cast};

/// What an agent is to say: exit code and output.
type Want = (i32, &'static str);

/// A daemon's configuration and what agents get from it.
struct Act {
    /// vsock port; each has its own, so that none waits for another's to be free.
    port: u16,
    /// The CID that the only group has as its source.
    source: u32,
    cases: &'static [(&'static str, &'static str, Want)],
}

/// The daemon sees loopback's own CID, 1, whichever the agent connected to.
const ACTS: &[Act] = &[
    Act {
        port: 1229,
        source: 1,
        cases: &[
            ("monitor", "monitor", (0, "")),
            ("list", "list", (0, "test ")),
            ("status is on", "status -n test", (0, "Status: ON")),
            ("reboot", "reboot -n test", (0, "")),
            (
                "status after the reboot",
                "status -n test",
                (0, "Status: ON"),
            ),
            ("off", "off -n test", (0, "")),
            ("status is off", "status -n test", (2, "Status: OFF")),
            ("on", "on -n test", (0, "")),
            ("status is on again", "status -n test", (0, "Status: ON")),
        ],
    },
    Act {
        port: 1230,
        source: 5,
        cases: &[
            (
                "off is denied by another CID's group",
                "off -n test",
                (3, ""),
            ),
            (
                "status is denied by another CID's group",
                "status -n test",
                (3, ""),
            ),
        ],
    },
];

/// Boots the guest and plays all pairings in it.
pub(crate) fn play(directory: &Path, cast: &Cast, sheet: &mut Sheet) -> Verdict {
    let stage = Stage::build(directory, cast)?;
    for host in &cast.hosts {
        for act in ACTS {
            let daemon = stage.start(*host, act, cast)?;
            for agent in &cast.agents {
                let pair = Pair {
                    host: *host,
                    agent: *agent,
                };
                for (name, action, want) in act.cases {
                    let outcome = stage.expect(*agent, act, action, *want);
                    let outcome = outcome.map_err(|failure| failure.with(&stage.log(&daemon)));
                    sheet.case(pair, &format!("vsock: {name}"), outcome);
                }
            }
            stage.run(&format!("kill {}", daemon.pid))?;
        }
    }
    Ok(())
}

struct Stage {
    control: RefCell<Control>,
    /// Keeps the guest alive.
    _host: Hypervisor,
}

/// A daemon in the guest.
struct Daemon {
    pid: String,
    log: String,
}

impl Stage {
    fn build(directory: &Path, cast: &Cast) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let programs = Programs::locate(directory, &cast.hosts, &cast.agents)?;
        let boot = image(&programs, cast, directory)?;
        let host = Hypervisor::start(directory)?;
        let mut domain = DomainXml::new("v", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9dee", &boot);
        domain.memory = 512;
        domain.console(&directory.join("v.console"));
        let control = directory.join("v.control");
        domain.control(&control);
        host.define(&domain)?;
        host.virsh(&["start", "v"])?;
        let control = Control::connect(&control, stage::BOOT)?;
        Ok(Self {
            control: control.into(),
            _host: host,
        })
    }

    fn run(&self, command: &str) -> Result<Answer, Failure> {
        self.control.borrow_mut().run(command, stage::COMMAND)
    }

    /// Runs an agent. CID 2 is the default and means the host, or here, where there is none, the
    /// guest itself.
    fn ask(&self, agent: Side, port: u16, action: &str) -> Result<Answer, Failure> {
        self.run(&format!(
            "/opt/{agent}/fence_virt -S2 -p {port} -t 20 -o {action}"
        ))
    }

    fn expect(
        &self,
        agent: Side,
        act: &Act,
        action: &str,
        (code, says): Want,
    ) -> Result<Duration, Failure> {
        let answer = self.ask(agent, act.port, action)?;
        ensure!(
            answer.code == code && answer.stdout.contains(says),
            "{action}: exit code {code} and {says:?} expected, but: {}",
            answer.describe()
        );
        Ok(answer.elapsed)
    }

    /// Starts a daemon and waits until it answers.
    fn start(&self, side: Side, act: &Act, cast: &Cast) -> Result<Daemon, Failure> {
        let log = format!("/tmp/{side}-{}.log", act.port);
        let options = format!("-F -d 99 -f {} -p {log}.pid", place(side, act));
        let pid = self.run(&format!(
            "/opt/{side}/fence_virtd {options} >{log} 2>&1 & echo $!"
        ))?;
        let daemon = Daemon {
            pid: pid.stdout.trim().to_owned(),
            log,
        };
        let agent = cast.agents.first().copied().unwrap_or(side);
        let ready = wait::until("the daemon in the guest to answer", 3 * PATIENCE, || {
            let answer = self.ask(agent, act.port, "monitor");
            answer.is_ok_and(|answer| answer.code == 0)
        });
        ready.map_err(|failure| failure.with(&self.log(&daemon)))?;
        Ok(daemon)
    }

    fn log(&self, daemon: &Daemon) -> String {
        let log = self.run(&format!("tail -n 25 {}", daemon.log));
        log.map_or_else(|failure| failure.text().to_owned(), |log| log.stdout)
    }
}

/// Where a configuration is in the guest.
fn place(side: Side, act: &Act) -> String {
    format!("/etc/{side}-{}.conf", act.port)
}

/// The initramfs: agents, daemons with libvirt's libraries, configurations, a key.
fn image(programs: &Programs, cast: &Cast, directory: &Path) -> Result<Boot, Failure> {
    const MODULES: [&str; 3] = ["virtio_pci", "virtio_console", "vsock_loopback"];
    let kernel = Kernel::locate()?;
    let mut image = Initramfs::new()?;
    image.modules(&kernel, &MODULES)?;
    let key = fs::read(forge::write_key(&directory.join("key"))?)?;
    stage::add_agents(&mut image, programs, &key)?;
    if cast.hosts.contains(&Side::Ours) {
        let daemon = stripped(programs.virtd(Side::Ours), directory)?;
        image.program(&daemon, "/opt/ours/fence_virtd")?;
    }
    if cast.hosts.contains(&Side::C) {
        image.program(programs.virtd(Side::C), "/opt/c/fence_virtd")?;
        for plugin in ["vsock.so", "virt.so"] {
            let plugin = format!("{C_MODULES}/{plugin}");
            image.program(Path::new(&plugin), &plugin)?;
        }
    }
    for side in &cast.hosts {
        for act in ACTS {
            let text = configuration(*side, act)?;
            image.file(&place(*side, act), 0o600, text.as_bytes())?;
        }
    }
    let archive = image.write(&directory.join("guest.cpio"))?;
    Ok(Boot::new(&kernel, &archive))
}

/// A copy without debug information, which is most of a debug build.
fn stripped(program: &Path, directory: &Path) -> Result<PathBuf, Failure> {
    let copy = directory.join("fence_virtd.stripped");
    let mut strip = Command::new("strip");
    let output = strip.arg("-o").arg(&copy).arg(program).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "strip: {said}");
    Ok(copy)
}

fn configuration(side: Side, act: &Act) -> Result<String, Failure> {
    let mut text = String::from("fence_virtd { listener = \"vsock\"; backend = \"libvirt\";\n");
    if side == Side::C {
        writeln!(text, "module_path = \"{C_MODULES}\";")?;
    }
    writeln!(
        text,
        "}}\nlisteners {{ vsock {{ port = \"{}\"; }} }}\n\
         backends {{ libvirt {{ uri = \"test:///default\"; }} }}\n\
         groups {{ group {{ uuid = \"test\"; ip = \"{}\"; }} }}",
        act.port, act.source
    )?;
    Ok(text)
}
