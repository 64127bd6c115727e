//! Guests in a bad way: whatever state a guest is in when it is fenced, it is really gone when the
//! answer is success, and it can be switched on again.

use std::time::Duration;

use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Failure, Side, Verdict, ensure};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::sheet::{Pair, Sheet};
use crate::stage::{Ask, Stage};
use crate::way::Way;

/// How a guest gets into a state, and what proves that it is in it.
type Spoil = fn(&Stage) -> Verdict;

const STATES: &[(&str, Spoil)] = &[
    ("paused", pause),
    ("crashed, which libvirt knows", crash),
    ("crashed, which nobody knows", crash_silently),
    ("hung at 100 % CPU", hang),
];

/// libvirt waits 10 s for a process that does not end, so this takes the longest.
const LONGEST: (&str, Spoil) = ("whose qemu is stopped by signal", stop);

/// Plays all states, the agents taking turns; a quick run has our daemon only, and `off`.
pub(crate) fn play(stage: &Stage, sheet: &mut Sheet) -> Verdict {
    let is_quick = stage.cast.is_quick;
    let actions: &[&str] = if is_quick {
        &["off"]
    } else {
        &["off", "reboot"]
    };
    for host in &stage.cast.hosts {
        if is_quick && *host == Side::C {
            continue;
        }
        let daemon = Daemon::start(stage, *host, &[Way::Multicast4])?;
        let mut states = STATES.to_vec();
        if !is_quick && *host == Side::Ours {
            states.push(LONGEST);
        }
        for (number, (name, spoil)) in states.into_iter().enumerate() {
            let agents = &stage.cast.agents;
            let agent = agents.get(number % agents.len()).copied();
            let pair = Pair {
                host: *host,
                agent: agent.unwrap_or(*host),
            };
            if sheet.is_hopeless() {
                return Ok(());
            }
            for action in actions {
                let outcome = daemon.explain(fence(stage, pair, action, spoil));
                sheet.case(pair, &format!("{action} of a guest {name}"), outcome);
                stage.restore(stage.b())?;
            }
        }
    }
    Ok(())
}

fn fence(stage: &Stage, pair: Pair, action: &str, spoil: Spoil) -> Result<Duration, Failure> {
    let b = stage.b();
    let old = stage.life(b)?;
    spoil(stage)?;
    let ask = |action| Ask {
        way: Way::Multicast4,
        agent: pair.agent,
        action,
        target: "b",
    };
    let time = stage.expect(stage.a(), ask(action), (0, ""))?;
    stage.is_gone(b, old.qemu)?;
    if action == "off" {
        stage.expect(stage.a(), ask("status"), (2, "Status: OFF"))?;
        stage.expect(stage.a(), ask("on"), (0, ""))?;
    }
    stage.comes_back(b, &old)?;
    Ok(time)
}

fn pause(stage: &Stage) -> Verdict {
    stage.host.virsh(&["suspend", stage.b().name])?;
    reaches(stage, "paused")
}

fn crash(stage: &Stage) -> Verdict {
    stage.b().begin("echo c >/proc/sysrq-trigger")?;
    reaches(stage, "crashed")
}

/// Without the module that tells the host, a crashed guest is a running one.
fn crash_silently(stage: &Stage) -> Verdict {
    let b = stage.b();
    b.run("rmmod pvpanic_mmio")?;
    b.begin("echo c >/proc/sysrq-trigger")?;
    wait::until("the kernel's last words", PATIENCE, || {
        std::fs::read_to_string(&b.console).is_ok_and(|text| text.contains("Kernel panic"))
    })?;
    reaches(stage, "running")
}

/// A process of real time priority and no limit to it: nothing else runs in the guest.
fn hang(stage: &Stage) -> Verdict {
    let b = stage.b();
    b.run("echo -1 >/proc/sys/kernel/sched_rt_runtime_us")?;
    b.begin("chrt -f 99 sh -c 'while :; do :; done'")?;
    wait::until("the guest to answer no more", PATIENCE, || {
        !b.answers(Duration::from_secs(2))
    })?;
    reaches(stage, "running")
}

fn stop(stage: &Stage) -> Verdict {
    stage.qemu(stage.b())?.signal(Signal::SIGSTOP)
}

fn reaches(stage: &Stage, state: &str) -> Verdict {
    let mut last = String::new();
    let reached = wait::until(&format!("libvirt to say {state}"), PATIENCE, || {
        last = stage.host.state(stage.b().name).unwrap_or_default();
        last == state
    });
    reached.map_err(|failure| failure.with(&format!("it says {last:?}")))?;
    ensure!(
        stage.host.qemu(stage.b().name).is_some(),
        "there is no process to be fenced"
    );
    Ok(())
}
