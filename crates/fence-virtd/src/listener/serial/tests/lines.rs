//! Lines come, go and come back.

use std::path::PathBuf;
use std::sync::Arc;

use fence_proto::access::{Group, GroupMember};
use fence_proto::{Access, Uuid};
use tokio::time::{Instant, timeout};
use virt::domain::Domain;

use super::super::Serial;
use super::rig::{self, Fake, until_deeds};
use super::*;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::config::SerialMode;
use crate::hub::Phase;
use crate::libvirt::LibvirtBackend;
use crate::libvirt::tests::libvirtd::Libvirtd;
use crate::libvirt::tests::{domain_in, eventually};
use crate::scratch::Scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn request_on_a_serial_line_is_an_order_of_its_domain() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Off, "b", 7).await, Reply::Success);
    let source = Source::Domain(uuid(1));
    assert_eq!(backend.ordered(), [(Action::Off, "b".to_owned(), source)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domain_is_really_fenced_by_another_ones_serial_line() {
    let libvirtd = Libvirtd::start().await;
    let scratch = Scratch::new();
    let backend = LibvirtBackend::new(&[libvirtd.uri()], Clock::start());
    Backend::ready(&backend).await.unwrap();
    let hub = crate::hub::Hub::new(Clock::start(), Arc::new(backend), Default::default());
    let settings = rig::settings(&libvirtd.uri(), &scratch, SerialMode::Serial);
    let listener = rig::serve(&hub, Access::unrestricted(), settings).await;
    tokio::spawn(listener.unwrap().serve());
    let guest = Guest::listen(&scratch.path("a"));
    let admin = virt::connect::Connect::open(Some(&libvirtd.uri())).unwrap();
    let xml = domain_in("a", uuid(1), 1, &rig::serial(&[guest.path().to_owned()]));
    let _asking = Domain::create_xml(&admin, &xml, 0).unwrap();
    let victim = Domain::lookup_by_name(&admin, "test").unwrap();
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Status, "test", 1).await, Reply::Success);
    assert_eq!(wire.ask(Action::Off, "test", 2).await, Reply::Success);
    assert!(!victim.is_active().unwrap());
    assert_eq!(wire.ask(Action::Status, "test", 3).await, Reply::Off);
    assert_eq!(wire.ask(Action::Off, "nobody", 4).await, Reply::Failure);
}

/// Row F12.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domains_that_start_after_the_daemon_are_served_and_stay_served() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let mut served = Vec::new();
    for number in 0..20_u128 {
        let guest = Guest::listen(&rig.path(&number.to_string()));
        let name = format!("vm{number}");
        let domain = rig.start(&name, uuid(number), &[guest.path().to_owned()]);
        served.push((guest.accept().await, guest, domain));
    }
    // Nobody is disconnected by and by.
    tokio::time::sleep(A_WHILE).await;
    for (number, (wire, guest, _)) in served.iter_mut().enumerate() {
        let seqno = u32::try_from(number).unwrap();
        assert_eq!(wire.ask(Action::Off, "x", seqno).await, Reply::Success);
        guest.nobody_connects(Duration::from_millis(1)).await;
    }
    let sources: Vec<_> = backend.deeds().into_iter().map(|deed| deed.2).collect();
    let expected: Vec<_> = (0..20).map(|number| Source::Domain(uuid(number))).collect();
    assert_eq!(sources, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domains_that_run_before_the_daemon_are_served() {
    let libvirtd = Libvirtd::start().await;
    let scratch = Scratch::new();
    let guest = Guest::listen(&scratch.path("a"));
    let admin = virt::connect::Connect::open(Some(&libvirtd.uri())).unwrap();
    let xml = domain_in("a", uuid(1), 1, &rig::serial(&[guest.path().to_owned()]));
    let _domain = Domain::create_xml(&admin, &xml, 0).unwrap();
    let backend = Fake::new(Until::Now, 0);
    let hub = crate::hub::Hub::new(Clock::start(), backend, Default::default());
    let settings = rig::settings(&libvirtd.uri(), &scratch, SerialMode::Serial);
    let listener = rig::serve(&hub, Access::unrestricted(), settings).await;
    tokio::spawn(listener.unwrap().serve());
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 1).await, Reply::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn line_of_a_domain_that_stops_is_dropped_for_good() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(backend).await;
    let guest = Guest::listen(&rig.path("a"));
    let domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.served().await;
    domain.destroy().unwrap();
    // The test's socket stays open: it is libvirt's word that ends the line.
    wire.is_closed().await;
    guest.nobody_connects(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rebooted_domain_is_served_on_its_new_socket() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let xml = domain_in("a", uuid(1), 1, &rig::serial(&[guest.path().to_owned()]));
    let domain = Domain::define_xml(&rig.admin, &xml).unwrap();
    domain.create().unwrap();
    let mut wire = guest.served().await;
    for seqno in 0..3 {
        domain.destroy().unwrap();
        let guest = Guest::listen(guest.path());
        domain.create().unwrap();
        wire.is_closed().await;
        wire = guest.accept().await;
        assert_eq!(wire.ask(Action::Off, "x", seqno).await, Reply::Success);
    }
}

/// Row L16: what closes is connected again, without haste.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn line_that_was_closed_is_connected_again() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(backend).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    for seqno in 0..3 {
        let mut wire = guest.accept().await;
        assert_eq!(wire.ask(Action::Off, "x", seqno).await, Reply::Success);
    }
    // Also when there was nobody for a while.
    let path = guest.path().to_owned();
    drop(guest);
    tokio::time::sleep(A_WHILE).await;
    let guest = Guest::listen(&path);
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 9).await, Reply::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_outlive_their_libvirtd_and_new_ones_come_with_the_next() {
    let backend = Fake::new(Until::Now, 0);
    let mut rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.served().await;
    rig.libvirtd.kill();
    // The connection leads where it led.
    for seqno in 2..5 {
        assert_eq!(wire.ask(Action::Off, "x", seqno).await, Reply::Success);
        tokio::time::sleep(A_WHILE / 3).await;
    }
    rig.libvirtd.start_again().await;
    rig.reconnect();
    // The test driver forgets its domains, and so the line's is gone.
    wire.is_closed().await;
    let other = Guest::listen(&rig.path("b"));
    let _other_domain = rig.start("b", uuid(2), &[other.path().to_owned()]);
    let mut wire = other.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 5).await, Reply::Success);
    guest.nobody_connects(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_line_of_a_domain_is_served_and_only_those_of_the_mode() {
    let backend = Fake::new(Until::Now, 0);
    let everybody = Access::unrestricted();
    let rig = Rig::with(backend, SerialMode::Vmchannel, everybody).await;
    let channel = |path: &PathBuf, target: &str| {
        format!(
            "<channel type='unix'><source mode='bind' path='{}'/><target type='{target}'/></channel>",
            path.display()
        )
    };
    let [first, second] = ["first", "second"].map(|name| Guest::listen(&rig.path(name)));
    let [agent, line] = ["agent", "line"].map(|name| Guest::listen(&rig.path(name)));
    let to = |port| format!("guestfwd' address='10.0.2.1{port}' port='1229");
    let devices = format!(
        "<devices>{}{}{}{}</devices>",
        channel(&first.path().to_owned(), &to(1)),
        channel(&second.path().to_owned(), &to(2)),
        channel(
            &agent.path().to_owned(),
            "virtio' name='org.qemu.guest_agent.0"
        ),
        rig::serial(&[line.path().to_owned()])
            .replace("devices", "x")
            .replace("<x>", "")
            .replace("</x>", "")
    );
    let xml = domain_in("a", uuid(1), 1, &devices);
    let _domain = Domain::create_xml(&rig.admin, &xml, 0).unwrap();
    for guest in [&first, &second] {
        let mut wire = guest.accept().await;
        assert_eq!(wire.ask(Action::Off, "x", 1).await, Reply::Success);
    }
    agent.nobody_connects(A_WHILE).await;
    line.nobody_connects(Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn serial_source_is_denied_unless_its_domain_is_a_member_itself() {
    let group = |members: &[Uuid]| Group {
        name: None,
        members: members
            .iter()
            .map(|uuid| GroupMember::Uuid(*uuid))
            .collect(),
        sources: Vec::new(),
    };
    let access = Access::groups(vec![group(&[uuid(1), uuid(2)]), group(&[uuid(3)])]);
    let backend = Fake::new(Until::Now, 0);
    let fake = Arc::clone(&backend) as Arc<dyn Backend>;
    let rig = Rig::with(fake, SerialMode::Serial, access).await;
    let member = Guest::listen(&rig.path("member"));
    let stranger = Guest::listen(&rig.path("stranger"));
    let _a = rig.start("a", uuid(1), &[member.path().to_owned()]);
    let _b = rig.start("b", uuid(9), &[stranger.path().to_owned()]);
    let mut wire = stranger.accept().await;
    assert_eq!(wire.ask(Action::Off, "a", 1).await, Reply::PermissionDenied);
    assert_eq!(backend.ordered(), []);
    let mut wire = member.accept().await;
    assert_eq!(wire.ask(Action::Off, "b", 1).await, Reply::Success);
    let deeds = backend.deeds();
    // What it may fence the backend decides, by these rules.
    assert_eq!(deeds[0].2, Source::Domain(uuid(1)));
}

/// Row L40.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn order_under_way_at_the_end_is_answered_and_no_new_one_is_taken() {
    let backend = Fake::new(Until::Told, 0);
    let mut rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let idle = Guest::listen(&rig.path("b"));
    let sockets = [guest.path().to_owned(), idle.path().to_owned()];
    let _domain = rig.start("a", uuid(1), &sockets);
    let (mut wire, mut quiet) = (guest.accept().await, idle.accept().await);
    wire.send(Action::Off, "x", 1).await;
    until_deeds(&backend, 1).await;
    rig.stop().await;
    rig.hub.advance(Phase::Draining);
    quiet.is_closed().await;
    backend.answer();
    assert_eq!(wire.hear().await.unwrap().reply, Reply::Success);
    wire.is_closed().await;
    let idle = timeout(Duration::from_secs(5), rig.hub.idle()).await;
    assert!(idle.is_ok());
    assert_eq!(backend.ordered().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_still_waits_at_the_very_end_hears_a_failure() {
    let backend = Fake::new(Until::Told, 0);
    let mut rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.accept().await;
    wire.send(Action::Off, "x", 1).await;
    until_deeds(&backend, 1).await;
    rig.stop().await;
    rig.hub.advance(Phase::Draining);
    let began = Instant::now();
    rig.hub.advance(Phase::Ending);
    assert_eq!(wire.hear().await.unwrap().reply, Reply::Failure);
    rig.hub.idle().await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn listener_without_a_libvirtd_says_so_and_comes_up_with_it() {
    let mut libvirtd = Libvirtd::start().await;
    libvirtd.kill();
    let scratch = Scratch::new();
    let backend = Fake::new(Until::Now, 0);
    let hub = crate::hub::Hub::new(Clock::start(), backend, Default::default());
    let settings = || rig::settings(&libvirtd.uri(), &scratch, SerialMode::Serial);
    let error = rig::serve(&hub, Access::unrestricted(), settings())
        .await
        .err()
        .unwrap();
    assert!(error.may_pass(), "{error}");
    let (hub, settings) = (Arc::clone(&hub), settings());
    libvirtd.start_again().await;
    eventually(async || {
        rig::serve(&hub, Access::unrestricted(), settings.clone())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn listener_that_may_wait_waits_for_its_libvirtd() {
    let mut libvirtd = Libvirtd::start().await;
    libvirtd.kill();
    let scratch = Scratch::new();
    let backend = Fake::new(Until::Now, 0);
    let hub = crate::hub::Hub::new(Clock::start(), backend, Default::default());
    let settings = rig::settings(&libvirtd.uri(), &scratch, SerialMode::Serial);
    let gate = rig::gate(&hub, Access::unrestricted());
    let waiting = tokio::spawn(async move { Serial::bind_late(&settings, gate.into()).await });
    tokio::time::sleep(A_WHILE).await;
    assert!(!waiting.is_finished());
    libvirtd.start_again().await;
    let bound = timeout(Duration::from_secs(40), waiting).await;
    assert!(bound.is_ok());
}
