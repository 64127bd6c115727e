//! Rule sets as `nft -j list ruleset` prints them.

use super::super::tests::request;
use super::super::walk::{Fate, fate};
use super::super::{Kind, Packet};
use super::*;

/// A rule set of one chain with these rules.
fn rule_set(policy: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|expr| {
            format!(
                r#", {{"rule": {{"family": "inet", "table": "t", "chain": "in", "handle": 1, "expr": [{expr}]}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"nftables": [{{"metainfo": {{"json_schema_version": 1}}}},
        {{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
        {{"chain": {{"family": "inet", "table": "t", "name": "in", "handle": 1, "type": "filter",
          "hook": "input", "prio": 0, "policy": "{policy}"}}}},
        {{"chain": {{"family": "inet", "table": "t", "name": "more", "handle": 2}}}} {rules}]}}"#
    )
}

fn passes(packet: &Packet, policy: &str, rules: &[&str]) -> bool {
    let chains = chains(rule_set(policy, rules).as_bytes(), packet).unwrap();
    fate(&chains, packet.direction) == Fate::Passes
}

const ESTABLISHED: &str = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}},
    "right": ["established", "related"]}}, {"accept": null}"#;
const LOOPBACK: &str = r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}"#;
const SSH: &str = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}"#;
const OURS: &str = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 1229}}, {"accept": null}"#;

#[test]
fn usual_rules_without_one_for_us_do_not_let_us_through() {
    let usual = [LOOPBACK, ESTABLISHED, SSH];
    assert!(!passes(&request(), "drop", &usual));
    assert!(passes(&request(), "accept", &usual));
    assert!(passes(
        &request(),
        "drop",
        &[LOOPBACK, ESTABLISHED, SSH, OURS]
    ));
    let answer = Packet {
        kind: Kind::TcpAnswer,
        to: None,
        ..request()
    };
    assert!(passes(&answer, "drop", &usual));
    assert!(!passes(&answer, "drop", &[LOOPBACK, SSH, OURS]));
}

#[test]
fn sets_ranges_nets_and_negations_are_understood() {
    for (expr, applies) in [
        (
            r#"{"payload": {"protocol": "udp", "field": "dport"}}, "right": {"set": [53, {"range": [1200, 1300]}]}"#,
            true,
        ),
        (
            r#"{"payload": {"protocol": "th", "field": "dport"}}, "right": {"range": [1230, 1300]}"#,
            false,
        ),
        (
            r#"{"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "224.0.0.0", "len": 4}}"#,
            true,
        ),
        (
            r#"{"payload": {"protocol": "ip", "field": "daddr"}}, "right": "225.0.0.13""#,
            false,
        ),
        (
            r#"{"payload": {"protocol": "ip6", "field": "daddr"}}, "right": "ff05::3:1""#,
            false,
        ),
        (
            r#"{"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}"#,
            true,
        ),
        (r#"{"meta": {"key": "iifname"}}, "right": "virbr*""#, true),
        (
            r#"{"meta": {"key": "iifname"}}, "right": {"set": ["eth0", "virbr0"]}"#,
            true,
        ),
        (r#"{"meta": {"key": "oifname"}}, "right": "virbr0""#, false),
        (
            r#"{"meta": {"key": "pkttype"}}, "right": "multicast""#,
            true,
        ),
        (r#"{"meta": {"key": "nfproto"}}, "right": "ipv6""#, false),
        (
            r#"{"fib": {"result": "type", "flags": ["daddr"]}}, "right": "multicast""#,
            true,
        ),
        (r#"{"ct": {"key": "state"}}, "right": "invalid""#, false),
    ] {
        let rule = format!(r#"{{"match": {{"op": "==", "left": {expr}}}}}, {{"accept": null}}"#);
        assert_eq!(passes(&request(), "drop", &[&rule]), applies, "{expr}");
        let rule = format!(r#"{{"match": {{"op": "==", "left": {expr}}}}}, {{"drop": null}}"#);
        assert_eq!(passes(&request(), "accept", &[&rule]), !applies, "{expr}");
    }
    let not = |port: u16| {
        format!(
            r#"{{"match": {{"op": "!=", "left": {{"payload": {{"protocol": "udp", "field": "dport"}}}}, "right": {port}}}}}, {{"drop": null}}"#
        )
    };
    assert!(passes(&request(), "accept", &[&not(1229)]));
    assert!(!passes(&request(), "accept", &[&not(53)]));
}

#[test]
fn what_is_not_understood_or_not_known_is_not_complained_about() {
    for rule in [
        r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.0"}}, {"accept": null}"#,
        r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": "@ports"}}, {"accept": null}"#,
        r#"{"xt": null}, {"accept": null}"#,
        r#"{"limit": {"rate": 10, "per": "second"}}, {"accept": null}"#,
        r#"{"jump": {"target": "nowhere"}}"#,
        r#"{"vmap": {"key": {"meta": {"key": "mark"}}, "data": "@map"}}"#,
    ] {
        assert!(passes(&request(), "drop", &[rule]), "{rule}");
    }
    assert!(!passes(
        &request(),
        "drop",
        &[
            r#"{"counter": null}, {"log": null}"#,
            r#"{"jump": {"target": "more"}}"#
        ]
    ));
}

#[test]
fn maps_of_verdicts_are_followed() {
    let map = r#"{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["new", {"VERDICT": null}]]}}}"#;
    assert!(passes(
        &request(),
        "drop",
        &[&map.replace("VERDICT", "accept")]
    ));
    assert!(!passes(
        &request(),
        "accept",
        &[&map.replace("VERDICT", "drop")]
    ));
}

#[test]
fn membership_needs_its_own_protocol() {
    let query = Packet {
        kind: Kind::Membership,
        ..request()
    };
    let igmp = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "protocol"}}, "right": "igmp"}}, {"accept": null}"#;
    assert!(passes(&query, "drop", &[igmp]));
    assert!(!passes(&query, "drop", &[OURS, ESTABLISHED]));
}

#[test]
fn other_families_do_not_count_and_rubbish_is_an_error() {
    let other = rule_set("drop", &[]).replace("inet", "ip6");
    let chains = chains(other.as_bytes(), &request()).unwrap();
    assert_eq!(fate(&chains, Direction::In), Fate::Passes);
    for rubbish in ["", "{}", "[]", "{\"nftables\": 3}"] {
        assert!(super::chains(rubbish.as_bytes(), &request()).is_err());
    }
    let odd = r#"{"nftables": [3, {"rule": {"family": "inet", "expr": [7, {}, {"match": {}}]}}]}"#;
    assert!(super::chains(odd.as_bytes(), &request()).is_ok());
}
