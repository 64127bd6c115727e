//! Reading this machine's rules, by the programs that list them, and judging packets by them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::walk::{Fate, fate};
use super::{Packet, iptables, nft};
use crate::finding::Finding;
use crate::program;

/// The rules, as the programs print them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// `nft -j list ruleset`.
    pub nft: Option<Vec<u8>>,
    /// `iptables-save`.
    pub iptables: Option<String>,
    /// `ip6tables-save`.
    pub ip6tables: Option<String>,
    /// What could not be read, and why.
    pub trouble: Vec<String>,
}

/// Reads the rules. Needs root.
#[must_use]
pub fn read(patience: Duration) -> Firewall {
    let mut firewall = Firewall::default();
    let mut list = |name: &str, arguments: &[&str]| {
        let program = program::find(name)?;
        match program::output(&program, arguments, patience) {
            Ok(output) => Some(output),
            Err(why) => {
                firewall.trouble.push(format!("{name}: {why}"));
                None
            }
        }
    };
    let nft = list("nft", &["-j", "list", "ruleset"]);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    // These list the older tables, and load their modules where there are none: so only if there are any.
    let older = |names: &str| fs::read_to_string(names).is_ok_and(|it| !it.trim().is_empty());
    // Rules of iptables that nft has no words for are named only.
    let unspoken = nft
        .as_deref()
        .is_none_or(|json| json.windows(4).any(|part| part == b"\"xt\""));
    let wanted = |names: &str| older(names) || unspoken;
    let four =
        wanted("/proc/net/ip_tables_names").then(|| list("iptables-save", &["-t", "filter"]));
    let six =
        wanted("/proc/net/ip6_tables_names").then(|| list("ip6tables-save", &["-t", "filter"]));
    firewall.iptables = four.flatten().map(text);
    firewall.ip6tables = six.flatten().map(text);
    firewall.nft = nft;
    firewall
}

impl Firewall {
    /// What becomes of a packet.
    ///
    /// # Errors
    /// If the rules are not understood.
    pub fn fate(&self, packet: &Packet) -> Result<Fate, String> {
        let direction = packet.direction;
        if let Some(text) = &self.nft {
            let fate = fate(&nft::chains(text, packet)?, direction);
            if fate != Fate::Passes {
                return Ok(fate);
            }
        }
        let older = if packet.is_ipv6 {
            &self.ip6tables
        } else {
            &self.iptables
        };
        Ok(older.as_ref().map_or(Fate::Passes, |text| {
            fate(&iptables::chains(text, packet), direction)
        }))
    }

    /// Whether anything could be read.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.nft.is_some() || self.iptables.is_some() || self.ip6tables.is_some()
    }

    /// Judges packets, each with what it is needed for.
    #[must_use]
    pub fn judge(&self, packets: &[(Packet, String)]) -> Vec<Finding> {
        const CHECK: &str = "firewall";
        if !self.is_known() {
            return vec![self.unknown()];
        }
        let mut findings: Vec<Finding> = Vec::new();
        if !self.trouble.is_empty() {
            findings.push(self.unknown());
        }
        for (packet, purpose) in packets {
            let name = packet.name();
            let finding = match self.fate(packet) {
                Ok(Fate::Passes) => continue,
                Err(why) => {
                    Finding::warning(CHECK, why, "look at the rules with: nft list ruleset")
                }
                Ok(Fate::ByPolicy(chain)) => Finding::warning(
                    CHECK,
                    format!("no rule lets {name} through chain {chain}: {purpose}"),
                    cure(packet, &chain),
                ),
                Ok(Fate::ByRule(chain)) => Finding::problem(
                    CHECK,
                    format!("a rule in chain {chain} drops {name}: {purpose}"),
                    cure(packet, &chain),
                ),
            };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        if findings.is_empty() {
            let names: Vec<_> = packets.iter().map(|(packet, _)| packet.name()).collect();
            let names = crate::finding::some_of(&names);
            findings.push(Finding::ok(CHECK, format!("lets through {names}")));
        }
        findings
    }

    fn unknown(&self) -> Finding {
        const CHECK: &str = "firewall";
        const BY_HAND: &str = "run this as root, with nft or iptables-save installed";
        if !self.trouble.is_empty() {
            let trouble = self.trouble.join("; ");
            return Finding::warning(
                CHECK,
                format!("the rules cannot be read: {trouble}"),
                BY_HAND,
            );
        }
        let filters = ["/proc/net/ip_tables_names", "/sys/module/nf_tables"];
        if filters.iter().any(|path| Path::new(path).exists()) {
            Finding::warning(
                CHECK,
                "the kernel may have rules, and no program here lists them",
                BY_HAND,
            )
        } else {
            Finding::ok(CHECK, "the kernel has none")
        }
    }
}

/// A rule that would let it through.
fn cure(packet: &Packet, chain: &str) -> String {
    use super::{Direction, Kind};
    let is_iptables = chain.starts_with("iptables ");
    let (matches, iptables) = match packet.kind {
        Kind::Udp(port) => (
            format!("udp dport {port}"),
            format!("-p udp --dport {port}"),
        ),
        Kind::Tcp(port) => (
            format!("tcp dport {port}"),
            format!("-p tcp --dport {port}"),
        ),
        Kind::TcpAnswer => (
            "ct state established".to_owned(),
            "-m state --state ESTABLISHED".to_owned(),
        ),
        Kind::Membership if packet.is_ipv6 => (
            "meta l4proto ipv6-icmp".to_owned(),
            "-p ipv6-icmp".to_owned(),
        ),
        Kind::Membership => ("ip protocol igmp".to_owned(), "-p igmp".to_owned()),
    };
    let firewalld = match (packet.kind, packet.direction) {
        (Kind::Udp(port), Direction::In) => {
            format!("; with firewalld: firewall-cmd --permanent --add-port={port}/udp")
        }
        (Kind::Tcp(port), Direction::In) => {
            format!("; with firewalld: firewall-cmd --permanent --add-port={port}/tcp")
        }
        (Kind::Membership, Direction::In) => {
            "; with firewalld: firewall-cmd --permanent --add-protocol=igmp".to_owned()
        }
        _ => String::new(),
    };
    if is_iptables {
        let program = if packet.is_ipv6 {
            "ip6tables"
        } else {
            "iptables"
        };
        let name = chain.trim_start_matches("iptables ");
        format!("{program} -I {name} {iptables} -j ACCEPT{firewalld}")
    } else {
        format!("nft insert rule {chain} {matches} accept{firewalld}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;
    use crate::finding::Verdict;

    fn judge(iptables: &str) -> Vec<Finding> {
        let firewall = Firewall {
            iptables: Some(format!("*filter\n{iptables}\nCOMMIT\n")),
            ..Firewall::default()
        };
        firewall.judge(&[(request(), "guests' requests".to_owned())])
    }

    #[test]
    fn dropping_by_policy_warns_and_by_rule_is_a_problem_each_with_a_rule_that_helps() {
        assert_eq!(judge(":INPUT ACCEPT [0:0]")[0].verdict, Verdict::Ok);
        let warning = &judge(":INPUT DROP [0:0]")[0];
        assert_eq!(warning.verdict, Verdict::Warning);
        let cure = warning.cure.as_ref().unwrap();
        assert!(
            cure.starts_with("iptables -I INPUT -p udp --dport 1229 -j ACCEPT"),
            "{cure}"
        );
        let problem = &judge(":INPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP")[0];
        assert_eq!(problem.verdict, Verdict::Problem);
    }

    #[test]
    fn rules_that_cannot_be_read_are_a_warning() {
        let firewall = Firewall {
            trouble: vec!["nft: no answer in 5 s".to_owned()],
            ..Firewall::default()
        };
        let findings = firewall.judge(&[(request(), String::new())]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].verdict, Verdict::Warning);
        assert!(findings[0].found.contains("nft: no answer"));
        let half = Firewall {
            iptables: Some("*filter\n:INPUT ACCEPT [0:0]\n".to_owned()),
            ..firewall
        };
        assert_eq!(half.judge(&[(request(), String::new())]), findings);
    }
}
