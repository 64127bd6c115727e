//! Following a packet through chains of rules of which some apply perhaps.

use std::collections::BTreeMap;

use super::{Direction, Truth};

/// Jumps within jumps that are followed; the kernel allows 16.
const DEEPEST: usize = 16;

/// Rules looked at, all jumps included: rules may jump to the same chains again and again.
const MOST_STEPS: usize = 200_000;

/// What a rule does with a packet that it applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Lets it through this chain.
    Accept,
    /// Drops or rejects it.
    Drop,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain for good.
    Goto(String),
    /// Goes back to where the chain was jumped to from.
    Return,
    /// Nothing that decides.
    Nothing,
}

/// A rule, for one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether it applies.
    pub applies: Truth,
    /// What it does then.
    pub action: Action,
}

/// Where the kernel hands packets to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Packets of which direction.
    pub direction: Direction,
    /// What becomes of those that no rule has decided about.
    pub drops: bool,
}

/// A chain, for one packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Set if the kernel begins here.
    pub base: Option<Base>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// All chains by their names, for one packet.
pub type Chains = BTreeMap<String, Chain>;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It gets through, as far as anybody can tell.
    Passes,
    /// No rule lets it through, and what is left over is dropped. The chain.
    ByPolicy(String),
    /// A rule drops it. The chain.
    ByRule(String),
}

/// What happens in one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    /// Some packets of this kind are let through.
    accepts: bool,
    /// All that get this far are dropped by a rule.
    drops: bool,
    /// Some get to the end.
    falls: bool,
}

/// Follows the packet through every chain that the kernel hands it to. All of them must let it through.
#[must_use]
pub fn fate(chains: &Chains, direction: Direction) -> Fate {
    let mut worst = Fate::Passes;
    for (name, chain) in chains {
        let Some(base) = chain.base.filter(|base| base.direction == direction) else {
            continue;
        };
        let mut steps = 0;
        let flow = follow(chains, chain, 0, &mut steps);
        if flow.accepts || (flow.falls && !base.drops) {
            continue;
        }
        if flow.drops {
            return Fate::ByRule(name.clone());
        }
        worst = Fate::ByPolicy(name.clone());
    }
    worst
}

fn follow(chains: &Chains, chain: &Chain, depth: usize, steps: &mut usize) -> Flow {
    let mut flow = Flow {
        accepts: false,
        drops: false,
        falls: true,
    };
    for rule in &chain.rules {
        *steps = steps.saturating_add(1);
        if *steps > MOST_STEPS || depth > DEEPEST {
            // Not understood is not complained about.
            flow.accepts = true;
            return flow;
        }
        if rule.applies == Truth::No {
            continue;
        }
        let surely = rule.applies == Truth::Yes;
        let ends = match &rule.action {
            Action::Nothing => false,
            Action::Accept => {
                flow.accepts = true;
                surely
            }
            Action::Drop => {
                flow.drops = surely;
                surely
            }
            Action::Return if surely => return flow,
            Action::Return => false,
            Action::Jump(name) | Action::Goto(name) => {
                let inner = chains
                    .get(name)
                    .map(|it| follow(chains, it, depth.saturating_add(1), steps));
                // A chain that is not there was not understood.
                let inner = inner.unwrap_or(Flow {
                    accepts: true,
                    drops: false,
                    falls: true,
                });
                flow.accepts |= inner.accepts;
                flow.drops = surely && inner.drops;
                if surely && matches!(rule.action, Action::Goto(_)) {
                    flow.falls = inner.falls;
                    return flow;
                }
                surely && !inner.falls
            }
        };
        if ends {
            flow.falls = false;
            return flow;
        }
    }
    flow
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(applies: Truth, action: Action) -> Rule {
        Rule { applies, action }
    }

    fn fate_of(drops: bool, rules: Vec<Rule>, inner: Vec<Rule>) -> Fate {
        let base = Some(Base {
            direction: Direction::In,
            drops,
        });
        let chains = Chains::from([
            ("input".to_owned(), Chain { base, rules }),
            (
                "inner".to_owned(),
                Chain {
                    base: None,
                    rules: inner,
                },
            ),
        ]);
        fate(&chains, Direction::In)
    }

    #[test]
    fn policy_decides_where_no_rule_does() {
        let policy = Fate::ByPolicy("input".to_owned());
        assert_eq!(fate_of(false, vec![], vec![]), Fate::Passes);
        assert_eq!(fate_of(true, vec![], vec![]), policy);
        let other = || {
            vec![
                rule(Truth::No, Action::Accept),
                rule(Truth::Yes, Action::Nothing),
            ]
        };
        assert_eq!(fate_of(true, other(), vec![]), policy);
        assert_eq!(
            fate_of(true, vec![rule(Truth::Perhaps, Action::Drop)], vec![]),
            policy
        );
    }

    #[test]
    fn first_rule_that_surely_applies_decides() {
        let accept = || rule(Truth::Yes, Action::Accept);
        let drop = || rule(Truth::Yes, Action::Drop);
        let by_rule = Fate::ByRule("input".to_owned());
        assert_eq!(fate_of(true, vec![accept(), drop()], vec![]), Fate::Passes);
        assert_eq!(fate_of(false, vec![drop(), accept()], vec![]), by_rule);
        assert_eq!(
            fate_of(false, vec![rule(Truth::Perhaps, Action::Drop)], vec![]),
            Fate::Passes
        );
        assert_eq!(
            fate_of(
                true,
                vec![rule(Truth::Perhaps, Action::Accept), drop()],
                vec![]
            ),
            Fate::Passes
        );
    }

    #[test]
    fn jumps_come_back_and_gotos_do_not() {
        let jump = || rule(Truth::Yes, Action::Jump("inner".to_owned()));
        let goto = || rule(Truth::Yes, Action::Goto("inner".to_owned()));
        let accept = || rule(Truth::Yes, Action::Accept);
        let back = || rule(Truth::Yes, Action::Return);
        let policy = Fate::ByPolicy("input".to_owned());
        assert_eq!(
            fate_of(true, vec![jump(), accept()], vec![back()]),
            Fate::Passes
        );
        assert_eq!(fate_of(true, vec![goto(), accept()], vec![]), policy);
        assert_eq!(fate_of(true, vec![jump()], vec![accept()]), Fate::Passes);
        let drop = rule(Truth::Yes, Action::Drop);
        let by_rule = Fate::ByRule("input".to_owned());
        assert_eq!(fate_of(false, vec![jump(), accept()], vec![drop]), by_rule);
    }

    #[test]
    fn chains_that_jump_in_circles_end() {
        let again = || rule(Truth::Perhaps, Action::Jump("inner".to_owned()));
        let inner: Vec<_> = (0..100).map(|_| again()).collect();
        assert_eq!(fate_of(true, vec![again()], inner), Fate::Passes);
        let lost = rule(Truth::Yes, Action::Jump("nowhere".to_owned()));
        assert_eq!(fate_of(true, vec![lost], vec![]), Fate::Passes);
    }
}
