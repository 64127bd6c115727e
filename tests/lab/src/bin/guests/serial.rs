//! What our serial listener lives through: guests that come and go, half a request, a libvirtd that
//! is killed and comes back.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fence_lab::wait;
use fence_lab::{Failure, Side, Verdict, ensure};

use crate::daemon::Daemon;
use crate::sheet::{Pair, Sheet};
use crate::stage::{Ask, Stage, Vm};
use crate::way::Way;

/// How soon the daemon must serve again whatever happened.
const RECOVERY: Duration = Duration::from_secs(60);

/// What each case comes to: how long it took.
type Outcome = Result<Duration, Failure>;

/// Plays all of it over the serial line and over the vmchannel, the agents taking turns; a quick run
/// has the serial line only.
pub(crate) fn play(stage: &Stage, sheet: &mut Sheet) -> Verdict {
    if !stage.cast.hosts.contains(&Side::Ours) {
        return Ok(());
    }
    let ways: &[Way] = if stage.cast.is_quick {
        &[Way::Serial]
    } else {
        &[Way::Serial, Way::Vmchannel]
    };
    for (number, way) in ways.iter().copied().enumerate() {
        let agents = &stage.cast.agents;
        let agent = agents.get(number % agents.len()).copied();
        let pair = Pair {
            host: Side::Ours,
            agent: agent.unwrap_or(Side::Ours),
        };
        Play { stage, way, pair }.all(sheet)?;
    }
    Ok(())
}

struct Play<'a> {
    stage: &'a Stage,
    way: Way,
    pair: Pair,
}

impl Play<'_> {
    fn all(&self, sheet: &mut Sheet) -> Verdict {
        self.switch_off(self.stage.d())?;
        let mut daemon = Daemon::start(self.stage, Side::Ours, &[self.way])?;
        let mut case = |name: &str, daemon: &Daemon, outcome: Outcome| {
            let name = format!("{}: {name}", self.way.name());
            sheet.case(self.pair, &name, daemon.explain(outcome));
        };
        let outcome = self.newcomer(&mut daemon);
        case(
            "a guest that starts after the daemon is heard",
            &daemon,
            outcome,
        );
        let outcome = self.fenced(&mut daemon);
        case("a guest that was fenced is heard again", &daemon, outcome);
        case(
            "half a request does no harm",
            &daemon,
            self.half_a_request(),
        );

        self.stage.host.kill_libvirtd()?;
        case(
            "without libvirtd there is no success",
            &daemon,
            self.no_success(),
        );
        self.stage.host.start_libvirtd()?;
        case(
            "libvirtd is back, guests are served",
            &daemon,
            self.served_again(),
        );
        self.switch_off(self.stage.d())?;
        let outcome = self.newcomer(&mut daemon);
        case("a guest that starts after that is heard", &daemon, outcome);

        self.switch_off(self.stage.d())?;
        case(
            "a guest that is gone costs no CPU time",
            &daemon,
            idles(&daemon),
        );
        self.stage.restore(self.stage.d())
    }

    fn switch_off(&self, guest: &Vm) -> Verdict {
        self.stage.host.virsh(&["destroy", guest.name])?;
        guest.hang_up();
        Ok(())
    }

    fn status<'a>(&self, target: &'a str) -> Ask<'a> {
        Ask {
            way: self.way,
            agent: self.pair.agent,
            action: "status",
            target,
        }
    }

    fn newcomer(&self, daemon: &mut Daemon) -> Outcome {
        let d = self.stage.d();
        self.stage.host.virsh(&["start", d.name])?;
        daemon.serves(self.stage, d)?;
        let ask = self.status("c");
        self.stage.expect(d, ask, (0, "Status: ON"))
    }

    fn fenced(&self, daemon: &mut Daemon) -> Outcome {
        let (a, b) = (self.stage.a(), self.stage.b());
        let old = self.stage.life(b)?;
        let ask = Ask {
            action: "reboot",
            ..self.status("b")
        };
        self.stage.expect(a, ask, (0, ""))?;
        self.stage.is_gone(b, old.qemu)?;
        self.stage.comes_back(b, &old)?;
        daemon.serves(self.stage, b)?;
        let ask = self.status("a");
        self.stage.expect(b, ask, (0, "Status: ON"))
    }

    /// The first bytes of "off b", and then the end: of the program that wrote them, or of the
    /// connection. The next request may be lost in it, the one after it is heard.
    fn half_a_request(&self) -> Outcome {
        const HALF: &str = r"printf 'noise\141\142\142\141\001\000b'";
        let (a, b) = (self.stage.a(), self.stage.b());
        let life = self.stage.life(b)?;
        let write = match self.way {
            Way::Serial => format!("{HALF} >/dev/ttyS1"),
            _ => format!("{HALF} | timeout 1 nc 10.0.2.179 1229"),
        };
        a.run(&write)?;
        let time = self.served_again()?;
        self.stage.lives(b, &life)?;
        Ok(time)
    }

    /// An agent must have its answer before its own time-out, which is an answer too.
    fn no_success(&self) -> Outcome {
        let ask = Ask {
            action: "off",
            ..self.status("b")
        };
        let answer = self.stage.ask(self.stage.a(), ask)?;
        ensure!(
            answer.code == 1,
            "a failure expected, but: {}",
            answer.describe()
        );
        let qemu = self.stage.host.qemu(self.stage.b().name);
        ensure!(qemu.is_some(), "guest b is gone after all");
        Ok(answer.elapsed)
    }

    /// How long it takes until a is answered.
    fn served_again(&self) -> Outcome {
        let started = Instant::now();
        let mut last = String::new();
        let served = wait::until("an answer to a", RECOVERY, || {
            match self.stage.ask(self.stage.a(), self.status("b")) {
                Ok(answer) => {
                    last = answer.describe();
                    answer.code == 0 && answer.stdout.contains("Status: ON")
                }
                Err(failure) => {
                    failure.text().clone_into(&mut last);
                    false
                }
            }
        });
        served.map_err(|failure| failure.with(&format!("at last: {last}")))?;
        Ok(started.elapsed())
    }
}

/// Less than a twentieth of a CPU, once it has had a second to come to rest.
fn idles(daemon: &Daemon) -> Outcome {
    const SPAN: Duration = Duration::from_secs(2);
    thread::sleep(Duration::from_secs(1));
    let before = ticks(daemon)?;
    thread::sleep(SPAN);
    let used = ticks(daemon)? - before;
    // A tick is a hundredth of a second.
    ensure!(used <= 10, "{used} ticks of CPU time in {SPAN:?}");
    Ok(Duration::from_millis(10 * used))
}

/// CPU time in the kernel's ticks (proc(5): fields 14 and 15 of stat).
fn ticks(daemon: &Daemon) -> Result<u64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.host.process.pid()))?;
    let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
    let fields: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    ensure!(fields.len() == 2, "the daemon's CPU time cannot be read");
    Ok(fields.iter().sum())
}
