use super::*;

const ACTIONS: [Action; 4] = [Action::Off, Action::Reboot, Action::Status, Action::On];

fn node(number: u32) -> NodeId {
    NodeId(number)
}

fn host(number: u32, standing: Standing) -> HostView {
    HostView {
        node: node(number),
        standing,
        holding: Holding::Nothing,
        owner: false,
    }
}

fn found(number: u32, finding: Finding) -> HostView {
    host(number, Standing::Answered(finding))
}

fn away(number: u32, whole: bool, fenced: bool) -> HostView {
    host(number, Standing::Away { whole, fenced })
}

fn with(holding: Holding, view: HostView) -> HostView {
    HostView { holding, ..view }
}

fn owner(view: HostView) -> HostView {
    HostView {
        owner: true,
        holding: Holding::Definition,
        ..view
    }
}

const NOTHING: Knowledge = Knowledge {
    evidence: false,
    drifted: false,
    changes: Changes::None,
};

const EVIDENCE: Knowledge = Knowledge {
    evidence: true,
    ..NOTHING
};

fn blocked(number: u32, obstacle: Obstacle) -> Verdict {
    Verdict::Blocked(vec![(node(number), obstacle)])
}

fn destroyed() -> Finding {
    Finding::Destroyed {
        migrating: false,
        vanished: false,
    }
}

#[test]
fn off_everywhere_is_off() {
    let hosts = [found(1, Finding::Absent), found(2, Finding::Defined)];
    for action in ACTIONS {
        assert_eq!(judge(action, &hosts, NOTHING), Verdict::Off);
    }
}

#[test]
fn active_copy_answers_a_question_whoever_has_not_answered() {
    let hosts = [
        found(1, Finding::Active),
        host(2, Standing::Waiting),
        found(3, Finding::Incoming),
        away(4, false, false),
    ];
    assert_eq!(judge(Action::Status, &hosts, NOTHING), Verdict::On);
    assert_eq!(judge(Action::On, &hosts, NOTHING), Verdict::On);
    assert_eq!(judge(Action::Off, &hosts, NOTHING), Verdict::Wait);
}

#[test]
fn what_was_destroyed_is_verified_by_another_round() {
    for first in [destroyed(), Finding::Active] {
        let hosts = [found(1, first), found(2, Finding::Absent)];
        for action in [Action::Off, Action::Reboot] {
            let verdict = judge(action, &hosts, EVIDENCE);
            assert_eq!(verdict, Verdict::Again(Again::Verify));
        }
    }
}

#[test]
fn nothing_is_left_to_find_when_the_only_run_was_ended() {
    let hosts = [found(1, destroyed()), found(2, Finding::Absent)];
    let known = Knowledge {
        changes: Changes::OnlyRunEnded,
        ..EVIDENCE
    };
    assert_eq!(judge(Action::Off, &hosts, known), Verdict::Off);
    // Its next round says who would start it.
    let verdict = judge(Action::Reboot, &hosts, known);
    assert_eq!(verdict, Verdict::Again(Again::Verify));
}

#[test]
fn copy_that_came_or_went_meanwhile_makes_another_round() {
    let hosts = [found(1, Finding::Absent)];
    let known = Knowledge {
        changes: Changes::Some,
        ..EVIDENCE
    };
    for action in ACTIONS {
        let verdict = judge(action, &hosts, known);
        assert_eq!(verdict, Verdict::Again(Again::Verify));
    }
}

#[test]
fn incoming_half_is_neither_on_nor_off() {
    let hosts = [found(1, Finding::Defined), found(2, Finding::Incoming)];
    for action in ACTIONS {
        let verdict = judge(action, &hosts, EVIDENCE);
        assert_eq!(verdict, Verdict::Again(Again::Halves));
    }
}

#[test]
fn halves_are_left_alone_while_something_is_active() {
    let hosts = [found(1, destroyed()), found(2, Finding::Incoming)];
    let verdict = judge(Action::Off, &hosts, NOTHING);
    assert_eq!(verdict, Verdict::Again(Again::Verify));
}

#[test]
fn what_was_not_begun_is_tried_again() {
    let hosts = [found(1, Finding::NotBegun), found(2, Finding::Absent)];
    let verdict = judge(Action::Off, &hosts, NOTHING);
    assert_eq!(verdict, Verdict::Again(Again::Retry));
}

#[test]
fn failed_destroy_is_a_failure_with_its_cause() {
    let why = "no permission".to_owned();
    let failed = Finding::Failed { why: why.clone() };
    let hosts = [found(1, failed), host(2, Standing::Waiting)];
    let verdict = judge(Action::Off, &hosts, NOTHING);
    assert_eq!(verdict, Verdict::Failed(node(1), why));
}

#[test]
fn unknown_name_is_asked_about_before_anything_else() {
    let name = "other".to_owned();
    let renamed = Finding::Renamed { name: name.clone() };
    let hosts = [found(1, renamed), found(2, Finding::Defined)];
    for action in ACTIONS {
        let verdict = judge(action, &hosts, NOTHING);
        assert_eq!(verdict, Verdict::Renamed(name.clone()));
    }
}

#[test]
fn silent_member_counts_as_not_here_only_with_evidence_and_no_copy() {
    for silent in [Standing::Silent, Standing::Answered(Finding::Silent)] {
        let hosts = [found(1, Finding::Defined), host(2, silent.clone())];
        for action in ACTIONS {
            let verdict = judge(action, &hosts, NOTHING);
            assert_eq!(verdict, blocked(2, Obstacle::Silent));
        }
        assert_eq!(judge(Action::Off, &hosts, EVIDENCE), Verdict::Off);
        for holding in [Holding::Incoming, Holding::Copy] {
            let hosts = [
                found(1, Finding::Defined),
                with(holding, host(2, silent.clone())),
            ];
            let verdict = judge(Action::Off, &hosts, EVIDENCE);
            assert_eq!(verdict, blocked(2, Obstacle::Silent));
        }
    }
}

#[test]
fn departed_copy_needs_a_proof_even_with_evidence() {
    for holding in [Holding::Incoming, Holding::Copy] {
        for whole in [false, true] {
            let hosts = [
                found(1, Finding::Defined),
                with(holding, away(2, whole, false)),
            ];
            for known in [NOTHING, EVIDENCE] {
                let verdict = judge(Action::Off, &hosts, known);
                assert_eq!(verdict, blocked(2, Obstacle::HadCopy));
            }
            let hosts = [
                found(1, Finding::Defined),
                with(holding, away(2, whole, true)),
            ];
            assert_eq!(judge(Action::Off, &hosts, NOTHING), Verdict::Off);
        }
    }
}

#[test]
fn departed_last_owner_needs_evidence_or_a_proof() {
    let hosts = [found(1, Finding::Defined), owner(away(2, true, false))];
    for action in ACTIONS {
        let verdict = judge(action, &hosts, NOTHING);
        assert_eq!(verdict, blocked(2, Obstacle::LastOwner));
    }
    assert_eq!(judge(Action::Off, &hosts, EVIDENCE), Verdict::Off);
    let hosts = [found(1, Finding::Defined), owner(away(2, true, true))];
    assert_eq!(judge(Action::Off, &hosts, NOTHING), Verdict::Off);
}

#[test]
fn departed_host_that_never_had_it_does_not_stand_in_the_way_if_its_memory_is_whole() {
    for holding in [Holding::Nothing, Holding::Definition] {
        let hosts = [
            found(1, Finding::Defined),
            with(holding, away(2, true, false)),
        ];
        assert_eq!(judge(Action::Off, &hosts, NOTHING), Verdict::Off);
        let hosts = [
            found(1, Finding::Defined),
            with(holding, away(2, false, false)),
        ];
        let verdict = judge(Action::Off, &hosts, NOTHING);
        assert_eq!(verdict, blocked(2, Obstacle::Unknown));
        assert_eq!(judge(Action::Off, &hosts, EVIDENCE), Verdict::Off);
    }
}

#[test]
fn domain_that_drifted_may_be_on_every_host_that_is_away() {
    let known = Knowledge {
        drifted: true,
        ..NOTHING
    };
    let hosts = [found(1, Finding::Defined), away(2, true, false)];
    let verdict = judge(Action::Off, &hosts, known);
    assert_eq!(verdict, blocked(2, Obstacle::Drifted));
    let hosts = [found(1, Finding::Defined), away(2, true, true)];
    assert_eq!(judge(Action::Off, &hosts, known), Verdict::Off);
    let hosts = [found(1, Finding::Defined), found(2, Finding::Absent)];
    assert_eq!(judge(Action::Off, &hosts, known), Verdict::Off);
}

#[test]
fn all_hosts_that_stand_in_the_way_are_named() {
    let hosts = [
        found(1, Finding::Defined),
        host(2, Standing::Silent),
        away(3, false, false),
    ];
    let obstacles = vec![(node(2), Obstacle::Silent), (node(3), Obstacle::Unknown)];
    assert_eq!(
        judge(Action::Off, &hosts, NOTHING),
        Verdict::Blocked(obstacles)
    );
}
