//! A guest as libvirt's XML describes it.

use core::fmt::Write;
use std::path::{Path, PathBuf};

use super::kernel::Kernel;
use crate::failure::Failure;

/// What a domain boots.
#[derive(Debug, Clone)]
pub struct Boot {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Boot {
    /// A kernel and an initramfs.
    #[must_use]
    pub fn new(kernel: &Kernel, initrd: &Path) -> Self {
        Self {
            kernel: kernel.image().to_owned(),
            initrd: initrd.to_owned(),
        }
    }
}

/// A domain of type qemu (emulated), one CPU, no disk. Methods add devices.
#[derive(Debug, Clone)]
pub struct DomainXml {
    /// libvirt's name.
    pub name: String,
    /// libvirt's UUID.
    pub uuid: String,
    /// Memory in MiB; 128 unless told.
    pub memory: u32,
    /// QEMU's machine; `q35` unless told.
    pub machine: &'static str,
    /// What libvirt does when the guest has panicked (only with [`Self::pvpanic`]): `destroy`,
    /// `restart`, `preserve`; libvirt's own default is destroy.
    pub on_crash: &'static str,
    boot: Boot,
    parameters: String,
    devices: String,
    arguments: Vec<String>,
}

impl DomainXml {
    /// A domain without devices.
    #[must_use]
    pub fn new(name: &str, uuid: &str, boot: &Boot) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            memory: 128,
            machine: "q35",
            on_crash: "destroy",
            boot: boot.clone(),
            parameters: "console=ttyS0 quiet panic=0 cryptomgr.notests".to_owned(),
            devices: String::new(),
            arguments: Vec::new(),
        }
    }

    /// Adds a kernel parameter; `NAME=value` without a dot becomes a variable of init.
    pub fn parameter(&mut self, word: &str) {
        self.parameters.push(' ');
        self.parameters.push_str(word);
    }

    /// Adds any device.
    pub fn device(&mut self, xml: &str) {
        self.devices.push_str(xml);
        self.devices.push('\n');
    }

    /// The first serial port, where the kernel and init write, to a file. libvirt truncates it at
    /// every start.
    pub fn console(&mut self, file: &Path) {
        self.device(&format!(
            "<serial type='file'><source path='{}'/><target port='0'/></serial>",
            file.display()
        ));
    }

    /// The second serial port as a socket that QEMU listens on: `serial` listeners connect to it.
    pub fn serial(&mut self, socket: &Path) {
        self.device(&format!(
            "<serial type='unix'><source mode='bind' path='{}'/><target port='1'/></serial>",
            socket.display()
        ));
    }

    /// A network card on a bridge.
    pub fn bridge(&mut self, bridge: &str, mac: &str) {
        self.device(&format!(
            "<interface type='bridge'><source bridge='{bridge}'/><mac address='{mac}'/>\
             <model type='virtio'/><rom enabled='no'/></interface>"
        ));
    }

    /// The channel that [`super::Control`] speaks over.
    pub fn control(&mut self, socket: &Path) {
        self.device(&format!(
            "<channel type='unix'><source mode='bind' path='{}'/>\
             <target type='virtio' name='lab.control'/></channel>",
            socket.display()
        ));
    }

    /// A vmchannel: TCP to 10.0.2.179:1229 in the guest comes out of the socket. libvirt 9 makes the
    /// user network but no card on it, so the card is added by hand. One per domain.
    pub fn vmchannel(&mut self, socket: &Path, mac: &str) {
        self.device(&format!(
            "<channel type='unix'><source mode='bind' path='{}'/>\
             <target type='guestfwd' address='10.0.2.179' port='1229'/>\
             <alias name='ua-vmchannel'/></channel>",
            socket.display()
        ));
        let card = format!("virtio-net-pci,netdev=ua-vmchannel,addr=0x10,mac={mac},romfile=");
        self.arguments.extend(["-device".to_owned(), card]);
    }

    /// The device over which a panicking kernel tells (the module `pvpanic_mmio` for ISA).
    pub fn pvpanic(&mut self) {
        self.device("<panic model='isa'/>");
    }

    /// The XML.
    ///
    /// # Errors
    /// None that can happen; writing to a string is fallible in form.
    pub fn xml(&self) -> Result<String, Failure> {
        let mut xml = String::new();
        writeln!(
            xml,
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n\
             <name>{}</name><uuid>{}</uuid><memory unit='MiB'>{}</memory><vcpu>1</vcpu>\n\
             <os><type arch='x86_64' machine='{}'>hvm</type>\n\
             <kernel>{}</kernel><initrd>{}</initrd><cmdline>{}</cmdline></os>\n\
             <features><acpi/></features>\n\
             <on_crash>{}</on_crash>\n<devices>\n{}<memballoon model='none'/>\n</devices>",
            self.name,
            self.uuid,
            self.memory,
            self.machine,
            self.boot.kernel.display(),
            self.boot.initrd.display(),
            self.parameters,
            self.on_crash,
            self.devices
        )?;
        writeln!(xml, "<qemu:commandline>")?;
        for argument in &self.arguments {
            writeln!(xml, "<qemu:arg value='{argument}'/>")?;
        }
        writeln!(xml, "</qemu:commandline>\n</domain>")?;
        Ok(xml)
    }
}
