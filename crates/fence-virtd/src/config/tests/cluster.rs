//! The section of the backend `cpg`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{
    BackendSettings, CpgHost, CpgSettings, DEFAULT_GROUP, FenceProof, Form, UnknownDomain,
};
use super::read;

fn with_cpg(keys: &str) -> String {
    format!(
        "fence_virtd {{ listener = \"tcp\"; backend = \"cpg\"; }}\n\
         backends {{ cpg {{ {keys} }} }}"
    )
}

fn cpg(keys: &str) -> (CpgSettings, Vec<String>) {
    let (settings, notes) = read(&with_cpg(keys), Form::Conf).unwrap();
    match settings.backend {
        BackendSettings::Cpg(cpg) => (cpg, notes),
        BackendSettings::Libvirt(libvirt) => panic!("{libvirt:?}"),
    }
}

#[test]
fn defaults_claim_nothing_of_what_is_unknown() {
    let (cpg, notes) = cpg("");
    assert_eq!(notes, [""; 0]);
    assert_eq!(cpg.uris, ["qemu:///system"]);
    assert_eq!(cpg.group, DEFAULT_GROUP);
    assert_eq!(cpg.request_timeout, Duration::from_secs(20));
    assert_eq!(cpg.unknown_domain, UnknownDomain::Failure);
    assert_eq!(cpg.fence_proof, None);
    assert_eq!(cpg.hosts, []);
}

#[test]
fn every_key_is_read() {
    let (cpg, notes) = cpg(
        "group = \"fence-virt\"; request_timeout = \"25\"; fence_proof = \"Command\"; \
         fence_proof_command = \"/bin/true\"; hosts = \"alpha\"; hosts = \"2\";",
    );
    assert_eq!(notes, [""; 0]);
    assert_eq!(cpg.group, "fence-virt");
    assert_eq!(cpg.request_timeout, Duration::from_secs(25));
    let command = FenceProof::Command(PathBuf::from("/bin/true"));
    assert_eq!(cpg.fence_proof, Some(command));
    let hosts = [CpgHost::Name("alpha".to_owned()), CpgHost::Id(2)];
    assert_eq!(cpg.hosts, hosts);
}

#[test]
fn what_weakens_a_promise_is_warned_of() {
    let (_, notes) = cpg("unknown_domain = \"off\";");
    assert!(notes.concat().contains("mistyped"), "{notes:?}");
    let (_, notes) = cpg("fence_proof = \"none\";");
    assert!(notes.concat().contains("never reported"), "{notes:?}");
    for proof in ["", "fence_proof = \"pacemaker\";"] {
        let (_, notes) = cpg(&format!("fence_proof_command = \"/x\"; {proof}"));
        assert!(notes.concat().contains("is not used"), "{notes:?}");
    }
}

#[test]
fn wrong_values_are_refused_with_a_cure() {
    let long = format!("group = \"{}\";", "g".repeat(128));
    for (keys, cure) in [
        (&*long, "1 to 127 bytes"),
        ("request_timeout = \"0\";", "from 1 to 25"),
        ("request_timeout = \"26\";", "from 1 to 25"),
        ("unknown_domain = \"on\";", "one of failure, off"),
        ("fence_proof = \"yes\";", "one of pacemaker, command, none"),
        ("fence_proof = \"command\";", "set it to the program"),
        (
            "fence_proof = \"command\"; fence_proof_command = \"x\";",
            "an absolute path",
        ),
        ("hosts = \"a, b\";", "once for each"),
        ("hosts = \"a b\";", "once for each"),
        ("hosts = \"0\";", "from 1 to 4294967295"),
    ] {
        let message = error(&with_cpg(keys));
        assert!(message.contains(cure), "{keys}: {message}");
    }
}

fn error(text: &str) -> String {
    read(text, Form::Conf).unwrap_err()
}
