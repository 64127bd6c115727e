//! Putting the cluster together again after a case, and proving that it is whole.

use std::time::Duration;

use fence_lab::{Side, Verdict, ensure, procs, wait};

use crate::cluster::Cluster;
use crate::host::{PATIENCE, Service};
use crate::names::HostId;
use crate::virtd::Settings;

impl Cluster {
    /// Makes everything as it was at the start: a domain on each host, and daemons that answer for
    /// every domain wherever they are asked.
    pub(crate) fn heal(&mut self, wanted: &[Settings; 3]) -> Verdict {
        self.forget_background();
        self.recover(wanted)?;
        for id in HostId::ALL {
            self.tidy(id)?;
        }
        for attempt in 1.. {
            let healthy = self.wait_for_group().and_then(|()| self.wait_for_answers());
            let Err(failure) = healthy else { break };
            if attempt == 20 || self.settings().iter().all(|one| one.side == Side::Ours) {
                return Err(failure.at("the cluster does not get healthy"));
            }
            self.restart_c_daemons()?;
        }
        self.wait_for_beats()
    }

    /// A C daemon that lost its start-up race, or its corosync, stays as it is for good. Restarts those
    /// that can be told by their threads, else all of them.
    fn restart_c_daemons(&mut self) -> Verdict {
        let deaf: Vec<_> = HostId::ALL
            .into_iter()
            .filter(|id| self.side(*id) == Side::C && self.host(*id).virtd_is_deaf())
            .collect();
        if deaf.is_empty() {
            return self.restart_daemons(Some(Side::C));
        }
        deaf.into_iter().try_for_each(|id| self.restart_daemon(id))
    }

    /// Makes the cluster whole: power, cables, daemons. Domains are left as they are.
    ///
    /// Daemons that live are only restarted for other settings, and those of C that cannot come back
    /// by themselves.
    pub(crate) fn recover(&mut self, wanted: &[Settings; 3]) -> Verdict {
        for id in HostId::ALL {
            self.fabric.connect_cluster(id, true)?;
            self.fabric.connect_guests(id, true)?;
            let host = self.host_mut(id);
            if !host.is_on() {
                host.power_on()?;
            }
            host.resume()?;
            host.start_corosync()?;
            host.start_libvirtd()?;
        }
        self.fabric.hearers(&HostId::ALL)?;
        for host in self.hosts() {
            host.wait_for_libvirtd()?;
        }
        self.wait_for_quorum()?;
        for (id, wanted) in HostId::ALL.into_iter().zip(wanted) {
            self.run_daemon(id, wanted)?;
        }
        Ok(())
    }

    /// Waits until all daemons are in one group and listen.
    pub(crate) fn wait_for_group(&self) -> Verdict {
        for host in self.hosts() {
            let what = format!("three daemons in the group as {} sees it", host.id);
            // What a C daemon does not reach in three seconds it never reaches.
            let c = self
                .settings()
                .iter()
                .any(|settings| settings.side == Side::C);
            let limit = if c { Duration::from_secs(3) } else { PATIENCE };
            wait::until(&what, limit, || {
                host.group_members() == 3 && host.virtd_listens()
            })
            .map_err(|failure| failure.with(&host.tail(Service::Virtd)))?;
        }
        Ok(())
    }

    /// Leaves exactly the host's own domain on it, defined and running.
    fn tidy(&mut self, id: HostId) -> Verdict {
        let own = id.domain();
        let xml = self.image.definition(own)?;
        let host = self.host(id);
        for uuid in host.domains()? {
            if uuid != own.uuid {
                host.remove(&uuid)?;
            }
        }
        for stray in host.qemus() {
            if !stray.command.contains(own.uuid) {
                procs::signal(stray.pid, nix::sys::signal::Signal::SIGKILL)?;
            }
        }
        let idle = wait::until("the end of a migration", Duration::from_secs(10), || {
            let _ = host.virsh(&["domjobabort", own.uuid]);
            let job = host.virsh(&["domjobinfo", own.uuid]);
            job.map_or(true, |job| job.contains("None"))
        });
        let persistent = host
            .virsh(&["list", "--all", "--persistent", "--uuid"])?
            .contains(own.uuid);
        if idle.is_ok() && persistent && host.state(own).as_deref() == Some("running") {
            return Ok(());
        }
        host.remove(own.uuid)?;
        host.define(&xml)?;
        let started = host.virsh(&["start", own.uuid]);
        // A C daemon may have started it late, for an order of the case before.
        if host.state(own).as_deref() == Some("running") {
            return Ok(());
        }
        started.map(drop)
    }

    /// Waits until every guest beats: one that is still booting has nothing that could be lost.
    fn wait_for_beats(&self) -> Verdict {
        for id in HostId::ALL {
            let sight = self.look(id.domain(), true);
            ensure!(
                sight.beating == [id],
                "{} should run on {id}, but {sight}",
                id.domain().name
            );
        }
        Ok(())
    }

    /// Waits until each daemon tells the status of every domain, and ours list them all.
    fn wait_for_answers(&self) -> Verdict {
        for host in self.hosts() {
            if self.side(host.id) == Side::C {
                ensure!(!host.virtd_is_deaf(), "the C daemon on {} is deaf", host.id);
            }
        }
        for id in HostId::ALL {
            for owner in HostId::ALL {
                let target = self.target(id, owner.domain());
                self.wait_for_status(target, id)?;
            }
            if self.side(id) == Side::Ours {
                self.wait_for_list(id)?;
            }
        }
        self.fabric.hearers(&HostId::ALL)
    }
}
