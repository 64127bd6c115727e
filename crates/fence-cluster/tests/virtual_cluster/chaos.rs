//! Everything goes wrong at once, at random, and no answer may be false; afterwards all is well again
//! by itself. `CHAOS_SEEDS=from..to` runs others than the usual seeds.

use std::time::Duration;

use fence_cluster::seam::{LeaveReason, Migration};
use fence_proto::{Action, Reply};

use super::bus::FORM;
use super::world::{World, name, uuid};

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let len = u64::try_from(of.len()).unwrap();
        (len > 0).then(|| of[usize::try_from(self.roll(len)).unwrap()])
    }
}

struct Chaos {
    world: World,
    dice: Dice,
    /// Requests that must be answered: nobody harmed their daemon.
    due: Vec<(u32, u64)>,
}

const DOMAINS: [u8; 2] = [1, 2];

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let hosts = if dice.roll(3) == 0 { 5 } else { 3 };
        let mut world = World::new(hosts);
        for number in DOMAINS {
            for node in 1..=hosts {
                if dice.roll(2) == 0 {
                    world.define(node, number);
                }
            }
        }
        world.run_for(Duration::from_millis(50));
        Self {
            world,
            dice,
            due: Vec::new(),
        }
    }

    fn nodes(&self, fits: impl Fn(&super::host::Host) -> bool) -> Vec<u32> {
        let hosts = self.world.hosts.values();
        hosts
            .filter(|host| fits(host))
            .map(|host| host.node)
            .collect()
    }

    /// Hosts that a cluster manager gives something: up, with quorum, and libvirt answers.
    fn managed(&self) -> Vec<u32> {
        let bus = &self.world.bus;
        let calm = bus.forming.is_none();
        self.nodes(|host| calm && host.power && !host.libvirt.hung && bus.has_quorum(host.node))
    }

    fn spoiled(&mut self, node: u32) {
        self.due.retain(|(of, _)| *of != node);
    }

    fn request(&mut self) {
        let serving = self.nodes(|host| host.daemon.as_ref().is_some_and(|d| !d.stopped));
        let Some(node) = self.dice.pick(&serving) else {
            return;
        };
        let actions = [
            Action::Off,
            Action::Off,
            Action::Reboot,
            Action::Reboot,
            Action::On,
        ];
        let action = if self.dice.roll(4) == 0 {
            Action::Status
        } else {
            self.dice.pick(&actions).unwrap()
        };
        let number = self.dice.pick(&DOMAINS).unwrap();
        let domain = if self.dice.roll(2) == 0 {
            name(number)
        } else {
            uuid(number).to_string()
        };
        self.note(&format!("{action} {domain} at {node}"));
        let ticket = self.world.request(node, action, &domain);
        self.due.push((node, ticket));
    }

    fn note(&mut self, what: &str) {
        let at = self.world.now.since_epoch().as_secs_f64();
        self.world.log.push(format!("{at:.4} --- {what}"));
    }

    fn manage(&mut self) {
        let number = self.dice.pick(&DOMAINS).unwrap();
        let managed = self.managed();
        let runs = self.world.runs_of(&name(number));
        let on = self.world.runs_on(number);
        let Some(node) = self.dice.pick(&managed) else {
            return;
        };
        match (runs.is_empty(), self.dice.roll(3)) {
            // Nor does it start what is being rebooted: on a host that cannot be seen, nobody would
            // know.
            (true, _) if self.is_asked_about(number) => {}
            (true, _) => {
                let fresh = !self.world.hosts[&node]
                    .libvirt
                    .domains
                    .contains_key(&uuid(number));
                if fresh && self.dice.roll(2) == 0 {
                    self.world.define(node, number);
                }
                self.note(&format!("boot {number} on {node}"));
                self.world.boot(node, number);
            }
            (false, 0) => {
                if let Some(node) = on.first().filter(|node| managed.contains(node)) {
                    let calm = self.world.hosts[node].libvirt.migration_of(uuid(number));
                    if calm == Migration::None {
                        self.note(&format!("{number} shuts down on {node}"));
                        self.world.shut_down(*node, number);
                    }
                }
            }
            (false, _) => {
                let from = on.first().copied().filter(|from| managed.contains(from));
                let halves = self.nodes(|host| {
                    host.power && host.libvirt.migration_of(uuid(number)) != Migration::None
                });
                let there = self.world.hosts[&node].libvirt.run_of(uuid(number));
                if let Some(from) = from.filter(|from| *from != node && there.is_none())
                    && (halves.is_empty() || self.only_leftovers(number))
                {
                    self.note(&format!("migrate {number} from {from} to {node}"));
                    self.world.migrate(number, from, node);
                }
            }
        }
        // A start in the last moment before a cut nobody can know: either it is said, or it shows that
        // the daemon stands still.
        let frozen = self.nodes(|host| host.daemon.as_ref().is_some_and(|d| d.stopped));
        let moment = if frozen.is_empty() { 10 } else { 6_000 };
        self.world.run_for(Duration::from_millis(moment));
    }

    /// A request for the domain may be under way.
    fn is_asked_about(&self, number: u8) -> bool {
        let texts = [name(number), uuid(number).to_string()];
        self.world.asked.iter().any(|(ticket, asked)| {
            let over = self.world.told(asked.node, *ticket).is_some();
            let old = self.world.now.since(asked.at) > Duration::from_secs(30);
            texts.contains(&asked.domain) && !over && !old
        })
    }

    /// No migration of the domain is under way: what is left of one is not active.
    fn only_leftovers(&self, number: u8) -> bool {
        self.nodes(|host| {
            let domain = host.libvirt.domains.get(&uuid(number));
            host.power && domain.is_some_and(|d| d.run.is_some() && d.migration != Migration::None)
        })
        .is_empty()
    }

    fn go_on_migrating(&mut self) {
        for number in DOMAINS {
            let half = |half| {
                self.nodes(|host| {
                    host.power
                        && host.libvirt.run_of(uuid(number)).is_some()
                        && host.libvirt.migration_of(uuid(number)) == half
                })
            };
            let from = half(Migration::Outgoing).first().copied();
            let to = half(Migration::Incoming).first().copied();
            match (from, to) {
                (Some(from), Some(to)) => {
                    self.note(&format!("{number} switches over to {to}"));
                    self.world.switch_over(number, from, to);
                }
                (None, Some(to)) => {
                    self.note(&format!("the half of {number} on {to} gives up"));
                    self.world.shut_down(to, number);
                }
                _ => {}
            }
        }
    }

    fn harm(&mut self) {
        let all: Vec<_> = self.world.hosts.keys().copied().collect();
        let node = self.dice.pick(&all).unwrap();
        let host = &self.world.hosts[&node];
        let daemon = host.daemon.as_ref().map(|daemon| daemon.stopped);
        let (power, hung) = (host.power, host.libvirt.hung);
        let what = self.dice.roll(9);
        self.note(&format!("harm {what} to {node}"));
        match (what, power, daemon) {
            (0, true, Some(false)) => {
                self.spoiled(node);
                self.world.freeze_daemon(node);
            }
            (1, true, Some(_)) => {
                self.spoiled(node);
                let reason = if self.dice.roll(2) == 0 {
                    LeaveReason::Left
                } else {
                    LeaveReason::ProcessDown
                };
                self.world.end_daemon(node, reason);
            }
            (2, true, _) => {
                let ring = u32::try_from(self.dice.roll(3)).unwrap();
                if self.world.bus.rings.contains_key(&node) {
                    self.world.cut(&[node], ring);
                }
            }
            (3, ..) => self.world.heal(),
            (4, true, _) => {
                self.spoiled(node);
                if self.dice.roll(3) == 0 {
                    self.world.power_off(node);
                } else {
                    self.world.fence(node);
                }
            }
            (5, true, _) if !hung => self.world.hang_libvirt(node),
            (6, true, Some(_)) if self.world.bus.rings.contains_key(&node) => {
                self.world.kill_corosync(node);
            }
            _ => self.mend(),
        }
    }

    fn mend(&mut self) {
        let all: Vec<_> = self.world.hosts.keys().copied().collect();
        for node in all {
            if self.dice.roll(2) == 0 {
                self.mend_host(node);
            }
        }
    }

    fn mend_host(&mut self, node: u32) {
        let host = &self.world.hosts[&node];
        let daemon = host.daemon.as_ref().map(|daemon| daemon.stopped);
        let hung = host.libvirt.hung;
        if !host.power {
            // Longer than a fencing and a boot take.
            self.world.run_for(Duration::from_secs(5));
            self.world.power_on(node);
            return;
        }
        if daemon == Some(true) {
            self.world.thaw_daemon(node);
        }
        if hung {
            self.world.free_libvirt(node);
        }
        let cut = !self.world.bus.rings.contains_key(&node);
        if cut {
            self.world.bus.rings.insert(node, 0);
            self.world.bus.form_in(self.world.now, FORM);
            if daemon.is_some() {
                self.world.restart_corosync(node);
            }
        }
        if daemon.is_none() {
            self.world.start_daemon(node);
        }
    }

    fn step(&mut self) {
        match self.dice.roll(10) {
            0..=3 => self.request(),
            4..=5 => self.manage(),
            6 => self.go_on_migrating(),
            _ => self.harm(),
        }
        let pause = match self.dice.roll(4) {
            0 => self.dice.roll(3_000),
            1 => self.dice.roll(1_000_000),
            2 => self.dice.roll(5_000_000),
            _ => self.dice.roll(30_000),
        };
        self.world.run_for(Duration::from_micros(pause));
    }

    /// Everything is repaired; every domain can be fenced from everywhere.
    fn end_well(&mut self) {
        self.note("the end: everything is repaired");
        self.world.heal();
        let all: Vec<_> = self.world.hosts.keys().copied().collect();
        for node in &all {
            self.mend_host(*node);
        }
        self.go_on_migrating();
        self.world.run_for(Duration::from_secs(30));
        for (node, ticket) in &self.due {
            let told = self.world.told(*node, *ticket);
            assert!(
                told.is_some(),
                "{ticket} was not answered\n{}",
                self.story()
            );
        }
        for number in DOMAINS {
            let known = self.nodes(|host| host.libvirt.domains.contains_key(&uuid(number)));
            for node in all.iter().filter(|_| !known.is_empty()) {
                let off = self
                    .world
                    .reply(*node, Action::Off, &uuid(number).to_string());
                assert_eq!(off, Reply::Success, "{number} at {node}\n{}", self.story());
                let status = self.world.reply(*node, Action::Status, &name(number));
                assert_eq!(status, Reply::Off, "{number} at {node}\n{}", self.story());
            }
        }
    }

    fn story(&self) -> String {
        self.world.log.join("\n")
    }
}

fn run(seed: u64) {
    let mut chaos = Chaos::new(seed);
    for _ in 0..60 {
        chaos.step();
    }
    chaos.end_well();
}

#[test]
fn no_answer_is_false_and_none_is_missing_whatever_happens() {
    let seeds = std::env::var("CHAOS_SEEDS").ok();
    let seeds = seeds.as_deref().and_then(|range| range.split_once(".."));
    let seeds = seeds.map_or(0..150, |(from, to)| {
        from.parse().unwrap()..to.parse().unwrap()
    });
    for seed in seeds {
        let run = std::panic::catch_unwind(|| run(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}
