//! The rules of iptables, from `iptables-save` or `ip6tables-save`: the table `filter`.

use super::walk::{Action, Base, Chains, Rule};
use super::{Direction, Packet, Truth, goes_to, interface_is, port_within};

/// The chains of the table `filter`, for this packet.
#[must_use]
pub fn chains(text: &str, packet: &Packet) -> Chains {
    let mut chains = Chains::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if table != "filter" {
        } else if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split_whitespace();
            let (name, policy) = (words.next(), words.next());
            chains.entry(chain(name)).or_default().base = base(name, policy);
        } else if line.starts_with("-A ") {
            let words = words(line);
            if let Some(rule) = rule(words.get(2..).unwrap_or_default(), packet) {
                let name = chain(words.get(1).map(String::as_str));
                chains.entry(name).or_default().rules.push(rule);
            }
        }
    }
    chains
}

fn chain(name: Option<&str>) -> String {
    format!("iptables {}", name.unwrap_or_default())
}

fn base(name: Option<&str>, policy: Option<&str>) -> Option<Base> {
    let direction = match name {
        Some("INPUT") => Direction::In,
        Some("OUTPUT") => Direction::Out,
        _ => return None,
    };
    let drops = policy == Some("DROP");
    Some(Base { direction, drops })
}

/// Words, of which some are in quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => word.extend(characters.next()),
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            other => {
                word.push(other);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

fn rule(words: &[String], packet: &Packet) -> Option<Rule> {
    let mut applies = Truth::Yes;
    let mut action = Action::Nothing;
    let mut at = 0;
    while let Some(option) = words.get(at) {
        let negated = option == "!";
        let start = if negated { at.saturating_add(1) } else { at };
        let option = words.get(start)?.as_str();
        let rest = words.get(start.saturating_add(1)..).unwrap_or_default();
        // `! --option value` or `--option ! value`, of older versions.
        let values = rest
            .iter()
            .take_while(|it| !it.starts_with('-') && *it != "!");
        let values: Vec<&str> = values.map(String::as_str).collect();
        at = start.saturating_add(1).saturating_add(values.len());
        let value = values.first().copied().unwrap_or_default();
        match option {
            "-j" | "--jump" => {
                action = target(value);
                // What follows are options of the target.
                break;
            }
            "-g" | "--goto" => {
                action = Action::Goto(chain(Some(value)));
                break;
            }
            "-m" | "--match" | "--comment" => {}
            _ => {
                let truth = matches(option, value, packet);
                applies = applies.and(if negated { truth.not() } else { truth });
            }
        }
    }
    Some(Rule { applies, action })
}

fn target(name: &str) -> Action {
    match name {
        "ACCEPT" | "NFQUEUE" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "CT" | "NOTRACK" | "TRACE" | "SET"
        | "AUDIT" | "" => Action::Nothing,
        other => Action::Jump(chain(Some(other))),
    }
}

fn matches(option: &str, value: &str, packet: &Packet) -> Truth {
    match option {
        "-p" | "--protocol" | "--proto" => {
            let all = value == "all" || value == "0";
            Truth::of(all || packet.protocols().contains(&value))
        }
        "-d" | "--destination" => goes_to(packet, value),
        "-i" | "--in-interface" if packet.direction == Direction::In => interface_is(packet, value),
        "-o" | "--out-interface" if packet.direction == Direction::Out => {
            interface_is(packet, value)
        }
        "-i" | "--in-interface" | "-o" | "--out-interface" => Truth::No,
        "--dport" | "--destination-port" | "--dports" | "--destination-ports" | "--ports" => {
            ports(value, packet)
        }
        "--state" | "--ctstate" => {
            let is = |state: &str| state.eq_ignore_ascii_case(packet.state());
            Truth::of(value.split(',').any(is))
        }
        "--pkt-type" => packet.is_multicast().map_or(Truth::Perhaps, |multicast| {
            Truth::of((value == "multicast") == multicast)
        }),
        "--dst-type" => packet.is_multicast().map_or(Truth::Perhaps, |multicast| {
            Truth::of(match value {
                "MULTICAST" => multicast,
                "LOCAL" | "UNICAST" => !multicast,
                _ => false,
            })
        }),
        _ => Truth::Perhaps,
    }
}

/// `1229`, `1200:1300`, `53,1200:1300`.
fn ports(value: &str, packet: &Packet) -> Truth {
    let one = |part: &str| {
        let (low, high) = part.split_once(':').unwrap_or((part, part));
        let low = if low.is_empty() { Ok(0) } else { low.parse() };
        let high = if high.is_empty() {
            Ok(u64::from(u16::MAX))
        } else {
            high.parse()
        };
        match (low, high) {
            (Ok(low), Ok(high)) => port_within(packet, low, high),
            _ => Truth::Perhaps,
        }
    };
    value.split(',').map(one).fold(Truth::No, Truth::or)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::request;
    use super::super::walk::{Fate, fate};
    use super::*;

    fn fate_of(packet: &Packet, policy: &str, rules: &[&str]) -> Fate {
        let rules: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
        let text = format!(
            "# Generated by iptables-save\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n\
             :OUTPUT ACCEPT [0:0]\n:OWN - [0:0]\n{rules}COMMIT\n"
        );
        fate(&chains(&text, packet), packet.direction)
    }

    #[test]
    fn rules_decide_as_iptables_would() {
        for (rule, applies) in [
            ("INPUT -p udp -m udp --dport 1229 -j ACCEPT", true),
            (
                "INPUT -p udp -m multiport --dports 53,1200:1300 -j ACCEPT",
                true,
            ),
            ("INPUT -p tcp -m tcp --dport 1229 -j ACCEPT", false),
            ("INPUT -i lo -j ACCEPT", false),
            ("INPUT -i virbr+ -j ACCEPT", true),
            ("INPUT ! -i eth0 -p udp -j ACCEPT", true),
            ("INPUT ! -i virbr0 -j ACCEPT", false),
            ("INPUT -d 225.0.0.12/32 -j ACCEPT", true),
            (
                "INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                false,
            ),
            ("INPUT -m state --state NEW -j ACCEPT", true),
            ("INPUT -m addrtype --dst-type MULTICAST -j ACCEPT", true),
            (
                "INPUT -m comment --comment \"a -j DROP \\\"rule\\\"\" -j ACCEPT",
                true,
            ),
            ("INPUT -p udp -j LOG --log-prefix \"-j ACCEPT \"", false),
            ("INPUT -s 10.0.0.0/8 -p udp -j ACCEPT", true),
            ("INPUT -m set --match-set guests src -j ACCEPT", true),
        ] {
            let fate = fate_of(&request(), "DROP", &[rule]);
            assert_eq!(fate == Fate::Passes, applies, "{rule}");
        }
    }

    #[test]
    fn chains_of_ones_own_and_explicit_drops_are_followed() {
        let rules = [
            "INPUT -j OWN",
            "OWN -p udp --dport 1229 -j REJECT --reject-with icmp-port-unreachable",
        ];
        let by_rule = Fate::ByRule("iptables INPUT".to_owned());
        assert_eq!(fate_of(&request(), "ACCEPT", &rules), by_rule);
        let policy = Fate::ByPolicy("iptables INPUT".to_owned());
        assert_eq!(fate_of(&request(), "DROP", &["INPUT -j OWN"]), policy);
        let answer = Packet {
            kind: Kind::TcpAnswer,
            ..request()
        };
        let rule = "INPUT -m state --state ESTABLISHED -j ACCEPT";
        assert_eq!(fate_of(&answer, "DROP", &[rule]), Fate::Passes);
    }
}
