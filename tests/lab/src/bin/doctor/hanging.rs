//! Programs that hang: a check ends in time, and says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fence_lab::{Side, Transport, Verdict, ensure};

use crate::Case;
use crate::stage::Stage;

pub(crate) const CASES: &[Case] = &[("check: an nft that hangs", nft)];

fn nft(stage: &Stage) -> Verdict {
    let slow = stage.write("slow", "#!/bin/sh\nsleep 300 &\nsleep 300\n")?;
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755))?;
    let config = stage.write(
        "x.conf",
        &stage.config(Transport::Multicast).text(Side::Ours)?,
    )?;
    // In the place of the real one, for this process only.
    const INSTEAD: &str = "for nft in /usr/sbin/nft /sbin/nft; do \
        [ ! -e $nft ] || mount --bind \"$1\" $nft; done; exec \"$2\" --check --json -f \"$3\"";
    let mut command = stage.net.dom0.command("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", INSTEAD, "sh"]);
    command
        .arg(&slow)
        .arg(stage.programs.virtd(Side::Ours))
        .arg(&config);
    let checked = stage.run(command)?;
    checked.expect("firewall", "warning", "nft: no answer in 5 s")?;
    checked.expect("libvirt", "ok", "")?;
    ensure!(checked.took.as_secs() < 25, "it took {:?}", checked.took);
    Ok(())
}
