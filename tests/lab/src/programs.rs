//! Which programs are tested: ours, the packaged C ones, or each with each.

use core::fmt;
use std::env;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This project's.
    Ours,
    /// The packaged C original.
    C,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::C => "c",
        })
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    virtd: [PathBuf; 2],
    xvm: [PathBuf; 2],
    virt: [PathBuf; 2],
}

impl Programs {
    /// Looks at `FENCE_VIRTD`, `FENCE_XVM`, `C_FENCE_VIRTD`, `C_FENCE_XVM` and `C_FENCE_VIRT`.
    /// Ours are taken from the build directory, which the scripts name; `fence_virt` is a symbolic
    /// link to `fence_xvm` that is made in `directory`.
    ///
    /// # Errors
    /// A program that is needed does not exist.
    pub fn locate(directory: &Path, hosts: &[Side], agents: &[Side]) -> Result<Self, Failure> {
        let found = Self {
            virtd: [
                path("FENCE_VIRTD", "target/debug/fence_virtd")?,
                path("C_FENCE_VIRTD", "/usr/sbin/fence_virtd")?,
            ],
            xvm: [
                path("FENCE_XVM", "target/debug/fence_xvm")?,
                path("C_FENCE_XVM", "/usr/sbin/fence_xvm")?,
            ],
            virt: [
                directory.join("fence_virt"),
                path("C_FENCE_VIRT", "/usr/sbin/fence_virt")?,
            ],
        };
        if agents.contains(&Side::Ours) {
            symlink(found.xvm(Side::Ours), found.virt(Side::Ours))?;
        }
        for side in hosts {
            check(found.virtd(*side), *side)?;
        }
        for side in agents {
            check(found.xvm(*side), *side)?;
            check(found.virt(*side), *side)?;
        }
        Ok(found)
    }

    /// The daemon.
    #[must_use]
    pub fn virtd(&self, side: Side) -> &Path {
        pick(&self.virtd, side)
    }

    /// The agent under its multicast name.
    #[must_use]
    pub fn xvm(&self, side: Side) -> &Path {
        pick(&self.xvm, side)
    }

    /// The agent under the name for TCP, vsock and serial.
    #[must_use]
    pub fn virt(&self, side: Side) -> &Path {
        pick(&self.virt, side)
    }
}

const fn pick(pair: &[PathBuf; 2], side: Side) -> &PathBuf {
    let [ours, c] = pair;
    match side {
        Side::Ours => ours,
        Side::C => c,
    }
}

fn path(variable: &str, default: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(env::var_os(variable).unwrap_or_else(|| default.into()));
    Ok(std::path::absolute(path)?)
}

fn check(program: &Path, side: Side) -> Result<(), Failure> {
    if program.is_file() {
        return Ok(());
    }
    let cure = match side {
        Side::Ours => "build it first (cargo build) or name it by FENCE_VIRTD and FENCE_XVM",
        Side::C => {
            "install the packages fence-virt and fence-virtd, or name the programs by \
             C_FENCE_VIRTD, C_FENCE_XVM and C_FENCE_VIRT"
        }
    };
    Err(Failure::new(format!(
        "{} does not exist: {cure}",
        program.display()
    )))
}

/// Which pairings run: `FENCE_HOST` and `FENCE_AGENT`, each `ours` or `c`; unset means both.
///
/// # Errors
/// A value that is neither.
pub fn selected(variable: &str) -> Result<Vec<Side>, Failure> {
    match env::var(variable).as_deref() {
        Err(_) | Ok("") => Ok(vec![Side::Ours, Side::C]),
        Ok("ours") => Ok(vec![Side::Ours]),
        Ok("c") => Ok(vec![Side::C]),
        Ok(other) => Err(Failure::new(format!(
            "{variable}={other}: it must be ours or c, or unset for both"
        ))),
    }
}
