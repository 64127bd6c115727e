//! What fails: a host that refuses, one without a hypervisor, one without a daemon.

use fence_lab::config::GroupText;
use fence_lab::{Failure, Verdict, ensure, wait};
use nix::sys::signal::Signal;

use crate::cases::fencing::{another, moves, place_of_service};
use crate::files::SERVICE;
use crate::names::NodeId;
use crate::stage::{PATIENCE, Stage};

/// A node that hung, and what was there before.
struct Hung {
    id: NodeId,
    watcher: NodeId,
    calls: usize,
    destroyed: usize,
}

/// Freezes the node that has the service.
fn hang(stage: &Stage) -> Result<Hung, Failure> {
    let id = place_of_service(stage)?;
    let hung = Hung {
        id,
        watcher: another(id)?,
        calls: stage.calls_of("reboot", Some(id.domain())).len(),
        destroyed: stage.libvirtd.destroyed(id.domain())?,
    };
    stage.freeze(id)?;
    Ok(hung)
}

impl Hung {
    /// Waits until so many calls for it have failed with this code, and until pacemaker says so; nothing
    /// of it may be recovered.
    fn fails(&self, stage: &Stage, times: usize, code: i32) -> Verdict {
        let what = format!("{times} failed calls");
        let failed = || {
            let calls = stage.calls_of("reboot", Some(self.id.domain()));
            let ended = calls.into_iter().skip(self.calls);
            ended.filter(|call| call.code.is_some()).collect::<Vec<_>>()
        };
        wait::until(&what, PATIENCE, || failed().len() >= times)
            .map_err(|failure| failure.with(&format!("{:?}\n{}", failed(), stage.tails())))?;
        let calls = failed();
        ensure!(
            calls
                .iter()
                .all(|call| call.code == Some(code) && call.errors.lines().count() == 1),
            "{code} and one line of text expected: {calls:?}"
        );
        let id = self.id;
        stage.sees(self.watcher, "a failed fencing", |view| {
            view.count(id.name(), "failed") > 0 && view.unclean.contains(&id.name().to_owned())
        })?;
        let view = stage.view(self.watcher)?;
        ensure!(
            view.place(SERVICE).is_none_or(|place| place == id.name()),
            "the service was started elsewhere, and nobody was fenced: {view:?}"
        );
        ensure!(
            stage.libvirtd.destroyed(id.domain())? == self.destroyed,
            "the domain was destroyed all the same"
        );
        Ok(())
    }

    /// Waits until it is fenced after all, and whole again.
    fn recovers(&self, stage: &Stage) -> Verdict {
        moves(stage, self.watcher, self.id, || {
            Ok(stage.libvirtd.destroyed(self.id.domain())? > self.destroyed)
        })?;
        let calls = stage.calls_of("reboot", Some(self.id.domain()));
        let last = calls.last().and_then(|call| call.code);
        ensure!(last == Some(0), "the last call: {:?}", calls.last());
        stage.release(self.id)?;
        stage.settle()
    }
}

pub(super) fn refused(stage: &mut Stage) -> Verdict {
    // Everybody may fence this domain, which there is not, and nothing else.
    let others = GroupText {
        members: vec!["nobody".to_owned()],
        sources: NodeId::ALL.map(NodeId::address).to_vec(),
    };
    stage.start_daemon(vec![others])?;
    let hung = hang(stage)?;
    hung.fails(stage, 2, 3)?;
    stage.start_daemon(Vec::new())?;
    hung.recovers(stage)
}

pub(super) fn no_hypervisor(stage: &mut Stage) -> Verdict {
    // Its state lives in libvirtd, which therefore only hangs.
    let hung = hang(stage)?;
    stage.libvirtd.process.signal(Signal::SIGSTOP)?;
    let failed = fails_blind(stage, &hung);
    stage.libvirtd.process.signal(Signal::SIGCONT)?;
    failed?;
    hung.recovers(stage)
}

/// As `fails`, while nobody can ask libvirt.
fn fails_blind(stage: &Stage, hung: &Hung) -> Verdict {
    wait::until("a failed call", PATIENCE, || {
        let calls = stage.calls_of("reboot", Some(hung.id.domain()));
        let failed = calls.iter().skip(hung.calls);
        failed.filter(|call| call.code == Some(1)).count() >= 2
    })?;
    let view = stage.view(hung.watcher)?;
    ensure!(
        view.place(SERVICE)
            .is_none_or(|place| place == hung.id.name()),
        "the service was started elsewhere, and nobody was fenced: {view:?}"
    );
    Ok(())
}

pub(super) fn killed(stage: &mut Stage) -> Verdict {
    stage.kill_daemon()?;
    let hung = hang(stage)?;
    hung.fails(stage, 1, 1)?;
    stage.start_daemon(Vec::new())?;
    hung.recovers(stage)
}

/// It has the request and waits for libvirt when it dies. It stands still until the agent asks, so that libvirt
/// stops answering in the moment of the request and the daemon can't have known it before.
pub(super) fn killed_midway(stage: &mut Stage) -> Verdict {
    stage.signal_daemon(Signal::SIGSTOP)?;
    let hung = hang(stage)?;
    let deeds = |stage: &Stage| {
        let calls = stage.calls_of("reboot", Some(hung.id.domain()));
        calls.into_iter().skip(hung.calls).collect::<Vec<_>>()
    };
    let asks = |stage: &Stage| deeds(stage).iter().any(|call| call.code.is_none());
    wait::until("a request", PATIENCE, || asks(stage))?;
    stage.libvirtd.process.signal(Signal::SIGSTOP)?;
    stage.signal_daemon(Signal::SIGCONT)?;
    let has_it = wait::until("a request in the daemon's hands", PATIENCE, || {
        stage.is_daemon_connected() && asks(stage)
    })
    .map_err(|failure| failure.with(&format!("{:?}\n{}", deeds(stage), stage.tails())));
    let killed = has_it.and_then(|()| stage.kill_daemon());
    stage.libvirtd.process.signal(Signal::SIGCONT)?;
    killed?;
    let calls = deeds(stage);
    ensure!(
        calls.iter().all(|call| call.code != Some(0)),
        "success without anybody who had done it: {calls:?}"
    );
    ensure!(
        stage.libvirtd.destroyed(hung.id.domain())? == hung.destroyed,
        "the domain was destroyed all the same"
    );
    stage.start_daemon(Vec::new())?;
    hung.recovers(stage)
}
