//! The program itself, as a process.
#![cfg(test)]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the system lets a process have: the line of `/proc/PID/limits` that begins like this.
fn limit(id: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with(name));
    line.unwrap_or_default().to_owned()
}

#[test]
fn daemon_may_not_leave_a_core_file_with_its_keys() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let directory =
        std::env::temp_dir().join(format!("fence-virtd-process-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let config = directory.join("conf");
    let mut file = fs::File::create(&config).unwrap();
    write!(
        file,
        "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; }}\n\
         listeners {{ tcp {{ hash = \"none\"; auth = \"none\"; key_file = \"/nonexistent\"; port = \"{}\"; }} }}\n\
         backends {{ libvirt {{ uri = \"test:///default\"; }} }}\n",
        address.port()
    )
    .unwrap();
    // Whatever the test itself may do, the program begins with a limit that lets it.
    let mut daemon = Command::new("sh")
        .args(["-c", "ulimit -c 100 && exec \"$0\" -F -f \"$1\""])
        .arg(env!("CARGO_BIN_EXE_fence_virtd"))
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let is_none = || {
        let line = limit(daemon.id(), "Max core file size");
        line.split_whitespace().filter(|word| *word == "0").count() == 2
    };
    while !is_none() && began.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(20));
    }
    let held = is_none();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert!(held);
}
