//! Members that come, go, were away or were never there: what a newcomer may claim, what it is told
//! of those who are gone, and whose turn it is afterwards.

use std::time::Duration;

use fence_cluster::seam::{Event, LeaveReason};
use fence_proto::host::Answer;
use fence_proto::{Action, Reply};

use super::host::Setup;
use super::world::{World, uuid};

const NOTICED: Duration = Duration::from_secs(4);

#[test]
fn fresh_member_claims_nothing_before_it_has_heard_the_others() {
    // The others' daemons do not say what they have: they are frozen.
    let mut world = World::cold(3, Setup::default());
    world.install(2, 1);
    for node in [2, 3] {
        world.start_daemon(node);
    }
    world.run_for(Duration::from_secs(1));
    world.freeze_daemon(2);
    world.start_daemon(1);
    for action in [Action::Status, Action::Off] {
        assert_eq!(world.reply(1, action, "vm1"), Reply::Failure);
    }
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn request_to_a_daemon_that_starts_is_answered_once_it_knows() {
    let mut world = World::cold(3, Setup::default());
    world.install(2, 1);
    for node in [2, 3] {
        world.start_daemon(node);
    }
    world.run_for(Duration::from_secs(1));
    world.start_daemon(1);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [0; 0]);
}

#[test]
fn newcomer_is_told_of_departed_hosts() {
    let mut world = World::new(4);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world.end_daemon(1, LeaveReason::Left);
    world.end_daemon(2, LeaveReason::ProcessDown);
    world.run_for(Duration::from_millis(100));
    world.start_daemon(1);
    world.run_for(Duration::from_millis(500));
    // It has never seen the second host, and knows what it had.
    let told = world.ask(1, Action::Off, "vm1");
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    let why = told.why.unwrap();
    assert!(
        why.contains("h2") && why.contains("had it running"),
        "{why}"
    );
    world.fence(2);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn newer_of_two_memories_counts_when_partitions_heal() {
    // Five hosts; the fifth is seen by 3 and 4 last, and there it got a domain.
    let mut world = World::new(5);
    world.cut(&[3, 4, 5], 1);
    world.run_for(NOTICED);
    world.install(5, 1);
    world.run_for(Duration::from_millis(100));
    world.cut(&[5], 2);
    world.run_for(NOTICED);
    for node in [1, 2, 3, 4] {
        world.bus.rings.insert(node, 0);
    }
    world.bus.form_in(world.now, super::bus::FORM);
    world.run_for(Duration::from_secs(1));
    let told = world.ask(1, Action::Status, "vm1");
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert!(told.why.unwrap().contains("h5"));
}

#[test]
fn host_that_was_never_seen_needs_a_proof_where_there_is_no_evidence() {
    let mut world = World::cold(3, Setup::default());
    world.install(1, 1);
    world.define(2, 2);
    for node in [1, 2] {
        world.start_daemon(node);
    }
    world.run_for(Duration::from_secs(1));
    // Shut off here, and perhaps running on the third.
    for action in [Action::Off, Action::Status, Action::On] {
        let told = world.ask(1, action, "vm2");
        assert_eq!(told.answer, Answer::Reply(Reply::Failure), "{action}");
        assert!(told.why.unwrap().contains("h3"));
    }
    // With evidence it does not matter.
    assert_eq!(world.reply(2, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [1]);
    world.fence(3);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Off, "vm2"), Reply::Success);
}

#[test]
fn member_that_joins_in_the_middle_takes_part_in_the_request() {
    // The third host is cut off with a copy, and comes back while the request is under way.
    for after_ms in (0..800).step_by(40) {
        let mut world = World::new(3);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        world.cut(&[3], 1);
        world.run_for(NOTICED);
        world.boot(3, 1);
        world.by_hand = true;
        let ticket = world.request(1, Action::Reboot, "vm1");
        world.run_for(Duration::from_millis(after_ms));
        world.heal();
        world.answer(ticket);
        world.run_for(Duration::from_secs(2));
        let off = world.reply(1, Action::Off, "vm1");
        assert_eq!((off, world.runs_on(1)), (Reply::Success, vec![]));
    }
}

#[test]
fn requests_for_one_domain_are_carried_out_one_after_another() {
    for after_ms in (0..700).step_by(50) {
        let mut world = World::new(3);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        let reboot = world.request(1, Action::Reboot, "vm1");
        world.run_for(Duration::from_millis(after_ms));
        let off = world.request(3, Action::Off, "vm1");
        world.answer(reboot);
        assert_eq!(world.answer(off).answer, Answer::Reply(Reply::Success));
        world.run_for(Duration::from_secs(30));
        // Whoever comes last, nothing is started behind the success of "off".
        assert_eq!(world.runs_on(1), [0; 0]);
    }
}

#[test]
fn requests_of_healing_partitions_do_not_start_what_the_other_has_fenced() {
    for after_ms in (0..500).step_by(10) {
        let mut world = World::new(5);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        world.cut(&[4], 1);
        world.run_for(NOTICED);
        let reboot = world.request(1, Action::Reboot, "vm1");
        world.run_for(Duration::from_millis(after_ms));
        world.heal();
        let off = world.request(4, Action::Off, "vm1");
        world.answer(reboot);
        let off = world.answer(off).answer;
        world.run_for(Duration::from_secs(30));
        if off == Answer::Reply(Reply::Success) {
            assert_eq!(world.runs_on(1), [0; 0]);
        }
    }
}

#[test]
fn frozen_requester_does_not_hold_the_domain_for_long() {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world.request(1, Action::Reboot, "vm1");
    // Its round is out, and it will not go on.
    world.run_for(Duration::from_micros(1_500));
    world.freeze_daemon(1);
    // The round was carried out, so that the other request finds nothing to destroy; and the frozen
    // daemon does not say that it has nothing.
    let told = world.ask(3, Action::Off, "vm1");
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert!(told.why.unwrap().contains("h1"));
    assert_eq!(world.runs_on(1), [0; 0]);
    // It has had its turn: the first one was ended for its requester.
    let notes = &world.hosts[&3].daemon.as_ref().unwrap().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("h1") && note.contains("is ended for it"))
    );
    world.thaw_daemon(1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.runs_on(1), [0; 0]);
    assert!(world.starts.is_empty());
    assert_eq!(world.reply(3, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn starter_that_is_cut_off_with_the_order_counts_as_a_place_where_it_may_run() {
    // `on` is told to the second host, which is cut off around that moment.
    for after_us in (0..12_000).step_by(500) {
        let mut world = World::new(3);
        world.define(2, 1);
        world.define(3, 1);
        world.run_for(Duration::from_millis(100));
        let on = world.request(1, Action::On, "vm1");
        world.run_for(Duration::from_micros(after_us));
        world.cut(&[2], 1);
        world.answer(on);
        world.run_for(NOTICED);
        // Checked by the truth: no off, and no second copy.
        world.ask(3, Action::Off, "vm1");
        world.ask(1, Action::On, "vm1");
    }
}

#[test]
fn restarted_daemon_goes_on_where_the_old_one_was() {
    let mut world = World::new(3);
    world.install(2, 1);
    world.define(1, 1);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(3, Action::Off, "vm1"), Reply::Success);
    world.end_daemon(2, LeaveReason::Left);
    world.run_for(Duration::from_millis(50));
    world.start_daemon(2);
    world.run_for(Duration::from_secs(1));
    // The others still know that it ran there last.
    assert_eq!(world.reply(3, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn host_that_is_up_without_its_daemon_may_have_been_given_the_domain() {
    for reason in [LeaveReason::Left, LeaveReason::ProcessDown] {
        let mut world = World::new(3);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        world.end_daemon(3, reason);
        world.run_for(Duration::from_secs(60));
        // A cluster manager moves it there, and nobody is told.
        world.shut_down(2, 1);
        world.boot(3, 1);
        world.run_for(Duration::from_millis(100));
        for action in [Action::Status, Action::Off, Action::On] {
            let told = world.ask(1, action, "vm1");
            assert_eq!(told.answer, Answer::Reply(Reply::Failure), "{action}");
            assert!(told.why.unwrap().contains("h3"));
        }
    }
}

#[test]
fn host_that_was_shut_down_does_not_stand_in_the_way_of_what_it_never_had() {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    // First its daemon, which says so, a few seconds later its corosync.
    world.feed(3, Event::ShuttingDown);
    world.run_for(Duration::from_millis(10));
    world.end_daemon(3, LeaveReason::Left);
    world.run_for(Duration::from_secs(5));
    world.power_off(3);
    world.run_for(NOTICED);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    // When it is up again, and its daemon is not, it may be given anything.
    world.shut_down(2, 1);
    world.host(3).power = true;
    world.bus.rings.insert(3, 0);
    world.bus.form_in(world.now, super::bus::FORM);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Failure);
}

#[test]
fn memory_from_before_a_partition_is_not_everything() {
    // While 1 is cut off, the quorum gives the domain to 3; then 2 forgets, and 3 is cut off.
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world.cut(&[1], 1);
    world.run_for(NOTICED);
    world.shut_down(2, 1);
    world.boot(3, 1);
    world.run_for(Duration::from_millis(100));
    world.end_daemon(2, LeaveReason::ProcessDown);
    world.cut(&[3], 3);
    world.cut(&[1, 2], 2);
    world.run_for(NOTICED);
    world.start_daemon(2);
    world.run_for(Duration::from_secs(1));
    for node in [1, 2] {
        for action in [Action::Status, Action::Off, Action::On] {
            assert_eq!(world.reply(node, action, "vm1"), Reply::Failure, "{action}");
        }
    }
}

#[test]
fn daemon_that_stood_still_does_not_answer_from_what_was_true_then() {
    // The requester is stopped with all answers in its queue; meanwhile its request is ended for
    // it, and another one starts the domain.
    for after_us in (220_000..226_000).step_by(250) {
        let mut world = World::new(3);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        let off = world.request(1, Action::Off, "vm1");
        world.run_for(Duration::from_micros(after_us));
        world.freeze_daemon(1);
        let on = world.request(3, Action::On, "vm1");
        world.run_for(Duration::from_secs(8));
        world.boot(2, 1);
        world.run_for(Duration::from_millis(100));
        world.thaw_daemon(1);
        // Checked by the truth.
        world.answer(off);
        world.answer(on);
    }
}

#[test]
fn newcomer_does_not_carry_out_what_others_closed_in_the_requesters_name() {
    // The requester stands still with answers unread, is closed by another one, and goes on: its next
    // round is on its way before it hears of that, and the newcomer knows nothing of the end.
    let mut cut_short = 0;
    for after in (220_000..226_000).step_by(250) {
        let mut world = World::new(3);
        world.install(2, 1);
        world.run_for(Duration::from_millis(100));
        let off = world.request(1, Action::Off, "vm1");
        world.run_for(Duration::from_micros(after));
        world.freeze_daemon(1);
        let on = world.request(3, Action::On, "vm1");
        world.run_for(Duration::from_secs(8));
        world.end_daemon(2, LeaveReason::Left);
        world.run_for(Duration::from_millis(50));
        world.start_daemon(2);
        world.run_for(Duration::from_millis(500));
        world.boot(2, 1);
        world.run_for(Duration::from_millis(100));
        world.thaw_daemon(1);
        let off = world.answer(off);
        world.answer(on);
        world.run_for(Duration::from_secs(20));
        if off.answer == Answer::Reply(Reply::Failure) {
            cut_short += 1;
            assert_eq!(
                world.runs_on(1),
                [2],
                "after {after} µs\n{}",
                world.log.join("\n")
            );
        }
    }
    assert!(cut_short > 0, "it was never closed by the other one");
}

#[test]
fn name_of_a_leftover_means_nothing_while_a_member_has_not_listed_its_domains() {
    // host 2 has a leftover that is called vm1, host 3 runs another vm1 and has not listed it.
    let mut world = World::cold(3, Setup::default());
    let run = world.fresh_run();
    world.host(2).libvirt.define(uuid(9), "vm1");
    world.host(3).libvirt.run(uuid(1), "vm1", run);
    world.host(3).libvirt.hung = true;
    for node in 1..=3 {
        world.start_daemon(node);
    }
    world.run_for(Duration::from_secs(1));
    // Single questions are answered, the list is still on its way.
    world.host(3).libvirt.hung = false;
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Failure);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Failure);
    // By its UUID it is meant whoever has listed what.
    let leftover = uuid(9).to_string();
    assert_eq!(world.reply(1, Action::Status, &leftover), Reply::Off);
    assert_eq!(world.runs_on(1), [3]);
}

#[test]
fn run_that_began_while_its_daemon_was_away_counts_for_later_than_a_leftover_elsewhere() {
    for runs_before in [1, 2] {
        let mut world = World::new(3);
        world.define(2, 1);
        world.define(3, 1);
        world.run_for(Duration::from_millis(100));
        world.end_daemon(2, LeaveReason::Left);
        for _ in 0..runs_before {
            world.boot(3, 1);
            world.run_for(Duration::from_millis(100));
            world.shut_down(3, 1);
            world.run_for(Duration::from_millis(100));
        }
        world.boot(2, 1);
        // This one gives it a number before it has heard of those.
        world.start_daemon(2);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
        assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
        assert_eq!(world.runs_on(1), [2], "{runs_before} runs before");
    }
}
