//! Whether a domain is on this host, as asked before a call-back.

use fence_proto::host::Presence;

use super::libvirtd::Libvirtd;
use super::*;
use crate::backend::Backend;

async fn presence(rig: &Rig, domain: &str, within: Duration) -> Presence {
    let domain = DomainRef::new(domain).unwrap();
    rig.backend
        .presence(&domain, rig.clock.now() + within)
        .await
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn domain_is_on_off_or_absent_by_name_and_by_uuid() {
    let dir = Dir::new();
    let paused = domain_in("c", uuid(3), 3, "");
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2)), paused];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    for (number, name, expected) in [
        (1, "a", Presence::On),
        (2, "b", Presence::Off),
        (3, "C", Presence::Absent),
        (3, "c", Presence::On),
        (4, "d", Presence::Absent),
    ] {
        assert_eq!(presence(&rig, name, SOON).await, expected, "{name}");
        if name != "C" {
            let uuid = uuid(number).to_string();
            assert_eq!(presence(&rig, &uuid, SOON).await, expected, "{uuid}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hypervisor_that_hangs_makes_absence_unclear_and_hides_no_domain_of_another() {
    let (one, other) = (Libvirtd::start().await, Dir::new());
    let node = other.node("node", &[running("here", uuid(1))]);
    let rig = Rig::new(&[one.uri(), node]).await;
    assert_eq!(presence(&rig, "there", SOON).await, Presence::Absent);
    let stopped = one.stop();
    let soon = Duration::from_millis(900);
    assert_eq!(presence(&rig, "there", soon).await, Presence::Unclear);
    assert_eq!(presence(&rig, "here", SOON).await, Presence::On);
    drop(stopped);
    eventually(async || presence(&rig, "there", SOON).await == Presence::Absent).await;
}
