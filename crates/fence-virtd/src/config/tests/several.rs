//! Several listeners and their groups: whatever is chosen, each goes by exactly what applies to it, and
//! both grammars mean the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use fence_proto::{DomainIdentity, Requester, Source, Uuid};
use proptest::prelude::*;

use super::super::{Form, Listener};
use super::read;

const KINDS: [&str; 2] = ["multicast", "tcp"];
const NAMES: [&str; 3] = ["blue", "Green", "red one"];
/// Guests that a group may name; the last is in no group.
const GUESTS: u8 = 9;

/// A file: named listeners with their kinds, whether there is a tcp section without a name, what runs, and
/// for each scope of groups whether the section has a group.
#[derive(Debug, Clone)]
struct File {
    named: BTreeMap<&'static str, &'static str>,
    plain_tcp: bool,
    chosen: BTreeSet<&'static str>,
    groups: BTreeMap<Option<&'static str>, bool>,
}

fn file() -> impl Strategy<Value = File> {
    let words = || proptest::sample::select([KINDS.as_slice(), &NAMES].concat());
    let named = proptest::collection::btree_map(
        proptest::sample::select(NAMES.to_vec()),
        proptest::sample::select(KINDS.to_vec()),
        0..4,
    );
    let groups =
        proptest::collection::btree_map(proptest::option::of(words()), any::<bool>(), 0..5);
    let chosen = proptest::collection::btree_set(words(), 1..4);
    (named, any::<bool>(), chosen, groups).prop_map(|(named, plain_tcp, chosen, groups)| File {
        named,
        plain_tcp,
        chosen,
        groups,
    })
}

impl File {
    /// Every listener with its kind: with a name, without, and of kinds that have no section.
    fn listeners(&self) -> Vec<(&'static str, &'static str)> {
        let mut all: Vec<_> = self
            .named
            .iter()
            .map(|(name, kind)| (*name, *kind))
            .collect();
        if self.plain_tcp {
            all.push(("tcp", "tcp"));
        }
        for kind in KINDS {
            if !all.iter().any(|(_, of)| *of == kind) {
                all.push((kind, kind));
            }
        }
        all
    }

    fn means(word: &str, (name, kind): (&str, &str)) -> bool {
        word == name || word == kind
    }

    fn is_known(&self, word: &str) -> bool {
        let listeners = self.listeners();
        KINDS.contains(&word) || listeners.iter().any(|(name, _)| *name == word)
    }

    /// What must come of it: for each listener that runs the guests that may fence, `None` for all
    /// of them; or an error.
    fn expected(&self) -> Result<BTreeMap<&'static str, Option<BTreeSet<u8>>>, ()> {
        let words = self.chosen.iter().chain(self.groups.keys().flatten());
        if words.into_iter().any(|word| !self.is_known(word)) {
            return Err(());
        }
        let runs =
            |listener: &(&str, &str)| self.chosen.iter().any(|word| Self::means(word, *listener));
        let restricted = self.groups.values().any(|has_group| *has_group);
        let mut all = BTreeMap::new();
        for listener in self.listeners().into_iter().filter(runs) {
            let mine = || {
                let scopes = self.groups.iter().enumerate();
                scopes
                    .filter(|(_, (scope, _))| scope.is_none_or(|word| Self::means(word, listener)))
            };
            let guests: BTreeSet<u8> = mine()
                .filter(|(_, (_, has_group))| **has_group)
                .map(|(index, _)| u8::try_from(index).unwrap())
                .collect();
            let opened = mine().any(|(_, (scope, _))| scope.is_some());
            if guests.is_empty() && restricted && !opened {
                return Err(());
            }
            let guests = (!guests.is_empty()).then_some(guests);
            all.insert(listener.0, guests);
        }
        Ok(all)
    }

    fn conf(&self) -> String {
        let mut text = "fence_virtd { backend = \"libvirt\";\n".to_owned();
        for word in &self.chosen {
            writeln!(text, "listener = \"{word}\";").unwrap();
        }
        text += "}\nlisteners {\n";
        for (port, (name, kind)) in (1..).zip(&self.named) {
            writeln!(text, "{kind} = \"{name}\" {{ port = \"{port}\"; }}").unwrap();
        }
        if self.plain_tcp {
            text += "tcp { port = \"9\"; }\n";
        }
        text += "}\n";
        for (index, (scope, has_group)) in self.groups.iter().enumerate() {
            let scope = scope.map_or_else(String::new, |scope| format!(" = \"{scope}\""));
            let group = format!("group {{ uuid = \"vm\"; ip = \"10.0.0.{index}\"; }}");
            let group = if *has_group { group } else { String::new() };
            writeln!(text, "groups{scope} {{ {group} }}").unwrap();
        }
        text
    }

    fn toml(&self) -> String {
        let chosen: Vec<_> = self
            .chosen
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect();
        let mut text = format!(
            "[fence_virtd]\nbackend = \"libvirt\"\nlistener = [{}]\n",
            chosen.join(", ")
        );
        for (port, (name, kind)) in (1..).zip(&self.named) {
            writeln!(
                text,
                "[[listeners.{kind}]]\nname = \"{name}\"\nport = {port}"
            )
            .unwrap();
        }
        if self.plain_tcp {
            text += "[[listeners.tcp]]\nport = 9\n";
        }
        for (index, (scope, has_group)) in self.groups.iter().enumerate() {
            text += "[[groups]]\n";
            if let Some(scope) = scope {
                writeln!(text, "listener = \"{scope}\"").unwrap();
            }
            if *has_group {
                let group = format!("uuid = \"vm\"\nip = \"10.0.0.{index}\"");
                writeln!(text, "[[groups.group]]\n{group}").unwrap();
            }
        }
        text
    }
}

fn who_may(listener: &Listener) -> Option<BTreeSet<u8>> {
    let access = Arc::new(listener.access.clone());
    let may = |guest: &u8| {
        let source = Source::Ip([10, 0, 0, *guest].into());
        Requester::new(source, Arc::clone(&access)).may_fence(&DomainIdentity {
            name: "vm".to_owned(),
            uuid: Uuid([1; 16]),
        })
    };
    let may: BTreeSet<u8> = (0..GUESTS).filter(may).collect();
    (may.len() < usize::from(GUESTS)).then_some(may)
}

proptest! {
    #[test]
    fn each_listener_goes_by_exactly_the_groups_that_apply_to_it(file in file()) {
        let conf = read(&file.conf(), Form::Conf);
        let toml = read(&file.toml(), Form::Toml);
        let found = conf.as_ref().map_err(|_| ()).map(|(settings, _)| {
            let listeners = settings.listeners.iter();
            let rules: BTreeMap<_, _> = listeners
                .map(|listener| (listener.name.clone(), who_may(listener)))
                .collect();
            assert_eq!(rules.len(), settings.listeners.len(), "names are unique");
            rules
        });
        let expected = file.expected().map(|all| {
            let all = all.into_iter();
            all.map(|(name, guests)| (name.to_owned(), guests)).collect()
        });
        prop_assert_eq!(found, expected, "{}", file.conf());
        // Which listener comes first depends on where its section is; nothing else does.
        let sorted = |read: Result<(super::super::Settings, Vec<String>), String>| {
            read.ok().map(|(settings, _)| {
                let listeners = settings.listeners.iter();
                let all: BTreeSet<_> = listeners.map(|one| format!("{one:?}")).collect();
                all
            })
        };
        prop_assert_eq!(sorted(conf), sorted(toml), "{}", file.toml());
    }
}
