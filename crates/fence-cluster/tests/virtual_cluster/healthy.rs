//! It works, and how fast.

use std::time::Duration;

use fence_proto::{Action, Reply};

use super::world::World;

/// Three hosts; vm1 runs on the second.
fn three() -> World {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world
}

#[test]
fn remote_domain_is_on_then_off_then_on() {
    let mut world = three();
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [0; 0]);
    assert_eq!(world.reply(3, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(3, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
    assert_eq!(world.reply(3, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn reboot_starts_it_where_it_ran() {
    let mut world = three();
    world.define(1, 1);
    world.define(3, 1);
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn transient_domain_is_rebooted_from_what_was_kept() {
    let mut world = World::new(3);
    world.boot(2, 1);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    world.run_for(Duration::from_millis(100));
    assert!(world.host(2).libvirt.kept.is_empty());
    // Known once, and gone.
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Off);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Failure);
}
