//! Clusters in every condition.

use fence_doctor::Verdict;

use super::*;
use crate::config::{NameMode, UnknownDomain};

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
