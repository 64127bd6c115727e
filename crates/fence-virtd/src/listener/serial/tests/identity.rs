//! A guest never speaks for another.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use tokio::time::timeout;
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
async fn socket_with_two_names_speaks_for_the_domain_by_whose_name_it_was_made() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    std::fs::create_dir(rig.path("dir")).unwrap();
    symlink(rig.path("dir"), rig.path("link")).unwrap();
    let names = ["dir/socket", "link/socket"].map(|name| rig.path(name));
    let guest = Guest::listen(&names[0]);
    let _first = rig.start("first", uuid(1), &names[..1]);
    let mut wire = guest.served().await;
    let second = rig.start("second", uuid(2), &names[1..]);
    // The second one tries, and is not let in.
    let mut other = guest.accept().await;
    assert_eq!(other.try_ask(Action::Off, "x", 1).await, None);
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
    // Then its hypervisor takes the place of the first one's, which loses it.
    let usurper = Guest::listen(&names[1]);
    drop((wire, other, guest));
    let mut wire = usurper.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 3).await, Reply::Success);
    second.destroy().unwrap();
    wire.is_closed().await;
    let mut wire = usurper.accept().await;
    assert_eq!(wire.try_ask(Action::Off, "x", 4).await, None);
    let sources: Vec<_> = backend.deeds().into_iter().map(|deed| deed.2).collect();
    assert_eq!(sources, [1, 2].map(|number| Source::Domain(uuid(number))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn console_that_takes_a_lines_place_by_another_name_is_not_taken_for_the_line() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    std::fs::create_dir(rig.path("dir")).unwrap();
    symlink(rig.path("dir"), rig.path("link")).unwrap();
    let (line, console) = (rig.path("dir/socket"), rig.path("link/socket"));
    let devices = rig::serial(std::slice::from_ref(&console)).replace("serial", "channel");
    let devices = devices.replace("port='0'", "type='virtio' name='x'");
    let xml = domain_in("usurper", uuid(2), 1, &devices);
    let _usurper = Domain::create_xml(&rig.admin, &xml, 0).unwrap();
    let guest = Guest::listen(&console);
    let _domain = rig.start("a", uuid(1), std::slice::from_ref(&line));
    for seqno in 0..3 {
        let mut wire = guest.accept().await;
        assert_eq!(wire.try_ask(Action::Off, "x", seqno).await, None);
    }
    assert_eq!(backend.deeds(), []);
    let guest = Guest::listen(&line);
    let mut wire = guest.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 5).await, Reply::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domain_with_hostile_metadata_harms_no_line_and_may_not_take_one() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let [own, shared] = ["own", "shared"].map(|name| Guest::listen(&rig.path(name)));
    let namespaces: String = (0..2000).map(|n| format!(" xmlns:a{n}='v'")).collect();
    let children = "<c xmlns:z='v'/>".repeat(2000);
    let metadata = format!("<metadata><x:x xmlns:x='x'{namespaces}>{children}</x:x></metadata>");
    // As many sockets as make it unreadable.
    let many = (0..=64).map(|number| rig.path(&format!("{number}")));
    let sockets: Vec<_> = many.chain([shared.path().to_owned()]).collect();
    let devices = rig::serial(&sockets);
    let hostile = domain_in("hostile", uuid(9), 1, &(metadata + &devices));
    let hostile = Domain::create_xml(&rig.admin, &hostile, 0).unwrap();
    let both = [own.path().to_owned(), shared.path().to_owned()];
    let _domain = rig.start("a", uuid(1), &both);
    let mut wire = own.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 1).await, Reply::Success);
    // It may have been connected before the other domain was known.
    if let Ok(mut wire) = timeout(A_WHILE, shared.accept()).await {
        assert_eq!(wire.try_ask(Action::Off, "y", 1).await, None);
    }
    hostile.destroy().unwrap();
    let mut wire = shared.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
    assert_eq!(backend.deeds().len(), 2);
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
