//! Several hosts on one multicast group, each with domains of its own (row L5): with
//! `answer_unknown = "no"` the one that has the domain answers, whoever would be first.

use std::fs;
use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains;
use fence_lab::host::Launch;
use fence_lab::libvirtd::Libvirtd;
use fence_lab::net::{self, BRIDGE, Namespace};
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Guest, Host, Net, Side, Verdict, ensure};
use fence_proto::Family;
use nix::sys::signal::Signal;

use crate::{Bench, Job};

type Case = fn(&Hosts<'_>) -> Verdict;

const OURS: &[(&str, Case)] = &[
    ("each of three hosts answers for its own (L5)", each_its_own),
    ("nobody speaks for a domain that no host has (L5)", unknown),
    ("a host that cannot tell stays silent (L5)", unclear),
    (
        "a definition that was left behind does not answer for a domain that is on (L2, L5)",
        left_behind,
    ),
    (
        "a domain that comes while the agent asks is found (L5)",
        comes_meanwhile,
    ),
    ("monitor and list are answered by any host", any_host),
];

/// One job for each case. The original shows what it is about.
pub(crate) fn jobs(host: Side, agent: Side) -> Vec<Job> {
    let both: &[(&str, Case)] = &[(
        "of a domain of a host that does not answer nobody says that it is off (L5)",
        owner_is_silent,
    )];
    let own: &[_] = if host == Side::Ours { OURS } else { &[] };
    own.iter()
        .chain(both)
        .map(|(name, case)| Job {
            name: format!("host {host}, agent {agent}: {name}"),
            host,
            agent,
            run: Box::new(move |bench, group| {
                let net = Net::new()?;
                let third = third_host(&net)?;
                let hosts = Hosts {
                    bench,
                    net: &net,
                    third: &third,
                };
                group.case(name, case(&hosts));
                Ok(())
            }),
        })
        .collect()
}

/// A machine more on the bridge.
fn third_host(net: &Net) -> Result<Namespace, Failure> {
    let third = Namespace::new(&format!("{}-h3", net::unique()))?;
    net.dom0.ip(&format!(
        "link add h3 type veth peer name eth0 netns {}\nlink set h3 master {BRIDGE} up\n",
        third.name()
    ))?;
    let (address, gateway) = (
        net::address(Family::Ipv4, 4),
        net::host_address(Family::Ipv4),
    );
    third.ip(&format!(
        "link set eth0 up\naddr add {address}/24 dev eth0\nroute add default via {gateway}\n"
    ))?;
    Ok(third)
}

/// Three machines on one bridge, and the first guest.
struct Hosts<'a> {
    bench: &'a Bench<'a>,
    net: &'a Net,
    third: &'a Namespace,
}

#[derive(Clone, Copy)]
enum Machine {
    First,
    Second,
    Third,
}

impl Hosts<'_> {
    /// Starts a machine's daemon over these hypervisors.
    fn start(&self, machine: Machine, uris: Vec<String>) -> Result<Host, Failure> {
        let (name, namespace, interface) = match machine {
            Machine::First => ("first", &self.net.dom0, BRIDGE),
            Machine::Second => ("second", self.net.guest(Guest::Second), "eth0"),
            Machine::Third => ("third", self.third, "eth0"),
        };
        let mut config = HostConfig::new(Transport::Multicast, Family::Ipv4, self.bench.port);
        config.key_file = self.bench.key()?;
        config.interface = Some(interface.to_owned());
        config.uris = uris;
        config.answer_unknown = false;
        let launch = Launch {
            namespace,
            ..self.bench.launch(name)
        };
        launch.start_ready(config)
    }

    /// A hypervisor inside the daemon with these domains, the names of those that are off begin with a dash.
    fn node(&self, name: &str, domains: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
        let file = self.bench.directory.join(format!("{name}.xml"));
        let mut xml = "<node>".to_owned();
        for (domain, uuid) in domains {
            let (domain, state) = match domain.strip_prefix('-') {
                Some(off) => (off, "<test:runstate>5</test:runstate>"),
                None => (*domain, ""),
            };
            xml += &domains::definition(domain, uuid, state)?;
        }
        fs::write(&file, xml + "</node>")?;
        Ok(vec![format!("test://{}", file.display())])
    }

    fn start_with(
        &self,
        machine: Machine,
        name: &str,
        domains: &[(&str, &str)],
    ) -> Result<Host, Failure> {
        self.start(machine, self.node(name, domains)?)
    }

    fn agent(&self, host: &Host) -> Agent<'_> {
        let place = fence_lab::agent::Place {
            net: self.net,
            ..self.bench.place()
        };
        Agent::fitting(&host.config, host.side, &place)
    }
}

/// Others than the lab's own, so that no host has them by chance.
const OWN: [(&str, &str); 3] = [
    ("one", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c01"),
    ("two", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c02"),
    ("three", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c03"),
];

fn each_its_own(hosts: &Hosts<'_>) -> Verdict {
    let [one, two, three] = OWN;
    let first = hosts.start_with(Machine::First, "one", &[one])?;
    let _second = hosts.start_with(Machine::Second, "two", &[two])?;
    let _third = hosts.start_with(Machine::Third, "three", &[three])?;
    let agent = hosts.agent(&first);
    for _ in 0..4 {
        for (name, uuid) in OWN {
            agent.expect_state(name, true)?;
            agent.expect_state(uuid, true)?;
        }
    }
    for (name, _) in OWN {
        for action in ["reboot", "off"] {
            let answer = agent.act(action, name)?;
            ensure!(answer.code == 0, "{action} {name}: {}", answer.describe());
        }
        // Only a definition now: answered when the agent asks again.
        agent.expect_state(name, false)?;
        let answer = agent.act("on", name)?;
        ensure!(answer.code == 0, "on {name}: {}", answer.describe());
        agent.expect_state(name, true)?;
    }
    Ok(())
}

fn unknown(hosts: &Hosts<'_>) -> Verdict {
    let first = hosts.start_with(Machine::First, "one", &[OWN[0]])?;
    let second = hosts.start_with(Machine::Second, "two", &[OWN[1]])?;
    let agent = hosts.agent(&first);
    for action in ["status", "off", "on", "reboot"] {
        let options = ["-o", action, "-n", domains::NOBODY, "-t", "3", "-r", "5"];
        let answer = agent.run(&options)?;
        ensure!(
            ![0, 2, 3].contains(&answer.code),
            "{action}: {}",
            answer.describe()
        );
    }
    for host in [&first, &second] {
        ensure!(
            host.process.stderr().contains("not-here"),
            "no word of it in the log"
        );
    }
    Ok(())
}

fn unclear(hosts: &Hosts<'_>) -> Verdict {
    let first = hosts.start_with(Machine::First, "one", &[OWN[0]])?;
    let mut uris = hosts.node("two", &[OWN[1]])?;
    uris.push("test+unix:///default?socket=/nonexistent/libvirt-sock".to_owned());
    let second = hosts.start(Machine::Second, uris)?;
    let agent = hosts.agent(&first);
    for _ in 0..4 {
        agent.expect_state("one", true)?;
        agent.expect_state("two", true)?;
    }
    let answer = agent.run(&["-o", "status", "-n", domains::NOBODY, "-t", "3"])?;
    ensure!(![0, 2, 3].contains(&answer.code), "{}", answer.describe());
    wait::until("the reason in the log", PATIENCE, || {
        second.process.stderr().contains("presence-unclear")
    })
}

fn left_behind(hosts: &Hosts<'_>) -> Verdict {
    let (name, uuid) = OWN[0];
    let off = format!("-{name}");
    let _first = hosts.start_with(Machine::First, "a", &[(&off, uuid)])?;
    let second = hosts.start_with(Machine::Second, "b", &[(name, uuid)])?;
    let _third = hosts.start_with(Machine::Third, "c", &[(&off, uuid)])?;
    let agent = hosts.agent(&second);
    for _ in 0..10 {
        agent.expect_state(name, true)?;
    }
    let answer = agent.act("off", name)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    let log = second.process.stderr();
    let done = log
        .lines()
        .any(|line| line.contains("answered") && line.contains("action=off"));
    ensure!(done, "another host answered: {log}");
    agent.expect_state(name, false)
}

fn comes_meanwhile(hosts: &Hosts<'_>) -> Verdict {
    let first = hosts.start_with(Machine::First, "one", &[OWN[0]])?;
    let libvirtd = Libvirtd::start(&hosts.bench.directory.join("libvirtd"))?;
    let second = hosts.start(Machine::Second, vec![libvirtd.uri()])?;
    let agent = hosts.agent(&first);
    let (name, uuid) = OWN[1];
    let running = agent.spawn(&["-o", "off", "-n", name, "-r", "5"])?;
    wait::until("both hosts to be silent", PATIENCE, || {
        [&first, &second]
            .iter()
            .all(|host| host.process.stderr().contains("not-here"))
    })?;
    libvirtd.add_domain(name, uuid)?;
    let answer = running.finish(Duration::from_secs(20))?;
    ensure!(answer.code == 0, "{}", answer.describe());
    ensure!(!libvirtd.is_running(name)?, "it runs on");
    ensure!(libvirtd.destroyed(name)? == 1, "destroyed more than once");
    Ok(())
}

fn any_host(hosts: &Hosts<'_>) -> Verdict {
    let first = hosts.start_with(Machine::First, "one", &[OWN[0]])?;
    let _second = hosts.start_with(Machine::Second, "two", &[OWN[1]])?;
    let agent = hosts.agent(&first);
    for _ in 0..4 {
        let answer = agent.act("monitor", "")?;
        ensure!(answer.code == 0, "{}", answer.describe());
        let answer = agent.act("list", "")?;
        let names = ["one", "two"].map(|name| answer.stdout.contains(name));
        // The list is one host's, never a mixture.
        ensure!(
            answer.code == 0 && names[0] != names[1],
            "{}",
            answer.describe()
        );
    }
    Ok(())
}

/// The first host has no such domain, the second has it and stands still. The original's first host
/// answers that the domain is off, while it runs.
fn owner_is_silent(hosts: &Hosts<'_>) -> Verdict {
    let first = hosts.start_with(Machine::First, "one", &[OWN[0]])?;
    let second = hosts.start_with(Machine::Second, "two", &[OWN[1]])?;
    let agent = hosts.agent(&first);
    second.process.signal(Signal::SIGSTOP)?;
    let answer = agent.run(&["-o", "status", "-n", "two", "-t", "4"]);
    second.process.signal(Signal::SIGCONT)?;
    let answer = answer?;
    match hosts.bench.host {
        Side::C => ensure!(answer.code == 2, "the original says: {}", answer.describe()),
        Side::Ours => ensure!(![0, 2, 3].contains(&answer.code), "{}", answer.describe()),
    }
    Ok(())
}
