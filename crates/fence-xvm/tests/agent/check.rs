//! `--check`: every host that answers is told, and what keeps them from it.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use fence_proto::Action;
use serde_json::Value;

use crate::common::{Directory, KEY, Run, group_listener, run, tcp_listener};
use crate::host::{Host, wait_for_close};
use crate::multicast::serve;

/// A key as it should be: long, and of all bytes.
fn good_key() -> Vec<u8> {
    (0..=255).cycle().take(4096).collect()
}

fn check(name: &'static str, args: &[&str], key: &[u8]) -> JoinHandle<Run> {
    let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
    let key = key.to_vec();
    thread::spawn(move || {
        let directory = Directory::new();
        let file = directory.file("key", &key);
        make_private(&file);
        let mut all = vec!["--check", "--json", "-k", &file];
        all.extend(args.iter().map(String::as_str));
        run(name, &all, b"")
    })
}

fn make_private(file: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The verdicts and findings of one check.
fn of(run: &Run, check: &str) -> Vec<(String, String)> {
    assert_eq!(run.stderr, "", "{run:?}");
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["exit_code"], run.code, "{run:?}");
    let checks = json["checks"].as_array().unwrap();
    let mine = checks.iter().filter(|it| it["check"] == check);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    mine.map(|it| (text(&it["verdict"]), text(&it["found"])))
        .collect()
}

#[test]
fn every_host_that_calls_back_is_told_with_its_time_and_what_is_wrong_with_it() {
    let (socket, port) = group_listener();
    let port = port.to_string();
    let agent = check(
        "fence_xvm",
        &["-p", &port, "-I", "lo", "-r", "5"],
        &good_key(),
    );
    let host = Host::new(&good_key());
    let frame = host.receive_frame(&socket);
    assert_eq!(frame.action, Action::Monitor);
    let callback = frame.callback.unwrap();
    let honest = |reply| {
        thread::spawn(move || {
            let mut stream = TcpStream::connect(callback).unwrap();
            serve(&Host::new(&good_key()), &mut stream, reply);
        })
    };
    let hosts = [honest(0), honest(0), honest(1)];
    let mut stranger = TcpStream::connect(callback).unwrap();
    assert!(!Host::new(b"another key").authenticate(&mut stranger));
    let mut rude = TcpStream::connect(callback).unwrap();
    rude.write_all(&[7; 200]).unwrap();
    for host in hosts {
        host.join().unwrap();
    }
    let run = agent.join().unwrap();
    let told = of(&run, "host");
    let count = |verdict: &str| told.iter().filter(|it| it.0 == verdict).count();
    assert_eq!((told.len(), count("ok")), (5, 2), "{told:?}");
    assert!(
        told.iter().all(|(_, found)| found.contains(" ms")),
        "{told:?}"
    );
    let key = told
        .iter()
        .filter(|it| it.1.contains("does not prove that it has our key"));
    assert_eq!(key.count(), 2, "{told:?}");
    assert_eq!(run.code, 1);
    assert_eq!(of(&run, "key")[0].0, "ok");
    assert_eq!(of(&run, "port")[0].0, "ok");
}

#[test]
fn guest_that_nobody_answers_is_told_what_to_look_at() {
    let (_socket, port) = group_listener();
    let _busy = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let port = port.to_string();
    let agent = check("fence_xvm", &["-p", &port, "-I", "lo", "-r", "1"], KEY);
    let run = agent.join().unwrap();
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        of(&run, "host")[0].1.contains("no host called back"),
        "{run:?}"
    );
    assert_eq!(of(&run, "address")[0].0, "warning", "{run:?}");
    let busy = &of(&run, "port")[0];
    assert!(
        busy.0 == "warning" && busy.1.contains(&std::process::id().to_string()),
        "{busy:?}"
    );
    assert_eq!(of(&run, "key")[0].0, "warning", "a key that is text");
    assert!(
        !run.stdout.contains(std::str::from_utf8(KEY).unwrap()),
        "the key is told"
    );
}

#[test]
fn host_over_tcp_answers_or_not() {
    let (listener, port) = tcp_listener();
    let args = ["-T", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let agent = check(
        "fence_virt",
        &[&args[..], &["-n", "vm1"]].concat(),
        &good_key(),
    );
    let (mut stream, _) = listener.accept().unwrap();
    let host = Host::new(&good_key());
    assert_eq!(host.read_frame(&mut stream).unwrap().action, Action::Status);
    serve(&host, &mut stream, 2);
    let run = agent.join().unwrap();
    // What this machine's firewall is like is not known.
    assert!(run.code != 1, "{run:?}");
    assert_eq!(of(&run, "host")[0].0, "ok", "{run:?}");
    let agent = check("fence_virt", &args, &good_key());
    let (mut stream, _) = listener.accept().unwrap();
    drop(host.read_frame(&mut stream));
    drop(stream);
    let run = agent.join().unwrap();
    assert_eq!(
        (run.code, of(&run, "host")[0].0.as_str()),
        (1, "problem"),
        "{run:?}"
    );
    drop(listener);
    let run = check("fence_virt", &args, &good_key()).join().unwrap();
    assert_eq!(run.code, 1, "{run:?}");
}

#[test]
fn missing_key_and_missing_device_are_problems() {
    let run = run("fence_xvm", &["--check", "-k", "/nonexistent/key"], b"");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("problem  key"), "{run:?}");
    assert!(run.stdout.contains("skipped  host"), "{run:?}");
    let run = super::common::run("fence_virt", &["--check", "-D", "/nonexistent/tty"], b"");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("problem  device"), "{run:?}");
}

#[test]
fn check_is_asked_for_on_the_command_line_and_never_fences() {
    run("fence_xvm", &["--json"], b"").assert_failed(1, &["--check"]);
    let (socket, port) = group_listener();
    let port = port.to_string();
    let args = ["-p", &port, "-I", "lo", "-r", "1", "-o", "off", "-n", "vm1"];
    let agent = check("fence_xvm", &args, &good_key());
    let host = Host::new(&good_key());
    let frame = host.receive_frame(&socket);
    assert_eq!(frame.action, Action::Status);
    let mut stream = TcpStream::connect(frame.callback.unwrap()).unwrap();
    serve(&host, &mut stream, 0);
    wait_for_close(&mut stream);
    let run = agent.join().unwrap();
    assert_eq!(of(&run, "host")[0].0, "ok", "{run:?}");
}
