//! What the listeners do, for the log and the service manager.

use std::collections::BTreeMap;
use std::fmt;

/// What a listener does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Serving,
    /// It is missing, for this reason.
    Down(String),
}

/// What all listeners do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board(pub(crate) BTreeMap<String, State>);

impl Board {
    /// Whether every listener serves.
    #[must_use]
    pub fn all_serve(&self) -> bool {
        self.0.values().all(|state| *state == State::Serving)
    }

    /// Whether at least one does.
    #[must_use]
    pub fn any_serves(&self) -> bool {
        self.0.values().any(|state| *state == State::Serving)
    }
}

/// In one line, for people: who serves, who does not and why.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = self.0.iter().filter(|(_, state)| **state == State::Serving);
        let serving: Vec<_> = serving.map(|(name, _)| name.as_str()).collect();
        let down = self.0.iter().filter_map(|(name, state)| match state {
            State::Serving => None,
            State::Down(why) => Some(format!("waiting for {name}: {why}")),
        });
        let mut parts: Vec<_> = down.collect();
        if !serving.is_empty() {
            parts.insert(0, format!("serving {}", serving.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}
