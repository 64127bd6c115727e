//! Which of the two agents this is.

use std::ffi::OsStr;
use std::path::Path;

/// The agent, by the name the program was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `fence_xvm`: multicast.
    Xvm,
    /// `fence_virt`: serial, TCP or vsock.
    Virt,
}

impl Role {
    /// Decides by the last part of `argv[0]`. Any other name than `fence_virt` is `fence_xvm`.
    #[must_use]
    pub fn from_program(program: Option<&OsStr>) -> Self {
        let name = program.and_then(|program| Path::new(program).file_name());
        if name == Some(OsStr::new("fence_virt")) {
            Self::Virt
        } else {
            Self::Xvm
        }
    }

    /// The program's name in this role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xvm => "fence_xvm",
            Self::Virt => "fence_virt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_name_decides() {
        let role = |program| Role::from_program(Some(OsStr::new(program)));
        assert_eq!(role("/usr/sbin/fence_virt"), Role::Virt);
        assert_eq!(role("fence_virt"), Role::Virt);
        assert_eq!(role("/usr/sbin/fence_xvm"), Role::Xvm);
        assert_eq!(role("/fence_virt/agent"), Role::Xvm);
        assert_eq!(role(""), Role::Xvm);
        assert_eq!(Role::from_program(None), Role::Xvm);
    }
}
