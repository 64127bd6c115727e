//! `fence_xvm` against call-backs of every kind, on the loopback interface.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{Directory, KEY, Run, connect_when_open, group_listener, run};
use crate::host::{Host, wait_for_close};
use fence_proto::Action;

fn ask(port: u16, action: &'static str, more: &'static [&'static str]) -> JoinHandle<Run> {
    thread::spawn(move || {
        let directory = Directory::new();
        let (key, port) = (directory.key(), port.to_string());
        let mut args = vec!["-I", "lo", "-p", &port, "-k", &key, "-o", action];
        args.extend(["-n", "vm1", "-t", "20"]);
        args.extend(more);
        run("fence_xvm", &args, b"")
    })
}

/// An honest host's call-back with this reply.
pub(crate) fn serve(host: &Host, stream: &mut TcpStream, reply: u8) {
    assert!(host.authenticate(stream));
    stream.write_all(&[reply]).unwrap();
    wait_for_close(stream);
}

#[test]
fn host_that_hears_the_group_calls_back_and_answers() {
    let (socket, port) = group_listener();
    let agent = ask(port, "status", &["-u"]);
    let host = Host::new(KEY);
    let frame = host.receive_frame(&socket);
    let callback = frame.callback.unwrap();
    assert_eq!(callback, (Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(frame.action, Action::Status);
    assert_eq!(frame.domain.as_str(), "vm1");
    assert!(frame.uuid_flag);
    serve(&host, &mut TcpStream::connect(callback).unwrap(), 2);
    let run = agent.join().unwrap();
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (2, "Status: OFF\n"),
        "{run:?}"
    );
}

#[test]
fn requests_are_repeated_with_the_same_seqno_and_fresh_random_bytes() {
    let (socket, port) = group_listener();
    let agent = ask(port, "off", &["-r", "1"]);
    let host = Host::new(KEY);
    let first = host.receive_frame(&socket);
    let second = host.receive_frame(&socket);
    assert_eq!(first.id.seqno, second.id.seqno);
    assert_ne!(first.id.random, second.id.random);
    serve(
        &host,
        &mut TcpStream::connect(first.callback.unwrap()).unwrap(),
        0,
    );
    agent.join().unwrap().assert_done("");
}

#[test]
fn bad_call_backs_cost_nothing() {
    let (socket, port) = group_listener();
    let agent = ask(port, "off", &[]);
    let host = Host::new(KEY);
    let callback = host.receive_frame(&socket).callback.unwrap();
    let _silent: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(callback).unwrap())
        .collect();
    for _ in 0..10 {
        let mut rubbish = TcpStream::connect(callback).unwrap();
        let _ = rubbish.write_all(&[0; 1000]);
    }
    let mut stranger = TcpStream::connect(callback).unwrap();
    assert!(!Host::new(b"another key").authenticate(&mut stranger));
    let began = std::time::Instant::now();
    serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    agent.join().unwrap().assert_done("");
}

#[test]
fn call_back_that_ends_without_a_reply_is_no_success_and_another_host_may_come() {
    let (socket, port) = group_listener();
    let agent = ask(port, "off", &["-r", "1"]);
    let host = Host::new(KEY);
    let callback = host.receive_frame(&socket).callback.unwrap();
    let mut first = TcpStream::connect(callback).unwrap();
    assert!(host.authenticate(&mut first));
    // While the first host is at work nobody else gets anywhere.
    let mut second = TcpStream::connect(callback).unwrap();
    assert!(!host.authenticate(&mut second));
    drop(first);
    let mut third = TcpStream::connect(callback).unwrap();
    while !host.authenticate(&mut third) {
        third = TcpStream::connect(callback).unwrap();
    }
    third.write_all(&[3]).unwrap();
    agent
        .join()
        .unwrap()
        .assert_failed(3, &["permission denied"]);
}

#[test]
fn nobody_calls_back_costs_one_time_out_and_says_what_was_tried() {
    let (_socket, port) = group_listener();
    // Shorter than one retransmission.
    let run = ask(port, "off", &["-t", "1", "-r", "50"]).join().unwrap();
    run.assert_failed(
        1,
        &[
            "225.0.0.12",
            &port.to_string(),
            "fence_virtd",
            "key",
            "firewall",
        ],
    );
    assert!(run.took >= Duration::from_secs(1), "{run:?}");
    assert!(run.took < Duration::from_secs(10), "{run:?}");
}

#[test]
fn wrong_key_is_named_as_the_likely_cause() {
    let (socket, port) = group_listener();
    let agent = ask(port, "off", &["-t", "2"]);
    let callback = Host::new(KEY).receive_frame(&socket).callback.unwrap();
    let mut stream = TcpStream::connect(callback).unwrap();
    assert!(!Host::new(b"another key").authenticate(&mut stream));
    agent.join().unwrap().assert_failed(1, &["prove", "key"]);
}

#[test]
fn two_agents_at_once_both_get_their_answer() {
    let (socket, port) = group_listener();
    let agents = [
        ask(port, "status", &["-r", "1"]),
        ask(port, "status", &["-r", "1"]),
    ];
    let host = Host::new(KEY);
    let mut served = Vec::new();
    while served.len() < agents.len() {
        let frame = host.receive_frame(&socket);
        if !served.contains(&frame.id.seqno) {
            served.push(frame.id.seqno);
            serve(&host, &mut connect_when_open(frame.callback.unwrap()), 0);
        }
    }
    for agent in agents {
        agent.join().unwrap().assert_done("Status: ON\n");
    }
}

#[test]
fn port_that_stays_busy_is_replaced_and_the_host_is_told() {
    let (socket, port) = group_listener();
    let _busy = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let agent = ask(port, "status", &["-t", "4"]);
    let host = Host::new(KEY);
    let callback = host.receive_frame(&socket).callback.unwrap();
    assert_ne!(callback.port(), port);
    serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
    agent.join().unwrap().assert_done("Status: ON\n");
}

#[test]
fn debug_says_on_stderr_what_is_done() {
    let (socket, port) = group_listener();
    let agent = ask(port, "status", &["-dd"]);
    let host = Host::new(KEY);
    let callback = host.receive_frame(&socket).callback.unwrap();
    serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
    let run = agent.join().unwrap();
    assert_eq!(run.stdout, "Status: ON\n", "{run:?}");
    for word in [
        "status of domain 'vm1'",
        "on lo",
        "request",
        "call-back from 127.0.0.1",
    ] {
        assert!(run.stderr.contains(word), "{word}: {run:?}");
    }
    assert!(
        run.stderr
            .lines()
            .all(|line| line.starts_with("fence_xvm: debug: "))
    );
}

#[test]
fn delay_is_for_actions_that_change_something() {
    let (socket, port) = group_listener();
    let host = Host::new(KEY);
    for (action, delayed) in [("status", false), ("monitor", false), ("on", true)] {
        let agent = ask(port, action, &["-w", "2"]);
        let callback = host.receive_frame(&socket).callback.unwrap();
        serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
        let run = agent.join().unwrap();
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(
            run.took >= Duration::from_secs(2),
            delayed,
            "{action}: {run:?}"
        );
    }
}
