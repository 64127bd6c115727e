//! Keeping the memory of where domains are fresh, where several hypervisors are configured: each is
//! asked for all it has every two seconds, so that one that falls silent is known not to have what
//! it did not list. No answer comes from here; see [`fence_proto::fencing::Sightings`].

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tracing::debug;

use super::host::{Common, Host};
use super::pool::{Lane, STACK};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(2);

/// Starts the rounds, on a thread of their own; they end with the hypervisors or the daemon.
pub(super) fn keep(hosts: &[Arc<Host>], common: &Arc<Common>) {
    let hosts: Vec<Weak<Host>> = hosts.iter().map(Arc::downgrade).collect();
    let common = Arc::clone(common);
    let rounds = thread::Builder::new()
        .name("virt-inventory".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            while !common.is_closed() {
                thread::sleep(EVERY);
                for host in &hosts {
                    let Some(host) = host.upgrade() else { return };
                    ask(&host);
                }
            }
        });
    if let Err(error) = rounds {
        // Without lists every silence is a doubt: no success comes of it.
        tracing::error!("no thread to look where domains are: {error}");
    }
}

/// Asks one hypervisor, unless it is being asked still. One that is down or hangs is asked when it
/// is connected again, which is tried ever less often.
fn ask(host: &Arc<Host>) {
    let asked = host.common.clock.now();
    host.common.sightings().expects_list(host.index, asked);
    if host.is_stuck(Lane::Ask) && !host.is_hung() {
        host.hangs();
    }
    if host.is_down() || host.is_hung() {
        return;
    }
    let Some(token) = host.begin_inventory() else {
        return;
    };
    let job = Box::new(move |worker: &mut super::worker::Worker| {
        let host = Arc::clone(&worker.host);
        let asked = host.common.clock.now();
        match worker.ask(|connection| connection.inventory()) {
            Ok(domains) => {
                let mut sightings = host.common.sightings();
                sightings.listed(host.index, asked, domains);
            }
            Err(fault) => worker.log_fault(&"what there is", &fault),
        }
        drop(token);
    });
    if let Err(refused) = host.submit(Lane::Ask, job) {
        debug!(uri = host.name(), ?refused, "no list is taken now");
    }
}
