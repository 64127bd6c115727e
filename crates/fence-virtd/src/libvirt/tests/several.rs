//! Several hypervisors, some of which can't be reached.

use fence_proto::fencing::{Activity, Sighting};

use super::*;

/// A hypervisor that can't be reached.
fn dead(dir: &Dir) -> String {
    let socket = dir.path().join("nobody-listens");
    format!("test+unix:///default?socket={}", socket.display())
}

#[tokio::test]
async fn domain_is_found_wherever_it_is() {
    let dir = Dir::new();
    let first = dir.node("first", &[running("a", uuid(1))]);
    let second = dir.node("second", &[running("b", uuid(2))]);
    let rig = Rig::new(&[first, second]).await;
    assert_eq!(rig.order(Action::Reboot, "b").await, SUCCESS);
    assert_eq!(rig.order(Action::Off, "b").await, SUCCESS);
    assert_eq!(rig.instance(1, "b").await, None);
    assert!(rig.instance(0, "a").await.is_some());
    assert_eq!(rig.order(Action::On, "b").await, SUCCESS);
    let list = rig.order(Action::List, "").await;
    assert_eq!(names(&list), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(rig.order(Action::Monitor, "").await, SUCCESS);
}

#[tokio::test]
async fn every_active_copy_of_a_domain_is_fenced() {
    let dir = Dir::new();
    let first = dir.node("first", &[running("a", uuid(1))]);
    let second = dir.node("second", &[domain_in("a", uuid(1), 3, "")]);
    let rig = Rig::new(&[first, second]).await;
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    assert_eq!(rig.instance(0, "a").await, None);
    assert_eq!(rig.instance(1, "a").await, None);
    assert_eq!(rig.order(Action::Status, "a").await, OFF);
    // Started again it runs once.
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    assert!(rig.instance(0, "a").await.is_some());
    assert_eq!(rig.instance(1, "a").await, None);
}

#[tokio::test]
async fn active_copy_wins_in_status_list_and_on() {
    let dir = Dir::new();
    let first = dir.node("first", &[shut_off("a", uuid(1))]);
    let second = dir.node("second", &[running("a", uuid(1))]);
    let rig = Rig::new(&[first, second]).await;
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
    let list = rig.order(Action::List, "").await;
    assert_eq!(names(&list), [("a".to_owned(), 1)]);
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    assert_eq!(rig.instance(0, "a").await, None);
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    assert_eq!(rig.instance(0, "a").await, None);
    assert!(rig.instance(1, "a").await.is_some());
}

#[tokio::test]
async fn two_domains_of_one_name_are_told_apart_by_uuid_only() {
    let dir = Dir::new();
    let first = dir.node("first", &[shut_off("a", uuid(1))]);
    let second = dir.node("second", &[shut_off("a", uuid(2))]);
    let rig = Rig::new(&[first, second]).await;
    for action in [Action::Status, Action::Off, Action::On, Action::Reboot] {
        assert_eq!(rig.order(action, "a").await, FAILURE, "{action}");
    }
    assert_eq!(rig.order(Action::On, &uuid(2).to_string()).await, SUCCESS);
    assert_eq!(rig.instance(0, "a").await, None);
    assert!(rig.instance(1, "a").await.is_some());
}

#[tokio::test]
async fn one_domain_under_two_names_needs_permission_for_both() {
    let dir = Dir::new();
    let first = dir.node("first", &[running("a", uuid(1))]);
    let second = dir.node("second", &[running("renamed", uuid(1))]);
    let rig = Rig::with_access(&[first, second], group(&["a"])).await;
    assert_eq!(rig.order(Action::Off, &uuid(1).to_string()).await, DENIED);
    assert!(rig.instance(1, "renamed").await.is_some());
}

#[tokio::test]
async fn dead_hypervisor_harms_no_domain_of_the_others() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2))];
    let rig = Rig::new(&[dead(&dir), dir.node("alive", &nodes)]).await;
    let began = Instant::now();
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "b").await, OFF);
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    assert!(rig.instance(1, "a").await.is_some());
    let elapsed = began.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[tokio::test]
async fn unknown_domain_is_in_doubt_while_a_hypervisor_is_dead() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("alive", &[running("a", uuid(1))]), dead(&dir)]).await;
    let (status, off, monitor, list) = tokio::join!(
        rig.order(Action::Status, "nope"),
        rig.order(Action::Off, "nope"),
        rig.order(Action::Monitor, ""),
        rig.order(Action::List, ""),
    );
    assert_eq!(status, FAILURE);
    assert_eq!(off, FAILURE);
    assert_eq!(monitor, FAILURE);
    assert_eq!(list, FAILURE);
}

#[tokio::test]
async fn domain_last_seen_on_a_dead_hypervisor_is_in_doubt() {
    let dir = Dir::new();
    let nodes = [shut_off("a", uuid(1)), shut_off("b", uuid(2))];
    let rig = Rig::new(&[dir.node("alive", &nodes), dead(&dir)]).await;
    rig.backend
        .0
        .common
        .sightings()
        .saw(1, uuid(1), Activity::On);
    let (status, off, on, other) = tokio::join!(
        rig.order(Action::Status, "a"),
        rig.order(Action::Off, "a"),
        rig.order(Action::On, "a"),
        rig.order(Action::Status, "b"),
    );
    assert_eq!(status, FAILURE);
    assert_eq!(off, FAILURE);
    assert_eq!(on, FAILURE);
    assert_eq!(other, OFF);
    assert_eq!(rig.instance(0, "a").await, None);
}

#[tokio::test]
async fn where_domains_are_is_remembered_from_the_first_connection_on() {
    let dir = Dir::new();
    let first = dir.node("first", &[running("a", uuid(1))]);
    let second = dir.node("second", &[running("b", uuid(2))]);
    let rig = Rig::new(&[first, second]).await;
    let sightings = rig.backend.0.common.sightings();
    let now = rig.clock.now();
    assert_eq!(sightings.of(0, uuid(1), now), Sighting::Active);
    assert_eq!(sightings.of(1, uuid(2), now), Sighting::Active);
    assert_eq!(sightings.of(1, uuid(1), now), Sighting::None);
}

#[tokio::test]
async fn where_domains_are_is_looked_up_although_nobody_asks() {
    let dir = Dir::new();
    let first = dir.node("first", &[shut_off("a", uuid(1))]);
    let rig = Rig::new(&[first, dir.node("second", &[running("b", uuid(2))])]).await;
    rig.aside(1, |connection| {
        Domain::create_xml(connection.raw(), &running("a", uuid(1)), 0).unwrap();
    })
    .await;
    let sighting = || {
        let sightings = rig.backend.0.common.sightings();
        sightings.of(1, uuid(1), rig.clock.now())
    };
    eventually(async || sighting() == Sighting::Active).await;
    rig.aside(1, |connection| {
        let domain = Domain::lookup_by_name(connection.raw(), "a").unwrap();
        domain.destroy().unwrap();
    })
    .await;
    eventually(async || sighting() == Sighting::None).await;
}

#[tokio::test]
async fn backend_without_any_hypervisor_says_which_and_why() {
    let dir = Dir::new();
    let uris = [dead(&dir), "nonsense:///x".to_owned()];
    let backend = LibvirtBackend::new(&uris, Clock::start());
    let message = backend.ready().await.unwrap_err().to_string();
    for uri in &uris {
        assert!(message.contains(uri), "{message}");
    }
    assert!(
        message.contains("nobody-listens': No such file"),
        "{message}"
    );
}
