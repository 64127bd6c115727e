//! Every way in, daemon and agent each ours or C: guest a asks about b, reboots it, switches it off
//! and on, and may do nothing to c.

use std::time::Duration;

use fence_lab::{Failure, Side, Verdict, ensure};

use crate::daemon::Daemon;
use crate::sheet::{Pair, Sheet};
use crate::stage::{Ask, Stage};
use crate::way::Way;

/// Plays all pairings of daemon and agent for one way in.
pub(crate) fn play(stage: &Stage, way: Way, sheet: &mut Sheet) -> Verdict {
    for host in &stage.cast.hosts {
        let pairs = stage.cast.agents.iter().map(|agent| Pair {
            host: *host,
            agent: *agent,
        });
        let pairs: Vec<_> = pairs
            .filter(|pair| !stage.cast.is_quick || says_most(way, *pair))
            .collect();
        if pairs.is_empty() {
            continue;
        }
        let daemon = Daemon::start(stage, *host, &[way])?;
        for pair in pairs {
            if sheet.is_hopeless() {
                return Ok(());
            }
            Play { stage, way, pair }.all(&daemon, sheet)?;
        }
    }
    Ok(())
}

/// What a quick run plays: ours with ours by every way in, and ours with a C peer by each of them in
/// one direction.
const fn says_most(way: Way, pair: Pair) -> bool {
    match (pair.host, pair.agent) {
        (Side::Ours, Side::Ours) => true,
        (Side::Ours, Side::C) => matches!(way, Way::Multicast4 | Way::Serial),
        (Side::C, Side::Ours) => matches!(way, Way::Multicast6 | Way::Tcp | Way::Vmchannel),
        (Side::C, Side::C) => false,
    }
}

/// What each case comes to: how long it took.
type Outcome = Result<Duration, Failure>;

/// One way in, with one daemon and one agent.
struct Play<'a> {
    stage: &'a Stage,
    way: Way,
    pair: Pair,
}

impl Play<'_> {
    /// All cases. At the end b is on its way up, while the next pairing asks its first questions.
    fn all(&self, daemon: &Daemon, sheet: &mut Sheet) -> Verdict {
        let mut case = |name: &str, outcome: Outcome| {
            let name = format!("{}: {name}", self.way.name());
            sheet.case(self.pair, &name, daemon.explain(outcome));
        };
        let monitor = self.expect("monitor", "", (0, ""));
        let is_there = monitor.is_ok();
        case("monitor", monitor);
        if !is_there {
            // Everything else would run into its time-out as well.
            return Ok(());
        }
        case("list has b and not c", self.list());
        case(
            "status of b is on",
            self.expect("status", "b", (0, "Status: ON")),
        );
        case("status of c is denied", self.expect("status", "c", (3, "")));
        case("off of c is denied and c lives", self.denied());

        let b = self.stage.b();
        self.stage.restore(b)?;
        let old = self.stage.life(b)?;
        let answered = self.fence("reboot");
        let is_done = answered.is_ok();
        case("reboot of b: its process is gone", answered);
        if is_done {
            case("reboot of b: up again", self.stage.comes_back(b, &old));
        }

        self.stage.restore(b)?;
        case("off of b: its process is gone", self.fence("off"));
        case(
            "status of b is off",
            self.expect("status", "b", (2, "Status: OFF")),
        );
        case("on of b: a process is there", self.on());
        Ok(())
    }

    fn ask<'a>(&self, action: &'a str, target: &'a str) -> Ask<'a> {
        Ask {
            way: self.way,
            agent: self.pair.agent,
            action,
            target,
        }
    }

    fn expect(&self, action: &str, target: &str, want: (i32, &str)) -> Outcome {
        let ask = self.ask(action, target);
        self.stage.expect(self.stage.a(), ask, want)
    }

    fn list(&self) -> Outcome {
        let answer = self.stage.ask(self.stage.a(), self.ask("list", ""))?;
        let has = |name: &str, end: &str| {
            let mut lines = answer.stdout.lines();
            lines.any(|line| line.starts_with(&format!("{name} ")) && line.ends_with(end))
        };
        ensure!(
            answer.code == 0 && has("b", " on") && !has("c", ""),
            "a list with b and without c expected, but: {}",
            answer.describe()
        );
        Ok(answer.elapsed)
    }

    fn denied(&self) -> Outcome {
        let life = self.stage.life(self.stage.c())?;
        let time = self.expect("off", "c", (3, ""))?;
        self.stage.lives(self.stage.c(), &life)?;
        Ok(time)
    }

    /// What was answered with success has happened by then.
    fn fence(&self, action: &str) -> Outcome {
        let qemu = self.stage.qemu(self.stage.b())?;
        let time = self.expect(action, "b", (0, ""))?;
        self.stage.is_gone(self.stage.b(), qemu)?;
        Ok(time)
    }

    fn on(&self) -> Outcome {
        let time = self.expect("on", "b", (0, ""))?;
        self.stage.qemu(self.stage.b())?;
        Ok(time)
    }
}
