//! The core, explored. What is printed at the end of each plan is how many states there were.
//!
//! `cargo test` explores the smaller bounds; `scripts/model.sh` (`make model`) sets FENCE_MODEL=deep for the larger
//! ones.

use fence_cluster::Cluster;
use fence_proto::Action;

use crate::explore::explore;
use crate::plan::{Ask, Kind, Place, Plan};

const ACTIONS: [Action; 4] = [Action::Off, Action::Reboot, Action::On, Action::Status];

fn is_deep() -> bool {
    std::env::var_os("FENCE_MODEL").is_some_and(|value| value == "deep")
}

/// `plan` for every action.
fn for_each_action(plan: impl Fn(Action) -> Plan) {
    for action in ACTIONS {
        explore::<Cluster>(plan(action)).holds();
    }
}

fn named(what: &'static str, action: Action) -> Plan {
    Plan::new(format!("{what}: {}", action.name()), action)
}

#[test]
fn one_fault_of_any_kind_anywhere() {
    for_each_action(|action| {
        let mut plan =
            named("one fault of any kind", action).with(&Kind::ALL.map(|kind| (kind, 1)));
        plan.stalls = u8::from(is_deep());
        plan
    });
}

#[test]
fn messages_events_and_jobs_held_up() {
    for_each_action(|action| {
        let mut plan = named("lanes held up", action);
        plan.stalls = if is_deep() { 2 } else { 1 };
        plan
    });
}

#[test]
fn migration_at_any_moment() {
    for_each_action(|action| {
        let mut plan = named("a migration", action).with(&[(Kind::Migrate, 1)]);
        plan.stalls = u8::from(is_deep());
        plan
    });
}

#[test]
fn migration_and_a_fault() {
    // With one fault it is part of the plan above.
    if !is_deep() {
        return;
    }
    for_each_action(|action| {
        let mut plan = named("a migration and a fault", action);
        plan = plan.with(&Kind::ALL.map(|kind| (kind, 1)));
        plan.faults = 2;
        plan.menu
            .retain(|(kind, _)| !matches!(kind, Kind::Start | Kind::Fence | Kind::Boot));
        plan
    });
}

#[test]
fn hosts_that_are_cut_off_fenced_and_back() {
    // With one fault it is part of the plan above.
    if !is_deep() {
        return;
    }
    for_each_action(|action| {
        let menu = [
            (Kind::Cut, 1),
            (Kind::Crash, 1),
            (Kind::Fence, 1),
            (Kind::Boot, 1),
            (Kind::Heal, 1),
        ];
        let mut plan = named("cut, crash, fence, back", action).with(&menu);
        plan.faults = 2;
        plan
    });
}

#[test]
fn daemons_that_stand_still_and_go_on() {
    for_each_action(|action| {
        let menu = [
            (Kind::Hang, 1),
            (Kind::Resume, 1),
            (Kind::DaemonKill, 1),
            (Kind::Start, 1),
        ];
        let mut plan = named("a daemon stands still", action).with(&menu);
        plan.faults = 1 + u8::from(is_deep());
        plan.tail = 2000;
        plan
    });
}

#[test]
fn two_requests_at_once() {
    for (first, second) in [
        (Action::Off, Action::Off),
        (Action::Off, Action::On),
        (Action::On, Action::On),
        (Action::Reboot, Action::Reboot),
        (Action::Reboot, Action::Off),
        (Action::Reboot, Action::Status),
    ] {
        let name = format!("two requests: {} and {}", first.name(), second.name());
        let mut plan = Plan::new(name, first);
        plan.asks.push(Ask {
            host: 2,
            action: second,
            domain: 0,
        });
        plan.ask_by = 2000;
        plan = plan.with(&[(Kind::DaemonKill, 1), (Kind::Cut, 1)]);
        plan.faults = u8::from(is_deep());
        plan.stalls = 1;
        explore::<Cluster>(plan).holds();
    }
}

#[test]
fn members_that_have_just_started() {
    for_each_action(|action| {
        let mut plan = named("all just started", action).with(&[(Kind::DaemonKill, 1)]);
        plan.warm = false;
        plan.ask_by = 3000;
        plan.faults = u8::from(is_deep());
        plan.stalls = 1;
        plan
    });
}

#[test]
fn shut_off_and_defined_on_two_hosts() {
    let actions = if is_deep() {
        &ACTIONS[..]
    } else {
        &[Action::Off][..]
    };
    for action in actions.iter().copied() {
        let mut plan =
            named("shut off, defined twice", action).with(&Kind::ALL.map(|kind| (kind, 1)));
        plan.domains = vec![Place {
            runs: None,
            defined: vec![1, 2],
        }];
        explore::<Cluster>(plan).holds();
    }
}

#[test]
fn shut_off_and_started_where_nobody_hears_of_it() {
    // Two things: one that makes a copy, and one that hides it.
    for_each_action(|action| {
        let menu = [(Kind::Start, 1), (Kind::Cut, 1), (Kind::LibvirtHang, 1)];
        let mut plan = named("started, and hidden", action).with(&menu);
        plan.faults = 2;
        if is_deep() {
            plan = plan.with(&[
                (Kind::CorosyncKill, 1),
                (Kind::Crash, 1),
                (Kind::Hang, 1),
                (Kind::DaemonKill, 1),
            ]);
        }
        plan.domains = vec![Place {
            runs: None,
            defined: vec![1, 2],
        }];
        plan
    });
}

#[test]
fn daemon_that_stands_still_while_its_domain_migrates() {
    if !is_deep() {
        return;
    }
    for action in [Action::Off, Action::Reboot] {
        let menu = [(Kind::Hang, 1), (Kind::Migrate, 1), (Kind::Resume, 1)];
        let mut plan = named("hang and migrate", action).with(&menu);
        plan.faults = 2;
        explore::<Cluster>(plan).holds();
    }
}

#[test]
fn two_domains_and_a_request_for_each() {
    for (first, second) in [(Action::Off, Action::Reboot), (Action::Status, Action::Off)] {
        let name = format!("two domains: {} and {}", first.name(), second.name());
        let mut plan = Plan::new(name, first);
        plan.domains.push(Place {
            runs: Some(2),
            defined: vec![1, 2],
        });
        plan.asks.push(Ask {
            host: 2,
            action: second,
            domain: 1,
        });
        plan = plan.with(&[(Kind::DaemonKill, 1), (Kind::Cut, 1), (Kind::Migrate, 1)]);
        plan.stalls = u8::from(is_deep());
        explore::<Cluster>(plan).holds();
    }
}

#[test]
fn no_proofs_to_be_had() {
    for_each_action(|action| {
        let menu = [
            (Kind::Cut, 1),
            (Kind::Crash, 1),
            (Kind::Heal, 1),
            (Kind::DaemonStop, 1),
        ];
        let mut plan = named("no proofs", action).with(&menu);
        plan.proofs = false;
        plan.faults = 1 + u8::from(is_deep());
        plan
    });
}

#[test]
fn two_hosts_in_every_order() {
    for_each_action(|action| {
        let mut plan = named("two hosts, every order", action);
        plan = plan.with(&Kind::ALL.map(|kind| (kind, 1)));
        plan.hosts = 2;
        plan.free = true;
        plan.faults = u8::from(is_deep());
        plan
    });
}
