//! Real virtual machines: emulated by QEMU, booted by a private libvirtd, small enough to be up in
//! about four seconds.
//!
//! How to use it:
//!
//! ```no_run
//! # use std::path::Path;
//! # use fence_lab::{Failure, vm};
//! # fn main() -> Result<(), Failure> {
//! # let directory = Path::new("/tmp/x");
//! let kernel = vm::Kernel::locate()?; // fetched by scripts/guest-kernel.sh
//! let mut image = vm::Initramfs::new()?; // busybox and an init
//! image.modules(&kernel, &["virtio_pci", "virtio_console", "virtio_net"])?;
//! image.program(Path::new("/usr/sbin/fence_xvm"), "/usr/sbin/fence_xvm")?; // with its libraries
//! image.file("/etc/cluster/fence_xvm.key", 0o600, b"secret")?;
//! image.script("card=$(nic 52:54:00:00:00:02); ip addr add $LAB_IP dev $card; ip link set $card up");
//! let boot = vm::Boot::new(&kernel, &image.write(&directory.join("guest.cpio"))?);
//!
//! let mut domain = vm::DomainXml::new("a", "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9d01", &boot);
//! domain.parameter("LAB_IP=10.77.0.2/24"); // a variable of init and its scripts
//! domain.console(&directory.join("a.console"));
//! domain.bridge("br0", "52:54:00:00:00:02");
//! domain.control(&directory.join("a.control")); // the channel that `vm::Control` speaks over
//! println!("{}", domain.xml()?); // for `virsh define` on any libvirtd that runs qemu
//! # Ok(())
//! # }
//! ```
//!
//! - [`Kernel`], [`Initramfs`], [`Boot`], [`DomainXml`]: from packages to a domain that libvirt can
//!   define. They need nothing else of the lab.
//! - [`Hypervisor`]: a private libvirtd with the qemu driver, alone on a host with a bridge. A lab
//!   with several hosts makes its own and takes only the above.
//! - [`Control`]: makes a running guest do something and hears what came of it.
//!
//! What was found by trying: `q35` boots a second faster than `pc`; an uncompressed initramfs saves
//! what inflating costs when it is emulated; a domain takes 220 MiB of memory and 2 % of a CPU.

mod control;
mod cpio;
mod domain;
mod hypervisor;
mod initramfs;
mod kernel;

pub use control::Control;
pub use cpio::Archive;
pub use domain::{Boot, DomainXml};
pub use hypervisor::{Hypervisor, ProcessId};
pub use initramfs::Initramfs;
pub use kernel::Kernel;
