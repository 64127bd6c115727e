//! The rest of the table: names, groups, lists, what is unknown, who waits for whom.

use std::sync::Arc;
use std::time::Duration;

use fence_cluster::seam::{Event, LeaveReason, Ticket, UnknownDomain};
use fence_proto::access::{Access, Group, GroupMember, GroupSource};
use fence_proto::host::Answer;
use fence_proto::{Action, Reason, Reply};

use super::host::{Inbox, Setup};
use super::libvirt::Domain;
use super::world::{World, uuid};

const NOTICED: Duration = Duration::from_secs(4);

fn settled(mut world: World) -> World {
    world.run_for(Duration::from_millis(100));
    world
}

fn three() -> World {
    let mut world = World::new(3);
    world.install(2, 1);
    settled(world)
}

fn listed(world: &mut World, node: u32) -> Option<Vec<(String, u8)>> {
    match world.ask(node, Action::List, "").answer {
        Answer::List(entries) => Some(entries.into_iter().map(|e| (e.name, e.state)).collect()),
        _ => None,
    }
}

fn restricted(members: &[&str]) -> Arc<Access> {
    Arc::new(Access::groups(vec![Group {
        name: None,
        members: members
            .iter()
            .map(|name| GroupMember::parse(name))
            .collect(),
        sources: vec![GroupSource::Ip("10.0.0.1".parse().unwrap())],
    }]))
}

#[test]
fn domain_that_shut_itself_down_is_off_and_a_reboot_leaves_it_so() {
    let mut world = three();
    world.shut_down(2, 1);
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert!(world.starts.is_empty());
}

#[test]
fn domain_that_was_undefined_is_off_and_cannot_be_started() {
    let mut world = three();
    world.undefine(2, 1);
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(3, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(3, Action::On, "vm1"), Reply::Failure);
}

#[test]
fn domain_is_started_where_it_ran_last_else_on_the_lowest_id() {
    let mut world = World::new(3);
    world.define(2, 1);
    world.define(3, 1);
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
    world.shut_down(2, 1);
    world.boot(3, 1);
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [3]);
}

#[test]
fn two_copies_are_both_destroyed() {
    let mut world = three();
    world.boot(3, 1);
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn name_of_two_domains_is_refused_with_both_uuids() {
    let mut world = three();
    let twin = uuid(9);
    world.host(3).libvirt.define(twin, "VM1");
    world.changed(3, twin);
    let mut world = settled(world);
    for action in [Action::Status, Action::Off, Action::Reboot, Action::On] {
        let told = world.ask(1, action, "vm1");
        assert_eq!(told.answer, Answer::Reply(Reply::Failure));
        let why = told.why.unwrap();
        assert!(
            why.contains(&uuid(1).to_string()) && why.contains(&twin.to_string()),
            "{why}"
        );
    }
    // By UUID there is no doubt.
    assert_eq!(
        world.reply(1, Action::Off, &uuid(1).to_string()),
        Reply::Success
    );
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn name_of_a_dead_hosts_domain_is_free_once_the_host_was_fenced() {
    let mut world = three();
    world.fence(2);
    world.run_for(NOTICED);
    // The same name under another UUID, as a manager creates it that gives none.
    world.host(3).libvirt.run(uuid(9), "vm1", 77);
    world.changed(3, uuid(9));
    let mut world = settled(world);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn groups_are_asked_before_anything_is_changed() {
    let mut world = three();
    world.access = restricted(&["vm2"]);
    for action in [Action::Status, Action::Off, Action::Reboot, Action::On] {
        assert_eq!(world.reply(1, action, "vm1"), Reply::PermissionDenied);
        assert_eq!(
            world.reply(2, action, &uuid(1).to_string()),
            Reply::PermissionDenied
        );
        assert_eq!(world.reply(1, action, "nobody"), Reply::PermissionDenied);
    }
    assert_eq!(world.runs_on(1), [2]);
    world.access = restricted(&["vm1"]);
    assert_eq!(
        world.reply(1, Action::Off, &uuid(1).to_string()),
        Reply::Success
    );
}

#[test]
fn domain_that_was_renamed_is_only_destroyed_if_the_groups_allow_the_new_name() {
    let mut world = three();
    world.access = restricted(&["vm1"]);
    // Nobody has heard of the new name: the record says "vm1", shut off.
    world.shut_down(2, 1);
    world.run_for(Duration::from_millis(100));
    let domain: &mut Domain = world.host(2).libvirt.domains.get_mut(&uuid(1)).unwrap();
    domain.name = "secret".to_owned();
    domain.run = Some(55);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::PermissionDenied);
    assert_eq!(world.runs_on(1), [2]);
    world.access = restricted(&["vm1", "secret"]);
    assert_eq!(
        world.reply(1, Action::Off, &uuid(1).to_string()),
        Reply::Success
    );
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn domain_that_no_record_has_is_searched_for() {
    let mut world = three();
    // Its event has not come.
    world.host(3).libvirt.run(uuid(4), "vm4", 44);
    assert_eq!(world.reply(1, Action::Status, "vm4"), Reply::Success);
    world.host(3).libvirt.run(uuid(5), "vm5", 45);
    assert_eq!(world.reply(1, Action::Off, "vm5"), Reply::Success);
    assert_eq!(world.runs_on(5), [0; 0]);
}

#[test]
fn unknown_domain_counts_as_off_where_it_is_configured() {
    let setup = Setup {
        unknown: UnknownDomain::Off,
        ..Setup::default()
    };
    let mut world = World::with(3, setup);
    assert_eq!(world.reply(1, Action::Off, "nobody"), Reply::Success);
    assert_eq!(world.reply(1, Action::Reboot, "nobody"), Reply::Success);
    assert_eq!(world.reply(1, Action::Status, "nobody"), Reply::Off);
    assert_eq!(world.reply(1, Action::On, "nobody"), Reply::Failure);
    let notes = &world.hosts[&1].daemon.as_ref().unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("unknown_domain")));
    // But not while a host is away that may have it.
    world.end_daemon(3, LeaveReason::Left);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Off, "nobody"), Reply::Failure);
    world.fence(3);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::Off, "nobody"), Reply::Success);
}

#[test]
fn list_has_every_domain_of_the_cluster_once_with_the_state_of_its_active_copy() {
    let mut world = three();
    world.define(1, 1);
    world.define(3, 2);
    world.install(1, 3);
    let mut world = settled(world);
    let all = [("vm1", 1), ("vm2", 5), ("vm3", 1)].map(|(name, state)| (name.to_owned(), state));
    for node in [1, 2, 3] {
        assert_eq!(listed(&mut world, node).unwrap(), all);
    }
    // Those of a departed host too.
    world.end_daemon(2, LeaveReason::Left);
    world.run_for(Duration::from_millis(100));
    assert_eq!(listed(&mut world, 3).unwrap(), all);
    world.access = restricted(&["vm3"]);
    assert_eq!(listed(&mut world, 3).unwrap(), [("vm3".to_owned(), 1)]);
}

#[test]
fn host_without_domains_lists_those_of_the_others_and_an_empty_cluster_nothing() {
    let mut world = World::new(3);
    assert_eq!(listed(&mut world, 1), Some(vec![]));
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    assert_eq!(listed(&mut world, 1).unwrap().len(), 1);
}

#[test]
fn list_without_one_members_answer_is_a_failure_and_not_a_partial_list() {
    let mut world = three();
    world.freeze_daemon(3);
    assert_eq!(listed(&mut world, 1), None);
    world.thaw_daemon(3);
    world.run_for(Duration::from_secs(1));
    assert!(listed(&mut world, 1).is_some());
    world.hang_libvirt(3);
    world.run_for(NOTICED);
    assert_eq!(listed(&mut world, 1), None);
    world.free_libvirt(3);
    world.run_for(Duration::from_secs(1));
    assert!(listed(&mut world, 1).is_some());
    world.cut(&[1], 1);
    world.run_for(NOTICED);
    assert_eq!(listed(&mut world, 1), None);
}

#[test]
fn monitor_needs_libvirt_the_group_and_quorum() {
    let mut world = three();
    assert_eq!(world.reply(1, Action::Monitor, ""), Reply::Success);
    world.hang_libvirt(1);
    assert_eq!(world.reply(1, Action::Monitor, ""), Reply::Failure);
    assert_eq!(world.reply(2, Action::Monitor, ""), Reply::Success);
    world.free_libvirt(1);
    world.kill_corosync(1);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::Monitor, ""), Reply::Failure);
    world.cut(&[2], 1);
    world.run_for(NOTICED);
    assert_eq!(world.reply(2, Action::Monitor, ""), Reply::Failure);
    assert_eq!(world.reply(1, Action::Null, ""), Reply::Failure);
}

#[test]
fn request_that_nobody_waits_for_is_not_begun_and_one_that_has_begun_goes_on() {
    let mut world = three();
    world.freeze_daemon(2);
    let ticket = world.request(1, Action::Off, "vm1");
    world.feed(1, Event::Abandoned(Ticket(ticket)));
    let told = world.answer(ticket);
    assert_eq!(told.answer, Answer::NotStarted(Reason::RequesterGone));
    world.thaw_daemon(2);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.runs_on(1), [2]);

    let ticket = world.request(1, Action::Reboot, "vm1");
    world.run_for(Duration::from_millis(50));
    world.feed(1, Event::Abandoned(Ticket(ticket)));
    world.answer(ticket);
    world.run_for(Duration::from_secs(2));
    assert_eq!((world.runs_on(1), world.starts.len()), (vec![2], 1));
}

#[test]
fn status_does_not_tell_the_moment_within_a_reboot() {
    let mut world = three();
    let reboot = world.request(1, Action::Reboot, "vm1");
    world.run_for(Duration::from_millis(230));
    assert_eq!(world.runs_on(1), [0; 0]);
    assert_eq!(world.reply(3, Action::Status, "vm1"), Reply::Success);
    assert_eq!(world.answer(reboot).answer, Answer::Reply(Reply::Success));
}

#[test]
fn domain_that_was_migrated_is_known_where_it_went() {
    let mut world = three();
    world.migrate(1, 2, 3);
    world.run_for(Duration::from_millis(500));
    world.switch_over(1, 2, 3);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [3]);
    // The leftover definition does not answer for it.
    world.cut(&[3], 1);
    world.run_for(NOTICED);
    assert_eq!(world.reply(2, Action::Off, "vm1"), Reply::Failure);
}

#[test]
fn domain_that_was_migrated_to_a_host_nobody_hears_is_not_taken_for_off() {
    // The destination is cut off from corosync before its half appears, and the migration has a
    // network of its own.
    let mut world = three();
    world.cut(&[3], 1);
    world.run_for(NOTICED);
    world.migrate(1, 2, 3);
    world.run_for(Duration::from_millis(500));
    world.switch_over(1, 2, 3);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Failure);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Failure);
    world.fence(3);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn too_many_requests_are_refused() {
    let mut world = three();
    world.freeze_daemon(2);
    let first = world.request(1, Action::Status, "vm1");
    for _ in 1..fence_cluster::MAX_CASES {
        world.request(1, Action::Status, "vm1");
    }
    let one_more = world.request(1, Action::Status, "vm1");
    let told = world.told(1, one_more).unwrap();
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert!(told.why.unwrap().contains("too many"));
    assert!(world.told(1, first).is_none());
    world.thaw_daemon(2);
    assert_eq!(world.answer(first).answer, Answer::Reply(Reply::Success));
}

#[test]
fn questions_and_orders_cost_few_messages() {
    let mut world = three();
    world.run_for(Duration::from_secs(1));
    let mut cost = |node, action| {
        let before = world.bus.traffic;
        world.reply(node, action, "vm1");
        world.run_for(Duration::from_millis(10));
        let after = world.bus.traffic;
        (after.0 - before.0, after.1 - before.1)
    };
    // Here: nothing. Elsewhere: a round and three answers.
    assert_eq!(cost(2, Action::Status).0, 0);
    let (messages, bytes) = cost(1, Action::Status);
    assert!(
        messages <= 4 && bytes < 400,
        "{messages} messages, {bytes} bytes"
    );
    // One round: it, two answers, an announcement, the change, what came of it, the end.
    let (messages, bytes) = cost(1, Action::Off);
    assert!(
        messages == 7 && bytes < 700,
        "{messages} messages, {bytes} bytes"
    );
}

#[test]
fn two_copies_are_looked_for_again_when_they_are_gone() {
    let mut world = three();
    world.install(3, 1);
    world.run_for(Duration::from_secs(1));
    let before = world.bus.traffic.0;
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.runs_on(1), [0; 0]);
    // The first round's nine, and the second one's four.
    assert_eq!(world.bus.traffic.0 - before, 13);
}

#[test]
fn slow_round_that_ended_the_only_run_is_followed_by_another_look() {
    // The domain moves on after its host was asked whether it migrates, and host 3 is slow to tell.
    let mut world = three();
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_millis(60));
    let run = world.hosts[&2].libvirt.run_of(uuid(1)).unwrap();
    world.freeze_daemon(2);
    world.run_for(Duration::from_millis(50));
    world.host(3).libvirt.run(uuid(1), "vm1", run);
    world.post(3, Duration::from_secs(4), Inbox::Changed(uuid(1)));
    world.run_for(Duration::from_millis(1500));
    world.thaw_daemon(2);
    assert_eq!(world.answer(ticket).answer, Answer::Reply(Reply::Success));
    assert_eq!(world.runs_on(1), [0; 0]);
}
