//! Three hosts, their domains, and the agent: what the cases take apart and this puts together again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fence_lab::agent::{Answer, Running};
use fence_lab::process::Process;
use fence_lab::{Failure, Programs, Side, Verdict, ensure, fail, wait};

use crate::disk::Disk;
use crate::fabric::Fabric;
use crate::guest::Image;
use crate::host::{Host, PATIENCE, Service};
use crate::names::{Domain, HostId};
use crate::virtd::Settings;
use crate::{pacemaker, procs};

/// An agent that has not ended by then never will: its own time-out is 30 s.
const AGENT_LIMIT: Duration = Duration::from_secs(45);

/// The whole lab.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What guests are booted from.
    pub(crate) image: Image,
    /// Where the lab's files are.
    pub(crate) directory: PathBuf,
    /// Whose agent asks.
    pub(crate) agent: Side,
    programs: Programs,
    hosts: [Host; 3],
    settings: [Settings; 3],
    background: Vec<Process>,
    /// The cables. Behind the hosts: they lose power before their networks are removed.
    pub(crate) fabric: Fabric,
}

impl Cluster {
    /// Builds everything and switches nothing on.
    pub(crate) fn new(
        directory: &Path,
        prefix: &str,
        programs: &Programs,
        agent: Side,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(directory.join("agents"))?;
        let mut key = vec![0; 4096];
        getrandom::fill(&mut key)?;
        fs::write(directory.join("key"), &key)?;
        let script = directory.join("host-init.sh");
        fs::write(&script, include_str!("../host-init.sh"))?;
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let fabric = Fabric::new(prefix)?;
        let [a, b, c] = HostId::ALL.map(|id| {
            let disk = Disk::new(&directory.join(id.name()), id, &key)?;
            pacemaker::install_agent(&disk, directory)?;
            let namespace = fabric.host(id).name().to_owned();
            Ok::<_, Failure>(Host::new(id, disk, namespace, script.clone()))
        });
        Ok(Self {
            image: Image::new(directory)?,
            directory: directory.to_owned(),
            agent,
            programs: programs.clone(),
            hosts: [a?, b?, c?],
            settings: HostId::ALL.map(|_| Settings::new(Side::C)),
            background: Vec::new(),
            fabric,
        })
    }

    /// A host.
    pub(crate) const fn host(&self, id: HostId) -> &Host {
        let [a, b, c] = &self.hosts;
        match id {
            HostId::A => a,
            HostId::B => b,
            HostId::C => c,
        }
    }

    /// A host, to change.
    pub(crate) const fn host_mut(&mut self, id: HostId) -> &mut Host {
        let [a, b, c] = &mut self.hosts;
        match id {
            HostId::A => a,
            HostId::B => b,
            HostId::C => c,
        }
    }

    /// All hosts.
    pub(crate) const fn hosts(&self) -> &[Host; 3] {
        &self.hosts
    }

    /// What the daemons were started with.
    pub(crate) const fn settings(&self) -> &[Settings; 3] {
        &self.settings
    }

    /// Whose daemon is on a host.
    pub(crate) fn side(&self, id: HostId) -> Side {
        self.settings
            .get(id.index())
            .map_or(Side::Ours, |settings| settings.side)
    }

    fn target(&self, via: HostId, domain: Domain) -> &'static str {
        self.settings
            .get(via.index())
            .map_or(domain.name, |settings| settings.target(domain))
    }

    /// Keeps a process that goes on by itself until the case is over.
    pub(crate) fn keep(&mut self, process: Process) {
        self.background.push(process);
    }

    /// Cuts a host off: from the other hosts and from the guests.
    pub(crate) fn cut(&self, id: HostId) -> Verdict {
        self.fabric.connect_cluster(id, false)?;
        self.fabric.connect_guests(id, false)
    }

    /// A host loses power.
    pub(crate) fn power_off(&mut self, id: HostId) -> Verdict {
        self.cut(id)?;
        self.host_mut(id).power_off()
    }

    /// Starts an agent whose request only `hearers` hear.
    pub(crate) fn ask(
        &self,
        action: &str,
        domain: &str,
        hearers: &[HostId],
    ) -> Result<Running, Failure> {
        self.ask_within(action, domain, hearers, 30)
    }

    fn ask_within(
        &self,
        action: &str,
        domain: &str,
        hearers: &[HostId],
        seconds: u32,
    ) -> Result<Running, Failure> {
        self.fabric.hearers(hearers)?;
        let program = self.programs.xvm(self.agent);
        let mut command = self.fabric.agent.command(&program.to_string_lossy());
        command
            .arg("-k")
            .arg(self.directory.join("key"))
            .args(["-o", action]);
        command.args(["-t", &seconds.to_string()]);
        if !domain.is_empty() {
            command.args(["-H", domain]);
        }
        Running::spawn(command, &self.directory.join("agents"))
    }

    /// Asks and waits for the answer.
    pub(crate) fn answer(
        &self,
        action: &str,
        domain: &str,
        hearers: &[HostId],
    ) -> Result<Answer, Failure> {
        self.ask(action, domain, hearers)?.finish(AGENT_LIMIT)
    }

    /// Waits for an agent's answer, longer than it can take.
    pub(crate) fn finish(&self, agent: Running) -> Result<Answer, Failure> {
        agent.finish(AGENT_LIMIT)
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
        for host in &self.hosts {
            host.wait_for_libvirtd()?;
        }
        self.wait_for_quorum()?;
        for (host, wanted) in self.hosts.iter_mut().zip(wanted) {
            let settings = self.settings.get_mut(host.id.index());
            let Some(settings) = settings else { continue };
            if host.pid(Service::Virtd).is_none() || settings != wanted {
                host.stop(Service::Virtd)?;
                host.start_virtd(wanted, &self.programs)?;
                settings.clone_from(wanted);
            }
        }
        Ok(())
    }

    /// Waits until every corosync sees all hosts.
    pub(crate) fn wait_for_quorum(&self) -> Verdict {
        self.wait_for_nodes(&HostId::ALL)
    }

    /// Waits until the corosync of each of these hosts sees exactly as many as these.
    pub(crate) fn wait_for_nodes(&self, ids: &[HostId]) -> Verdict {
        for id in ids {
            let what = format!("{} hosts in the membership of {id}", ids.len());
            wait::until(&what, PATIENCE, || {
                self.host(*id).quorate_nodes() == Some(ids.len())
            })
            .map_err(|failure| failure.with(&self.host(*id).tail(Service::Corosync)))?;
        }
        Ok(())
    }

    /// Waits until a host sees so many daemons in the group.
    pub(crate) fn wait_for_members(&self, id: HostId, count: usize) -> Verdict {
        let what = format!("{count} daemons in the group as {id} sees it");
        wait::until(&what, PATIENCE, || self.host(id).group_members() == count)
    }

    /// Waits until a domain beats somewhere.
    pub(crate) fn wait_for_beat(&self, domain: Domain) -> Verdict {
        let sight = self.look(domain, true);
        ensure!(
            sight.beating.len() == 1,
            "{} should run, but {sight}",
            domain.name
        );
        Ok(())
    }

    /// Waits until all daemons are in one group and listen.
    pub(crate) fn wait_for_group(&self) -> Verdict {
        for host in &self.hosts {
            let what = format!("three daemons in the group as {} sees it", host.id);
            // What a C daemon does not reach in three seconds it never reaches.
            let c = self
                .settings
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

    /// Makes everything as it was at the start: a domain on each host, and daemons that answer for
    /// every domain wherever they are asked.
    pub(crate) fn heal(&mut self, wanted: &[Settings; 3]) -> Verdict {
        self.background.clear();
        self.recover(wanted)?;
        for id in HostId::ALL {
            self.tidy(id)?;
        }
        for attempt in 1.. {
            let healthy = self.wait_for_group().and_then(|()| self.wait_for_answers());
            let Err(failure) = healthy else { break };
            let c = self
                .settings
                .iter()
                .any(|settings| settings.side == Side::C);
            // A C daemon that lost its start-up race, or its corosync, stays as it is for good.
            if !c || attempt == 20 {
                return Err(failure.at("the cluster does not get healthy"));
            }
            self.restart_daemons(Some(Side::C))?;
        }
        self.wait_for_beats()
    }

    /// Restarts every daemon, or those of one side.
    pub(crate) fn restart_daemons(&mut self, only: Option<Side>) -> Verdict {
        for (host, settings) in self.hosts.iter_mut().zip(&self.settings) {
            if only.is_some_and(|side| side != settings.side) {
                continue;
            }
            host.stop(Service::Virtd)?;
            host.start_virtd(settings, &self.programs)?;
        }
        Ok(())
    }

    /// Stops the daemon of a host and starts it again.
    pub(crate) fn restart_daemon(&mut self, id: HostId) -> Verdict {
        self.host(id).stop(Service::Virtd)?;
        self.start_daemon(id)
    }

    /// Starts the daemon of a host again, with the settings that it had.
    pub(crate) fn start_daemon(&mut self, id: HostId) -> Verdict {
        let Some(settings) = self.settings.get(id.index()).cloned() else {
            return Ok(());
        };
        let programs = self.programs.clone();
        self.host_mut(id).start_virtd(&settings, &programs)
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
        let _ = host.virsh(&["domjobabort", own.uuid]);
        let persistent = host
            .virsh(&["list", "--all", "--persistent", "--uuid"])?
            .contains(own.uuid);
        if persistent && host.state(own).as_deref() == Some("running") {
            return Ok(());
        }
        host.remove(own.uuid)?;
        host.define(&xml)?;
        host.virsh(&["start", own.uuid]).map(drop)
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

    /// Waits until each daemon tells the status of every domain.
    fn wait_for_answers(&self) -> Verdict {
        for host in &self.hosts {
            if self.side(host.id) == Side::C {
                ensure!(!host.virtd_is_deaf(), "the C daemon on {} is deaf", host.id);
            }
        }
        for id in HostId::ALL {
            for owner in HostId::ALL {
                let target = self.target(id, owner.domain());
                self.wait_for_status(target, id)?;
            }
        }
        self.fabric.hearers(&HostId::ALL)
    }

    /// Waits until a host says that a domain is on.
    pub(crate) fn wait_for_status(&self, domain: &str, via: HostId) -> Verdict {
        let limit = Duration::from_secs(if self.side(via) == Side::C { 3 } else { 20 });
        let mut last = String::new();
        let said = wait::until("", limit, || {
            let agent = self.ask_within("status", domain, &[via], 3);
            let answer = agent.and_then(|agent| self.finish(agent));
            last = answer
                .as_ref()
                .map_or_else(|failure| failure.text().to_owned(), Answer::describe);
            answer.is_ok_and(|answer| answer.code == 0)
        });
        if said.is_ok() {
            return Ok(());
        }
        fail!(
            "{via} does not say that {domain} is on: {last}\n{}",
            self.logs()
        );
    }

    /// All daemons' logs.
    pub(crate) fn logs_of_all(&self) -> String {
        let logs = self
            .hosts
            .iter()
            .map(|host| host.disk.read(&Service::Virtd.log()));
        logs.collect()
    }

    /// The ends of all daemons' logs.
    pub(crate) fn logs(&self) -> String {
        let tails: Vec<_> = self
            .hosts
            .iter()
            .map(|host| host.tail(Service::Virtd))
            .collect();
        tails.join("\n")
    }
}
