//! Three hosts, their domains, and the agent: what the cases take apart and this puts together again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fence_lab::agent::{Answer, Running};
use fence_lab::machine::Maker;
use fence_lab::net::Namespace;
use fence_lab::process::Process;
use fence_lab::{Failure, Programs, Side, Verdict, ensure, fail, wait};

use crate::disk::Disk;
use crate::fabric::Fabric;
use crate::guest::Image;
use crate::host::{Host, PATIENCE, Service};
use crate::names::{Domain, HostId};
use crate::pacemaker;
use crate::virtd::Settings;

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
        let maker = Maker::new(directory)?;
        let fabric = Fabric::new(prefix)?;
        let [a, b, c] = HostId::ALL.map(|id| {
            let disk = Disk::new(&directory.join(id.name()), id, &key)?;
            pacemaker::install_agent(&disk, directory)?;
            Ok::<_, Failure>(Host::new(id, disk, fabric.host(id).name(), &maker))
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

    /// What an agent must call a domain when it asks this host.
    pub(crate) fn target(&self, via: HostId, domain: Domain) -> &'static str {
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

    /// All hosts lose power: nothing of what went wrong is left in memory.
    pub(crate) fn switch_off(&mut self) -> Verdict {
        HostId::ALL.iter().try_for_each(|id| self.power_off(*id))
    }

    /// Starts an agent whose request only `hearers` hear.
    pub(crate) fn ask(
        &self,
        action: &str,
        domain: &str,
        hearers: &[HostId],
    ) -> Result<Running, Failure> {
        self.fabric.hearers(hearers)?;
        self.spawn_agent(&self.fabric.agent, &["-o", action, "-H", domain])
    }

    /// Starts a second agent, while the first goes on: two cannot wait at one address.
    pub(crate) fn ask_beside(
        &self,
        action: &str,
        domain: &str,
        hearers: &[HostId],
    ) -> Result<Running, Failure> {
        self.fabric.hearers(hearers)?;
        self.spawn_agent(&self.fabric.second_agent, &["-o", action, "-H", domain])
    }

    fn spawn_agent(&self, place: &Namespace, options: &[&str]) -> Result<Running, Failure> {
        let program = self.programs.xvm(self.agent);
        let mut command = place.command(&program.to_string_lossy());
        command.arg("-k").arg(self.directory.join("key"));
        // An empty name is one that is not given.
        let given = options.strip_suffix(&["-H", ""]).unwrap_or(options);
        command.args(given);
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

    /// Ends what was kept.
    pub(crate) fn forget_background(&mut self) {
        self.background.clear();
    }

    /// Sees to it that a host's daemon runs with these settings.
    pub(crate) fn run_daemon(&mut self, id: HostId, wanted: &Settings) -> Verdict {
        let runs = self.host(id).pid(Service::Virtd).is_some();
        if runs && self.settings.get(id.index()) == Some(wanted) {
            return Ok(());
        }
        if let Some(settings) = self.settings.get_mut(id.index()) {
            settings.clone_from(wanted);
        }
        self.restart_daemon(id)
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

    /// Waits until a host says that a domain is on.
    pub(crate) fn wait_for_status(&self, domain: &str, via: HostId) -> Verdict {
        self.wait_for_success(&["-o", "status", "-H", domain], via)
    }

    /// Waits until the daemon of `via` lists what all hosts have: then all of them know it.
    pub(crate) fn wait_for_list(&self, via: HostId) -> Verdict {
        self.wait_for_success(&["-o", "list"], via)
    }

    fn wait_for_success(&self, request: &[&str], via: HostId) -> Verdict {
        let limit = Duration::from_secs(if self.side(via) == Side::C { 3 } else { 20 });
        let options: Vec<_> = ["-t", "3"].iter().chain(request).copied().collect();
        let mut last = String::new();
        let said = wait::until("", limit, || {
            let agent = self.fabric.hearers(&[via]);
            let agent = agent.and_then(|()| self.spawn_agent(&self.fabric.agent, &options));
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
            "{via} does not say yes to {request:?}: {last}\n{}",
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
