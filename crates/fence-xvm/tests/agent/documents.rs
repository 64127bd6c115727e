//! Metadata and manual pages.

use std::path::Path;
use std::process::Command;

use crate::common::{Directory, run};

/// What the original's metadata says of a parameter, as recorded from 4.12.1:
/// name, required, mark, getopt, type, default.
type Fact = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const COMMON: [Fact; 11] = [
    ("debug", "0", "", "-d", "boolean", ""),
    ("ipport", "0", "", "-p", "string", "1229"),
    ("auth", "0", "", "-C", "string", "sha256"),
    ("hash", "0", "", "-c", "string", "sha256"),
    (
        "key_file",
        "0",
        "",
        "-k",
        "string",
        "/etc/cluster/fence_xvm.key",
    ),
    ("plug", "1", "obsoletes=port", "-n", "string", ""),
    ("port", "1", "deprecated=1", "-H", "string", ""),
    ("action", "0", "", "-o", "string", "reboot"),
    ("timeout", "0", "", "-t", "string", "30"),
    ("delay", "0", "", "-w", "string", "0"),
    ("domain", "0", "deprecated=1", "", "string", ""),
];

const XVM: [Fact; 4] = [
    ("ip_family", "0", "", "-i", "string", "auto"),
    ("multicast_address", "0", "", "-a", "string", ""),
    ("retrans", "0", "", "-r", "string", "20"),
    ("use_uuid", "0", "", "-u", "string", "0"),
];

const VIRT: [Fact; 5] = [
    ("serial_device", "0", "", "-D", "string", "/dev/ttyS1"),
    ("serial_params", "0", "", "-P", "string", "115200,8N1"),
    ("channel_address", "0", "", "-A", "string", "10.0.2.179"),
    ("ipaddr", "0", "", "-T", "string", "127.0.0.1"),
    ("vsock", "0", "", "-S", "integer", "2"),
];

/// What is ours alone.
const INTERFACE: Fact = ("interface", "0", "", "-I", "string", "");
const SEPARATOR: Fact = ("separator", "0", "", "", "string", "");

/// Where ours says more than `string`: every value that the original takes is one of that type.
const TYPES: [(&str, &str); 8] = [
    ("ip_family", "select"),
    ("ipport", "integer"),
    ("retrans", "integer"),
    ("auth", "select"),
    ("hash", "select"),
    ("use_uuid", "boolean"),
    ("timeout", "second"),
    ("delay", "second"),
];

/// The original's facts, with our types.
fn ours(role: &str) -> Vec<String> {
    let own: &[Fact] = if role == "fence_xvm" { &XVM } else { &VIRT };
    let mut wanted: Vec<_> = COMMON.iter().chain(own).copied().collect();
    wanted.push(SEPARATOR);
    if role == "fence_xvm" {
        wanted.push(INTERFACE);
    }
    for fact in &mut wanted {
        if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == fact.0) {
            fact.4 = kind;
        }
    }
    let mut wanted: Vec<_> = wanted.iter().map(|fact| format!("{fact:?}")).collect();
    wanted.sort();
    wanted
}

const ACTIONS: [&str; 10] = [
    "null",
    "on",
    "off",
    "reboot",
    "metadata",
    "status",
    "monitor",
    "list",
    "list-status",
    "validate-all",
];

fn expected(role: &str) -> Vec<String> {
    let own: &[Fact] = if role == "fence_xvm" { &XVM } else { &VIRT };
    let mut facts: Vec<_> = COMMON
        .iter()
        .chain(own)
        .map(|fact| format!("{fact:?}"))
        .collect();
    facts.sort();
    facts
}

/// The value of an attribute in the first such element of the text.
fn attribute<'a>(text: &'a str, element: &str, name: &str) -> Option<&'a str> {
    let element = text.split_once(&format!("<{element} "))?.1;
    let element = element.split_once('>')?.0;
    let value = element.split_once(&format!("{name}=\""))?.1;
    Some(value.split_once('"')?.0)
}

/// The facts of every parameter, sorted.
fn facts(xml: &str) -> Vec<String> {
    let mut facts = Vec::new();
    for parameter in xml.split("</parameter>") {
        let get = |element, name| attribute(parameter, element, name);
        let Some(name) = get("parameter", "name") else {
            continue;
        };
        assert_eq!(get("parameter", "unique"), Some("0"), "{name}");
        let mark = ["obsoletes", "deprecated"]
            .into_iter()
            .filter_map(|mark| Some(format!("{mark}={}", get("parameter", mark)?)))
            .collect::<String>();
        facts.push(format!(
            "{:?}",
            (
                name,
                get("parameter", "required").unwrap(),
                mark.as_str(),
                get("getopt", "mixed").unwrap(),
                get("content", "type").unwrap(),
                get("content", "default").unwrap_or_default(),
            )
        ));
    }
    facts.sort();
    facts
}

fn actions(xml: &str) -> Vec<&str> {
    xml.lines()
        .filter_map(|line| attribute(line, "action", "name"))
        .collect()
}

#[test]
fn metadata_has_the_facts_of_the_original_and_what_is_new() {
    for role in ["fence_xvm", "fence_virt"] {
        let xml = run(role, &["-o", "metadata"], b"").stdout;
        assert_eq!(facts(&xml), ours(role), "{role}");
        assert_eq!(actions(&xml), ACTIONS, "{role}");
        assert_eq!(attribute(&xml, "resource-agent", "name"), Some(role));
    }
}

/// What a select does not list nobody can choose, and what it lists the agent must take.
#[test]
fn choices_in_the_metadata_are_what_the_agent_takes() {
    let choices = |xml: &str, parameter: &str| -> Vec<String> {
        let all = xml.split("</parameter>");
        let mut found = all.filter(|text| text.contains(&format!("name=\"{parameter}\"")));
        let text = found.next().unwrap();
        let options = text.split("<option ").skip(1);
        options
            .filter_map(|option| Some(option.split('"').nth(1)?.to_owned()))
            .collect()
    };
    let xml = run("fence_xvm", &["-o", "metadata"], b"").stdout;
    for (parameter, wanted) in [
        ("auth", &["none", "sha1", "sha256", "sha512"][..]),
        ("hash", &["none", "sha1", "sha256", "sha512"]),
        ("ip_family", &["auto", "ipv4", "ipv6"]),
    ] {
        assert_eq!(choices(&xml, parameter), wanted, "{parameter}");
        for choice in wanted {
            let given = format!("--{parameter}={choice}");
            let code = run("fence_xvm", &["-o", "validate-all", &given], b"").code;
            assert_eq!(code, 0, "{given}");
        }
    }
}

/// Pacemaker calls "on" for every node that joins if the metadata says that this is automatic.
#[test]
fn unfencing_is_not_advertised() {
    for role in ["fence_xvm", "fence_virt"] {
        let xml = run(role, &["-o", "metadata"], b"").stdout;
        assert!(
            xml.contains("<action name=\"on\" automatic=\"0\" />"),
            "{xml}"
        );
        for mark in ["automatic=\"1\"", "on_target", "required=\"1\" />"] {
            assert!(!xml.contains(mark), "{role}: {mark}");
        }
    }
}

/// Where the original is installed, the recorded facts are compared with it.
#[test]
fn recorded_facts_are_those_of_the_installed_original() {
    for role in ["fence_xvm", "fence_virt"] {
        let program = Path::new("/usr/sbin").join(role);
        let Ok(output) = Command::new(program).args(["-o", "metadata"]).output() else {
            continue;
        };
        let xml = String::from_utf8(output.stdout).unwrap();
        if !xml.contains("I/O Fencing agent") {
            // Not the original: ours may be installed under its name.
            continue;
        }
        assert_eq!(facts(&xml), expected(role), "{role}");
        assert_eq!(actions(&xml), ACTIONS, "{role}");
    }
}

#[test]
fn metadata_validates_against_the_schema() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metadata.rng");
    let directory = Directory::new();
    for role in ["fence_xvm", "fence_virt"] {
        let xml = run(role, &["-o", "metadata"], b"").stdout;
        let file = directory.file(role, xml.as_bytes());
        let output = Command::new("xmllint")
            .args(["--noout", "--relaxng", schema, &file])
            .output()
            .expect("this test needs xmllint: apt install libxml2-utils");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{role}: {text}");
    }
}

#[test]
fn manual_pages_in_the_repository_are_those_that_the_table_makes() {
    for role in ["fence_xvm", "fence_virt"] {
        let path = format!("{}/../../man/{role}.8", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).unwrap();
        let made = run(role, &["--generate_man"], b"").stdout;
        assert_eq!(page, made, "make {path} again: {role} --generate_man");
    }
}
