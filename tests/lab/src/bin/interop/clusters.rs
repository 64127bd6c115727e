//! Several listeners in one daemon of ours: two clusters of guests, each on a bridge of its own with a
//! key and groups of its own, on the same multicast group and port; and TCP beside them.

use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::net::BRIDGE;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Group, Guest, Net, Side, Verdict, ensure, forge};
use fence_proto::Family;

use crate::{Bench, Job};

/// The second cluster's bridge.
const SECOND: &str = "br1";

/// The second guest's address there, and the host's.
const GREEN_GUEST: &str = "10.78.0.3";
const GREEN_HOST: &str = "10.78.0.1";

type Case = fn(&Clusters<'_>, &mut Group) -> Result<(), Failure>;

/// The jobs for one side's agents.
pub(crate) fn jobs(agent: Side) -> Vec<Job> {
    let cases: [(&str, Case); 3] = [
        ("each of two clusters fences its own only", each_its_own),
        ("a listener that is missing ends the daemon", missing),
        (
            "a listener that is missing is waited for while the other serves",
            waited_for,
        ),
    ];
    let job = |(name, case): (&str, Case)| Job {
        name: format!("host ours, agent {agent}: {name}"),
        host: Side::Ours,
        agent,
        run: Box::new(move |bench, group| {
            let net = Net::new()?;
            let clusters = Clusters::of(bench, &net)?;
            case(&clusters, group)
        }),
    };
    cases.into_iter().map(job).collect()
}

/// The first guest is in the cluster "blue", the second in "green".
struct Clusters<'a> {
    bench: &'a Bench<'a>,
    net: &'a Net,
    blue: HostConfig,
    green: HostConfig,
}

impl<'a> Clusters<'a> {
    fn of(bench: &'a Bench<'a>, net: &'a Net) -> Result<Self, Failure> {
        let config = HostConfig::new(Transport::Multicast, Family::Ipv4, bench.port);
        let mut blue = bench.furnish(config, "host")?;
        let mut green = blue.clone();
        green.key_file = forge::write_key(&bench.directory.join("green-key"))?;
        green.interface = Some(SECOND.to_owned());
        let whole = Some(text(&blue, &green));
        blue.whole.clone_from(&whole);
        green.whole = whole;
        Ok(Self {
            bench,
            net,
            blue,
            green,
        })
    }

    /// Makes the second bridge and moves the second guest there.
    fn second_bridge(&self) -> Result<(), Failure> {
        self.net.dom0.ip(&format!(
            "link add {SECOND} type bridge mcast_snooping 0 forward_delay 0\n\
             link set {SECOND} up\n\
             addr add {GREEN_HOST}/24 dev {SECOND}\n\
             link set g2 master {SECOND} up\n"
        ))?;
        self.net.guest(Guest::Second).ip(&format!(
            "addr flush dev eth0\naddr add {GREEN_GUEST}/24 dev eth0\n\
             route add default via {GREEN_HOST}\n"
        ))
    }

    fn launch<'b>(&'b self, name: &'b str) -> fence_lab::host::Launch<'b> {
        fence_lab::host::Launch {
            namespace: &self.net.dom0,
            ..self.bench.launch(name)
        }
    }

    fn agent(&self, config: &HostConfig, guest: Guest) -> Agent<'_> {
        let place = fence_lab::agent::Place {
            net: self.net,
            ..self.bench.place()
        };
        Agent::fitting(config, Side::Ours, &place).from_guest(guest)
    }
}

fn text(blue: &HostConfig, green: &HostConfig) -> String {
    let uri = blue.uris.concat();
    let listener = |name: &str, config: &HostConfig| {
        format!(
            "multicast = \"{name}\" {{ key_file = \"{}\"; port = \"{}\"; interface = \"{}\"; }}\n",
            config.key_file.display(),
            config.port,
            config.interface.as_deref().unwrap_or(BRIDGE)
        )
    };
    let group = |name: &str, member: &str, source: &str| {
        format!("groups = \"{name}\" {{ group {{ uuid = \"{member}\"; ip = \"{source}\"; }} }}\n")
    };
    let first = Guest::First.address(Family::Ipv4).to_string();
    [
        "fence_virtd { listener = \"multicast\"; listener = \"tcp\"; backend = \"libvirt\"; }\n"
            .to_owned(),
        "listeners {\n".to_owned(),
        listener("blue", blue),
        listener("green", green),
        // Whoever comes by TCP has the green key.
        format!(
            "tcp {{ key_file = \"{}\"; port = \"{}\"; address = \"0.0.0.0\"; }}\n}}\n",
            green.key_file.display(),
            blue.port
        ),
        format!("backends {{ libvirt {{ uri = \"{uri}\"; }} }}\n"),
        group("blue", VM1.name, &first),
        group("green", BYSTANDER.name, GREEN_GUEST),
        group("tcp", VM1.name, GREEN_GUEST),
    ]
    .concat()
}

fn each_its_own(clusters: &Clusters<'_>, group: &mut Group) -> Result<(), Failure> {
    clusters.second_bridge()?;
    let mut host = clusters.launch("host").start_ready(clusters.blue.clone())?;
    wait::until("both listeners", PATIENCE, || {
        host.process
            .stderr()
            .contains("ready: serving blue, green, tcp")
    })?;
    let blue = clusters.agent(&clusters.blue, Guest::First);
    let green = clusters.agent(&clusters.green, Guest::Second);
    group.case("blue's own", code(&blue, &["-o", "off", "-n", VM1.name], 0));
    group.case("it is off", blue.expect_state(VM1.name, false));
    group.case("green's own", green.expect_state(BYSTANDER.name, true));
    for (name, agent, other) in [("blue", &blue, BYSTANDER), ("green", &green, VM1)] {
        for action in ["off", "reboot", "status"] {
            let denied = code(agent, &["-o", action, "-n", other.name], 3);
            group.case(&format!("{name}, {action} of the other's"), denied);
        }
    }
    group.case("blue's list", list(&blue, VM1.name));
    group.case("green's list", list(&green, BYSTANDER.name));
    let wrong = clusters.agent(&clusters.blue, Guest::Second);
    let unheard = wrong.run(&["-o", "off", "-n", VM1.name, "-t", "3"])?;
    group.case("the other's key is not heard", fails(&unheard));
    let log = host.process.stderr();
    let told = |line: &str| line.contains("bad-signature") && line.contains("green");
    let named = if log.lines().any(told) {
        Ok(())
    } else {
        Err(Failure::new(
            "no line says where the bad signature was heard",
        ))
    };
    group.case("the log says where", named);
    let mut tcp = HostConfig::new(Transport::Tcp, Family::Ipv4, clusters.blue.port);
    tcp.address = Some(GREEN_HOST.to_owned());
    tcp.key_file.clone_from(&clusters.green.key_file);
    let by_tcp = clusters.agent(&tcp, Guest::Second);
    group.case("by TCP", code(&by_tcp, &["-o", "on", "-n", VM1.name], 0));
    let denied = code(&by_tcp, &["-o", "off", "-n", BYSTANDER.name], 3);
    group.case("by TCP, what only green may", denied);
    let unharmed = green.expect_state(BYSTANDER.name, true);
    group.case("green's domain runs on", unharmed);
    let end = host.terminate(Duration::from_secs(1));
    group.case("it ends within a second", end.map(drop));
    Ok(())
}

fn missing(clusters: &Clusters<'_>, group: &mut Group) -> Result<(), Failure> {
    let mut host = clusters.launch("host").start(clusters.blue.clone(), &[])?;
    let status = host.process.wait(PATIENCE)?;
    let log = host.process.stderr();
    group.case("it ends with a failure", {
        let good = status.code() == Some(1) && log.contains("listener green: interface 'br1'");
        if good {
            Ok(())
        } else {
            Err(Failure::new(format!("{status}: {log}")))
        }
    });
    Ok(())
}

fn waited_for(clusters: &Clusters<'_>, group: &mut Group) -> Result<(), Failure> {
    let launch = clusters.launch("host");
    let mut host = launch.start(clusters.blue.clone(), &["-w"])?;
    host.wait_ready()?;
    let blue = clusters.agent(&clusters.blue, Guest::First);
    group.case(
        "the one that is there serves",
        blue.expect_state(VM1.name, true),
    );
    let log = host.process.stderr();
    group.case("the other one is named, and the daemon is not ready", {
        let waits = log.contains("waiting: interface 'br1'") && !log.contains("ready:");
        if waits {
            Ok(())
        } else {
            Err(Failure::new(log))
        }
    });
    clusters.second_bridge()?;
    wait::until("the other listener", PATIENCE, || {
        host.process
            .stderr()
            .contains("ready: serving blue, green, tcp")
    })?;
    let green = clusters.agent(&clusters.green, Guest::Second);
    group.case(
        "then it serves too",
        green.expect_state(BYSTANDER.name, true),
    );
    // And it goes and comes back while the first one goes on.
    clusters.net.dom0.ip(&format!("link del {SECOND}\n"))?;
    group.case("the first goes on", blue.expect_state(VM1.name, true));
    clusters.net.dom0.ip("link set g2 down\n")?;
    clusters.second_bridge()?;
    let heard = wait::until("the second to be heard again", PATIENCE, || {
        let status = ["-o", "status", "-n", BYSTANDER.name, "-t", "1", "-r", "3"];
        green.run(&status).is_ok_and(|answer| answer.code == 0)
    });
    group.case("the second comes back", heard);
    let end = host.terminate(Duration::from_secs(1));
    group.case("it ends within a second", end.map(drop));
    Ok(())
}

fn code(agent: &Agent<'_>, options: &[&str], wanted: i32) -> Verdict {
    let answer = agent.run(options)?;
    ensure!(answer.code == wanted, "{}", answer.describe());
    Ok(())
}

fn fails(answer: &fence_lab::Answer) -> Verdict {
    ensure!(![0, 2, 3].contains(&answer.code), "{}", answer.describe());
    Ok(())
}

fn list(agent: &Agent<'_>, only: &str) -> Verdict {
    let answer = agent.run(&["-o", "list"])?;
    let names: Vec<_> = answer
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    ensure!(names == [only], "{}", answer.describe());
    Ok(())
}
