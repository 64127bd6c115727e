//! The cases in which the original says "off" or "fenced" while the domain runs, or says nothing
//! (docs/original-behaviour.md): each of them, and what must be said.

use std::time::Duration;

use fence_cluster::seam::{Event, LeaveReason, Migration};
use fence_proto::{Action, Reply};

use super::bus::{DETECT, FORM, TRANSIT};
use super::host::Setup;
use super::world::{World, uuid};

const NOTICED: Duration = Duration::from_secs(4);

/// What a host runs counts as its own when its daemon has served for so long.
const SETTLED: Duration = Duration::from_secs(6);

/// Three hosts; vm1 runs on the second.
fn three() -> World {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world
}

/// Every action fails at every one of these hosts, and vm1 goes on where it runs.
fn nothing_is_claimed(world: &mut World, hosts: &[u32]) {
    let runs = world.runs_on(1);
    for node in hosts {
        for action in [Action::Status, Action::Off, Action::Reboot, Action::On] {
            let told = world.ask(*node, action, "vm1");
            assert!(told.why.is_some(), "{action} without a reason: {told:?}");
            assert_eq!(
                told.answer,
                fence_proto::host::Answer::Reply(Reply::Failure),
                "{action} at {node}: {told:?}"
            );
            assert_eq!(world.runs_on(1), runs);
        }
    }
}

#[test]
fn owner_whose_daemon_was_killed_or_stopped_is_not_taken_for_fenced() {
    for reason in [LeaveReason::ProcessDown, LeaveReason::Left] {
        let mut world = three();
        world.end_daemon(2, reason);
        world.run_for(Duration::from_millis(100));
        nothing_is_claimed(&mut world, &[1, 3]);
    }
}

#[test]
fn owner_whose_daemon_was_killed_and_is_back_is_fenced() {
    let mut world = three();
    world.end_daemon(2, LeaveReason::ProcessDown);
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_secs(3));
    world.start_daemon(2);
    let told = world.answer(ticket);
    assert_eq!(
        told.answer,
        fence_proto::host::Answer::Reply(Reply::Success)
    );
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn owner_that_hangs_and_then_dies_gives_a_failure_in_time() {
    let mut world = three();
    world.freeze_daemon(2);
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_secs(5));
    world.end_daemon(2, LeaveReason::ProcessDown);
    let told = world.answer(ticket);
    assert!(told.why.unwrap().contains("h2"));
    assert_eq!(world.runs_on(1), [2]);
    // And the requester goes on to serve.
    world.install(3, 2);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Success);
}

#[test]
fn daemon_that_was_stopped_does_not_carry_out_what_was_reported_failed() {
    let mut world = three();
    world.freeze_daemon(2);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Failure);
    world.thaw_daemon(2);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.runs_on(1), [2]);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn daemon_that_was_stopped_after_its_announcement_does_not_act_later() {
    for action in [Action::Off, Action::Reboot] {
        let mut world = three();
        let ticket = world.request(1, action, "vm1");
        // The announcement is on its way: stopped before it comes back.
        world.run_for(Duration::from_micros(1_500));
        world.freeze_daemon(2);
        let told = world.answer(ticket);
        assert_eq!(
            told.answer,
            fence_proto::host::Answer::Reply(Reply::Failure)
        );
        world.thaw_daemon(2);
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.runs_on(1), [2]);
        assert!(world.starts.is_empty());
    }
}

#[test]
fn requester_that_dies_leaves_nothing_to_be_executed_later() {
    let mut world = three();
    world.freeze_daemon(2);
    world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_secs(1));
    world.end_daemon(1, LeaveReason::ProcessDown);
    world.run_for(Duration::from_secs(1));
    world.thaw_daemon(2);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.runs_on(1), [2]);
    // The domain is not held by the dead requester.
    assert_eq!(world.reply(3, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn owner_whose_corosync_is_gone_is_not_taken_for_fenced() {
    let mut world = three();
    world.run_for(SETTLED);
    world.kill_corosync(2);
    world.run_for(NOTICED);
    nothing_is_claimed(&mut world, &[1, 3]);
    // The owner itself can still fence what runs there.
    assert_eq!(world.reply(2, Action::Status, "vm1"), Reply::Success);
    assert_eq!(world.reply(2, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [0; 0]);
    // And is served again when corosync is back.
    world.restart_corosync(2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(2, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn owner_that_is_cut_off_is_not_taken_for_fenced() {
    let mut world = three();
    world.cut(&[2], 1);
    // Also while corosync has not noticed yet.
    nothing_is_claimed(&mut world, &[3]);
    world.run_for(DETECT);
    nothing_is_claimed(&mut world, &[1]);
    world.heal();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn isolated_host_claims_nothing_about_the_others() {
    let mut world = three();
    world.install(1, 2);
    world.run_for(SETTLED);
    world.cut(&[1], 1);
    world.run_for(NOTICED);
    nothing_is_claimed(&mut world, &[1]);
    // Its own it may destroy.
    assert_eq!(world.reply(1, Action::Status, "vm2"), Reply::Success);
    assert_eq!(world.reply(1, Action::Reboot, "vm2"), Reply::Success);
    // Nothing is started without quorum.
    assert_eq!(world.runs_on(2), [0; 0]);
    assert_eq!(world.reply(1, Action::On, "vm2"), Reply::Failure);
    assert_eq!(world.reply(1, Action::Status, "vm2"), Reply::Failure);
}

#[test]
fn leftover_definition_never_answers_for_a_running_domain() {
    let mut world = three();
    world.define(1, 1);
    world.define(3, 1);
    world.run_for(Duration::from_millis(100));
    for node in [1, 2, 3] {
        assert_eq!(world.reply(node, Action::Status, "vm1"), Reply::Success);
    }
    // The answer comes when it is gone, not before.
    let ticket = world.request(1, Action::Off, "vm1");
    assert_eq!(
        world.answer(ticket).answer,
        fence_proto::host::Answer::Reply(Reply::Success)
    );
    assert_eq!(world.runs_on(1), [0; 0]);
    // It is started once, where it ran.
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn owner_whose_libvirt_hangs_gives_a_failure_in_time_and_nothing_is_destroyed_late() {
    let mut world = three();
    world.hang_libvirt(2);
    for action in [Action::Off, Action::Status] {
        let told = world.ask(1, action, "vm1");
        assert!(told.why.unwrap().contains("h2"));
        assert_eq!(
            told.answer,
            fence_proto::host::Answer::Reply(Reply::Failure)
        );
    }
    // Others are fenced meanwhile.
    world.install(3, 2);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Success);
}

#[test]
fn libvirt_that_is_back_in_time_is_still_used() {
    let mut world = three();
    world.hang_libvirt(2);
    world.run_for(Duration::from_secs(4));
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_secs(5));
    world.free_libvirt(2);
    assert_eq!(
        world.answer(ticket).answer,
        fence_proto::host::Answer::Reply(Reply::Success)
    );
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn unknown_domain_is_a_failure_for_every_action_even_without_the_highest_id() {
    let mut world = three();
    for _ in 0..2 {
        for action in [Action::Status, Action::Off, Action::Reboot, Action::On] {
            let told = world.ask(1, action, "nobody");
            assert_eq!(
                told.answer,
                fence_proto::host::Answer::Reply(Reply::Failure)
            );
            assert!(told.why.unwrap().contains("nobody"));
        }
        world.end_daemon(3, LeaveReason::Left);
        world.run_for(Duration::from_millis(100));
    }
}

#[test]
fn uuid_of_a_running_domain_is_as_good_as_its_name() {
    let mut world = three();
    let uuid = uuid(1).to_string();
    assert_eq!(world.reply(1, Action::Status, &uuid), Reply::Success);
    assert_eq!(
        world.reply(1, Action::Status, &uuid.to_uppercase()),
        Reply::Success
    );
    assert_eq!(world.reply(1, Action::Off, &uuid), Reply::Success);
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn reboot_during_a_migration_leaves_exactly_one_copy_on_the_source() {
    for requester in [1, 2, 3] {
        let mut world = three();
        world.migrate(1, 2, 3);
        world.run_for(Duration::from_millis(100));
        assert_eq!(
            world.reply(requester, Action::Reboot, "vm1"),
            Reply::Success
        );
        assert_eq!(world.runs_on(1), [2]);
        world.run_for(Duration::from_secs(30));
        assert_eq!(world.runs_on(1), [2]);
        assert_eq!(world.starts.len(), 1);
    }
}

#[test]
fn off_during_a_migration_leaves_nothing_whenever_it_switches_over() {
    for after_ms in (0..600).step_by(20) {
        let mut world = three();
        world.migrate(1, 2, 3);
        world.run_for(Duration::from_millis(100));
        let ticket = world.request(1, Action::Off, "vm1");
        world.run_for(Duration::from_millis(after_ms));
        world.switch_over(1, 2, 3);
        let told = world.answer(ticket);
        assert_eq!(
            told.answer,
            fence_proto::host::Answer::Reply(Reply::Success)
        );
        assert_eq!(world.runs_on(1), [0; 0]);
    }
}

#[test]
fn migration_whose_source_is_lost_is_not_taken_for_off() {
    // The source's daemon is stopped, or the source is cut off: it runs there.
    let mut world = three();
    world.migrate(1, 2, 3);
    world.run_for(Duration::from_millis(100));
    world.end_daemon(2, LeaveReason::ProcessDown);
    world.run_for(Duration::from_millis(100));
    for action in [Action::Status, Action::Off] {
        assert_eq!(world.reply(1, action, "vm1"), Reply::Failure);
    }
    let mut world = three();
    world.migrate(1, 2, 3);
    world.run_for(Duration::from_millis(100));
    world.cut(&[2], 1);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Failure);
}

#[test]
fn incoming_half_alone_is_not_on() {
    // The source loses power: what is left at the destination runs nowhere.
    let mut world = three();
    world.migrate(1, 2, 3);
    world.run_for(Duration::from_millis(100));
    world.power_off(2);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Failure);
    // With a proof of the source it can be fenced.
    world.fence(2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn departed_owner_is_believed_fenced_with_proof_only() {
    let mut world = three();
    world.fence(2);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(3, Action::Off, "vm1"), Reply::Success);
    // Not defined anywhere else: there is nobody to start it.
    assert_eq!(world.reply(3, Action::On, "vm1"), Reply::Failure);
    // The log has the proof.
    let notes = &world.hosts[&3].daemon.as_ref().unwrap().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("h2") && note.contains("fenced at"))
    );
}

#[test]
fn proof_that_comes_while_the_request_waits_is_used() {
    let mut world = three();
    world.cut(&[2], 1);
    world.run_for(NOTICED);
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_secs(8));
    assert!(world.told(1, ticket).is_none());
    world.fence(2);
    let told = world.answer(ticket);
    assert_eq!(
        told.answer,
        fence_proto::host::Answer::Reply(Reply::Success)
    );
}

#[test]
fn proof_from_before_it_was_heard_again_is_none() {
    let mut world = three();
    world.fence(2);
    world.run_for(Duration::from_secs(20));
    world.power_on(2);
    world.run_for(Duration::from_secs(1));
    world.boot(2, 1);
    world.run_for(Duration::from_secs(3));
    world.cut(&[2], 1);
    world.run_for(NOTICED);
    let told = world.ask(1, Action::Off, "vm1");
    assert_eq!(
        told.answer,
        fence_proto::host::Answer::Reply(Reply::Failure)
    );
    assert!(told.why.unwrap().contains("fence"));
}

#[test]
fn without_proofs_a_departed_owner_is_a_failure_at_once() {
    let setup = Setup {
        proofs: false,
        ..Setup::default()
    };
    let mut world = World::with(3, setup);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world.fence(2);
    world.run_for(NOTICED);
    let asked = world.now;
    let told = world.ask(1, Action::Off, "vm1");
    assert_eq!(
        told.answer,
        fence_proto::host::Answer::Reply(Reply::Failure)
    );
    assert!(told.at.since(asked) < Duration::from_secs(1));
    assert!(told.why.unwrap().contains("fence_proof"));
    // The host back, and saying that it is off, settles it.
    world.power_on(2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn departed_host_that_is_back_with_a_silent_libvirt_settles_nothing() {
    let mut world = three();
    world.end_daemon(2, LeaveReason::Left);
    world.run_for(Duration::from_millis(100));
    world.host(2).libvirt.hung = true;
    world.start_daemon(2);
    world.run_for(Duration::from_secs(1));
    for action in [Action::Status, Action::Off] {
        assert_eq!(world.reply(1, action, "vm1"), Reply::Failure);
    }
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn domain_is_started_after_failover_once_its_owner_was_fenced() {
    let mut world = three();
    world.define(3, 1);
    world.run_for(Duration::from_millis(100));
    world.fence(2);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [3]);
    // And then it is the new owner that counts, also when the old host is back.
    world.run_for(Duration::from_secs(60));
    world.power_on(2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [3]);
}

#[test]
fn run_is_known_also_if_somebody_joined_just_before_corosync_died() {
    // Who has just joined has not said yet what it has: nothing can be claimed of others, but what ran here
    // before is still nobody else's.
    let mut world = three();
    world.install(1, 2);
    world.run_for(SETTLED);
    world.end_daemon(3, LeaveReason::Left);
    world.run_for(Duration::from_secs(1));
    world.hang_libvirt(3);
    world.start_daemon(3);
    world.freeze_daemon(3);
    world.run_for(Duration::from_millis(100));
    world.kill_corosync(1);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Success);
    assert_eq!(world.runs_on(2), [0; 0]);
}

/// Host 1 was fenced, 2 has started its vm2, and then 1 came up, still cut off, and its libvirt started vm2 too.
fn begun_while_alone() -> World {
    let mut world = three();
    world.install(1, 2);
    world.define(2, 2);
    world.run_for(Duration::from_millis(100));
    world.cut(&[1], 1);
    world.run_for(NOTICED);
    world.fence(1);
    world.run_for(Duration::from_secs(5));
    world.boot(2, 2);
    world.power_on_alone(1);
    world.boot(1, 2);
    world.start_daemon(1);
    world.run_for(Duration::from_secs(3));
    world
}

#[test]
fn what_began_to_run_on_a_host_while_it_was_alone_is_destroyed_without_a_claim() {
    let mut world = begun_while_alone();
    assert_eq!(world.reply(1, Action::Status, "vm2"), Reply::Success);
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Failure);
    assert_eq!(world.runs_on(2), [2]);
}

#[test]
fn what_began_while_alone_is_not_claimed_after_a_short_return_to_the_others() {
    let mut world = begun_while_alone();
    world.heal();
    // The group is whole again, nobody has said anything yet, and then it is alone before it has no quorum.
    world.run_for(FORM + TRANSIT / 2);
    world.cut(&[1], 1);
    world.run_for(NOTICED + Duration::from_secs(3));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Failure);
    assert_eq!(world.runs_on(2), [2]);
}

#[test]
fn time_in_which_a_daemon_stands_still_is_no_time_with_the_others() {
    let mut world = begun_while_alone();
    world.feed(1, Event::Quorum(true));
    world.freeze_daemon(1);
    world.run_for(Duration::from_secs(10));
    world.thaw_daemon(1);
    world.run_for(Duration::from_millis(10));
    world.feed(1, Event::Quorum(false));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Failure);
    assert_eq!(world.runs_on(2), [2]);
}

#[test]
fn quorum_of_a_lost_connection_is_not_that_of_the_next_one() {
    let mut world = three();
    world.define(1, 2);
    world.define(2, 2);
    world.run_for(SETTLED);
    world.kill_corosync(1);
    world.run_for(NOTICED);
    world.boot(2, 2);
    world.boot(1, 2);
    world.run_for(Duration::from_millis(100));
    // Its corosync is back, and says who is in the group before it says that there is no quorum.
    let members = vec![world.member(1)];
    let left = Vec::new();
    world.feed(1, Event::Membership { members, left });
    world.run_for(SETTLED + Duration::from_secs(1));
    world.feed(1, Event::Quorum(false));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Failure);
    assert_eq!(world.runs_on(2), [2]);
}

#[test]
fn run_that_began_after_the_cut_is_destroyed_without_a_claim() {
    let mut world = three();
    world.cut(&[1], 1);
    world.run_for(NOTICED);
    world.install(1, 2);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Reboot, "vm2"), Reply::Failure);
    assert_eq!(world.runs_on(2), [0; 0]);
}

/// It runs on host 3, which is lost and may or may not have been starting it, as far as these know.
fn nothing_is_said_of_vm2(world: &mut World, hosts: &[u32]) {
    for node in hosts {
        for action in [Action::Status, Action::Off, Action::On] {
            assert_eq!(world.reply(*node, action, "vm2"), Reply::Failure);
        }
    }
    assert_eq!(world.runs_on(2), [3]);
}

#[test]
fn start_in_the_moment_of_a_cut_is_not_taken_for_off() {
    // libvirt says that a domain has started when the start is over: nobody has heard of it.
    let mut world = three();
    world.define(1, 2);
    world.define(3, 2);
    world.run_for(Duration::from_millis(100));
    world.cut(&[3], 1);
    world.boot(3, 2);
    world.run_for(NOTICED);
    for action in [Action::Status, Action::Off, Action::Reboot, Action::On] {
        assert_eq!(world.reply(1, action, "vm2"), Reply::Failure);
    }
    assert_eq!(world.runs_on(2), [3]);
    // What ran elsewhere was not being started there.
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    // And with the proof nothing is.
    world.fence(3);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.reply(1, Action::Status, "vm2"), Reply::Off);
}

#[test]
fn what_a_silent_libvirt_last_said_does_not_clear_a_lost_host() {
    // vm2 ended on host 1 while nobody could see it, and was being started on host 3 when that was lost.
    let mut world = three();
    world.install(1, 2);
    world.define(3, 2);
    world.run_for(Duration::from_millis(100));
    world.hang_libvirt(1);
    world.run_for(Duration::from_secs(2));
    world.host(1).libvirt.end(uuid(2), Migration::None);
    world.cut(&[3], 1);
    world.boot(3, 2);
    world.run_for(NOTICED);
    world.free_libvirt(1);
    world.run_for(Duration::from_secs(2));
    nothing_is_said_of_vm2(&mut world, &[2]);
}

#[test]
fn what_a_daemon_that_stands_still_last_said_does_not_clear_a_lost_host() {
    // vm2 ended on host 1 behind the back of its daemon, and was being started on host 3 when that was lost.
    let mut world = three();
    world.install(1, 2);
    world.define(3, 2);
    world.run_for(Duration::from_millis(100));
    world.freeze_daemon(1);
    world.run_for(Duration::from_millis(500));
    world.shut_down(1, 2);
    world.cut(&[3], 1);
    world.boot(3, 2);
    world.run_for(NOTICED + Duration::from_secs(13));
    world.thaw_daemon(1);
    world.run_for(Duration::from_secs(2));
    nothing_is_said_of_vm2(&mut world, &[1, 2]);
    // What it says when it has been awake for long enough does.
    world.install(1, 4);
    world.run_for(Duration::from_secs(26));
    assert_eq!(world.reply(2, Action::Off, "vm4"), Reply::Success);
    assert_eq!(world.reply(2, Action::Status, "vm4"), Reply::Off);
}

#[test]
fn what_is_told_to_a_newcomer_may_be_old_and_does_not_clear_a_lost_host() {
    // As above, behind a libvirt that hangs, while nobody has noticed that yet.
    let mut world = World::new(4);
    world.install(1, 2);
    world.define(3, 2);
    world.run_for(Duration::from_millis(100));
    world.end_daemon(4, LeaveReason::Left);
    world.run_for(Duration::from_millis(500));
    world.cut(&[3], 1);
    world.run_for(Duration::from_secs(3));
    world.hang_libvirt(1);
    world.host(1).libvirt.end(uuid(2), Migration::None);
    world.boot(3, 2);
    world.run_for(Duration::from_millis(500));
    world.start_daemon(4);
    world.run_for(Duration::from_millis(3_300));
    world.free_libvirt(1);
    world.run_for(Duration::from_secs(3));
    nothing_is_said_of_vm2(&mut world, &[2]);
}
