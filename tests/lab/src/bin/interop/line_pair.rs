//! Serial devices and VM channels: daemon and agent with a guest's device between them.
//!
//! The device is the bystander's, which is never fenced itself. The test driver says that it is a
//! UNIX socket, and the lab stands in for the hypervisor that would make it.

use core::fmt::Write;
use std::path::Path;

use fence_lab::config::{C_MODULES, GroupText, write_groups};
use fence_lab::domains::{self, BYSTANDER, LONG, VM1};
use fence_lab::line::{Noise, Port, Way};
use fence_lab::process::Process;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Group, Guest, Side, Verdict, ensure};
use fence_proto::serial::Request;
use fence_proto::{Action, DomainRef};

use crate::matrix::run_rows;
use crate::table::{After, REBOOT_ROWS, ROWS, Row, Target, Want, row};
use crate::{Bench, Job};

/// What a line carries beside frames: also what starts like a magic.
const NOISE: &[u8] = b"\r\nlogin: ab\0";

/// The groups of a daemon.
type Rules = fn() -> Vec<GroupText>;

/// The configurations of one pairing.
pub(crate) fn jobs(host: Side, agent: Side) -> Vec<Job> {
    let configurations: [(&str, Rules, &[Row]); 4] = [
        ("matrix", Vec::new, ROWS),
        ("reboot", Vec::new, REBOOT_ROWS),
        ("groups", member, MEMBER),
        ("no group", stranger, STRANGER),
    ];
    let mut jobs = Vec::new();
    for way in Way::ALL {
        for (what, rules, rows) in configurations {
            jobs.push(Job {
                name: format!("{what}: host {host}, agent {agent}: {}", way.mode()),
                host,
                agent,
                run: Box::new(move |bench, group| configuration(bench, way, (rules, rows), group)),
            });
        }
    }
    jobs.push(Job {
        name: format!("half a request [D34]: host {host}, agent {agent}: serial"),
        host,
        agent,
        run: Box::new(|bench, group| {
            let stage = Stage::new(bench, Way::Serial, Vec::new)?;
            group.case("the next request", half_a_request(&stage));
            stage.note(group);
            Ok(())
        }),
    });
    jobs
}

/// An agent was killed while it wrote, and the next one asks at once.
fn half_a_request(stage: &Stage<'_>) -> Verdict {
    let request = |action| {
        let request = Request {
            action,
            domain: DomainRef::new(VM1.name)?,
            uuid_flag: false,
            seqno: 1,
        };
        Ok::<_, Failure>(request.encode())
    };
    let off = request(Action::Off)?;
    let half = off.get(..40).unwrap_or_default();
    let whole = request(Action::Status)?;
    stage.port.write(&[half, &whole].concat())?;
    let log = || stage.daemon.log();
    if stage.bench.host == Side::C {
        // It makes one request of the two, and does what the first one wanted.
        let destroyed = || log().contains("Calling virDomainDestroy");
        return wait::until("the original to destroy", PATIENCE, destroyed);
    }
    let agent = Agent::on_line(stage.port.options(), &stage.bench.place());
    agent.expect_state(VM1.name, true)?;
    ensure!(!log().contains("action=off"), "half a request was served");
    Ok(())
}

/// The bystander, by its UUID as a source must be, may fence vm1, listed by its name.
fn member() -> Vec<GroupText> {
    vec![
        GroupText {
            members: vec![BYSTANDER.uuid.to_owned(), VM1.name.to_owned()],
            sources: Vec::new(),
        },
        GroupText {
            members: vec![LONG.uuid.to_owned()],
            sources: Vec::new(),
        },
    ]
}

const MEMBER: &[Row] = &[
    row(
        "list",
        "list",
        Target::Nothing,
        Want::List(&[(VM1, true), (BYSTANDER, true)]),
    ),
    row("monitor", "monitor", Target::Nothing, Want::Success),
    row("off of a member", "off", Target::Name(VM1), Want::Success).then(After::Off(VM1)),
    row(
        "status of another's",
        "status",
        Target::Name(LONG),
        Want::Denied,
    ),
    row(
        "off of another's by UUID",
        "off",
        Target::Uuid(LONG),
        Want::Denied,
    ),
];

/// The bystander is in no group.
fn stranger() -> Vec<GroupText> {
    vec![GroupText {
        members: vec![VM1.name.to_owned()],
        sources: Vec::new(),
    }]
}

const STRANGER: &[Row] = &[
    row("list", "list", Target::Nothing, Want::List(&[])),
    row("monitor", "monitor", Target::Nothing, Want::Success),
    row("status", "status", Target::Name(VM1), Want::Denied),
    row("off", "off", Target::Name(VM1), Want::Denied),
    row(
        "off of itself",
        "off",
        Target::Uuid(BYSTANDER),
        Want::Denied,
    ),
];

fn configuration(
    bench: &Bench<'_>,
    way: Way,
    (rules, rows): (Rules, &[Row]),
    group: &mut Group,
) -> Result<(), Failure> {
    let stage = Stage::new(bench, way, rules)?;
    let agent = Agent::on_line(stage.port.options(), &bench.place());
    run_rows(rows, &agent, bench.host, group);
    stage.note(group);
    Ok(())
}

/// A daemon that is connected to the bystander's device.
struct Stage<'a> {
    bench: &'a Bench<'a>,
    port: Port,
    daemon: Process,
}

impl<'a> Stage<'a> {
    fn new(bench: &'a Bench<'_>, way: Way, rules: Rules) -> Result<Self, Failure> {
        let socket = bench.directory.join("port");
        let guest = bench.net.guest(Guest::First);
        let noise = Noise {
            // D34: it takes every 74 bytes for a request.
            host: if bench.host == Side::C { b"" } else { NOISE },
            guest: NOISE,
        };
        let port = Port::open(way, &socket, guest, noise)?;
        let daemon = start(bench, way, &socket, &rules())?;
        let connected = port.wait_connected();
        connected.map_err(|failure| failure.with(&daemon.tail()))?;
        Ok(Self {
            bench,
            port,
            daemon,
        })
    }

    /// Adds the daemon's log to a group that has failed.
    fn note(&self, group: &mut Group) {
        if group.has_failed() {
            group.note(&self.daemon.tail());
        }
    }
}

fn start(
    bench: &Bench<'_>,
    way: Way,
    socket: &Path,
    groups: &[GroupText],
) -> Result<Process, Failure> {
    let domains = bench.directory.join("domains.xml");
    let device = format!("<devices>{}</devices>", way.xml(socket));
    domains::write_with(&domains, BYSTANDER, &device)?;
    let file = bench.directory.join("daemon.conf");
    std::fs::write(&file, config(bench, way, &domains, groups)?)?;
    let program = bench.programs.virtd(bench.host);
    let mut command = bench.net.dom0.command("stdbuf");
    command
        .arg("-oL")
        .arg(program)
        .args(["-F", "-d", "99", "-f"])
        .arg(file);
    command.arg("-p").arg(bench.directory.join("daemon.pid"));
    Process::spawn(command, "daemon", &bench.directory)
}

fn config(
    bench: &Bench<'_>,
    way: Way,
    domains: &Path,
    groups: &[GroupText],
) -> Result<String, Failure> {
    let uri = format!("test://{}", domains.display());
    let mut text =
        String::from("fence_virtd {\n\tlistener = \"serial\";\n\tbackend = \"libvirt\";\n");
    if bench.host == Side::C {
        writeln!(text, "\tmodule_path = \"{C_MODULES}\";")?;
    }
    writeln!(text, "}}\nlisteners {{\n\tserial {{\n\t\turi = \"{uri}\";")?;
    writeln!(text, "\t\tpath = \"{}\";", bench.directory.display())?;
    writeln!(text, "\t\tmode = \"{}\";", way.mode())?;
    if bench.host == Side::C {
        // It has no use for it, and does not start without.
        writeln!(text, "\t\tkey_file = \"{}\";", bench.key()?.display())?;
    }
    writeln!(
        text,
        "\t}}\n}}\nbackends {{\n\tlibvirt {{\n\t\turi = \"{uri}\";\n\t}}\n}}"
    )?;
    write_groups(groups, &mut text)?;
    Ok(text)
}
