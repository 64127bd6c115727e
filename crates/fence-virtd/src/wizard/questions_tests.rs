//! What the answers do to a file.

use super::*;
use crate::config::{Form, parse_bytes};
use crate::scratch::Scratch;

fn machine() -> Machine {
    Machine {
        interfaces: vec![
            ("eth0".to_owned(), vec!["10.0.0.1".to_owned()]),
            ("virbr0".to_owned(), vec!["192.168.122.1".to_owned()]),
        ],
    }
}

fn ask(file: &str, answers: &[&str]) -> Result<(String, Answers, String), Abort> {
    let mut tree = parse_bytes(file.as_bytes(), Form::Conf).unwrap();
    let input: String = answers.iter().map(|answer| format!("{answer}\n")).collect();
    let (mut input, mut output) = (input.as_bytes(), Vec::new());
    let result = {
        let mut dialog = Dialog::new(&mut input, &mut output, false);
        ask_all(&mut dialog, &mut tree, &machine())
    };
    assert!(result.is_err() || input.is_empty(), "answers are left");
    Ok((
        tree.to_string(),
        result?,
        String::from_utf8(output).unwrap(),
    ))
}

#[test]
fn empty_answers_make_the_original_s_default_configuration() {
    let scratch = Scratch::new();
    let key = scratch.path("key");
    let (text, answers, _) = ask("", &["", "", "", "", key.to_str().unwrap(), "", "", ""]).unwrap();
    assert_eq!(
        text,
        format!(
            "fence_virtd {{\n\tlistener = \"multicast\";\n\tbackend = \"libvirt\";\n}}\n\
             listeners {{\n\tmulticast {{\n\t\taddress = \"225.0.0.12\";\n\t\tfamily = \"ipv4\";\n\
             \t\tport = \"1229\";\n\t\tkey_file = \"{}\";\n\t}}\n}}\n\
             backends {{\n\tlibvirt {{\n\t\turi = \"qemu:///system\";\n\t}}\n}}\n",
            key.display()
        )
    );
    assert_eq!(answers.make_key, Some(key));
}

#[test]
fn present_values_are_the_defaults_and_everything_else_stays() {
    let scratch = Scratch::new();
    let key = scratch.path("key");
    std::fs::write(&key, b"a key").unwrap();
    let file = format!(
        "fence_virtd {{\n\tlistener = \"multicast\";\n\tdebug = \"3\";\n\tbackend = \"cpg\";\n}}\n\
         listeners {{\n\tmulticast {{\n\t\taddress = \"ff05::9\";\n\t\tinterface = \"gone0\";\n\t\thash = \"sha512\";\n\
         \t\tport = \"77\";\n\t\tfamily = \"ipv6\";\n\t\tkey_file = \"{}\";\n\t}}\n}}\n\
         backends {{\n\tcpg {{\n\t\turi = \"test:///default\";\n\t\turi1 = \"x:///y\";\n\t\tname_mode = \"uuid\";\n\t}}\n}}\n\
         groups {{\n\tgroup {{\n\t\tuuid = \"a\";\n\t\tip = \"b\";\n\t}}\n}}\n",
        key.display()
    );
    let (text, answers, said) = ask(&file, &[""; 8]).unwrap();
    assert_eq!(text, file);
    assert_eq!(answers.make_key, None);
    assert!(said.contains("gone0, which is not there now"), "{said}");
}

#[test]
fn interface_must_be_one_that_is_there() {
    let (text, _, said) = ask("", &["", "", "", "virbr9", "eth0", "/dev/null", "", ""]).unwrap();
    assert!(text.contains("interface = \"eth0\""), "{text}");
    assert!(said.contains("there are none, eth0, virbr0"), "{said}");
    let file = "listeners { multicast { interface = \"eth0\"; } }";
    let (text, ..) = ask(file, &["", "", "", "None", "/dev/null", "", ""]).unwrap();
    assert!(!text.contains("interface"), "{text}");
}

#[test]
fn every_listener_and_backend_can_be_set_up() {
    let (text, ..) = ask("", &["TCP", "::", "99", "/dev/null", "cpg", "", "uuid"]).unwrap();
    for part in [
        "tcp {\n\t\taddress = \"::\";\n\t\tfamily = \"ipv6\";\n\t\tport = \"99\"",
        "name_mode = \"uuid\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (text, ..) = ask("", &["vsock", "70000", "/dev/null", "", ""]).unwrap();
    assert!(text.contains("vsock {\n\t\tport = \"70000\""), "{text}");
    let (text, answers, _) = ask("", &["serial", "", "/run/guests", "vmchannel", "", ""]).unwrap();
    assert!(
        text.contains("serial {\n\t\tpath = \"/run/guests\";\n\t\tmode = \"vmchannel\""),
        "{text}"
    );
    assert!(!text.contains("key_file"));
    assert_eq!(answers.make_key, None);
}

#[test]
fn of_several_listeners_one_is_set_up_and_the_others_stay() {
    let file = "fence_virtd { listener = \"blue\"; listener = \"vsock\"; backend = \"libvirt\"; }\n\
        listeners { tcp = \"blue\" { port = \"1\"; } tcp = \"green\" { port = \"2\"; } vsock { } }";
    let (text, ..) = ask(file, &["", "", "7", "/dev/null", "", ""]).unwrap();
    assert!(
        text.contains("listener = \"blue\";\n\tlistener = \"vsock\";"),
        "{text}"
    );
    assert!(
        text.contains("tcp = \"blue\" {\n\t\tport = \"7\";"),
        "{text}"
    );
    assert!(
        text.contains("tcp = \"green\" {\n\t\tport = \"2\";"),
        "{text}"
    );
    let (text, ..) = ask(file, &["green", "", "8", "/dev/null", "", ""]).unwrap();
    assert!(
        text.contains("listener = \"green\";\n\tlistener = \"vsock\";"),
        "{text}"
    );
    assert!(
        text.contains("tcp = \"green\" {\n\t\tport = \"8\";"),
        "{text}"
    );
}

#[test]
fn result_is_understood_by_our_own_parser() {
    for answers in [
        &["", "", "", "", "/dev/null", "", ""][..],
        &["tcp", "10.0.0.1", "", "/dev/null", "cpg", "", ""],
        &["vsock", "", "/dev/null", "", ""],
        &["serial", "", "", "", "", ""],
    ] {
        let (text, ..) = ask("", answers).unwrap();
        let tree = parse_bytes(text.as_bytes(), Form::Conf).unwrap();
        let read = |_: &Path| Ok(fence_proto::Key::from_bytes(&[7; 4096]).unwrap());
        let (settings, notes) = crate::config::interpret(&tree, &read).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(settings.listeners.len(), 1);
    }
}

#[test]
fn end_of_the_answers_anywhere_is_no_configuration() {
    let all = ["", "", "", "", "/dev/null", "", ""];
    for count in 0..all.len() {
        assert!(
            matches!(ask("", &all[..count]), Err(Abort::Ended(_))),
            "{count}"
        );
    }
}
