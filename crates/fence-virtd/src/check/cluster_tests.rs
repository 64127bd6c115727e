//! Clusters in every condition.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fence_doctor::Verdict;

use super::*;
use crate::config::{NameMode, UnknownDomain};
use crate::scratch::Scratch;

fn settings() -> CpgSettings {
    CpgSettings {
        uris: vec!["test:///default".to_owned()],
        name_mode: NameMode::Name,
        group: "fence-agents".to_owned(),
        request_timeout: Duration::from_secs(20),
        unknown_domain: UnknownDomain::Failure,
        fence_proof: None,
        hosts: Vec::new(),
    }
}

fn member(node: u32) -> MemberId {
    MemberId {
        node: NodeId(node),
        pid: 10 + node,
    }
}

fn look() -> Look {
    Look {
        node: 1,
        members: vec![member(1), member(2)],
        older_group: Vec::new(),
        provider: true,
        quorate: true,
        hosts: Ok(vec![
            (NodeId(1), "alpha".to_owned()),
            (NodeId(2), "beta".to_owned()),
        ]),
    }
}

const HERE: [Daemon; 1] = [Daemon {
    pid: 11,
    original: false,
}];

fn worst(look: Look) -> (Verdict, String) {
    let findings = judge(&settings(), &Ok(look), &HERE, &Kinds::new());
    let worst = findings
        .into_iter()
        .max_by_key(|finding| finding.verdict)
        .unwrap();
    (worst.verdict, worst.found)
}

#[test]
fn healthy_cluster_is_fine_and_says_what_each_member_runs() {
    let kinds = Kinds::from([(member(2), "the original".to_owned())]);
    let findings = judge(&settings(), &Ok(look()), &HERE, &kinds);
    assert!(
        findings.iter().all(|it| it.verdict == Verdict::Ok),
        "{findings:?}"
    );
    let group = &findings.last().unwrap().found;
    assert!(group.contains("beta (2): the original"), "{group}");
    assert!(
        group.contains("alpha (1): what it runs is not known"),
        "{group}"
    );
}

#[test]
fn corosync_quorum_and_nodelist_are_problems() {
    let findings = judge(
        &settings(),
        &Err("cpg_initialize: x".to_owned()),
        &[],
        &Kinds::new(),
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].verdict, Verdict::Problem);
    for bad in [
        Look {
            provider: false,
            ..look()
        },
        Look {
            quorate: false,
            ..look()
        },
        Look {
            hosts: Err("no nodeid".to_owned()),
            ..look()
        },
        Look {
            members: vec![member(2)],
            ..look()
        },
    ] {
        let (verdict, found) = worst(bad);
        assert_eq!(verdict, Verdict::Problem, "{found}");
    }
}

#[test]
fn hosts_without_a_daemon_are_named_unless_they_need_none() {
    let (verdict, found) = worst(Look {
        members: vec![member(1)],
        ..look()
    });
    assert!(
        verdict == Verdict::Warning && found.contains("beta"),
        "{found}"
    );
    let alone = CpgSettings {
        hosts: vec![CpgHost::Name("alpha".to_owned())],
        ..settings()
    };
    let look = Look {
        members: vec![member(1)],
        ..look()
    };
    let findings = judge(&alone, &Ok(look.clone()), &HERE, &Kinds::new());
    assert!(
        findings.iter().all(|it| it.verdict == Verdict::Ok),
        "{findings:?}"
    );
    let older = Look {
        older_group: vec![member(3)],
        ..look
    };
    let (verdict, found) = worst(older);
    assert!(verdict == Verdict::Warning, "{found}");
}

#[test]
fn nobody_in_the_group_is_a_warning_where_no_daemon_runs() {
    let empty = Look {
        members: Vec::new(),
        ..look()
    };
    let findings = judge(&settings(), &Ok(empty), &[], &Kinds::new());
    assert!(
        findings.iter().all(|it| it.verdict <= Verdict::Warning),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|it| it.found.contains("nobody is in the group"))
    );
}

#[test]
fn programs_that_prove_must_be_there() {
    assert_eq!(command(Path::new("/bin/sh")).verdict, Verdict::Ok);
    assert_eq!(command(Path::new("/etc/passwd")).verdict, Verdict::Problem);
    assert_eq!(command(Path::new("/nonexistent")).verdict, Verdict::Problem);
    let none = CpgSettings {
        fence_proof: Some(FenceProof::None),
        ..settings()
    };
    assert_eq!(
        proof(&none, Duration::from_secs(1)).verdict,
        Verdict::Warning
    );
}

/// What is found where `stonith_admin` does this when it is asked for the history of all, and fails at everything else.
fn found_with(stonith_admin: &str, patience: Duration) -> Finding {
    let scratch = Scratch::new();
    let program = scratch.path("stonith_admin");
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = '--history=* --verbose --output-as=xml' ] || exit 64\n{stonith_admin}\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    proof_with(&settings(), Some(&program), patience)
}

/// A program that prints this and ends with an exit code.
fn printing(xml: &str, code: i32) -> String {
    format!("cat <<'EOF'\n{xml}\nEOF\nexit {code}")
}

#[test]
fn fencer_that_tells_its_history_can_prove() {
    let long = Duration::from_secs(30);
    for history in [
        include_str!("../proof/recorded/all.xml"),
        include_str!("../proof/recorded/failed.xml"),
        // Nothing was fenced yet.
        include_str!("../proof/recorded/unknown.xml"),
    ] {
        let finding = found_with(&printing(history, 0), long);
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        assert_eq!(finding.found, "pacemaker's fencer tells its history");
    }
}

#[test]
fn fencer_that_cannot_be_asked_is_a_problem_and_says_why() {
    let not_connected = include_str!("../proof/recorded/not-connected.xml");
    let long = Duration::from_secs(30);
    for (stonith_admin, patience, why) in [
        (printing(not_connected, 0), long, "Not connected"),
        (
            printing(not_connected, 102),
            long,
            "exit status: 102: pacemaker's fencer can't be asked: Not connected",
        ),
        (
            "echo 'no such option' >&2; exit 64".to_owned(),
            long,
            "exit status: 64: no such option",
        ),
        (printing("history", 0), long, "no XML"),
        (printing("<pacemaker-result/>", 0), long, "no status"),
        (
            "exec sleep 60".to_owned(),
            Duration::from_secs(1),
            "no answer in 1 s",
        ),
    ] {
        let finding = found_with(&stonith_admin, patience);
        assert_eq!(finding.verdict, Verdict::Problem, "{finding:?}");
        assert!(finding.found.contains(why), "{finding:?}");
    }
}

#[test]
fn host_without_pacemakers_tool_is_warned_that_nothing_is_ever_proved() {
    for fence_proof in [None, Some(FenceProof::Pacemaker)] {
        let settings = CpgSettings {
            fence_proof,
            ..settings()
        };
        let finding = proof_with(&settings, None, Duration::from_secs(1));
        assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
        assert!(
            finding.found.contains("stonith_admin is not installed"),
            "{finding:?}"
        );
    }
}
