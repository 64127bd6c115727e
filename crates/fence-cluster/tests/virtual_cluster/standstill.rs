//! A requester whose daemon was stopped by a signal and goes on: it orders and says nothing before it
//! has read what happened meanwhile.

use std::time::Duration;

use fence_cluster::seam::{Event, LeaveReason, Ticket};
use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reply};

use super::original::mixed;
use super::world::World;

/// Long enough for another requester to end a request in its name, short enough for it to have time left.
const CLOSED_BY_ANOTHER: Duration = Duration::from_secs(10);

/// Two hosts; vm1 runs on the second.
fn two() -> World {
    let mut world = World::new(2);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world
}

fn run_until(world: &mut World, moment: Moment) {
    world.run_until(moment, |_| false);
}

fn core_deadline(world: &World, node: u32) -> Moment {
    let daemon = world.hosts[&node].daemon.as_ref().unwrap();
    daemon.core.deadline().unwrap()
}

#[test]
fn original_is_not_told_to_destroy_before_what_waits_was_read() {
    let mut world = mixed(3);
    let stale = world.request(1, Action::Off, "vm1");
    // Stopped before its round has come back.
    world.run_for(Duration::from_micros(500));
    world.freeze_daemon(1);
    world.request(2, Action::Off, "vm1");
    world.run_for(CLOSED_BY_ANOTHER);
    assert_eq!(world.runs_on(1), [0; 0]);
    world.end_daemon(2, LeaveReason::Left);
    world.boot(3, 1);
    world.run_for(Duration::from_millis(100));
    world.thaw_daemon(1);
    let told = world.answer(stale);
    assert!(told.why.unwrap().contains("another host ended"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.runs_on(1), [3]);
}

#[test]
fn original_is_not_told_to_start_before_what_waits_was_read() {
    let mut world = mixed(2);
    let stale = world.request(1, Action::On, "vm7");
    // Stopped before the others' answers have come.
    world.run_for(Duration::from_micros(2_500));
    world.freeze_daemon(1);
    let other = world.request(2, Action::On, "vm7");
    world.run_for(CLOSED_BY_ANOTHER);
    world.feed(2, Event::Abandoned(Ticket(other)));
    world.install(2, 7);
    world.run_for(Duration::from_millis(100));
    world.thaw_daemon(1);
    let told = world.answer(stale);
    assert!(told.why.unwrap().contains("another host ended"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.runs_on(7), [2]);
}

#[test]
fn reboot_whose_time_ran_out_is_no_success_before_what_waits_was_read() {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    let asked = world.request(1, Action::Reboot, "vm1");
    world.run_until(world.now + Duration::from_secs(1), |world| {
        world.runs_on(1).is_empty()
    });
    // What is destroyed is not started again.
    world.run_for(Duration::from_millis(50));
    world.hang_libvirt(2);
    // The last thing that it did was a tick.
    let tick = core_deadline(&world, 1);
    run_until(&mut world, tick);
    world.freeze_daemon(1);
    world.run_for(Duration::from_secs(15));
    world.install(3, 1);
    world.run_for(Duration::from_secs(4));
    world.thaw_daemon(1);
    let told = world.answer(asked);
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert!(told.why.unwrap().contains("appeared on host h3"));
}

#[test]
fn failure_after_the_time_was_over_waits_for_what_others_may_still_begin() {
    let mut world = two();
    let asked = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_micros(500));
    world.freeze_daemon(1);
    world.freeze_daemon(2);
    world.run_for(Duration::from_millis(21_000));
    // The other one reads the round now, and announces what it does before the end of it comes.
    world.thaw_daemon(2);
    world.run_for(Duration::from_micros(500));
    world.thaw_daemon(1);
    let told = world.answer(asked);
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    let runs = world.runs_on(1);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.runs_on(1), runs, "destroyed after the failure");
}

#[test]
fn failure_after_the_time_was_over_is_told_in_time_also_if_its_end_does_not_come_back() {
    for (stopped_for, told_after) in [(21, 24_000), (23, 24_900), (26, 26_000)] {
        let mut world = two();
        let start = world.now;
        world.freeze_daemon(2);
        let asked = world.request(1, Action::Off, "vm1");
        world.run_for(Duration::from_millis(500));
        world.freeze_daemon(1);
        run_until(&mut world, start + Duration::from_secs(stopped_for));
        // Nothing is ordered any more.
        world.bus.form_in(world.now, Duration::from_secs(60));
        world.thaw_daemon(1);
        let told = world.answer(asked);
        assert_eq!(told.answer, Answer::Reply(Reply::Failure));
        let took = told.at.since(start).as_millis();
        assert_eq!(took, told_after, "stopped for {stopped_for} s");
    }
}
