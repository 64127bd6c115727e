//! The reply byte (section 5).

/// What a host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done; for status: the domain is on.
    Success,
    /// Not done, not known, or in doubt.
    Failure,
    /// Status only: the domain is off.
    Off,
    /// The groups do not allow it.
    PermissionDenied,
    /// A host list follows; an agent's view of byte 253.
    HostListFollows,
    /// A byte that has no meaning, which is a failure.
    Unknown(u8),
}

impl Reply {
    /// The byte on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Off => 2,
            Self::PermissionDenied => 3,
            Self::HostListFollows => 253,
            Self::Unknown(byte) => byte,
        }
    }

    /// The reply's name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Off => "off",
            Self::PermissionDenied => "permission-denied",
            Self::HostListFollows => "list",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What a byte means. Total: every byte means something.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            0 => Self::Success,
            1 => Self::Failure,
            2 => Self::Off,
            3 => Self::PermissionDenied,
            253 => Self::HostListFollows,
            other => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips() {
        for byte in 0..=u8::MAX {
            assert_eq!(Reply::from_wire(byte).to_wire(), byte);
        }
    }
}
