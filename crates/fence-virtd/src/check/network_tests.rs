//! Every interface, bridge and route that there may be.

use fence_doctor::Verdict;
use fence_proto::HashAlgorithm;

use super::*;
use crate::config::Authentication;
use crate::links::Bridge;

fn authentication() -> Authentication {
    Authentication {
        key: None,
        hash: HashAlgorithm::None,
        auth: HashAlgorithm::None,
    }
}

fn listener(interface: Option<&str>) -> MulticastSettings {
    MulticastSettings {
        authentication: authentication(),
        address: "225.0.0.12".parse().unwrap(),
        port: 1229,
        interface: interface.map(str::to_owned),
        answer_unknown: true,
    }
}

fn bridge(snooping: bool, querier: bool) -> Link {
    Link {
        name: "virbr0".to_owned(),
        up: true,
        running: true,
        multicast: true,
        addresses: vec!["192.168.122.1".parse().unwrap()],
        bridge: Some(Bridge { snooping, querier }),
        ..Link::default()
    }
}

fn one(findings: &[Finding]) -> (Verdict, &str) {
    assert_eq!(findings.len(), 1, "{findings:?}");
    (findings[0].verdict, &findings[0].found)
}

#[test]
fn named_interface_must_be_there_up_able_and_no_port() {
    let good = bridge(false, false);
    let named = listener(Some("virbr0"));
    assert_eq!(
        one(&interfaces(&named, std::slice::from_ref(&good))).0,
        Verdict::Ok
    );
    for bad in [
        Link {
            up: false,
            ..good.clone()
        },
        Link {
            multicast: false,
            ..good.clone()
        },
        Link {
            master: Some("br1".to_owned()),
            ..good.clone()
        },
        Link {
            name: "eth0".to_owned(),
            ..good.clone()
        },
    ] {
        let findings = interfaces(&named, &[bad]);
        assert_eq!(one(&findings).0, Verdict::Problem, "{findings:?}");
    }
    let bare = Link {
        addresses: vec!["fe80::1".parse().unwrap()],
        ..good.clone()
    };
    assert_eq!(one(&interfaces(&named, &[bare])).0, Verdict::Warning);
    let alone = Link {
        running: false,
        ..good
    };
    let findings = interfaces(&named, &[alone]);
    let (verdict, found) = one(&findings);
    assert!(
        verdict == Verdict::Ok && found.contains("no guest"),
        "{found}"
    );
}

#[test]
fn without_a_name_any_interface_that_can_do_multicast_will_do() {
    let any = listener(None);
    assert_eq!(one(&interfaces(&any, &[bridge(true, true)])).0, Verdict::Ok);
    let port = Link {
        master: Some("br1".to_owned()),
        ..bridge(true, true)
    };
    assert_eq!(one(&interfaces(&any, &[port])).0, Verdict::Problem);
}

#[test]
fn snooping_without_a_querier_is_a_warning() {
    let named = listener(Some("virbr0"));
    let verdict = |snooping, querier| bridges(&named, &[bridge(snooping, querier)])[0].verdict;
    assert_eq!(verdict(true, false), Verdict::Warning);
    assert_eq!(verdict(true, true), Verdict::Ok);
    assert_eq!(verdict(false, false), Verdict::Ok);
    let plain = Link {
        bridge: None,
        ..bridge(true, false)
    };
    assert!(bridges(&named, &[plain]).is_empty());
    let other = Link {
        name: "br9".to_owned(),
        ..bridge(true, false)
    };
    assert!(bridges(&named, &[other]).is_empty());
}

#[test]
fn address_to_listen_on_must_be_ours() {
    let listen = |ip: &str| TcpSettings {
        authentication: authentication(),
        address: SocketAddr::new(ip.parse().unwrap(), 1229),
    };
    let links = [bridge(false, false)];
    assert_eq!(
        address(&listen("192.168.122.1"), &links).verdict,
        Verdict::Ok
    );
    assert_eq!(address(&listen("0.0.0.0"), &links).verdict, Verdict::Ok);
    assert_eq!(
        address(&listen("10.9.9.9"), &links).verdict,
        Verdict::Problem
    );
    let down = [Link {
        up: false,
        ..bridge(false, false)
    }];
    assert_eq!(
        address(&listen("192.168.122.1"), &down).verdict,
        Verdict::Problem
    );
}

#[test]
fn route_is_told_with_its_interface_or_missed() {
    let to = |from: Result<IpAddr, String>| Route {
        group: "225.0.0.12".parse().unwrap(),
        from,
    };
    let good = route(
        &to(Ok("192.168.122.1".parse().unwrap())),
        &[bridge(false, false)],
    );
    assert!(good.verdict == Verdict::Ok && good.found.contains("virbr0"));
    let bad = route(&to(Err("Network is unreachable".to_owned())), &[]);
    assert_eq!(bad.verdict, Verdict::Warning);
}
