//! The wizard as a program: over a pipe, at a terminal, and what both daemons make of its files.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use fence_lab::config::C_MODULES;
use fence_lab::net::{BRIDGE, host_address};
use fence_lab::wait::PATIENCE;
use fence_lab::{Failure, HostConfig, Side, Transport, Verdict, ensure, process};
use fence_proto::Family;
use nix::pty::openpty;

use crate::Case;
use crate::stage::Stage;

pub(crate) const CASES: &[Case] = &[
    (
        "wizard: its multicast file is taken by both daemons",
        |stage| taken_by_both(stage, Transport::Multicast),
    ),
    ("wizard: its tcp file is taken by both daemons", |stage| {
        taken_by_both(stage, Transport::Tcp)
    }),
    (
        "wizard: at a terminal wrong answers are asked again",
        terminal,
    ),
    ("wizard: a pipe that ends early changes nothing", ends_early),
];

/// What a host with the original has: where its plug-ins are.
fn old_file() -> String {
    format!(
        "# A comment that only the copy keeps\nfence_virtd {{ listener = \"multicast\"; backend = \"libvirt\"; \
         module_path = \"{C_MODULES}\"; }}\nbackends {{ libvirt {{ uri = \"test:///default\"; }} }}\n"
    )
}

fn command(stage: &Stage, file: &Path) -> Command {
    let program = stage.programs.virtd(Side::Ours);
    let mut command = stage.net.dom0.command(&program.to_string_lossy());
    command.arg("-c").arg("-f").arg(file);
    command
}

/// Runs the wizard with these lines; its exit code and what it said.
fn wizard(stage: &Stage, file: &Path, lines: &str) -> Result<(i32, String), Failure> {
    let mut command = command(stage, file);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((process::code(output.status), said))
}

fn answers(transport: Transport, key: &Path) -> String {
    let key = key.display();
    match transport {
        Transport::Multicast => format!("\n\n\n{BRIDGE}\n{key}\n\n\n\ny\n"),
        Transport::Tcp => format!("tcp\n{}\n\n{key}\n\n\n\ny\n", host_address(Family::Ipv4)),
    }
}

fn taken_by_both(stage: &Stage, transport: Transport) -> Verdict {
    let file = stage.write("fence_virt.conf", &old_file())?;
    let key = stage.directory.join("cluster/made.key");
    let (code, said) = wizard(stage, &file, &answers(transport, &key))?;
    ensure!(code == 0, "exit code {code}: {said}");
    for path in [&file, &key] {
        let mode = fs::metadata(path)?.mode() & 0o7777;
        ensure!(mode == 0o600, "{} has mode {mode:o}", path.display());
    }
    ensure!(fs::metadata(&key)?.len() == 4096, "the key is short");
    let copy = fs::read_to_string(stage.directory.join("fence_virt.conf.bak"))?;
    ensure!(copy == old_file(), "the copy is another file: {copy}");
    let text = fs::read_to_string(&file)?;
    for side in [Side::Ours, Side::C] {
        let mut config = HostConfig::new(transport, Family::Ipv4, crate::stage::PORT);
        config.whole = Some(text.clone());
        config.key_file.clone_from(&key);
        let mut host = stage.launch(side, &format!("{side}")).start_ready(config)?;
        host.terminate(PATIENCE)?;
    }
    Ok(())
}

fn ends_early(stage: &Stage) -> Verdict {
    let file = stage.write("fence_virt.conf", &old_file())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let before = fs::metadata(&file)?;
    let key = stage.directory.join("cluster/made.key");
    let all = answers(Transport::Multicast, &key);
    let lines: Vec<_> = all.split_inclusive('\n').collect();
    for count in [0, 3, lines.len().saturating_sub(1)] {
        let some = lines.get(..count).unwrap_or_default().concat();
        let (code, said) = wizard(stage, &file, &some)?;
        ensure!(
            code == 1 && said.contains("nothing was changed"),
            "{count}: exit code {code}: {said}"
        );
    }
    let (code, _) = wizard(stage, &file, &all.replace("y\n", "n\n"))?;
    ensure!(code == 1, "exit code {code}");
    let (code, said) = wizard(stage, &file, "bogus\nbogus\nbogus\nbogus\n")?;
    ensure!(
        code == 1 && said.matches("it must be one of").count() == 4,
        "{code}: {said}"
    );
    let after = fs::metadata(&file)?;
    ensure!(
        (before.ino(), before.mtime_nsec()) == (after.ino(), after.mtime_nsec()),
        "the file was touched"
    );
    ensure!(
        !key.exists() && !stage.directory.join("cluster").exists(),
        "a key was made"
    );
    ensure!(
        !stage.directory.join("fence_virt.conf.bak").exists(),
        "a copy was made"
    );
    Ok(())
}

fn terminal(stage: &Stage) -> Verdict {
    let file = stage.write("fence_virt.conf", &old_file())?;
    let pty = openpty(None, None)?;
    let clone = |fd: &OwnedFd| fd.try_clone();
    let mut command = command(stage, &file);
    command
        .stdin(clone(&pty.slave)?)
        .stdout(clone(&pty.slave)?)
        .stderr(clone(&pty.slave)?);
    let mut child = command.spawn()?;
    drop(command);
    drop(pty.slave);
    let wrong = "bogus\n".repeat(6);
    let key = stage.key();
    let lines = format!("{wrong}\n\n\nnothing0\nnone\n{}\n\n\ny\n", key.display());
    File::from(clone(&pty.master)?).write_all(lines.as_bytes())?;
    let mut said = Vec::new();
    // The end of a terminal is an error.
    let _ = File::from(pty.master).read_to_end(&mut said);
    let status = child.wait()?;
    let said = String::from_utf8_lossy(&said);
    ensure!(status.success(), "{status}: {said}");
    let again = said.matches("it must be one of").count();
    ensure!(again == 6, "asked again {again} times: {said}");
    ensure!(said.contains("there is no such interface"), "{said}");
    // The original's key that means nothing here is kept, and said.
    let checked = stage.check_file(&file)?;
    checked.expect("config", "warning", "module_path")
}
