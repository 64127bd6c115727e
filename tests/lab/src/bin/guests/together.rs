//! Four guests, four ways in, at once: one daemon of ours serves them all; of the original it takes
//! a daemon for each way.

use std::thread;
use std::time::{Duration, Instant};

use fence_lab::{Failure, Side, Verdict};

use crate::daemon::Daemon;
use crate::sheet::{Pair, Sheet};
use crate::stage::{Ask, Stage, Vm};
use crate::way::Way;

const WAYS: [Way; 4] = [Way::Multicast4, Way::Tcp, Way::Serial, Way::Vmchannel];

/// Plays all pairings; a quick run has our daemon only, and one agent.
pub(crate) fn play(stage: &Stage, sheet: &mut Sheet) -> Verdict {
    let is_quick = stage.cast.is_quick;
    let agents = if is_quick { 1 } else { usize::MAX };
    for host in &stage.cast.hosts {
        if is_quick && *host == Side::C {
            continue;
        }
        let daemons = match host {
            Side::Ours => vec![Daemon::start(stage, *host, &WAYS)?],
            Side::C => WAYS
                .iter()
                .map(|way| Daemon::start(stage, *host, &[*way]))
                .collect::<Result<_, _>>()?,
        };
        for agent in stage.cast.agents.iter().take(agents) {
            let pair = Pair {
                host: *host,
                agent: *agent,
            };
            let play = Play {
                stage,
                agent: *agent,
            };
            let mut case = |name: &str, outcome: Outcome| {
                let outcome = daemons
                    .iter()
                    .fold(outcome, |outcome, daemon| daemon.explain(outcome));
                sheet.case(pair, &format!("four ways at once: {name}"), outcome);
            };
            case("16 questions", play.questions());
            case("a and c reboot b and d", play.reboots([0, 2]));
            case("b and d reboot a and c", play.reboots([1, 3]));
            for guest in &stage.guests {
                stage.restore(guest)?;
            }
        }
    }
    Ok(())
}

/// What each case comes to: how long it took.
type Outcome = Result<Duration, Failure>;

struct Play<'a> {
    stage: &'a Stage,
    agent: Side,
}

impl Play<'_> {
    /// Every guest asks by its own way, all at the same time.
    fn questions(&self) -> Outcome {
        self.at_once([0, 1, 2, 3], |guest, partner, way| {
            for (action, target, want) in [
                ("monitor", "", (0, "")),
                ("list", "", (0, partner.uuid.as_str())),
                ("status", partner.name, (0, "Status: ON")),
                ("status", partner.uuid.as_str(), (0, "Status: ON")),
            ] {
                self.expect(guest, way, (action, target), want)?;
            }
            Ok(())
        })
    }

    /// Two guests reboot their partners at the same time.
    fn reboots(&self, from: [usize; 2]) -> Outcome {
        self.at_once(from, |guest, partner, way| {
            let old = self.stage.life(partner)?;
            self.expect(guest, way, ("reboot", partner.name), (0, ""))?;
            self.stage.is_gone(partner, old.qemu)?;
            self.stage.comes_back(partner, &old)?;
            Ok(())
        })
    }

    fn expect(
        &self,
        guest: &Vm,
        way: Way,
        (action, target): (&str, &str),
        want: (i32, &str),
    ) -> Verdict {
        let ask = Ask {
            way,
            agent: self.agent,
            action,
            target,
        };
        self.stage.expect(guest, ask, want).map(drop)
    }

    /// Has each of some guests do something, and says how long it took them all.
    fn at_once<const N: usize>(
        &self,
        which: [usize; N],
        work: impl Fn(&Vm, &Vm, Way) -> Verdict + Sync,
    ) -> Outcome {
        let started = Instant::now();
        let work = &work;
        let verdicts = thread::scope(|scope| {
            let spawn = |at: usize| {
                let [guest, partner] = [at, at ^ 1].map(|at| self.stage.guests.get(at));
                let way = WAYS.get(at).copied();
                scope.spawn(move || match (guest, partner, way) {
                    (Some(guest), Some(partner), Some(way)) => work(guest, partner, way),
                    _ => Err(Failure::new("there is no such guest")),
                })
            };
            which.map(spawn).map(|worker| {
                let panicked = || Failure::new("a lab thread panicked");
                worker.join().map_err(|_| panicked()).flatten()
            })
        });
        for verdict in verdicts {
            verdict?;
        }
        Ok(started.elapsed())
    }
}
