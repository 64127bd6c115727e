//! Tests of the plan.

use super::*;
use crate::stdin::parse_stdin;

fn plan_of(role: Role, lines: &str) -> Result<Plan, InputError> {
    let parsed = parse_stdin(role, lines.as_bytes()).unwrap();
    plan(role, &parsed.input)
}

fn asked(role: Role, lines: &str) -> (Action, Settings) {
    match plan_of(role, lines) {
        Ok(Plan::Ask(action, settings)) => (action, *settings),
        other => panic!("expected a request, not {other:?}"),
    }
}

fn group(lines: &str) -> Result<IpAddr, InputError> {
    match plan_of(Role::Xvm, &format!("action=list\n{lines}"))? {
        Plan::Ask(_, settings) => match settings.mode {
            Mode::Multicast(multicast) => Ok(multicast.group),
            other => panic!("expected multicast, not {other:?}"),
        },
        other => panic!("expected a request, not {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_original() {
    let (action, settings) = asked(Role::Xvm, "plug=vm1");
    assert_eq!(action, Action::Reboot);
    assert_eq!(settings.timeout, Duration::from_secs(30));
    assert_eq!(settings.delay, Duration::ZERO);
    assert_eq!(settings.hash, HashAlgorithm::Sha256);
    assert_eq!(settings.auth, HashAlgorithm::Sha256);
    assert_eq!(
        settings.key_file,
        PathBuf::from("/etc/cluster/fence_xvm.key")
    );
    assert!(!settings.key_file_given);
    let multicast = Multicast {
        group: "225.0.0.12".parse().unwrap(),
        port: 1229,
        retransmit: Duration::from_secs(2),
        interface: None,
    };
    assert_eq!(settings.mode, Mode::Multicast(multicast));
    let (_, settings) = asked(Role::Virt, "plug=vm1");
    assert_eq!(settings.mode, Mode::Serial);
}

#[test]
fn multicast_address_decides_the_family() {
    let v6: IpAddr = "ff05::3:1".parse().unwrap();
    assert_eq!(group("multicast_address=ff05::3:1"), Ok(v6));
    assert_eq!(group("ip_family=auto\nmulticast_address=ff05::3:1"), Ok(v6));
    assert_eq!(group("ip_family=ipv6"), Ok(v6));
    assert_eq!(group("ip_family=auto"), Ok(GROUP_V4));
    assert!(group("ip_family=ipv4\nmulticast_address=ff05::3:1").is_err());
    assert!(group("ip_family=ipv6\nmulticast_address=225.0.0.12").is_err());
    assert!(group("ip_family=ipv5").is_err());
}

#[test]
fn interface_that_does_not_exist_is_an_error() {
    let error = group("interface=nothing-here").unwrap_err().to_string();
    assert!(error.contains("nothing-here"), "{error}");
    assert_eq!(group("interface=lo"), Ok(GROUP_V4));
}

#[test]
fn metadata_needs_nothing_and_forgives_everything() {
    for lines in [
        "action=metadata",
        "key_file=/nonexistent\naction=metadata\ntimeout=never",
        "plug=a\nport=b\noption=METADATA",
    ] {
        assert_eq!(plan_of(Role::Xvm, lines), Ok(Plan::Metadata), "{lines}");
        assert_eq!(plan_of(Role::Virt, lines), Ok(Plan::Metadata), "{lines}");
    }
}

#[test]
fn validate_all_needs_no_domain() {
    assert!(matches!(
        plan_of(Role::Xvm, "action=validate-all"),
        Ok(Plan::Validate(_))
    ));
    assert!(plan_of(Role::Xvm, "action=validate-all\ntimeout=0").is_err());
}

#[test]
fn actions_that_name_a_domain_need_one() {
    for action in ["off", "on", "reboot", "status"] {
        let plan = plan_of(Role::Xvm, &format!("action={action}"));
        assert!(matches!(plan, Err(InputError::NoDomain(_))), "{action}");
    }
    assert_eq!(
        plan_of(Role::Xvm, "debug=1"),
        Err(InputError::NoDomain("reboot")),
        "the default is reboot"
    );
    for action in ["monitor", "list", "list-status", "null"] {
        assert!(
            plan_of(Role::Xvm, &format!("action={action}")).is_ok(),
            "{action}"
        );
    }
}

#[test]
fn action_beats_its_older_name_in_any_order() {
    for lines in ["action=monitor\noption=off", "option=off\naction=monitor"] {
        assert_eq!(asked(Role::Xvm, lines).0, Action::Monitor, "{lines}");
    }
    assert_eq!(asked(Role::Xvm, "option=list").0, Action::List);
}

#[test]
fn fence_virt_chooses_its_transport_by_the_option_given() {
    let mode = |lines: &str| {
        plan_of(Role::Virt, &format!("action=list\n{lines}")).map(|plan| match plan {
            Plan::Ask(_, settings) => settings.mode,
            other => panic!("expected a request, not {other:?}"),
        })
    };
    let tcp = "10.0.0.1:1230".parse().unwrap();
    assert_eq!(mode("ipaddr=10.0.0.1\nipport=1230"), Ok(Mode::Tcp(tcp)));
    assert_eq!(mode("vsock"), Ok(Mode::Vsock { cid: 2, port: 1229 }));
    assert_eq!(mode("vsock=5"), Ok(Mode::Vsock { cid: 5, port: 1229 }));
    assert!(mode("vsock=").is_err());
    assert_eq!(
        mode("ipaddr=10.0.0.1\nvsock=5"),
        Err(InputError::TwoTransports)
    );
}

#[test]
fn debug_counts_letters_and_takes_levels() {
    let settings = |lines| asked(Role::Xvm, lines).1;
    assert_eq!(settings("plug=a\ndebug=2").debug, 2);
    assert_eq!(settings("plug=a\ndebug").debug, 1);
    assert_eq!(settings("plug=a\ndebug=no").debug, 0);
}
