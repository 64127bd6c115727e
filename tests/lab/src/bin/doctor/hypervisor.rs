//! Hypervisors that answer, hang, are dead; and the devices of their domains.

use fence_lab::libvirtd::Libvirtd;
use fence_lab::{Side, Transport, Verdict, ensure};
use nix::sys::signal::Signal;

use crate::Case;
use crate::stage::Stage;

pub(crate) const CASES: &[Case] = &[
    (
        "check: a libvirtd that answers, hangs and is dead",
        libvirtd,
    ),
    (
        "check: domains without a line or a vsock device, with odd names",
        guests,
    ),
];

fn libvirtd(stage: &Stage) -> Verdict {
    let mut libvirtd = Libvirtd::start(&stage.directory.join("libvirt"))?;
    let mut config = stage.config(Transport::Multicast);
    config.uris = vec![libvirtd.uri(), "test:///default".to_owned()];
    stage.check(&config)?.expect("libvirt", "ok", "answers")?;
    libvirtd.process.signal(Signal::SIGSTOP)?;
    let checked = stage.check(&config)?;
    libvirtd.process.signal(Signal::SIGCONT)?;
    checked.expect("libvirt", "problem", "no answer in 5 s")?;
    checked.expect("libvirt", "problem", "test:///default answers")?;
    ensure!(checked.took.as_secs() < 20, "it took {:?}", checked.took);
    libvirtd.kill()?;
    stage
        .check(&config)?
        .expect("libvirt", "problem", "socket")?;
    libvirtd.restart()?;
    stage.check(&config)?.expect("libvirt", "ok", "answers")
}

fn domain(name: &str, devices: &str) -> String {
    format!(
        "<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os>\
         <devices>{devices}</devices></domain>"
    )
}

fn guests(stage: &Stage) -> Verdict {
    let xml = stage.directory.join("domains.xml");
    let config = |listener: &str, section: &str| {
        format!(
            "fence_virtd {{ listener = \"{listener}\"; backend = \"libvirt\"; }}\n\
             listeners {{ {section} }}\nbackends {{ libvirt {{ uri = \"test://{}\"; }} }}\n",
            xml.display()
        )
    };
    let sockets = stage.directory.join("sockets");
    std::fs::create_dir(&sockets)?;
    std::fs::write(sockets.join("a"), "")?;
    let serial = format!(
        "serial {{ uri = \"test://{}\"; path = \"{}\"; }}",
        xml.display(),
        sockets.display()
    );
    let serial = stage.write("serial.conf", &config("serial", &serial))?;
    let line = format!(
        "<serial type='unix'><source mode='bind' path='{}/a'/><target port='0'/></serial>",
        sockets.display()
    );
    let odd = "b&quot;&#x202e;{\\u0000}";
    let write = |second: &str| {
        let all = format!("<node>{}{}</node>", domain("a", &line), domain(odd, second));
        std::fs::write(&xml, all)
    };
    write("")?;
    let checked = stage.check_file(&serial)?;
    checked.expect("guests", "warning", "b\"?{\\u0000}")?;
    ensure!(
        checked.code == 2 || checked.code == 1,
        "exit code {}",
        checked.code
    );
    write(&line)?;
    stage
        .check_file(&serial)?
        .expect("guests", "ok", "all have a serial line")?;
    let section = format!(
        "vsock {{ key_file = \"{}\"; port = \"61229\"; }}",
        stage.key().display()
    );
    let vsock = stage.write("vsock.conf", &config("vsock", &section))?;
    stage
        .check_file(&vsock)?
        .expect("guests", "warning", "without a vsock device")?;
    let device = "<vsock model='virtio'><cid auto='no' address='77'/></vsock>";
    std::fs::write(&xml, format!("<node>{}</node>", domain("a", device)))?;
    stage
        .check_file(&vsock)?
        .expect("guests", "ok", "all have a vsock device")?;
    ensure!(
        stage.programs.virtd(Side::Ours).is_file(),
        "the daemon is gone"
    );
    Ok(())
}
