//! Which domain has a vsock CID, on real libvirtds of our own.

use virt::connect::Connect;

use super::super::connection::Reach;
use super::libvirtd::Libvirtd;
use super::*;
use crate::backend::Backend;

fn with_cid(name: &str, uuid: Uuid, cid: u32) -> String {
    let device = format!(
        "<devices><vsock model='virtio'><cid auto='no' address='{cid}'/></vsock></devices>"
    );
    domain_in(name, uuid, 1, &device)
}

/// Somebody else at the same libvirtd.
fn admin(libvirtd: &Libvirtd) -> Connect {
    Connect::open(Some(&libvirtd.uri())).unwrap()
}

fn start(admin: &Connect, name: &str, uuid: Uuid, cid: u32) -> Domain {
    let domain = Domain::define_xml(admin, &with_cid(name, uuid, cid)).unwrap();
    domain.create().unwrap();
    domain
}

async fn name_of(rig: &Rig, cid: u32) -> Option<String> {
    let guest = rig.backend.identify(cid).await;
    guest.map(|guest| guest.name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cid_is_its_running_domain_and_no_other() {
    let libvirtd = Libvirtd::start().await;
    let admin = admin(&libvirtd);
    start(&admin, "node1", uuid(1), 7);
    Domain::define_xml(&admin, &with_cid("node2", uuid(2), 8)).unwrap();
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let guest = rig.backend.identify(7).await.unwrap();
    assert_eq!((guest.name.as_str(), guest.uuid), ("node1", uuid(1)));
    // One that is off, one that there is not, and the numbers of the kernel's own ends.
    for nobody in [8, 9, 0, 1, 2, u32::MAX] {
        assert_eq!(name_of(&rig, nobody).await, None, "{nobody}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domain_that_started_a_moment_ago_is_found_by_its_cid() {
    let libvirtd = Libvirtd::start().await;
    let admin = admin(&libvirtd);
    let rig = Rig::new(&[libvirtd.uri()]).await;
    rig.backend.expect_guests();
    for number in 0..10 {
        let name = format!("vm{number}");
        start(
            &admin,
            &name,
            uuid(number),
            100 + u32::try_from(number).unwrap(),
        );
        let cid = 100 + u32::try_from(number).unwrap();
        assert_eq!(name_of(&rig, cid).await, Some(name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cid_that_changed_hands_is_never_taken_for_its_former_domain() {
    let libvirtd = Libvirtd::start().await;
    let admin = admin(&libvirtd);
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let first = start(&admin, "first", uuid(1), 7);
    assert_eq!(name_of(&rig, 7).await.as_deref(), Some("first"));
    for _ in 0..5 {
        first.destroy().unwrap();
        assert_eq!(name_of(&rig, 7).await, None);
        let second = start(&admin, "second", uuid(2), 7);
        assert_eq!(name_of(&rig, 7).await.as_deref(), Some("second"));
        second.destroy().unwrap();
        first.create().unwrap();
        assert_eq!(name_of(&rig, 7).await.as_deref(), Some("first"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cid_that_several_domains_claim_is_nobodys() {
    let (one, other) = (Libvirtd::start().await, Libvirtd::start().await);
    start(&admin(&one), "node1", uuid(1), 7);
    let twin = start(&admin(&other), "node2", uuid(2), 7);
    let rig = Rig::new(&[one.uri(), other.uri()]).await;
    rig.backend.expect_guests();
    // Until both have been heard of one of them may be taken for the only one.
    eventually(async || name_of(&rig, 7).await.is_none()).await;
    twin.destroy().unwrap();
    assert_eq!(name_of(&rig, 7).await.as_deref(), Some("node1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hypervisor_that_hangs_leaves_a_cid_a_number_for_some_seconds_at_most() {
    let libvirtd = Libvirtd::start().await;
    start(&admin(&libvirtd), "node1", uuid(1), 7);
    let rig = Rig::new(&[libvirtd.uri()]).await;
    assert_eq!(name_of(&rig, 7).await.as_deref(), Some("node1"));
    let stopped = libvirtd.stop();
    let began = Instant::now();
    assert_eq!(name_of(&rig, 7).await, None);
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(stopped);
    eventually(async || name_of(&rig, 7).await.as_deref() == Some("node1")).await;
}

#[tokio::test]
async fn hypervisors_on_other_machines_know_no_cid_of_this_one() {
    let uri = "test+tcp://192.0.2.1/default".to_owned();
    assert_eq!(Reach::of(&uri), Reach::Network);
    let rig = Rig::unready(&[uri], Access::unrestricted());
    let began = Instant::now();
    assert_eq!(name_of(&rig, 7).await, None);
    assert!(began.elapsed() < Duration::from_secs(1), "it was asked");
}
