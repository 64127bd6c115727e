//! Tests of exit codes and texts.

use super::*;
use crate::input::Input;
use crate::role::Role;
use crate::settings::{Plan, plan};
use crate::stdin::parse_stdin;
use fence_proto::agent::Tally;
use fence_proto::host_list::ReceivedEntry;

fn settings(lines: &str) -> Settings {
    let input: Input = parse_stdin(Role::Xvm, lines.as_bytes()).unwrap().input;
    match plan(Role::Xvm, &input) {
        Ok(Plan::Ask(_, settings)) => *settings,
        other => panic!("expected a request, not {other:?}"),
    }
}

fn attempt(verdict: Verdict) -> Attempt {
    Attempt {
        verdict,
        tally: Tally::default(),
        port: Some(1229),
        addresses: 1,
        send_error: None,
    }
}

fn of(action: Action, verdict: Verdict) -> Outcome {
    outcome(action, &settings("plug=vm1"), &attempt(verdict))
}

#[test]
fn only_success_exits_zero() {
    for action in Action::ALL {
        for byte in 1..=u8::MAX {
            let outcome = of(action, Verdict::Replied(Reply::from_wire(byte)));
            assert_eq!(outcome.code, byte, "{action}");
            let quiet = action == Action::Status && byte == 2;
            assert_eq!(outcome.complaint.is_none(), quiet, "{action} {byte}");
        }
        assert_eq!(of(action, Verdict::Replied(Reply::Success)).code, 0);
        assert_eq!(of(action, Verdict::Failed(Failure::TimedOut)).code, 1);
    }
}

#[test]
fn status_is_printed_for_status_only() {
    let on = of(Action::Status, Verdict::Replied(Reply::Success));
    assert_eq!(on.result, "Status: ON\n");
    let off = of(Action::Status, Verdict::Replied(Reply::Off));
    assert_eq!((off.code, off.result.as_str()), (2, "Status: OFF\n"));
    let done = of(Action::Off, Verdict::Replied(Reply::Success));
    assert_eq!(done.result, "");
}

#[test]
fn list_has_the_form_of_the_original() {
    let entry = |name: &str, state| ReceivedEntry {
        name: name.to_owned(),
        uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f".to_owned(),
        state,
    };
    let long = "x".repeat(63);
    let entries = vec![entry("vm1", 1), entry(&long, 3), entry("two\nlines", 5)];
    let lines = of(Action::List, Verdict::Listed(entries)).result;
    assert_eq!(
        lines,
        format!(
            "vm1{} 6695eb01-f6a4-8304-79aa-97f2502e193f on\n\
             {long} 6695eb01-f6a4-8304-79aa-97f2502e193f off\n\
             two?lines{} 6695eb01-f6a4-8304-79aa-97f2502e193f off\n",
            " ".repeat(29),
            " ".repeat(23)
        )
    );
}

#[test]
fn every_failure_is_one_line_that_names_the_domain() {
    for failure in [
        Failure::TimedOut,
        Failure::NotConnected,
        Failure::Dropped(Reason::BadResponse),
        Failure::Dropped(Reason::ReflectedChallenge),
        Failure::ClosedUnproven,
        Failure::ClosedWithoutReply,
        Failure::ListCut,
        Failure::ListTooLong,
        Failure::ListMissing,
        Failure::ListUnexpected,
    ] {
        let complaint = of(Action::Off, Verdict::Failed(failure)).complaint.unwrap();
        assert!(
            complaint.starts_with("off of domain 'vm1': no result: "),
            "{complaint}"
        );
        assert!(!complaint.contains('\n'), "{complaint}");
    }
}

#[test]
fn time_out_says_what_was_tried_and_the_likeliest_cure() {
    let say = |tally: Tally, addresses| {
        let attempt = Attempt {
            tally,
            addresses,
            ..attempt(Verdict::Failed(Failure::TimedOut))
        };
        let settings = settings("plug=vm1\nkey_file=/the/key\ntimeout=7");
        outcome(Action::Off, &settings, &attempt).complaint.unwrap()
    };
    let asked = Tally {
        rounds: 4,
        ..Tally::default()
    };
    let text = say(asked, 2);
    for part in [
        "225.0.0.12 port 1229",
        "4 times",
        "2 addresses",
        "7 s",
        "firewall",
        "/the/key",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(say(asked, 0).contains("no interface"));
    let wrong = Tally {
        unproven: 3,
        ..asked
    };
    assert!(say(wrong, 2).contains("3 call-backs did not prove"));
    let lost = Tally {
        without_reply: 1,
        ..wrong
    };
    assert!(say(lost, 2).contains("without a reply"));
}

/// Pacemaker reads a list line by line, and a person on a terminal.
#[test]
fn list_has_a_line_per_domain_whatever_hosts_call_them() {
    let nasty = "a\nb\r\u{1b}[2J\u{9b}31m\t\u{7f}\u{2028}\u{202e}x, on";
    let entry = |name: &str, uuid: &str| ReceivedEntry {
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        state: 1,
    };
    let entries = vec![entry(nasty, "u1"), entry("vm1", nasty)];
    let lines = of(Action::List, Verdict::Listed(entries)).result;
    assert_eq!(lines.lines().count(), 2, "{lines:?}");
    let unfit = |c: char| (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c);
    assert!(!lines.contains(unfit), "{lines:?}");
    assert!(lines.starts_with("a?b??[2J?31m????x, on"), "{lines:?}");
}
