//! Tests of the verdicts over several hypervisors.

use super::*;

const X: Uuid = Uuid([1; 16]);
const Y: Uuid = Uuid([2; 16]);

fn copy(uuid: Uuid, activity: Activity) -> DomainCopy {
    let name = "vm".to_owned();
    DomainCopy {
        identity: DomainIdentity { name, uuid },
        activity,
    }
}

fn on(uuid: Uuid) -> Answer<Vec<DomainCopy>> {
    Answer::Got(vec![copy(uuid, Activity::On)])
}

fn off(uuid: Uuid) -> Answer<Vec<DomainCopy>> {
    Answer::Got(vec![copy(uuid, Activity::Off)])
}

const fn absent() -> Answer<Vec<DomainCopy>> {
    Answer::Got(Vec::new())
}

fn known(verdict: &Verdict) -> Option<Activity> {
    match verdict {
        Verdict::Known { activity, .. } => Some(*activity),
        _ => None,
    }
}

fn nothing_seen() -> Sightings {
    Sightings::new(2)
}

fn seen_on_second() -> Sightings {
    let mut sightings = Sightings::new(2);
    sightings.saw(1, X, Activity::On);
    sightings
}

const SILENCES: [Answer<Vec<DomainCopy>>; 3] = [Answer::Pending, Answer::Down, Answer::Hung];

#[test]
fn active_copy_decides_at_once_whatever_the_others_do() {
    for silence in SILENCES {
        let verdict = resolve(
            &[on(X), silence],
            Stage::Grace,
            &seen_on_second(),
            Moment::ZERO,
        );
        assert_eq!(known(&verdict), Some(Activity::On));
    }
}

#[test]
fn shut_off_copy_waits_for_a_pending_hypervisor_during_the_grace_only() {
    let answers = [off(X), Answer::Pending];
    assert_eq!(
        resolve(&answers, Stage::Grace, &nothing_seen(), Moment::ZERO),
        Verdict::Wait
    );
    let verdict = resolve(&answers, Stage::Patience, &nothing_seen(), Moment::ZERO);
    assert_eq!(known(&verdict), Some(Activity::Off));
}

#[test]
fn dead_hypervisor_harms_no_domain_that_it_never_had() {
    for silence in [Answer::Down, Answer::Hung] {
        let verdict = resolve(
            &[off(X), silence],
            Stage::Grace,
            &nothing_seen(),
            Moment::ZERO,
        );
        assert_eq!(known(&verdict), Some(Activity::Off));
    }
}

#[test]
fn domain_seen_on_a_silent_hypervisor_is_in_doubt() {
    for silence in SILENCES {
        let verdict = resolve(
            &[off(X), silence],
            Stage::Over,
            &seen_on_second(),
            Moment::ZERO,
        );
        assert_eq!(verdict, Verdict::Doubt(Doubt::SeenElsewhere));
    }
    let down = [off(X), Answer::Down];
    assert_eq!(
        resolve(&down, Stage::Patience, &seen_on_second(), Moment::ZERO),
        Verdict::Wait
    );
}

#[test]
fn unknown_needs_every_answer() {
    let verdict = resolve(
        &[absent(), absent()],
        Stage::Grace,
        &nothing_seen(),
        Moment::ZERO,
    );
    assert_eq!(verdict, Verdict::Unknown);
    for silence in SILENCES {
        let verdict = resolve(
            &[absent(), silence],
            Stage::Over,
            &nothing_seen(),
            Moment::ZERO,
        );
        assert_eq!(verdict, Verdict::Doubt(Doubt::Unheard));
    }
}

#[test]
fn unknown_domain_waits_for_a_restart_but_not_for_a_hang() {
    let down = [absent(), Answer::Down];
    assert_eq!(
        resolve(&down, Stage::Patience, &nothing_seen(), Moment::ZERO),
        Verdict::Wait
    );
    let hung = [absent(), Answer::Hung];
    assert_eq!(
        resolve(&hung, Stage::Grace, &nothing_seen(), Moment::ZERO),
        Verdict::Doubt(Doubt::Unheard)
    );
}

#[test]
fn two_domains_of_one_name_are_ambiguous() {
    for answers in [
        vec![on(X), on(Y)],
        vec![off(X), on(Y)],
        vec![Answer::Got(vec![
            copy(X, Activity::On),
            copy(Y, Activity::Off),
        ])],
    ] {
        let verdict = resolve(&answers, Stage::Grace, &nothing_seen(), Moment::ZERO);
        assert!(matches!(verdict, Verdict::Ambiguous(of) if of.len() == 2));
    }
}

#[test]
fn copies_of_one_domain_are_on_if_one_is() {
    let verdict = resolve(
        &[off(X), on(X)],
        Stage::Grace,
        &nothing_seen(),
        Moment::ZERO,
    );
    assert_eq!(known(&verdict), Some(Activity::On));
}

const DESTROYED: Answer<LocalOff> = Answer::Got(LocalOff::Proven(Proof::Destroyed));
const VANISHED: Answer<LocalOff> = Answer::Got(LocalOff::Proven(Proof::Vanished));
const ABSENT: Answer<LocalOff> = Answer::Got(LocalOff::Absent);
const WAS_OFF: Answer<LocalOff> = Answer::Got(LocalOff::WasOff);
const FAILED: Answer<LocalOff> = Answer::Got(LocalOff::Failed);
const NOT_BEGUN: Answer<LocalOff> = Answer::Got(LocalOff::NotBegun);
const DENIED: Answer<LocalOff> = Answer::Got(LocalOff::Denied);

const fn by_us(host: usize) -> Acted {
    Acted { host, by_us: true }
}

fn first_round(answers: &[Answer<LocalOff>], stage: Stage) -> RoundVerdict {
    settle(answers, stage, None, |_| Sighting::None)
}

#[test]
fn proof_of_a_lone_hypervisor_is_enough() {
    for (proof, by_us) in [(DESTROYED, true), (VANISHED, false)] {
        let acted = Some(Acted { host: 0, by_us });
        assert_eq!(
            first_round(&[proof], Stage::Grace),
            RoundVerdict::Off { acted }
        );
    }
}

#[test]
fn among_several_a_proof_is_checked_by_another_round() {
    assert_eq!(
        first_round(&[ABSENT, DESTROYED], Stage::Grace),
        RoundVerdict::Again(by_us(1))
    );
    assert_eq!(
        settle(&[ABSENT, WAS_OFF], Stage::Grace, Some(by_us(1)), |_| {
            Sighting::None
        }),
        RoundVerdict::Off {
            acted: Some(by_us(1))
        }
    );
}

#[test]
fn every_copy_must_be_proven_off() {
    for bad in [FAILED, NOT_BEGUN] {
        assert_eq!(
            first_round(&[DESTROYED, bad], Stage::Over),
            RoundVerdict::Failed
        );
    }
    assert_eq!(
        first_round(&[DESTROYED, Answer::Acting], Stage::Over),
        RoundVerdict::Wait
    );
    assert_eq!(
        first_round(&[DESTROYED, DENIED], Stage::Over),
        RoundVerdict::Denied
    );
}

#[test]
fn destroyed_copy_needs_no_word_from_a_dead_hypervisor() {
    for silence in [Answer::Down, Answer::Hung] {
        assert_eq!(
            first_round(&[DESTROYED, silence], Stage::Grace),
            RoundVerdict::Again(by_us(0))
        );
    }
    assert_eq!(
        settle(
            &[WAS_OFF, Answer::Hung],
            Stage::Grace,
            Some(by_us(0)),
            |_| Sighting::Possible
        ),
        RoundVerdict::Off {
            acted: Some(by_us(0))
        }
    );
}

#[test]
fn destroyed_copy_is_not_the_whole_truth_while_another_was_seen_running_where_silence_is() {
    let active = |host| {
        if host == 1 {
            Sighting::Active
        } else {
            Sighting::None
        }
    };
    for silence in [Answer::Down, Answer::Hung] {
        for (first, before) in [(DESTROYED, None), (WAS_OFF, Some(by_us(0)))] {
            assert_eq!(
                settle(&[first, silence.clone()], Stage::Grace, before, active),
                RoundVerdict::Doubt(Doubt::SeenElsewhere)
            );
        }
    }
    assert_eq!(
        settle(&[ABSENT, DESTROYED], Stage::Grace, None, active),
        RoundVerdict::Again(by_us(1))
    );
}

#[test]
fn vanished_domain_may_be_on_a_silent_hypervisor() {
    assert_eq!(
        first_round(&[VANISHED, Answer::Hung], Stage::Grace),
        RoundVerdict::Doubt(Doubt::Unheard)
    );
    // Also when the silence begins only after it went.
    let vanished = Some(Acted {
        host: 0,
        by_us: false,
    });
    assert_eq!(
        settle(&[ABSENT, Answer::Hung], Stage::Grace, vanished, |_| {
            Sighting::None
        }),
        RoundVerdict::Doubt(Doubt::Unheard)
    );
    assert_eq!(
        settle(&[ABSENT, DESTROYED], Stage::Grace, vanished, |_| {
            Sighting::None
        }),
        RoundVerdict::Again(by_us(1))
    );
}

#[test]
fn copy_that_went_by_itself_may_be_elsewhere_also_if_another_was_destroyed() {
    let gone = |host| Acted { host, by_us: false };
    for (answers, host) in [
        ([VANISHED, DESTROYED], 1),
        ([DESTROYED, VANISHED], 0),
        ([VANISHED, VANISHED], 0),
    ] {
        let verdict = first_round(&answers, Stage::Grace);
        assert_eq!(verdict, RoundVerdict::Again(gone(host)));
    }
}

#[test]
fn nothing_begun_anywhere_is_a_void_order() {
    assert_eq!(
        first_round(&[NOT_BEGUN, ABSENT], Stage::Grace),
        RoundVerdict::NotBegun
    );
}

#[test]
fn off_already_follows_the_rules_of_a_shut_off_copy() {
    assert_eq!(
        first_round(&[WAS_OFF, Answer::Hung], Stage::Grace),
        RoundVerdict::Off { acted: None }
    );
    assert_eq!(
        settle(&[WAS_OFF, Answer::Hung], Stage::Grace, None, |host| {
            if host == 1 {
                Sighting::Possible
            } else {
                Sighting::None
            }
        }),
        RoundVerdict::Doubt(Doubt::SeenElsewhere)
    );
    assert_eq!(
        first_round(&[WAS_OFF, Answer::Pending], Stage::Grace),
        RoundVerdict::Wait
    );
    assert_eq!(
        first_round(&[ABSENT, ABSENT], Stage::Grace),
        RoundVerdict::Unknown
    );
    assert_eq!(
        first_round(&[ABSENT, Answer::Hung], Stage::Grace),
        RoundVerdict::Doubt(Doubt::Unheard)
    );
}

#[test]
fn success_is_never_said_while_a_lone_hypervisor_is_silent() {
    for silence in [Answer::Pending, Answer::Down, Answer::Hung, Answer::Acting] {
        for stage in [Stage::Grace, Stage::Patience, Stage::Over] {
            let verdict = first_round(std::slice::from_ref(&silence), stage);
            assert!(
                !matches!(verdict, RoundVerdict::Off { .. }),
                "{silence:?} {stage:?}"
            );
        }
    }
}

#[test]
fn list_is_complete_or_none() {
    let got = Answer::Got(());
    assert_eq!(
        list_verdict(&[got, Answer::Got(())], Stage::Grace),
        Some(true)
    );
    assert_eq!(
        list_verdict(&[Answer::Got(()), Answer::Hung], Stage::Grace),
        Some(false)
    );
    assert_eq!(
        list_verdict(&[Answer::Got(()), Answer::Down], Stage::Patience),
        None
    );
    assert_eq!(
        list_verdict(&[Answer::Got(()), Answer::Down], Stage::Over),
        Some(false)
    );
}
