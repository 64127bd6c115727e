//! Serial lines over real unix sockets, with the domains of a private libvirtd's test driver. The
//! hypervisor's end of each socket is the test's.

mod guest;
mod identity;
mod lines;
mod load;
mod rig;

use std::time::Duration;

use fence_proto::{Action, Reply, Source};

use self::guest::Guest;
use self::rig::{Rig, Until};
use crate::libvirt::tests::uuid;

/// In which nothing happens that is not to happen. Long enough for what would happen to happen.
const A_WHILE: Duration = Duration::from_millis(1500);
