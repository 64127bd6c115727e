//! Rules of the core are needed: with any of these bent a property breaks, and the trace is printed.

use fence_proto::Action;

use crate::bent::{
    Bend, Bent, DoesNotWaitForItsBegin, HearsNoClosed, SleepsForEver, TakesEveryHostForFenced,
};
use crate::claims::Flaw;
use crate::explore::catch;
use crate::plan::{Kind, Plan};

fn caught<B: Bend>(action: Action, menu: &[(Kind, u8)], flaw: Flaw) {
    let bend = std::any::type_name::<B>().rsplit("::").next().unwrap();
    let mut plan = Plan::new(format!("bent: {bend}"), action).with(menu);
    let faults = menu.iter().filter(|(kind, _)| !kind.is_recovery());
    plan.faults = u8::try_from(faults.count()).unwrap();
    plan.domains[0].defined = vec![1, 2];
    plan.tail = 2000;
    catch::<Bent<B>>(plan, flaw);
}

#[test]
fn proof_is_needed() {
    let menu = [(Kind::Cut, 1)];
    caught::<TakesEveryHostForFenced>(Action::Off, &menu, Flaw::FalseSuccess);
    caught::<TakesEveryHostForFenced>(Action::Status, &menu, Flaw::FalseOff);
    caught::<TakesEveryHostForFenced>(Action::On, &menu, Flaw::TwoCopies);
}

#[test]
fn closed_is_needed() {
    let menu = [(Kind::Hang, 1), (Kind::Resume, 1)];
    caught::<HearsNoClosed>(Action::Off, &menu, Flaw::LateDeed);
}

#[test]
fn begin_is_needed() {
    let menu = [(Kind::Hang, 1), (Kind::Resume, 1)];
    caught::<DoesNotWaitForItsBegin>(Action::Off, &menu, Flaw::Unannounced);
}

#[test]
fn deadlines_are_needed() {
    caught::<SleepsForEver>(Action::Off, &[(Kind::Hang, 1)], Flaw::Unanswered);
}
