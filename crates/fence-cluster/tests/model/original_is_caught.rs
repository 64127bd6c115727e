//! The properties can fail: the original's rules are caught in what was seen of the original on real
//! hosts, and the trace is printed.

use fence_proto::Action;

use crate::claims::Flaw;
use crate::explore::catch;
use crate::original::Original;
use crate::plan::{Kind, Place, Plan};
use crate::walk::walks;

#[test]
fn owner_whose_daemon_stopped_is_forgotten() {
    let menu = [(Kind::DaemonStop, 1)];
    let plan = Plan::new("original: off, the owner's daemon stops", Action::Off);
    catch::<Original>(plan.with(&menu), Flaw::FalseSuccess);
    let plan = Plan::new("original: status, the owner's daemon stops", Action::Status);
    catch::<Original>(plan.with(&menu), Flaw::FalseOff);
}

#[test]
fn owner_that_is_cut_off_is_forgotten() {
    let plan = Plan::new("original: off, the network is cut", Action::Off);
    catch::<Original>(plan.with(&[(Kind::Cut, 1)]), Flaw::FalseSuccess);
}

#[test]
fn owner_whose_corosync_died_is_forgotten() {
    let plan = Plan::new("original: status, a corosync dies", Action::Status);
    catch::<Original>(plan.with(&[(Kind::CorosyncKill, 1)]), Flaw::FalseOff);
}

#[test]
fn leftover_definition_answers_at_once() {
    let mut plan = Plan::new("original: off, defined on two hosts", Action::Off);
    plan.domains[0].defined = vec![1, 2];
    catch::<Original>(plan, Flaw::FalseSuccess);
}

#[test]
fn every_member_starts_it() {
    let mut plan = Plan::new("original: on, defined on two hosts", Action::On);
    plan.domains = vec![Place {
        runs: None,
        defined: vec![1, 2],
    }];
    catch::<Original>(plan, Flaw::TwoCopies);
}

#[test]
fn reboot_while_it_migrates_makes_two() {
    let plan = Plan::new("original: reboot, migration", Action::Reboot);
    catch::<Original>(plan.with(&[(Kind::Migrate, 1)]), Flaw::TwoCopies);
}

#[test]
fn hung_owner_is_waited_for_without_limit() {
    let plan = Plan::new("original: off, a daemon hangs", Action::Off);
    catch::<Original>(plan.with(&[(Kind::Hang, 1)]), Flaw::Unanswered);
    let plan = Plan::new("original: off, a libvirt hangs", Action::Off);
    catch::<Original>(plan.with(&[(Kind::LibvirtHang, 1)]), Flaw::Unanswered);
}

#[test]
fn order_is_carried_out_long_after() {
    let mut plan = Plan::new("original: off, owner hangs, requester dies", Action::Off);
    plan.faults = 2;
    plan.tail = 2000;
    let menu = [(Kind::Hang, 1), (Kind::Resume, 1), (Kind::DaemonKill, 1)];
    catch::<Original>(plan.with(&menu), Flaw::LateDeed);
}

#[test]
fn member_that_has_just_started_answers() {
    let mut plan = Plan::new("original: status, all just started", Action::Status);
    plan.warm = false;
    plan.stalls = 1;
    plan.menu.clear();
    catch::<Original>(plan, Flaw::FalseOff);
}

#[test]
fn walks_catch_it_too() {
    let Err(broken) = walks::<Original>(0..1000) else {
        panic!("a thousand walks broke nothing");
    };
    println!("seed {}:\n{}", broken.seed, broken.trace);
    assert!(!broken.flaws.is_empty());
}
