//! Which listeners run: what `listener` chooses, and the section that each of them has.
//!
//! A name means the same wherever it is used, in `listener` and in `groups`: the name of a section
//! means that one, the name of a kind all sections of the kind. A kind that has no section at all
//! has its defaults, as in the original.

use super::schema::{MULTICAST, SERIAL, Schema, TCP, VSOCK};
use super::tree::{Section, Shown, Text};
use super::values::not;
use super::view::{Note, View, own_name};

/// The longest name of a listener, in characters: it is in every line of the log.
const LONGEST_NAME: usize = 64;

/// Listeners that a file may have.
const MOST: usize = 64;

/// A kind of listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Multicast,
    Tcp,
    Vsock,
    Serial,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Multicast, Self::Tcp, Self::Vsock, Self::Serial];

    pub(super) const fn schema(self) -> &'static Schema {
        match self {
            Self::Multicast => &MULTICAST,
            Self::Tcp => &TCP,
            Self::Vsock => &VSOCK,
            Self::Serial => &SERIAL,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        self.schema().name
    }

    fn of(name: &str) -> Option<Self> {
        let is = |kind: &Self| kind.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is)
    }
}

/// A listener that the file has a section for, or that has all its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate<'t> {
    pub(super) kind: Kind,
    /// The name of its own, if it was given one.
    own: Option<&'t Text>,
    pub(super) section: Option<&'t Section>,
}

impl<'t> Candidate<'t> {
    /// A kind that the file has no section for.
    const fn without_section(kind: Kind) -> Self {
        Self {
            kind,
            own: None,
            section: None,
        }
    }

    /// What the daemon calls it: its own name, or its kind.
    pub(super) fn name(&self) -> &'t str {
        self.own.map_or(self.kind.name(), |own| own.text.as_str())
    }

    /// Whether a name means it, alone or with others.
    pub(super) fn is_meant_by(&self, name: &str) -> bool {
        self.kind.name().eq_ignore_ascii_case(name)
            || self
                .own
                .is_some_and(|own| own.text.eq_ignore_ascii_case(name))
    }
}

/// The listeners of a file.
#[derive(Debug)]
pub(super) struct Selection<'t> {
    /// Those that run, in the order of `listener`, then of the file; at least one.
    pub(super) chosen: Vec<Candidate<'t>>,
    /// Those that do not.
    pub(super) idle: Vec<Candidate<'t>>,
}

impl<'t> Selection<'t> {
    /// Finds out what the values of `listener` choose.
    pub(super) fn of(
        names: &[&'t Text],
        listeners: &View<'t>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Note> {
        let candidates = candidates(listeners)?;
        let mut chosen: Vec<Candidate<'t>> = Vec::new();
        for name in names {
            let mut meant: Vec<_> = candidates
                .iter()
                .filter(|candidate| candidate.is_meant_by(&name.text))
                .copied()
                .collect();
            if meant.is_empty() {
                let kind = Kind::of(&name.text).ok_or_else(|| unknown(name, &candidates))?;
                meant.push(Candidate::without_section(kind));
            }
            meant.retain(|candidate| !chosen.contains(candidate));
            if meant.is_empty() {
                let message = format!("{} is chosen already", Shown(&name.text));
                notes.push(Note::at(name.position, message));
            }
            chosen.extend(meant);
        }
        let idle = candidates.into_iter();
        let idle: Vec<_> = idle.filter(|other| !chosen.contains(other)).collect();
        for own in idle.iter().filter_map(|candidate| candidate.own) {
            let message = format!(
                "the listener {} does not run: no 'listener' chooses it",
                Shown(&own.text)
            );
            notes.push(Note::at(own.position, message));
        }
        Ok(Self { chosen, idle })
    }

    /// Whether a name means anything that the file or the daemon knows.
    pub(super) fn check(&self, name: &Text) -> Result<(), Note> {
        let all: Vec<_> = self.chosen.iter().chain(&self.idle).copied().collect();
        let known = Kind::of(&name.text).is_some()
            || all
                .iter()
                .any(|candidate| candidate.is_meant_by(&name.text));
        if known {
            Ok(())
        } else {
            Err(unknown(name, &all))
        }
    }
}

/// All sections of listeners. Names must tell them apart, from each other and from kinds.
fn candidates<'t>(listeners: &View<'t>) -> Result<Vec<Candidate<'t>>, Note> {
    let mut all: Vec<Candidate<'t>> = Vec::new();
    for kind in Kind::ALL {
        for section in listeners.instances(kind.schema()) {
            let own = own_name(kind.schema(), section);
            if let Some(own) = own {
                check_name(own)?;
                let same =
                    |other: &&Candidate<'t>| other.own.is_some() && other.is_meant_by(&own.text);
                if let Some(other) = all.iter().find(same) {
                    let message = format!(
                        "a {} listener is called {} already: each needs a name of its own",
                        other.kind.name(),
                        Shown(&own.text),
                    );
                    return Err(Note::at(own.position, message));
                }
            }
            if all.len() >= MOST {
                let message = format!("there may be {MOST} listeners at the most");
                return Err(Note::at(section.name.position, message));
            }
            all.push(Candidate {
                kind,
                own,
                section: Some(section),
            });
        }
    }
    Ok(all)
}

fn check_name(name: &Text) -> Result<(), Note> {
    if Kind::of(&name.text).is_some() {
        let message = format!(
            "{} is a kind of listener: call this one something else",
            Shown(&name.text)
        );
        return Err(Note::at(name.position, message));
    }
    let long = name.text.chars().count() > LONGEST_NAME;
    let odd = name.text.contains(char::is_control) || name.text.trim() != name.text;
    if long || odd {
        let wanted = format!(
            "the name of a listener: at most {LONGEST_NAME} characters, without blanks at either end"
        );
        return Err(not(name, &wanted));
    }
    Ok(())
}

fn unknown(name: &Text, candidates: &[Candidate<'_>]) -> Note {
    let own = candidates.iter().filter_map(|candidate| candidate.own);
    let known: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| kind.name())
        .chain(own.map(|own| own.text.as_str()))
        .collect();
    let cure = if name.text.contains(',') {
        "; write 'listener' once for each"
    } else {
        ""
    };
    not(name, &format!("one of {}{cure}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::conf;
    use super::super::schema::LISTENERS;
    use super::*;

    /// What runs and what does not, by name, and the notes.
    fn select(names: &[&str], sections: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let tree = conf::parse(sections).unwrap();
        let mut notes = Vec::new();
        let view = View::of_items(&LISTENERS, &tree.items, &mut notes).unwrap();
        let texts: Vec<_> = names
            .iter()
            .map(|name| Text {
                text: (*name).to_owned(),
                position: super::super::Position::default(),
            })
            .collect();
        let names: Vec<_> = texts.iter().collect();
        let selection = Selection::of(&names, &view, &mut notes).map_err(|note| note.message)?;
        let chosen = selection.chosen.iter().map(|one| one.name().to_owned());
        let notes = notes.into_iter().map(|note| note.message);
        Ok((chosen.collect(), notes.collect()))
    }

    fn chosen(names: &[&str], sections: &str) -> Vec<String> {
        let (chosen, notes) = select(names, sections).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        chosen
    }

    #[test]
    fn kind_without_any_section_runs_with_its_defaults() {
        assert_eq!(chosen(&["multicast"], ""), ["multicast"]);
        assert_eq!(
            chosen(&["TCP", "serial"], "multicast { }"),
            ["tcp", "serial"]
        );
    }

    #[test]
    fn kind_means_all_its_sections_and_a_name_one() {
        let file = "tcp { } multicast = \"blue\" { } multicast { name = \"green\"; } vsock { }";
        assert_eq!(chosen(&["multicast"], file), ["blue", "green"]);
        assert_eq!(
            chosen(&["multicast", "tcp"], file),
            ["blue", "green", "tcp"]
        );
        assert_eq!(
            chosen(&["multicast"], "multicast = \"blue\" { } multicast { }"),
            ["blue", "multicast"]
        );
        let (chosen, notes) = select(&["Green"], file).unwrap();
        assert_eq!(chosen, ["green"]);
        assert_eq!(
            notes,
            ["the listener 'blue' does not run: no 'listener' chooses it"]
        );
    }

    #[test]
    fn name_before_the_brace_wins_over_the_key() {
        let file = "tcp = \"blue\" { name = \"green\"; }";
        assert_eq!(chosen(&["blue"], file), ["blue"]);
    }

    #[test]
    fn what_is_chosen_twice_runs_once_and_is_said() {
        for names in [["tcp", "tcp"], ["tcp", "Blue"], ["blue", "blue"]] {
            let (chosen, notes) = select(&names, "tcp = \"blue\" { }").unwrap();
            assert_eq!(chosen, ["blue"], "{names:?}");
            assert_eq!(notes, [format!("'{}' is chosen already", names[1])]);
        }
    }

    #[test]
    fn unknown_names_are_errors_that_name_all_there_are() {
        assert_eq!(
            select(&["udp"], "tcp = \"blue\" { }").unwrap_err(),
            "'udp' is not one of multicast, tcp, vsock, serial, blue"
        );
        let error = select(&["multicast, tcp"], "").unwrap_err();
        assert!(error.ends_with("write 'listener' once for each"), "{error}");
    }

    #[test]
    fn names_tell_listeners_apart() {
        for (file, message) in [
            (
                "tcp = \"Multicast\" { }",
                "'Multicast' is a kind of listener",
            ),
            (
                "tcp = \"blue\" { } vsock = \"BLUE\" { }",
                "a tcp listener is called 'BLUE' already",
            ),
            ("tcp = \" blue\" { }", "without blanks at either end"),
            ("tcp = \" \" { }", "without blanks at either end"),
        ] {
            let error = select(&["tcp"], file).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let long = format!("tcp = \"{}\" {{ }}", "\u{e9}".repeat(LONGEST_NAME + 1));
        assert!(select(&["tcp"], &long).is_err());
        let many = |count: usize| -> String {
            let sections = (0..count).map(|number| format!("tcp = \"{number}\" {{ }}"));
            sections.collect()
        };
        assert!(select(&["tcp"], &many(MOST)).is_ok());
        let error = select(&["tcp"], &many(MOST + 1)).unwrap_err();
        assert_eq!(error, "there may be 64 listeners at the most");
    }

    // L41
    #[test]
    fn last_of_two_sections_of_one_name_wins_and_says_so() {
        let (chosen, notes) = select(&["tcp"], "tcp = \"a\" { }\ntcp = \"A\" { }").unwrap();
        assert_eq!(chosen, ["A"]);
        assert_eq!(
            notes,
            ["section 'tcp' 'A' replaces all of the one in line 1: join the two"]
        );
    }
}
