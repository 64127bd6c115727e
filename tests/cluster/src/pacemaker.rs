//! Pacemaker on the hosts, with a fence agent that asks the lab to cut a host's power.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use fence_lab::{Failure, Verdict, ensure, procs, wait};
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};

use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::host::{Host, PATIENCE, Service};
use crate::names::HostId;

const CIB: &str = "var/lib/pacemaker/cib/cib.xml";

/// Where the fence agents of a lab in `directory` leave their requests.
fn requests(directory: &Path) -> PathBuf {
    directory.join("power")
}

/// Puts the fence agent on a host's disk.
pub(crate) fn install_agent(disk: &Disk, directory: &Path) -> Verdict {
    let requests = requests(directory);
    fs::create_dir_all(&requests)?;
    let script = include_str!("../fence-lab.sh");
    let agent = "usr/sbin/fence_lab";
    disk.write(
        agent,
        &script.replace("@REQUESTS@", &requests.to_string_lossy()),
    )?;
    Ok(fs::set_permissions(
        disk.path(agent),
        fs::Permissions::from_mode(0o755),
    )?)
}

impl Host {
    fn start_pacemaker(&mut self) -> Verdict {
        let user = User::from_name("hacluster")?.ok_or_else(|| missing("user hacluster"))?;
        let group = Group::from_name("haclient")?.ok_or_else(|| missing("group haclient"))?;
        let (uid, gid) = (Some(user.uid.as_raw()), Some(group.gid.as_raw()));
        let _ = fs::remove_dir_all(self.disk.path("var/lib/pacemaker/cib"));
        self.disk.write(CIB, &cib())?;
        fs::set_permissions(self.disk.path(CIB), fs::Permissions::from_mode(0o600))?;
        for directory in ["cib", "cores", "pengine", "blackbox"] {
            fs::create_dir_all(self.disk.path("var/lib/pacemaker").join(directory))?;
            chown(
                self.disk.path("var/lib/pacemaker").join(directory),
                uid,
                gid,
            )?;
        }
        chown(self.disk.path(CIB), uid, gid)?;
        for directory in ["var/lib/pacemaker", "var/log/pacemaker"] {
            chown(self.disk.path(directory), uid, gid)?;
        }
        let run = PathBuf::from(format!("/proc/{}/root/run/crm", self.init()?));
        fs::create_dir_all(&run)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o770))?;
        chown(&run, uid, gid)?;
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        self.start(Service::Pacemaker, &["env", "-i", path, "pacemakerd", "-f"])
    }

    /// What pacemaker says about the cluster, seen from here.
    fn crm_mon(&self) -> String {
        let output = self
            .command("crm_mon")
            .and_then(|mut command| Ok(command.args(["-1", "--output-as=xml"]).output()?));
        output.map_or_else(
            |failure| failure.text().to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn kill_pacemaker(&self) -> Verdict {
        let Ok(init) = self.init() else {
            return Ok(());
        };
        // The parent first: it starts its children again.
        if let Some(pid) = self.pid(Service::Pacemaker) {
            procs::signal(pid, Signal::SIGKILL)?;
        }
        for proc in procs::of_host(init) {
            if proc.command.contains("/pacemaker/") || proc.command.contains("fence_lab") {
                let _ = procs::signal(proc.pid, Signal::SIGKILL);
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Starts pacemaker everywhere and waits until it can fence.
    pub(crate) fn start_pacemaker(&mut self) -> Verdict {
        self.forget_fencing()?;
        for id in HostId::ALL {
            self.host_mut(id).start_pacemaker()?;
        }
        for host in self.hosts() {
            let what = format!(
                "pacemaker on {} to see three nodes and a running fence device",
                host.id
            );
            let ready = wait::until(&what, 2 * PATIENCE, || {
                let said = host.crm_mon();
                let online = said.matches(r#"online="true""#).count();
                online == 3 && said.contains(r#"resource_agent="stonith:fence_lab" role="Started""#)
            });
            ready.map_err(|failure| {
                failure
                    .with(&host.crm_mon())
                    .with(&host.tail(Service::Pacemaker))
            })?;
        }
        Ok(())
    }

    /// Ends pacemaker everywhere at once.
    pub(crate) fn kill_pacemaker(&mut self) -> Verdict {
        for host in self.hosts() {
            host.kill_pacemaker()?;
        }
        self.forget_fencing()
    }

    fn forget_fencing(&self) -> Verdict {
        let requests = requests(&self.directory);
        let _ = fs::remove_dir_all(&requests);
        Ok(fs::create_dir_all(&requests)?)
    }

    /// Waits until pacemaker wants a host fenced.
    pub(crate) fn wait_for_fencing(&self, id: HostId) -> Verdict {
        let request = requests(&self.directory).join(id.name());
        wait::until(&format!("pacemaker to fence {id}"), 2 * PATIENCE, || {
            request.exists()
        })
    }

    /// Does what pacemaker's agent waits for: cuts the host's power, then says so.
    pub(crate) fn fence(&mut self, id: HostId) -> Verdict {
        let requests = requests(&self.directory);
        ensure!(
            requests.join(id.name()).exists(),
            "nobody wants {id} fenced"
        );
        self.power_off(id)?;
        Ok(fs::write(requests.join(format!("{id}.done")), "")?)
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(format!("there is no {what}: install pacemaker"))
}

fn cib() -> String {
    let mut nodes = String::new();
    for id in HostId::ALL {
        let _ = write!(nodes, r#"<node id="{}" uname="{id}"/>"#, id.node());
    }
    format!(
        r#"<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.0" epoch="1" num_updates="0" admin_epoch="1"><configuration><crm_config><cluster_property_set id="options"><nvpair id="o1" name="dc-deadtime" value="2s"/><nvpair id="o2" name="stonith-enabled" value="true"/></cluster_property_set></crm_config><nodes>{nodes}</nodes><resources><primitive id="power" class="stonith" type="fence_lab"><instance_attributes id="power-a"><nvpair id="pa1" name="pcmk_host_list" value="host-a host-b host-c"/></instance_attributes></primitive></resources><constraints/></configuration><status/></cib>"#
    )
}
