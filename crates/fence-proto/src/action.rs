//! What a request may ask for (section 1).

use core::fmt;

/// The action of a request that travels on the wire. `metadata` and `validate-all` never do: they
/// belong to the agent alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Does nothing and fails; the original's self-test.
    Null,
    /// Destroy the domain and prove it is off.
    Off,
    /// Destroy the domain, prove it is off, then start it.
    Reboot,
    /// Start the domain.
    On,
    /// Ask whether the domain is on.
    Status,
    /// Ask whether the host can fence at all (wire name `devstatus`).
    Monitor,
    /// List the domains that the source may fence (wire name `hostlist`).
    List,
}

impl Action {
    /// Every action, in wire order.
    pub const ALL: [Self; 7] = [
        Self::Null,
        Self::Off,
        Self::Reboot,
        Self::On,
        Self::Status,
        Self::Monitor,
        Self::List,
    ];

    /// The request byte of section 1.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Off => 1,
            Self::Reboot => 2,
            Self::On => 3,
            Self::Status => 4,
            Self::Monitor => 5,
            Self::List => 6,
        }
    }

    /// The action for a request byte; `None` for bytes that have no meaning on the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Null,
            1 => Self::Off,
            2 => Self::Reboot,
            3 => Self::On,
            4 => Self::Status,
            5 => Self::Monitor,
            6 => Self::List,
            _ => return None,
        })
    }

    /// Whether the request names a domain.
    #[must_use]
    pub const fn needs_domain(self) -> bool {
        matches!(self, Self::Off | Self::Reboot | Self::On | Self::Status)
    }

    /// Whether the action changes the state of a domain.
    #[must_use]
    pub const fn changes_state(self) -> bool {
        matches!(self, Self::Off | Self::Reboot | Self::On)
    }

    /// The action's name, as the agents spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Off => "off",
            Self::Reboot => "reboot",
            Self::On => "on",
            Self::Status => "status",
            Self::Monitor => "monitor",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_survives_the_wire() {
        for action in Action::ALL {
            assert_eq!(Action::from_wire(action.to_wire()), Some(action));
        }
    }

    #[test]
    fn metadata_and_validate_all_are_not_wire_actions() {
        assert_eq!(Action::from_wire(7), None);
        assert_eq!(Action::from_wire(8), None);
        assert_eq!(Action::from_wire(255), None);
    }
}
