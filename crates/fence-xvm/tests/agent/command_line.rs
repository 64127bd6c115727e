//! What the caller gives, and what an agent says to it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::common::{Directory, group_listener, run};

const ROLES: [&str; 2] = ["fence_xvm", "fence_virt"];

#[test]
fn help_and_version_exit_zero() {
    for role in ROLES {
        for flag in ["-h", "-?", "--help"] {
            let run = run(role, &[flag], b"");
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
            assert!(run.stdout.starts_with(&format!("usage: {role}")), "{run:?}");
        }
        for flag in ["-V", "--version"] {
            let version = env!("CARGO_PKG_VERSION");
            run(role, &[flag], b"").assert_done(&format!("{role} {version}\n"));
        }
    }
}

#[test]
fn role_follows_the_name_whatever_the_path() {
    for (name, usage) in [
        ("/usr/sbin/fence_virt", "usage: fence_virt "),
        ("/usr/sbin/fence_xvm", "usage: fence_xvm "),
        ("something_else", "usage: fence_xvm "),
    ] {
        let run = run(name, &["-h"], b"");
        assert!(run.stdout.starts_with(usage), "{name}: {run:?}");
    }
}

#[test]
fn unknown_options_missing_values_and_stray_words_exit_one() {
    run("fence_xvm", &["-x"], b"").assert_failed(1, &["-x"]);
    run("fence_xvm", &["--frobnicate"], b"").assert_failed(1, &["--frobnicate"]);
    run("fence_xvm", &["-o"], b"").assert_failed(1, &["-o", "action"]);
    // The original's getopt takes -M and then fails, too.
    run("fence_xvm", &["-M", "x", "-o", "metadata"], b"").assert_failed(1, &["-M"]);
    run("fence_xvm", &["-o", "off", "vm1"], b"").assert_failed(1, &["vm1"]);
    run("fence_virt", &["-S", "3", "-o", "status", "-n", "vm1"], b"").assert_failed(1, &["-S3"]);
    run("fence_virt", &["-a", "225.0.0.12"], b"").assert_failed(1, &["-a"]);
}

#[test]
fn bad_values_name_option_value_and_what_is_allowed() {
    for (args, words) in [
        (&["-t", "0"][..], &["-t", "'0'", "1 to"][..]),
        (&["-t", "5s"], &["5s"]),
        (&["--ipport", "65536"], &["--ipport", "65535"]),
        (&["-r", "-1"], &["-r", "tenths"]),
        (&["-a", "10.0.0.1"], &["-a", "10.0.0.1", "multicast"]),
        (&["-i", "ipx"], &["ipx", "ipv6"]),
        (&["-i", "ipv4", "-a", "ff05::3:1"], &["ff05::3:1", "ipv4"]),
        (&["-c", "md5"], &["md5", "sha512"]),
        (&["-o", "destroy"], &["destroy", "reboot"]),
        (&["-I", "nothing0"], &["nothing0", "interface"]),
        (&["-n", ""], &["-n"]),
    ] {
        let args = [
            args,
            if args.contains(&"-n") {
                &[]
            } else {
                &["-n", "vm1"]
            },
        ]
        .concat();
        run("fence_xvm", &args, b"").assert_failed(1, words);
    }
    run("fence_virt", &["-S1", "-n", "vm1"], b"").assert_failed(1, &["-S", "'1'"]);
    run("fence_virt", &["-T", "host", "-n", "vm1"], b"").assert_failed(1, &["-T", "IP"]);
    run("fence_virt", &["-T", "::1", "-S", "-n", "vm1"], b"").assert_failed(1, &["-T", "-S"]);
}

#[test]
fn domain_twice_is_an_error_unless_equal() {
    let args = ["-n", "vm1", "-H", "vm2"];
    run("fence_xvm", &args, b"").assert_failed(1, &["vm1", "vm2"]);
    let equal = ["-n", "vm1", "-H", "vm1", "-k", "/nonexistent/key"];
    run("fence_xvm", &equal, b"").assert_failed(1, &["/nonexistent/key"]);
    run("fence_xvm", &["-o", "off"], b"").assert_failed(1, &["off", "domain"]);
}

#[test]
fn no_key_is_said_and_exits_one_unless_none_is_used() {
    let directory = Directory::new();
    let empty = directory.file("empty", b"");
    let folder = directory.0.to_str().unwrap();
    for (key, word) in [
        ("/nonexistent/key", "No such file"),
        (&empty, "empty"),
        (folder, "file"),
    ] {
        let args = ["-k", key, "-o", "off", "-n", "vm1", "-t", "1"];
        run("fence_xvm", &args, b"").assert_failed(1, &[key, word]);
        for one in [["-c", "none"], ["-C", "none"]] {
            run("fence_xvm", &[&args[..], &one].concat(), b"").assert_failed(1, &[key]);
        }
    }
    let (_socket, port) = group_listener();
    let port = port.to_string();
    let args = [
        "-k",
        "/nonexistent/key",
        "-c",
        "none",
        "-C",
        "none",
        "-o",
        "off",
    ];
    let more = ["-n", "vm1", "-t", "1", "-I", "lo", "-p", &port];
    run("fence_xvm", &[&args[..], &more].concat(), b"").assert_failed(1, &["no result"]);
}

#[test]
fn stdin_means_the_same_as_the_command_line() {
    run(
        "fence_xvm",
        &[],
        b"plug=vm1\naction = off\nkey_file=/nonexistent/a key\n",
    )
    .assert_failed(1, &["/nonexistent/a key"]);
    run(
        "fence_xvm",
        &[],
        b"action=off\r\nplug=vm1\r\ntimeout=never\r\n",
    )
    .assert_failed(1, &["timeout", "never"]);
    run("fence_xvm", &[], b"").assert_failed(1, &["reboot", "domain"]);
    run("fence_xvm", &[], b"action off\nplug=vm1\n").assert_failed(1, &["action off", "line 1"]);
    run("fence_xvm", &[], b"plug=vm1\nport=vm2\n").assert_failed(1, &["vm1", "vm2"]);
}

#[test]
fn unknown_names_on_stdin_are_reported_and_the_run_goes_on() {
    let run = run(
        "fence_xvm",
        &[],
        b"pcmk_host_list=a\naction=validate-all\nfrob=1\n",
    );
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{run:?}");
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{run:?}");
    assert!(lines[0].contains("pcmk_host_list") && lines[1].contains("frob"));
}

/// Row L35: the default, reboot, must not be done instead.
#[test]
fn line_on_stdin_that_seems_to_be_for_the_action_sends_nothing() {
    let (group, port) = group_listener();
    group.set_nonblocking(true).unwrap();
    let directory = Directory::new();
    let key = directory.key();
    for line in [
        "--action=status",
        "-o status",
        "* action=status",
        "acton=status",
    ] {
        let stdin = format!("plug=test\nipport={port}\nkey_file={key}\ntimeout=1\n{line}\n");
        let words = ["line 5 ", line, "write action=<value>"];
        run("fence_xvm", &[], stdin.as_bytes()).assert_failed(1, &words);
    }
    let heard = group.recv(&mut [0; 1]).unwrap_err();
    assert_eq!(heard.kind(), ErrorKind::WouldBlock);
}

#[test]
fn control_characters_never_reach_stderr() {
    let nasty = "a\u{1b}[2J\r\u{9b}1m\u{7f}b";
    let two_lines = format!("{nasty}\nsecond");
    let domain = format!("-n{two_lines}");
    for (args, stdin) in [
        (&["-o", &two_lines][..], String::new()),
        (&["-t", &two_lines, "-n", "x"], String::new()),
        (&["-k", &two_lines, "-n", "x"], String::new()),
        (&["-n", "x", &two_lines], String::new()),
        (&["--", &two_lines], String::new()),
        (&[&format!("--{two_lines}")], String::new()),
        (&[&domain, "-n", "x"], String::new()),
        (&[], format!("{nasty} action=off\n")),
        (&[], format!("plug={nasty}\n")),
        (&[], format!("action={nasty}\n")),
        (&[], format!("timeout={nasty}\n")),
    ] {
        let run = run("fence_xvm", args, stdin.as_bytes());
        run.assert_failed(1, &[]);
        let line = run.stderr.trim_end_matches('\n');
        assert!(!line.contains(char::is_control), "{run:?}");
    }
}

#[test]
fn metadata_needs_no_key_and_no_sense() {
    for role in ROLES {
        let expected = run(role, &["-o", "metadata"], b"");
        assert_eq!((expected.code, expected.stderr.as_str()), (0, ""));
        let bad_key = run(role, &["-k", "/nonexistent/key", "-o", "metadata"], b"");
        bad_key.assert_done(&expected.stdout);
        let stdin = b"key_file=/nonexistent/key\ntimeout=x\naction=metadata\n";
        run(role, &[], stdin).assert_done(&expected.stdout);
    }
}

#[test]
fn validate_all_checks_options_and_a_key_file_that_is_named() {
    let directory = Directory::new();
    let key = directory.key();
    let restrict = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    run("fence_xvm", &["-o", "validate-all"], b"").assert_done("");
    run("fence_virt", &["-o", "validate-all", "-T", "::1"], b"").assert_done("");
    restrict(0o640);
    run("fence_xvm", &["-o", "validate-all", "-k", &key], b"").assert_done("");
    restrict(0o644);
    let open = run("fence_xvm", &["-o", "validate-all", "-k", &key], b"");
    assert_eq!(open.code, 0);
    assert!(open.stderr.contains("0644"), "{open:?}");
    for bad in [["-k", "/nonexistent/key"], ["-t", "0"], ["-a", "10.0.0.1"]] {
        let args = [&["-o", "validate-all"][..], &bad].concat();
        run("fence_xvm", &args, b"").assert_failed(1, &[bad[1]]);
    }
}

#[test]
fn result_that_cannot_be_written_is_no_success() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fence_xvm"))
        .args(["-o", "metadata"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write"), "{stderr}");
}

#[test]
fn answers_without_a_host_are_quick() {
    let run = run("fence_xvm", &["-o", "metadata"], b"");
    assert!(run.took < Duration::from_secs(5), "{run:?}");
}

#[test]
fn agent_may_not_leave_a_core_file_with_its_key() {
    // Whatever the test itself may do, the program begins with a limit that lets it; then it waits for its input.
    let mut agent = std::process::Command::new("sh")
        .args(["-c", "ulimit -c 100 && exec \"$0\""])
        .arg(env!("CARGO_BIN_EXE_fence_xvm"))
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let limits = format!("/proc/{}/limits", agent.id());
    let is_none = || {
        let limits = std::fs::read_to_string(&limits).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core"));
        core.is_some_and(|line| line.split_whitespace().filter(|word| *word == "0").count() == 2)
    };
    let began = std::time::Instant::now();
    while !is_none() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let held = is_none();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(held);
}
