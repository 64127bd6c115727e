//! What has really become of a domain: its QEMU processes, and whether its guest's beat goes on.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use crate::cluster::Cluster;
use crate::guest::beat_file;
use crate::host::Host;
use crate::names::{Domain, HostId};

/// A guest beats five times a second. This long without a beat is a guest that stands still, also on
/// a machine with much else to do.
const SILENCE: Duration = Duration::from_secs(3);

/// How long a guest takes from its start to its first beat, on a machine with much else to do.
pub(crate) const BOOT: Duration = Duration::from_secs(40);

/// Where a domain is and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Hosts with a QEMU process of it: running, paused, or an incoming half.
    pub(crate) qemu: Vec<HostId>,
    /// Of these, the ones whose guest goes on beating.
    pub(crate) beating: Vec<HostId>,
}

impl Sight {
    /// Nothing of it is left anywhere.
    pub(crate) const fn is_gone(&self) -> bool {
        self.qemu.is_empty()
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |ids: &[HostId]| {
            let names: Vec<_> = ids
                .iter()
                .map(|id| id.name().trim_start_matches("host-"))
                .collect();
            names.join("+")
        };
        let idle: Vec<_> = self
            .qemu
            .iter()
            .filter(|id| !self.beating.contains(id))
            .copied()
            .collect();
        match (self.beating.is_empty(), idle.is_empty()) {
            (true, true) => f.write_str("gone"),
            (false, true) => write!(f, "runs on {}", names(&self.beating)),
            (true, false) => write!(f, "stands still on {}", names(&idle)),
            (false, false) => write!(
                f,
                "runs on {}, waits on {}",
                names(&self.beating),
                names(&idle)
            ),
        }
    }
}

impl Cluster {
    /// Hosts that have a QEMU process of a domain this moment.
    pub(crate) fn copies(&self, domain: Domain) -> Vec<HostId> {
        let with = self
            .hosts()
            .iter()
            .filter(|host| host.qemu(domain).is_some());
        with.map(|host| host.id).collect()
    }

    /// Looks at a domain. Takes as long as the slowest copy takes to beat, three seconds at most; when
    /// `booting`, waits until some copy beats, and longer.
    pub(crate) fn look(&self, domain: Domain, booting: bool) -> Sight {
        let start = Instant::now();
        let patience = if booting { BOOT } else { SILENCE };
        let before: Vec<_> = self.hosts().iter().map(|host| beat(host, domain)).collect();
        loop {
            let qemu = self.copies(domain);
            let beating: Vec<_> = self
                .hosts()
                .iter()
                .zip(&before)
                .filter(|(host, before)| {
                    let now = beat(host, domain);
                    qemu.contains(&host.id) && now.is_some() && now != **before
                })
                .map(|(host, _)| host.id)
                .collect();
            // A reboot may be answered before there is a new QEMU process, which then has time to boot.
            let limit = if qemu.is_empty() {
                patience.min(SILENCE)
            } else {
                patience
            };
            if booting
                && !qemu.is_empty()
                && !beating.is_empty()
                && !self.another_boots(domain, &qemu, &beating)
            {
                return Sight { qemu, beating };
            }
            let settled = beating.len() == qemu.len() && (!booting || !beating.is_empty());
            if settled || start.elapsed() > limit {
                return Sight { qemu, beating };
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A copy that libvirt calls running, although it has not beaten yet.
    fn another_boots(&self, domain: Domain, qemu: &[HostId], beating: &[HostId]) -> bool {
        let mut others = qemu.iter().filter(|id| !beating.contains(id));
        others.any(|id| self.host(*id).state(domain).as_deref() == Some("running"))
    }
}

/// The number of the last beat; nothing from a guest that has started but is not up.
fn beat(host: &Host, domain: Domain) -> Option<u64> {
    let beats = host.disk.read(&beat_file(domain));
    // The last line may be half written.
    let whole = beats.rsplit_once('\n')?.0;
    whole
        .lines()
        .next_back()?
        .trim()
        .strip_prefix("beat ")?
        .parse()
        .ok()
}
