//! The rules of nftables, from `nft -j list ruleset` (libnftables-json(5)).

use serde_json::Value;

use super::walk::{Action, Base, Chains, Rule};
use super::{Direction, Kind, Packet, Truth, goes_to, interface_is, port_within};

/// The chains that a packet may meet, for this packet.
///
/// # Errors
/// If the text is not what `nft -j` prints.
pub fn chains(text: &[u8], packet: &Packet) -> Result<Chains, String> {
    let whole: Value = serde_json::from_slice(text).map_err(|error| format!("nft -j: {error}"))?;
    let items = whole.get("nftables").and_then(Value::as_array);
    let items = items.ok_or("nft -j: no array 'nftables'")?;
    let mut chains = Chains::new();
    for item in items {
        if let Some(chain) = item.get("chain") {
            if concerns(chain, packet) {
                chains.entry(name(chain, "name")).or_default().base = base(chain);
            }
        } else if let Some(rule) = item.get("rule")
            && concerns(rule, packet)
        {
            let chain = chains.entry(name(rule, "chain")).or_default();
            chain.rules.extend(rules(rule, packet));
        }
    }
    Ok(chains)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn concerns(item: &Value, packet: &Packet) -> bool {
    match text(item, "family") {
        "inet" => true,
        "ip" => !packet.is_ipv6,
        "ip6" => packet.is_ipv6,
        _ => false,
    }
}

/// Chains of several tables may have one name.
fn name(item: &Value, key: &str) -> String {
    format!(
        "{} {} {}",
        text(item, "family"),
        text(item, "table"),
        text(item, key)
    )
}

fn base(chain: &Value) -> Option<Base> {
    let direction = match (text(chain, "type"), text(chain, "hook")) {
        ("filter", "input") => Direction::In,
        ("filter", "output") => Direction::Out,
        _ => return None,
    };
    let drops = text(chain, "policy") == "drop";
    Some(Base { direction, drops })
}

/// A rule is one, but for a map of verdicts, which is one for each of its entries.
fn rules(rule: &Value, packet: &Packet) -> Vec<Rule> {
    let mut applies = Truth::Yes;
    let mut rules = Vec::new();
    let nothing = Vec::new();
    for statement in rule
        .get("expr")
        .and_then(Value::as_array)
        .unwrap_or(&nothing)
    {
        let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "match" => applies = applies.and(matches(value, packet)),
            "limit" | "quota" | "ct count" | "xt" => applies = applies.and(Truth::Perhaps),
            "vmap" => rules.extend(verdict_map(value, applies, packet, rule)),
            _ => {
                if let Some(action) = action(kind, value, rule) {
                    rules.push(Rule { applies, action });
                }
            }
        }
    }
    rules
}

fn action(kind: &str, value: &Value, rule: &Value) -> Option<Action> {
    let target = || {
        format!(
            "{} {} {}",
            text(rule, "family"),
            text(rule, "table"),
            text(value, "target")
        )
    };
    match kind {
        // A program decides about what is queued.
        "accept" | "queue" => Some(Action::Accept),
        "drop" | "reject" => Some(Action::Drop),
        "return" => Some(Action::Return),
        "jump" => Some(Action::Jump(target())),
        "goto" => Some(Action::Goto(target())),
        _ => None,
    }
}

fn verdict_map(map: &Value, applies: Truth, packet: &Packet, rule: &Value) -> Vec<Rule> {
    let key = map.get("key").unwrap_or(&Value::Null);
    let Some(entries) = map.pointer("/data/set").and_then(Value::as_array) else {
        // A map that is named: perhaps it accepts.
        let action = Action::Accept;
        return vec![Rule {
            applies: applies.and(Truth::Perhaps),
            action,
        }];
    };
    let entry = |entry: &Value| {
        let (wanted, verdict) = (entry.get(0)?, entry.get(1)?);
        let (kind, value) = verdict.as_object()?.iter().next()?;
        let applies = applies.and(is(key, wanted, packet));
        Some(Rule {
            applies,
            action: action(kind, value, rule)?,
        })
    };
    entries.iter().filter_map(entry).collect()
}

fn matches(value: &Value, packet: &Packet) -> Truth {
    let (left, right) = (value.get("left"), value.get("right"));
    let (Some(left), Some(right)) = (left, right) else {
        return Truth::Perhaps;
    };
    match text(value, "op") {
        "==" | "in" => is(left, right, packet),
        // What the packet does not have is not unequal either: `udp dport != 53` is about UDP only.
        "!=" if has(left, packet) => is(left, right, packet).not(),
        "!=" => Truth::No,
        _ => Truth::Perhaps,
    }
}

/// Whether the packet has such a field at all.
fn has(left: &Value, packet: &Packet) -> bool {
    match left.get("payload") {
        Some(payload) => match text(payload, "protocol") {
            "ip" => !packet.is_ipv6,
            "ip6" => packet.is_ipv6,
            "th" => packet.kind != Kind::Membership,
            protocol => packet.protocols().contains(&protocol),
        },
        None => true,
    }
}

/// Whether a field of the packet is `right`: a value, a range, a net, or one of a set.
fn is(left: &Value, right: &Value, packet: &Packet) -> Truth {
    if let Some(set) = right
        .get("set")
        .and_then(Value::as_array)
        .or(right.as_array())
    {
        let each = set.iter().map(|right| is(left, right, packet));
        return each.fold(Truth::No, Truth::or);
    }
    // Elements of sets may have a time-out, a comment.
    if let Some(element) = right.pointer("/elem/val") {
        return is(left, element, packet);
    }
    if let Some(payload) = left.get("payload") {
        return payload_is(payload, right, packet);
    }
    if let Some(meta) = left.get("meta") {
        return meta_is(text(meta, "key"), right, packet);
    }
    if let Some(ct) = left.get("ct") {
        return match (text(ct, "key"), right.as_str()) {
            ("state", Some(state)) => Truth::of(state == packet.state()),
            _ => Truth::Perhaps,
        };
    }
    match (left.get("fib"), right.as_str(), packet.is_multicast()) {
        (Some(fib), Some(kind), Some(multicast)) if text(fib, "result") == "type" => match kind {
            "multicast" => Truth::of(multicast),
            "local" => Truth::of(!multicast),
            _ => Truth::No,
        },
        _ => Truth::Perhaps,
    }
}

fn payload_is(payload: &Value, right: &Value, packet: &Packet) -> Truth {
    let (protocol, field) = (text(payload, "protocol"), text(payload, "field"));
    match (protocol, field) {
        ("ip", _) if packet.is_ipv6 => Truth::No,
        ("ip6", _) if !packet.is_ipv6 => Truth::No,
        ("ip", "protocol") | ("ip6", "nexthdr") => protocol_is(right, packet),
        ("ip" | "ip6", "daddr") => net(right).map_or(Truth::Perhaps, |net| goes_to(packet, &net)),
        ("ip" | "ip6", _) => Truth::Perhaps,
        ("th", "dport") => port_is(right, packet),
        ("th", _) => Truth::Perhaps,
        (_, _) if !packet.protocols().contains(&protocol) => Truth::No,
        (_, "dport") => port_is(right, packet),
        _ => Truth::Perhaps,
    }
}

fn net(right: &Value) -> Option<String> {
    if let Some(prefix) = right.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64)?;
        return Some(format!("{}/{length}", text(prefix, "addr")));
    }
    right
        .as_str()
        .filter(|it| !it.starts_with('@'))
        .map(str::to_owned)
}

fn port_is(right: &Value, packet: &Packet) -> Truth {
    if let Some(range) = right.get("range").and_then(Value::as_array) {
        let bound = |at: usize| range.get(at).and_then(Value::as_u64);
        return match (bound(0), bound(1)) {
            (Some(low), Some(high)) => port_within(packet, low, high),
            _ => Truth::Perhaps,
        };
    }
    // Ports with names are written as numbers, unless somebody asks for names.
    let port = right.as_u64();
    port.map_or(Truth::Perhaps, |port| port_within(packet, port, port))
}

fn protocol_is(right: &Value, packet: &Packet) -> Truth {
    let word = match right {
        Value::String(word) if word.starts_with('@') => return Truth::Perhaps,
        Value::String(word) => word.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Truth::Perhaps,
    };
    Truth::of(packet.protocols().contains(&word.as_str()))
}

fn meta_is(key: &str, right: &Value, packet: &Packet) -> Truth {
    let word = right.as_str().unwrap_or_default();
    match (key, packet.direction) {
        (_, _) if word.starts_with('@') => Truth::Perhaps,
        ("l4proto", _) => protocol_is(right, packet),
        ("nfproto", _) => Truth::of((word == "ipv6") == packet.is_ipv6),
        ("protocol", _) => Truth::of((word == "ip6") == packet.is_ipv6),
        ("iif" | "iifname", Direction::In) | ("oif" | "oifname", Direction::Out) => {
            interface_is(packet, word)
        }
        // There is none on this side.
        ("iif" | "iifname" | "oif" | "oifname", _) => Truth::No,
        ("pkttype", _) => match (packet.is_multicast(), word) {
            (Some(multicast), "multicast") => Truth::of(multicast),
            (Some(multicast), "host" | "unicast") => Truth::of(!multicast),
            _ => Truth::Perhaps,
        },
        _ => Truth::Perhaps,
    }
}

#[cfg(test)]
#[path = "nft_tests.rs"]
mod tests;
