//! Keeping the memory of where domains are fresh, where several hypervisors are configured: each is
//! asked for all it has every two seconds, so that one that falls silent is known not to have what
//! it did not list. No answer comes from here; see [`fence_proto::fencing::Sightings`].
//!
//! Each hypervisor has a thread for it, with a connection of its own: a list waits for every domain,
//! and one that is stuck must not make its hypervisor look hung. The memory just gets old.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::host::Host;
use super::pool::{Lane, STACK};
use super::worker::Worker;

/// Pause between two lists.
const EVERY: Duration = Duration::from_secs(2);

/// Starts the threads; they end with the hypervisors or the daemon.
pub(super) fn keep(hosts: &[Arc<Host>]) {
    for host in hosts {
        let kept = Arc::downgrade(host);
        let thread = thread::Builder::new()
            .name("virt-inventory".to_owned())
            .stack_size(STACK)
            .spawn(move || look_again_and_again(&kept));
        if let Err(error) = thread {
            // Without lists every silence is a doubt: no success comes of it.
            tracing::error!(
                uri = host.name(),
                "no thread to look where domains are: {error}"
            );
        }
    }
}

fn look_again_and_again(kept: &Weak<Host>) {
    let mut worker: Option<Worker> = None;
    loop {
        thread::sleep(EVERY);
        let Some(host) = kept.upgrade().filter(|host| !host.common.is_closed()) else {
            return;
        };
        look(&host, &mut worker);
    }
}

/// Asks one hypervisor. One that is down or hangs is asked when it is connected again, which is
/// tried ever less often.
fn look(host: &Arc<Host>, worker: &mut Option<Worker>) {
    let asked = host.common.clock.now();
    host.common.sightings().expects_list(host.index, asked);
    if host.is_stuck(Lane::Ask) && !host.is_hung() {
        host.hangs();
    }
    if host.is_down() || host.is_hung() {
        *worker = None;
        return;
    }
    let worker = worker.get_or_insert_with(|| Worker::new(Arc::clone(host)));
    match worker.ask(|connection| connection.inventory()) {
        Ok(domains) => host.common.sightings().listed(host.index, asked, domains),
        Err(fault) => worker.log_fault(&"what there is", &fault),
    }
}
