//! Configuration and key files, odd names, and what may be seen by whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fence_lab::{Side, Transport, Verdict, ensure};

use crate::Case;
use crate::stage::Stage;

pub(crate) const CASES: &[Case] = &[
    (
        "check: configurations that are missing, wrong or odd",
        configurations,
    ),
    ("check: keys that are missing, open, short or text", keys),
    ("check: run by somebody who may see nothing", nobody),
];

fn configurations(stage: &Stage) -> Verdict {
    let checked = stage.check_file(&stage.directory.join("none.conf"))?;
    checked.expect("config", "problem", "none.conf")?;
    ensure!(checked.code == 1, "exit code {}", checked.code);
    let broken = stage.write("broken.conf", "fence_virtd {")?;
    stage
        .check_file(&broken)?
        .expect("config", "problem", "broken.conf:1")?;
    let text = stage.config(Transport::Multicast).text(Side::Ours)?;
    let odd = stage.write(
        "odd.conf",
        &text.replace("\tlisteners", "").replace("hash =", "hsah ="),
    )?;
    let checked = stage.check_file(&odd)?;
    checked.expect("config", "warning", "hsah")?;
    ensure!(checked.code == 2, "exit code {}", checked.code);
    let open = stage.write("open.conf", &text)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666))?;
    stage
        .check_file(&open)?
        .expect("config", "problem", "everybody")
}

fn keys(stage: &Stage) -> Verdict {
    let mut config = stage.config(Transport::Multicast);
    stage
        .check(&config)?
        .expect("key", "ok", "4096 bytes, mode 0600")?;
    fs::set_permissions(stage.key(), fs::Permissions::from_mode(0o644))?;
    stage
        .check(&config)?
        .expect("key", "problem", "mode 0644")?;
    fs::set_permissions(stage.key(), fs::Permissions::from_mode(0o600))?;
    let secret = "thissecretmaynotbetold";
    for (bytes, words) in [
        (b"tiny".to_vec(), "can be guessed"),
        (secret.repeat(40).into_bytes(), "is text or a pattern"),
    ] {
        fs::write(stage.key(), bytes)?;
        let checked = stage.check(&config)?;
        checked.expect("key", "warning", words)?;
        ensure!(!checked.text().contains(secret), "the key is told");
    }
    config.key_file = stage.directory.join("none/key");
    stage.check(&config)?.expect("key", "problem", "none/key")
}

fn nobody(stage: &Stage) -> Verdict {
    let file = stage.write(
        "x.conf",
        &stage.config(Transport::Multicast).text(Side::Ours)?,
    )?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    // Root owns the parents of the directory, and lets everybody through; the program is copied to where they may run it.
    let program = stage.directory.join("fence_virtd");
    fs::copy(stage.programs.virtd(Side::Ours), &program)?;
    let mut command = stage.net.dom0.command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
    ]);
    command
        .arg(&program)
        .args(["--check", "--json", "-f"])
        .arg(&file);
    let checked = stage.run(command)?;
    checked.expect("key", "problem", "Permission denied")?;
    checked.expect("interface", "ok", "")?;
    ensure!(checked.code == 1, "exit code {}", checked.code);
    Ok(())
}
