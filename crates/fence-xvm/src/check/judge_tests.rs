//! Every answer, key, address and port that there may be.

use std::path::PathBuf;

use fence_doctor::Verdict as Found;

use super::*;
use crate::input::Input;
use crate::role::Role;
use crate::settings::{Mode, Plan, plan};

fn settings() -> Settings {
    let args = ["--check", "-k", "/k"].map(Into::into);
    let input: Input = crate::input::from_command_line(Role::Xvm, args).unwrap();
    match plan(Role::Xvm, &input).unwrap() {
        Plan::Check { settings, .. } => *settings,
        other => panic!("{other:?}"),
    }
}

fn multicast() -> Multicast {
    match settings().mode {
        Mode::Network(Network::Multicast(multicast)) => multicast,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_judged_by_file_length_and_looks() {
    let settings = settings();
    assert_eq!(settings.key_file, PathBuf::from("/k"));
    let random: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let verdict =
        |bytes: &[u8], warning| key(&settings, &Key::from_bytes(bytes).unwrap(), warning).verdict;
    assert_eq!(verdict(&random, None), Found::Ok);
    assert_eq!(verdict(&random, Some("warning: open")), Found::Warning);
    assert_eq!(verdict(b"short", None), Found::Warning);
    assert_eq!(
        verdict(&random[..32], None),
        Found::Warning,
        "length extension"
    );
}

#[test]
fn addresses_that_hosts_can_call_are_needed() {
    let of = |announced: &[&str]| {
        let announced = announced.iter().map(|it| it.parse().unwrap()).collect();
        addresses(&multicast(), &Ok(announced)).verdict
    };
    assert_eq!(of(&["127.0.0.1", "10.0.0.2"]), Found::Ok);
    assert_eq!(of(&["127.0.0.1"]), Found::Warning);
    assert_eq!(of(&[]), Found::Problem);
    let unknown = addresses(&multicast(), &Err(io::ErrorKind::Other.into()));
    assert_eq!(unknown.verdict, Found::Problem);
}

#[test]
fn busy_port_names_who_has_it() {
    assert_eq!(port(1229, &Ok(()), &[]).verdict, Found::Ok);
    let busy = Err(io::ErrorKind::AddrInUse.into());
    let owner = Owner {
        pid: 7,
        name: "python3".to_owned(),
    };
    let finding = port(1229, &busy, &[owner]);
    assert!(finding.verdict == Found::Warning && finding.found.contains("python3 (7)"));
    assert!(port(1229, &busy, &[]).found.contains("another program"));
    let denied = Err(io::ErrorKind::PermissionDenied.into());
    assert_eq!(port(80, &denied, &[]).verdict, Found::Problem);
}

fn told(verdict: Result<Verdict, CloseCause>) -> Found {
    let host = HostAnswer {
        peer: "10.0.0.1:5".to_owned(),
        after: Duration::from_millis(12),
        verdict,
    };
    let all = Survey {
        port: 1229,
        asked_from: 1,
        send_error: None,
        hosts: vec![host],
    };
    let findings = survey(&settings(), &multicast(), &all);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].found.contains("12 ms"), "{findings:?}");
    findings[0].verdict
}

#[test]
fn every_host_that_called_back_is_judged() {
    assert_eq!(told(Ok(Verdict::Replied(Reply::Success))), Found::Ok);
    assert_eq!(told(Ok(Verdict::Replied(Reply::Off))), Found::Ok);
    assert_eq!(told(Ok(Verdict::Replied(Reply::Failure))), Found::Problem);
    assert_eq!(
        told(Ok(Verdict::Replied(Reply::PermissionDenied))),
        Found::Problem
    );
    assert_eq!(
        told(Ok(Verdict::Failed(Failure::ClosedUnproven))),
        Found::Problem
    );
    assert_eq!(told(Ok(Verdict::Failed(Failure::TimedOut))), Found::Problem);
    assert_eq!(
        told(Err(CloseCause::Dropped(Reason::BadResponse))),
        Found::Problem
    );
    assert_eq!(
        told(Err(CloseCause::Dropped(Reason::UnexpectedBytes))),
        Found::Warning
    );
}

#[test]
fn nobody_and_nothing_sent_are_problems() {
    for (asked_from, words) in [(0, "no request could be sent"), (2, "no host called back")] {
        let none = Survey {
            port: 1229,
            asked_from,
            send_error: None,
            hosts: Vec::new(),
        };
        let findings = survey(&settings(), &multicast(), &none);
        assert_eq!(findings[0].verdict, Found::Problem);
        assert!(findings[0].found.contains(words), "{findings:?}");
    }
}

#[test]
fn each_way_needs_its_packets() {
    let of = |network: &Network| {
        let packets = packets(network).into_iter();
        packets
            .map(|(packet, _)| (packet.direction, packet.kind))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&Network::Multicast(multicast())),
        [
            (Direction::Out, Kind::Udp(1229)),
            (Direction::In, Kind::Tcp(1229))
        ]
    );
    assert_eq!(
        of(&Network::Tcp("10.0.0.1:77".parse().unwrap()))[0],
        (Direction::Out, Kind::Tcp(77))
    );
    assert!(of(&Network::Vsock { cid: 2, port: 1 }).is_empty());
}
