//! The guests: a kernel and a shell script that says several times a second that it lives.

use std::fs;
use std::path::Path;

use fence_lab::{Failure, vm};

use crate::names::Domain;

/// The guest's only program beside busybox. `usleep` keeps it from using more than a few per cent of
/// a CPU.
const INIT: &[u8] = b"#!/bin/busybox sh\n\
    /bin/busybox mount -t devtmpfs dev /dev\n\
    n=0\n\
    while :; do echo beat $n >/dev/ttyS0; n=$((n + 1)); /bin/busybox usleep 200000; done\n";

/// What guests are booted from.
#[derive(Debug)]
pub(crate) struct Image(vm::Boot);

impl Image {
    /// Finds the kernel and packs the initramfs into `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, Failure> {
        const BUSYBOX: &str = "/bin/busybox";
        let busybox = fs::read(BUSYBOX)
            .map_err(|error| Failure::from(error).at(format!("{BUSYBOX} (busybox-static)")))?;
        let mut archive = vm::Archive::new();
        archive.directory("/dev");
        archive.file(BUSYBOX, 0o755, &busybox);
        archive.file("/init", 0o755, INIT);
        let initrd = directory.join("guest.cpio");
        fs::write(&initrd, archive.finish())?;
        Ok(Self(vm::Boot::new(&vm::Kernel::locate()?, &initrd)))
    }

    /// A domain's definition. It beats into a file of its host that is named by its UUID.
    pub(crate) fn definition(&self, domain: Domain) -> Result<String, Failure> {
        let mut xml = vm::DomainXml::new(domain.name, domain.uuid, &self.0);
        xml.console(&Path::new("/").join(beat_file(domain)));
        xml.xml()
    }
}

/// The file on a host's disk that a domain beats into. QEMU empties it when the domain starts.
pub(crate) fn beat_file(domain: Domain) -> String {
    format!("var/lib/libvirt/beat/{}", domain.uuid)
}
