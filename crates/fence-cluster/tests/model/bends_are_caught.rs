//! Rules of the core are needed: with any of these bent a property breaks, and the trace is printed.

use fence_proto::Action;

use crate::bent::{
    AlwaysHasQuorum, Bend, Bent, DoesNotWaitForItsBegin, HearsNoClosed, LooksOnce, SeesNoMigration,
    SleepsForEver, TakesEveryHostForFenced, TakesSilenceForAbsence,
};
use crate::claims::Flaw;
use crate::explore::catch;
use crate::plan::{Ask, Kind, Plan};

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

#[test]
fn quorum_is_needed() {
    // It is destroyed where it ran, behind a cut, and the others start it: the one that is alone does not hear.
    for (action, flaw) in [
        (Action::Status, Flaw::FalseOff),
        (Action::Off, Flaw::FalseSuccess),
    ] {
        let menu = [(Kind::Cut, 1), (Kind::Start, 1)];
        let name = format!("bent: AlwaysHasQuorum, {}", action.name());
        let mut plan = Plan::new(name, Action::Off).with(&menu);
        plan.domains[0].runs = Some(0);
        plan.domains[0].defined = vec![0, 1, 2];
        plan.asks.push(Ask {
            host: 0,
            action,
            domain: 0,
        });
        plan.faults = 2;
        plan.ask_by = 6000;
        catch::<Bent<AlwaysHasQuorum>>(plan, flaw);
    }
}

#[test]
fn silence_is_no_absence() {
    let menu = [(Kind::LibvirtHang, 1)];
    caught::<TakesSilenceForAbsence>(Action::Status, &menu, Flaw::FalseOff);
    caught::<TakesSilenceForAbsence>(Action::On, &menu, Flaw::TwoCopies);
}

#[test]
fn a_second_look_is_needed() {
    caught::<LooksOnce>(Action::Off, &[(Kind::Migrate, 1)], Flaw::FalseSuccess);
}

#[test]
fn telling_halves_apart_is_needed() {
    let menu = [(Kind::Hang, 1), (Kind::Migrate, 1)];
    caught::<SeesNoMigration>(Action::Off, &menu, Flaw::FalseSuccess);
}
