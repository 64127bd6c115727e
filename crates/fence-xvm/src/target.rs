//! Which domain is meant, when it is named more than once (row L30).
//!
//! Pacemaker adds the node's domain as `port` or `plug`, depending on its version, beside whatever
//! the user set as `plug`, `port` or `domain`; and the cluster's name of the node as `nodename`.

use fence_proto::DomainRef;

use crate::input::{Input, InputError};
use crate::options::Opt;
use crate::value;

/// Decides on the domain; empty if none is named.
///
/// Equal names are one. When they differ, the one that is not the node's name is meant. The node's
/// name alone is the fall-back. Two that differ from it and from each other are an error.
///
/// # Errors
/// [`InputError::TwoDomains`], or [`InputError::BadValue`] for what cannot be a domain.
pub fn domain(input: &Input) -> Result<DomainRef, InputError> {
    let nodename = input
        .last(Opt::NodeName)
        .map(|given| value::text(given, "the name of a node"))
        .transpose()?;
    let mut chosen: Option<(&str, DomainRef)> = None;
    for given in &input.given {
        if !matches!(given.id, Opt::Plug | Opt::Port | Opt::Domain) {
            continue;
        }
        let name = value::text(given, "the name or UUID of a domain")?;
        let domain = DomainRef::new(name)
            .map_err(|error| value::bad(given, format!("the name or UUID of a domain: {error}")))?;
        match &chosen {
            Some((other, _)) if *other == name || nodename == Some(name) => {}
            Some((other, _)) if nodename != Some(other) => {
                return Err(InputError::TwoDomains((*other).to_owned(), name.to_owned()));
            }
            _ => chosen = Some((name, domain)),
        }
    }
    if let Some((_, domain)) = chosen {
        return Ok(domain);
    }
    let fall_back = input.last(Opt::NodeName).zip(nodename);
    fall_back.map_or_else(
        || Ok(DomainRef::default()),
        |(given, name)| {
            DomainRef::new(name).map_err(|error| value::bad(given, format!("a domain: {error}")))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use crate::stdin::parse_stdin;

    fn decide(lines: &[&str]) -> Result<String, InputError> {
        let parsed = parse_stdin(Role::Xvm, lines.join("\n").as_bytes()).unwrap();
        domain(&parsed.input).map(|domain| domain.as_str().to_owned())
    }

    /// The decision is the same in every order of the lines.
    fn decide_in_all_orders(lines: &[&str]) -> Result<String, ()> {
        let mut lines = lines.to_vec();
        let first = decide(&lines).map_err(|_| ());
        for _ in 0..lines.len() {
            lines.rotate_left(1);
            assert_eq!(decide(&lines).map_err(|_| ()), first, "{lines:?}");
            let mut swapped = lines.clone();
            swapped.reverse();
            assert_eq!(decide(&swapped).map_err(|_| ()), first, "{swapped:?}");
        }
        first
    }

    #[test]
    fn every_name_of_the_option_is_accepted() {
        for line in ["plug=vm1", "port=vm1", "domain=vm1"] {
            assert_eq!(decide(&[line]).unwrap(), "vm1");
        }
    }

    #[test]
    fn equal_values_are_one() {
        let lines = ["plug=vm1", "port=vm1", "domain=vm1"];
        assert_eq!(decide_in_all_orders(&lines).unwrap(), "vm1");
    }

    #[test]
    fn value_that_is_not_the_node_is_meant() {
        let lines = ["port=node1", "plug=vm1", "nodename=node1"];
        assert_eq!(decide_in_all_orders(&lines).unwrap(), "vm1");
        let lines = ["port=vm1", "plug=node1", "nodename=node1", "domain=vm1"];
        assert_eq!(decide_in_all_orders(&lines).unwrap(), "vm1");
        let lines = ["port=node1", "plug=node1", "nodename=node1"];
        assert_eq!(decide_in_all_orders(&lines).unwrap(), "node1");
    }

    #[test]
    fn node_alone_is_the_fall_back() {
        assert_eq!(decide(&["nodename=node1"]).unwrap(), "node1");
        assert_eq!(
            decide_in_all_orders(&["nodename=node1", "port=vm1"]).unwrap(),
            "vm1"
        );
        assert_eq!(decide(&["debug=0"]).unwrap(), "");
    }

    #[test]
    fn two_domains_are_an_error() {
        for lines in [
            &["plug=vm1", "port=vm2"][..],
            &["plug=vm1", "port=vm2", "nodename=node1"],
            &["plug=vm1", "port=vm2", "domain=node1", "nodename=node1"],
        ] {
            assert_eq!(decide_in_all_orders(lines), Err(()), "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_domain_is_an_error() {
        let long = format!("plug={}", "x".repeat(64));
        assert!(matches!(decide(&[&long]), Err(InputError::BadValue { .. })));
        let long = format!("nodename={}", "x".repeat(64));
        assert!(matches!(decide(&[&long]), Err(InputError::BadValue { .. })));
        assert!(decide(&[&format!("plug={}", "x".repeat(63))]).is_ok());
    }
}
