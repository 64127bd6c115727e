//! Tests of what lines of stdin mean.

use super::*;
use crate::settings::{Plan, plan};
use fence_proto::Action;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_understood_skipped_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let _ = parse_stdin(Role::Xvm, &bytes);
    }

    #[test]
    fn any_value_survives_as_it_is(value in "[^\\s\\x00-\\x1f\\x7f]([^\\x00-\\x1f\\x7f]{0,80}[^\\s\\x00-\\x1f\\x7f])?") {
        let parsed = parse(&format!(" plug = {value} \r\n")).unwrap();
        let given = parsed.input.last(Opt::Plug).unwrap();
        prop_assert_eq!(given.value.as_deref(), Some(value.as_str()));
    }

    #[test]
    fn lines_for_known_names_are_never_lost(
        name in prop::sample::select(vec!["plug", "port", "action", "nodename", "timeout"]),
        before in "[ \t]{0,3}",
        between in "[ \t]{0,3}=?:?[ \t]{0,3}",
    ) {
        let text = format!("{before}{name}{between}off");
        let known = parse(&text).is_ok_and(|parsed| parsed.input.given.len() == 1);
        let decides = name != "timeout";
        // Glued to the value the name is another one.
        let glued = between.is_empty();
        prop_assert!(known || glued || !decides || parse(&text).is_err(), "{}", text);
    }
}

fn parse(text: &str) -> Result<StdinInput, InputError> {
    parse_stdin(Role::Xvm, text.as_bytes())
}

fn value(text: &str, id: Opt) -> Option<String> {
    let parsed = parse(text).unwrap();
    parsed.input.last(id).and_then(|given| given.value.clone())
}

#[test]
fn blanks_around_name_and_value_do_not_count() {
    for line in [
        "action=off",
        " action = off ",
        "\taction\t=\toff\r",
        "ACTION=off",
    ] {
        assert_eq!(value(line, Opt::Action).as_deref(), Some("off"), "{line}");
    }
}

#[test]
fn blanks_and_equals_signs_inside_a_value_count() {
    assert_eq!(
        value("plug=my vm = 1", Opt::Plug).as_deref(),
        Some("my vm = 1")
    );
}

#[test]
fn long_lines_stay_one_line() {
    let file = format!("/{}", "k".repeat(60_000));
    let text = format!("key_file={file}\naction=off\n");
    assert_eq!(value(&text, Opt::KeyFile), Some(file));
    assert_eq!(value(&text, Opt::Action).as_deref(), Some("off"));
    let text = format!("key_file={}", "k".repeat(MAX_LINE));
    assert_eq!(parse(&text), Err(InputError::LineTooLong { line: 1 }));
    assert_eq!(
        parse_stdin(Role::Xvm, &vec![b'\n'; MAX_INPUT + 1]),
        Err(InputError::TooLong)
    );
}

#[test]
fn comments_and_empty_lines_say_nothing() {
    let parsed = parse("# action=off\n\n   \n  # plug=x\r\n").unwrap();
    assert_eq!(parsed, StdinInput::default());
}

#[test]
fn unknown_names_are_reported_and_skipped() {
    let parsed = parse("pcmk_host_map=a:b\nplug=x\nthe_number\n\u{1}=2\n").unwrap();
    assert_eq!(parsed.input.given.len(), 1);
    assert_eq!(parsed.skipped.len(), 3);
    assert!(parsed.skipped[0].contains("pcmk_host_map"));
    assert!(parsed.skipped[2].contains("'\\u{1}'"));
    let parsed = parse("timeot=5").unwrap();
    assert!(parsed.skipped[0].contains("is it timeout?"), "{parsed:?}");
}

#[test]
fn options_of_the_other_role_are_unknown() {
    let parsed = parse("ipaddr=127.0.0.1").unwrap();
    assert_eq!(parsed.skipped.len(), 1);
    let parsed = parse_stdin(Role::Virt, b"multicast_address=225.0.0.12").unwrap();
    assert_eq!(parsed.skipped.len(), 1);
}

#[test]
fn line_that_decides_and_is_not_understood_is_an_error() {
    for line in [
        "action",
        "action off",
        "action: off",
        "action:=off",
        "action=",
        "option=  ",
        "plug",
        "plug vm1",
        "port=",
        "domain:vm1",
        "nodename",
        "  nodename = ",
    ] {
        assert!(
            matches!(parse(line), Err(InputError::NotUnderstood { .. })),
            "{line}"
        );
    }
    assert_eq!(
        parse_stdin(Role::Xvm, b"plug=\xff"),
        Err(InputError::NotText("plug".to_owned()))
    );
}

fn assert_not_understood(line: &str, name: &str) {
    let text = format!("plug=test\n{line}\n");
    let error = parse(&text).expect_err(line);
    let InputError::NotUnderstood {
        line: number,
        name: meant,
        ..
    } = &error
    else {
        panic!("{line}: {error}");
    };
    assert_eq!((*number, *meant), (2, name), "{line}");
    let message = error.to_string();
    assert!(message.contains("line 2 "), "{message}");
    assert!(message.contains(&format!("{name}=")), "{message}");
    assert!(!message.contains(char::is_control), "{message:?}");
}

#[test]
fn line_that_seems_to_be_for_the_action_is_an_error() {
    for line in [
        "--action=status",
        "--action status",
        "-o status",
        "-o=status",
        "-ostatus",
        "-uo status",
        "o=status",
        "\"-o\" status",
        "--timeout=5 -o status",
        "--timeout=5 --action=status",
        "\"action\"=status",
        "\"action=status\"",
        "'action': status",
        "{\"action\": \"status\"}",
        "<param action=\"status\"/>",
        "* action=status",
        "*action=status",
        "1. action=status",
        "export action=status",
        "\u{feff}action=status",
        "\u{b}action=status",
        "act\u{1b}ion=status",
        "a\0c\0t\0i\0o\0n\0=\0o\0f\0f\0",
        "acton=status",
        "acton status",
        "Aciton=status",
        "actionn=status",
        "_action=status",
        "\u{430}ction=status",
        "act ion=status",
        "actionstatus",
        "action;status",
        "acti",
        "a=ction=status",
        "=action=status",
        "foo=bar action=status",
        "foo=bar\raction=status",
        "agent=fence_xvm action=status",
        "action=status\rplug=vm1",
    ] {
        assert_not_understood(line, "action");
    }
    assert_not_understood("optoin=off", "option");
}

#[test]
fn line_that_seems_to_be_for_the_domain_is_an_error() {
    for (line, name) in [
        ("-n vm1", "plug"),
        ("-nvm1", "plug"),
        ("-H vm1", "port"),
        ("--plug=vm1", "plug"),
        ("plgu=vm1", "plug"),
        ("ports=vm1", "port"),
        ("prot=vm1", "port"),
        ("--domain vm1", "domain"),
        ("domian=vm1", "domain"),
        ("node-name=vm1", "nodename"),
        ("nodenam=vm1", "nodename"),
        ("plug=vm1\u{7}", "plug"),
    ] {
        assert_not_understood(line, name);
    }
}

#[test]
fn names_that_nobody_means_for_a_deciding_option_are_skipped() {
    for line in [
        "pcmk_host_map=node1:vm1;node2:vm2",
        "pcmk_host_map=a=b",
        "pcmk_host_argument=port",
        "pcmk_reboot_action=off",
        "pcmk-off-action=off",
        "pcmk_action_limit=1",
        "crm_meta_timeout=20000",
        "CRM_meta_on_node=node1",
        "foo=bar",
        "foo=an action and a port",
        "node_name=node1",
        "port_as_ip=1",
        "ipport_=1",
        "login=admin",
        "ip=10.0.0.1",
        "-t 5",
        "verbose",
        "help",
        "x",
        "=",
    ] {
        let parsed = parse(line).expect(line);
        assert_eq!(parsed.input.given.len(), 0, "{line}");
        assert_eq!(parsed.skipped.len(), 1, "{line}");
    }
    for spec in &options::OPTIONS {
        for role in [Role::Xvm, Role::Virt] {
            let line = format!("{}=1", spec.name);
            assert!(parse_stdin(role, line.as_bytes()).is_ok(), "{line}");
        }
    }
}

#[test]
fn byte_order_mark_says_nothing() {
    let parsed = parse("\u{feff}action=off\nplug=x").unwrap();
    assert_eq!(
        parsed.input.last(Opt::Action).unwrap().value.as_deref(),
        Some("off")
    );
    assert!(parsed.skipped.is_empty());
    assert_eq!(parse("\u{feff}"), Ok(StdinInput::default()));
}

#[test]
fn equals_signs_without_end_are_judged_quickly() {
    let text = "=".repeat(MAX_LINE);
    assert_eq!(parse(&text).unwrap().skipped.len(), 1);
}

/// Everything that one slip can make of a line.
fn slips(line: &str, characters: &[char]) -> Vec<String> {
    let line: Vec<char> = line.chars().collect();
    let mut slips = Vec::new();
    let mut slip = |change: &dyn Fn(&mut Vec<char>)| {
        let mut line = line.clone();
        change(&mut line);
        slips.push(line.into_iter().collect::<String>());
    };
    for at in 0..line.len() {
        slip(&|line| {
            line.remove(at);
        });
        if at > 0 {
            slip(&|line| line.swap(at - 1, at));
        }
        for character in characters {
            slip(&|line| line[at] = *character);
            slip(&|line| line.insert(at, *character));
        }
    }
    for character in characters {
        slip(&|line| line.push(*character));
    }
    slips
}

/// The line is an error, or is planned as it was meant. A comment is a comment.
fn assert_never_a_default(line: &str, more: &str) {
    if line.starts_with('#') {
        return;
    }
    for text in [format!("{line}\n{more}"), format!("{more}{line}\r\n")] {
        let Ok(parsed) = parse(&text) else { continue };
        match plan(Role::Xvm, &parsed.input) {
            Ok(Plan::Ask(Action::Status, settings)) => {
                // `plug==test` says so.
                let domain = settings.domain.as_str();
                assert!(domain == "test" || domain == "=test", "{text:?}");
            }
            Ok(other) => panic!("{text:?} means {other:?}"),
            Err(_) => {}
        }
    }
}

#[test]
fn slip_in_the_line_of_the_action_never_does_the_default() {
    let mut characters: Vec<char> = (0..=127_u8).map(char::from).collect();
    characters.extend([
        '\u{85}', '\u{a0}', 'é', '\u{430}', '\u{200b}', '\u{2028}', '\u{feff}',
    ]);
    for line in ["action=status", "option=status", "action = status"] {
        for slip in slips(line, &characters) {
            assert_never_a_default(&slip, "plug=test\n");
        }
    }
}

proptest! {
    #[test]
    fn slip_with_any_character_never_does_the_default(character in any::<char>()) {
        for slip in slips("action=status", &[character]) {
            assert_never_a_default(&slip, "plug=test\n");
        }
    }
}

#[test]
fn slip_in_a_name_of_the_domain_never_asks_for_the_node_instead() {
    let characters: Vec<char> = (0..=127_u8).map(char::from).collect();
    for name in ["plug", "port", "domain"] {
        for slip in slips(name, &characters) {
            if slip.starts_with('#') {
                continue;
            }
            assert_never_a_default(&format!("{slip}=test"), "action=status\nnodename=node1\n");
        }
    }
}
