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
            Mode::Network(Network::Multicast(multicast)) => Ok(multicast.group),
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
    let multicast = Mode::Network(Network::Multicast(multicast));
    assert_eq!(settings.mode, multicast);
    // In spite of what the original says of /dev/ttyS1.
    let (_, settings) = asked(Role::Virt, "plug=vm1");
    let channel = Line::Channel("10.0.2.179:1229".parse().unwrap());
    assert_eq!(settings.mode, Mode::Line(channel));
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
    let tcp = Ok(Mode::Network(Network::Tcp(tcp)));
    let vsock = |cid, port| Ok(Mode::Network(Network::Vsock { cid, port }));
    assert_eq!(mode("ipaddr=10.0.0.1\nipport=1230"), tcp);
    assert_eq!(mode("vsock"), vsock(2, 1229));
    assert_eq!(mode("vsock=5\nipport=7"), vsock(5, 7));
    // A network is used whatever is said of lines, in any order.
    for line in ["serial_device=/dev/ttyS1", "channel_address=10.0.2.1"] {
        let lines = format!("{line}\nipaddr=10.0.0.1\nipport=1230");
        assert_eq!(mode(&lines), tcp, "{line}");
        assert_eq!(mode(&format!("ipport=1230\nipaddr=10.0.0.1\n{line}")), tcp);
        assert_eq!(mode(&format!("{line}\nvsock")), vsock(2, 1229), "{line}");
    }
    assert!(mode("vsock=").is_err());
    assert_eq!(
        mode("ipaddr=10.0.0.1\nvsock=5"),
        Err(InputError::TwoTransports)
    );
}

#[test]
fn fence_virt_uses_the_serial_device_that_is_named_else_the_channel() {
    let line = |lines: &str| match asked(Role::Virt, &format!("action=list\n{lines}")).1.mode {
        Mode::Line(line) => line,
        other => panic!("{other:?}"),
    };
    let channel = |address: &str| Line::Channel(address.parse().unwrap());
    assert_eq!(line("ipport=7"), channel("10.0.2.179:7"));
    assert_eq!(line("channel_address=10.0.2.1"), channel("10.0.2.1:1229"));
    assert_eq!(line("channel_address=::1"), channel("[::1]:1229"));
    assert_eq!(line("serial_params=9600,7E1"), channel("10.0.2.179:1229"));
    let serial = |params: &str| Line::Serial {
        device: "/dev/ttyS3".into(),
        params: params.parse().unwrap(),
    };
    let device = "serial_device=/dev/ttyS3\nchannel_address=10.0.2.1";
    assert_eq!(line(device), serial("115200,8N1"));
    assert_eq!(
        line(&format!("{device}\nserial_params=9600,7E1")),
        serial("9600,7E1")
    );
}

#[test]
fn what_is_said_of_a_line_must_be_right() {
    for lines in [
        "serial_device=",
        "serial_params=fast",
        "serial_params=",
        "channel_address=host.example",
        "channel_address=",
        "serial_params=fast\nipaddr=10.0.0.1",
    ] {
        let plan = plan_of(Role::Virt, &format!("action=list\n{lines}"));
        let bad = matches!(plan, Err(InputError::BadValue { .. }));
        assert!(bad, "{lines}: {plan:?}");
    }
}

#[test]
fn debug_counts_letters_and_takes_levels() {
    let settings = |lines| asked(Role::Xvm, lines).1;
    assert_eq!(settings("plug=a\ndebug=2").debug, 2);
    assert_eq!(settings("plug=a\ndebug").debug, 1);
    assert_eq!(settings("plug=a\ndebug=no").debug, 0);
}

/// As pacemaker 2.1.5 was recorded; since 3.0.1 it says `plug` for `port`. Metadata need neither.
#[test]
fn stdin_of_pacemaker_means_the_domain_in_both_styles() {
    for style in ["port", "plug"] {
        for action in [Action::Off, Action::On, Action::Reboot, Action::Status] {
            let lines = format!("nodename=beta\naction={action}\n{style}=vm-beta\ntimeout=6\n");
            let input = parse_stdin(Role::Xvm, lines.as_bytes()).unwrap();
            assert!(input.skipped.is_empty(), "{:?}", input.skipped);
            let Ok(Plan::Ask(asked, settings)) = plan(Role::Xvm, &input.input) else {
                panic!("{lines}");
            };
            assert_eq!((asked, settings.domain.as_str()), (action, "vm-beta"));
            assert_eq!(settings.timeout, Duration::from_secs(6));
        }
    }
    for (action, wanted) in [("monitor", Action::Monitor), ("list", Action::List)] {
        let input = parse_stdin(
            Role::Xvm,
            format!("action={action}\ntimeout=6\n").as_bytes(),
        );
        let Ok(Plan::Ask(asked, settings)) = plan(Role::Xvm, &input.unwrap().input) else {
            panic!("{action}");
        };
        assert_eq!((asked, settings.domain.is_empty()), (wanted, true));
    }
}
