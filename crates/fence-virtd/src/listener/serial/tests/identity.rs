//! A guest never speaks for another.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use virt::domain::Domain;

use super::rig::{self, Fake};
use super::*;
use crate::backend::Backend;
use crate::libvirt::tests::domain_in;
use crate::scratch::Scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sockets_outside_the_directory_are_left_alone() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(backend).await;
    let outside = Scratch::new();
    let [plain, linked, climbed] =
        ["plain", "linked", "climbed"].map(|name| Guest::listen(&outside.path(name)));
    let inside = Guest::listen(&rig.path("inside"));
    symlink(linked.path(), rig.path("link")).unwrap();
    let out = outside.path("");
    let climb = rig
        .path("..")
        .join(out.file_name().unwrap())
        .join("climbed");
    assert!(climb.exists());
    let sockets = [
        plain.path().to_owned(),
        rig.path("link"),
        climb,
        inside.path().to_owned(),
    ];
    let _domain = rig.start("a", uuid(1), &sockets);
    let mut wire = inside.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 1).await, Reply::Success);
    plain.nobody_connects(A_WHILE).await;
    linked.nobody_connects(Duration::from_millis(1)).await;
    climbed.nobody_connects(Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn socket_that_two_domains_name_serves_neither_until_one_is_gone() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("shared"));
    let sockets = [guest.path().to_owned()];
    let first = rig.start("first", uuid(1), &sockets);
    let mut wire = guest.served().await;
    let _second = rig.start("second", uuid(2), &sockets);
    wire.is_closed().await;
    guest.nobody_connects(A_WHILE).await;
    first.destroy().unwrap();
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
    let deeds = backend.deeds();
    assert_eq!(deeds.last().unwrap().2, Source::Domain(uuid(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_names_of_one_socket_serve_neither_domain_until_one_is_gone() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("socket"));
    symlink(guest.path(), rig.path("link")).unwrap();
    let _first = rig.start("first", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.served().await;
    let second = rig.start("second", uuid(2), &[rig.path("link")]);
    wire.is_closed().await;
    // They go on trying, and are not let in.
    for _ in 0..3 {
        let mut wire = guest.accept().await;
        assert_eq!(wire.try_ask(Action::Off, "x", 1).await, None);
    }
    assert_eq!(backend.deeds(), []);
    second.destroy().unwrap();
    let mut wire = guest.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
    assert_eq!(backend.deeds()[0].2, Source::Domain(uuid(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_is_let_in_while_libvirt_cannot_tell_whose_a_socket_is() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.served().await;
    let stopped = rig.libvirtd.stop();
    // Who is in stays in.
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
    // Then somebody else listens there, and libvirt says nothing of it.
    drop(wire);
    let impostor = Guest::listen(guest.path());
    let mut wire = impostor.accept().await;
    assert_eq!(wire.try_ask(Action::Off, "y", 3).await, None);
    assert_eq!(backend.deeds().len(), 1);
    drop(stopped);
    let mut wire = impostor.served().await;
    assert_eq!(wire.ask(Action::Off, "z", 4).await, Reply::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_socket_says_counts_for_the_run_that_made_it_only() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let path = rig.path("reused");
    let devices = rig::serial(std::slice::from_ref(&path));
    let domains = [1, 2].map(|number| {
        let xml = domain_in(&format!("vm{number}"), uuid(number), 1, &devices);
        Domain::define_xml(&rig.admin, &xml).unwrap()
    });
    // The path goes from one domain to the other and back, as fast as it can. Whoever listens says
    // who it is.
    for round in 0..20_u32 {
        let number = usize::try_from(round % 2).unwrap();
        let guest = Guest::listen(&path);
        domains[number].create().unwrap();
        let mut wire = loop {
            let mut wire = guest.accept().await;
            let domain = format!("by-{}", number + 1);
            if wire.try_ask(Action::Off, &domain, round).await.is_some() {
                break wire;
            }
        };
        domains[number].destroy().unwrap();
        // What it still says comes too late or is said by the right one.
        wire.send(Action::Off, &format!("by-{}", number + 1), round + 100)
            .await;
    }
    let deeds = backend.deeds();
    assert!(deeds.len() >= 20);
    for (_, said, source) in deeds {
        let number = said.trim_start_matches("by-").parse().unwrap();
        assert_eq!(source, Source::Domain(uuid(number)));
    }
}
