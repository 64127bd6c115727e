//! `fence_virt -T` against hosts of every kind.

use std::io::Write;
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{Directory, KEY, Run, run, tcp_listener};
use crate::host::{Host, wait_for_close};
use fence_proto::host_list::{Entry, encode};
use fence_proto::{Action, HashAlgorithm, Uuid};

/// Serves one connection in a thread of its own.
fn serve<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let (listener, port) = tcp_listener();
    let host = thread::spawn(move || serve(listener.accept().unwrap().0));
    (port, host)
}

/// A host that goes through with the handshake and then says this.
fn host_says(reply: Vec<u8>) -> (u16, JoinHandle<()>) {
    serve(move |mut stream| {
        let host = Host::new(KEY);
        host.read_frame(&mut stream).expect("a good frame");
        assert!(host.authenticate(&mut stream));
        stream.write_all(&reply).unwrap();
    })
}

fn ask(port: u16, action: &str, more: &[&str]) -> Run {
    let directory = Directory::new();
    let (key, port) = (directory.key(), port.to_string());
    let mut args = vec!["-T", "127.0.0.1", "-p", &port, "-k", &key, "-o", action];
    args.extend(["-n", "vm1", "-t", "20"]);
    args.extend(more);
    run("fence_virt", &args, b"")
}

fn list_of(count: u8) -> Vec<u8> {
    let entries: Vec<_> = (0..count)
        .map(|number| Entry {
            name: format!("vm{number}"),
            uuid: Uuid([number; 16]),
            state: number,
        })
        .collect();
    [&[253][..], &encode(&entries)].concat()
}

#[test]
fn reply_byte_is_the_exit_code() {
    for (action, byte, stdout) in [
        ("status", 0, "Status: ON\n"),
        ("status", 2, "Status: OFF\n"),
        ("off", 0, ""),
        ("on", 0, ""),
        ("reboot", 0, ""),
        ("monitor", 0, ""),
    ] {
        let (port, host) = host_says(vec![byte]);
        let run = ask(port, action, &[]);
        assert_eq!(run.code, i32::from(byte), "{run:?}");
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (stdout, ""));
        host.join().unwrap();
    }
    for (action, byte, word) in [
        ("status", 1, "failed"),
        ("off", 1, "failed"),
        ("null", 1, "failed"),
        ("off", 3, "permission denied"),
        ("off", 2, "unknown reply 2"),
        ("on", 77, "unknown reply 77"),
        ("on", 255, "unknown reply 255"),
    ] {
        let (port, host) = host_says(vec![byte]);
        ask(port, action, &[]).assert_failed(byte.into(), &[action, "vm1", word]);
        host.join().unwrap();
    }
}

#[test]
fn frame_says_what_was_asked() {
    let (port, host) = serve(|mut stream| Host::new(KEY).read_frame(&mut stream));
    ask(port, "reboot", &["-t", "1"]).assert_failed(1, &["no result"]);
    let frame = host.join().unwrap().expect("a good frame");
    assert_eq!(frame.action, Action::Reboot);
    assert_eq!(frame.domain.as_str(), "vm1");
    assert_eq!(frame.callback, None);
    assert!(!frame.uuid_flag);
}

#[test]
fn every_hash_and_auth_works() {
    for hash in HashAlgorithm::ALL {
        for auth in HashAlgorithm::ALL {
            let (port, host) = serve(move |mut stream| {
                let host = Host {
                    hash,
                    auth,
                    ..Host::new(KEY)
                };
                host.read_frame(&mut stream).expect("a good frame");
                assert!(host.authenticate(&mut stream));
                stream.write_all(&[0]).unwrap();
            });
            ask(port, "off", &["-c", hash.name(), "-C", auth.name()]).assert_done("");
            host.join().unwrap();
        }
    }
}

#[test]
fn list_is_printed_whole() {
    let (port, host) = host_says(list_of(3));
    ask(port, "list", &[]).assert_done(
        "vm0                              00000000-0000-0000-0000-000000000000 off\n\
         vm1                              01010101-0101-0101-0101-010101010101 on\n\
         vm2                              02020202-0202-0202-0202-020202020202 off\n",
    );
    host.join().unwrap();
    let (port, host) = host_says(list_of(0));
    ask(port, "list-status", &[]).assert_done("");
    host.join().unwrap();
}

#[test]
fn name_of_a_domain_makes_no_line_and_no_escape_in_the_list() {
    let entry = Entry {
        name: "a\nvm9 x on\r\u{1b}[2J".to_owned(),
        uuid: Uuid([1; 16]),
        state: 1,
    };
    let mut reply = [&[253][..], &encode(&[entry])].concat();
    // C1 controls outside UTF-8 are escapes to some terminals.
    reply[1] = 0x9b;
    let (port, host) = host_says(reply);
    let listed = "\u{fffd}?vm9 x on??[2J                01010101-0101-0101-0101-010101010101 on\n";
    let run = ask(port, "list", &[]);
    host.join().unwrap();
    assert_eq!((run.code, run.stdout.as_str()), (0, listed), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    assert!(run.stderr.contains("pcmk_host_map"), "{run:?}");
}

#[test]
fn separator_makes_the_lists_of_fence_agents_and_only_then() {
    for (action, separator, wanted) in [
        ("list", ",", "vm0,00000000-0000-0000-0000-000000000000\n"),
        (
            "list-status",
            ": ",
            "vm0: 00000000-0000-0000-0000-000000000000: OFF\n",
        ),
    ] {
        let (port, host) = host_says(list_of(1));
        ask(port, action, &["--separator", separator]).assert_done(wanted);
        host.join().unwrap();
    }
    for action in ["list", "list-status"] {
        let (port, host) = host_says(list_of(1));
        ask(port, action, &[]).assert_done(
            "vm0                              00000000-0000-0000-0000-000000000000 off\n",
        );
        host.join().unwrap();
    }
}

#[test]
fn list_that_is_cut_is_a_failure_and_not_printed() {
    let whole = list_of(3);
    for length in [1, 2, 131, 132, 261, 391, 520] {
        let (port, host) = host_says(whole[..length].to_vec());
        ask(port, "list", &[]).assert_failed(1, &["list", "ended in the middle"]);
        host.join().unwrap();
    }
}

#[test]
fn list_that_stops_is_a_failure_at_the_time_out() {
    let (port, host) = serve(|mut stream| {
        let host = Host::new(KEY);
        host.read_frame(&mut stream).expect("a good frame");
        assert!(host.authenticate(&mut stream));
        stream.write_all(&list_of(3)[..300]).unwrap();
        wait_for_close(&mut stream);
    });
    let run = ask(port, "list", &["-t", "1"]);
    run.assert_failed(1, &["1 s"]);
    assert!(run.took >= Duration::from_secs(1));
    host.join().unwrap();
}

#[test]
fn closed_line_is_never_a_success() {
    let (port, host) = host_says(vec![]);
    ask(port, "off", &[]).assert_failed(1, &["without a reply"]);
    host.join().unwrap();
    let (port, host) = serve(drop);
    ask(port, "off", &[]).assert_failed(1, &["no result"]);
    host.join().unwrap();
    let (port, host) = serve(|mut stream| {
        let host = Host::without_auth(KEY);
        host.read_frame(&mut stream).expect("a good frame");
    });
    ask(port, "off", &["-C", "none"]).assert_failed(1, &["without a reply"]);
    host.join().unwrap();
}

#[test]
fn failed_authentication_is_never_a_success() {
    let (port, host) = serve(|mut stream| {
        // Would accept any frame, but cannot prove itself.
        let _ = Host::new(KEY).read_frame(&mut stream);
        let stranger = Host::new(b"another key");
        assert!(!stranger.authenticate(&mut stream));
    });
    ask(port, "off", &[]).assert_failed(1, &["does not prove", "key"]);
    host.join().unwrap();
    let (port, host) = serve(|mut stream| {
        let _ = Host::new(KEY).read_frame(&mut stream);
        // Success at once, without a handshake, and as much of it as one likes.
        let _ = stream.write_all(&[0; 500]);
        wait_for_close(&mut stream);
    });
    ask(port, "off", &[]).assert_failed(1, &["does not prove"]);
    host.join().unwrap();
}

#[test]
fn silent_host_costs_one_time_out() {
    for hash_only in [false, true] {
        let (port, host) = serve(|mut stream| wait_for_close(&mut stream));
        let more = if hash_only {
            &["-t", "1", "-C", "none"][..]
        } else {
            &["-t", "1"]
        };
        let run = ask(port, "off", more);
        run.assert_failed(1, &["did not answer within 1 s"]);
        assert!(run.took >= Duration::from_secs(1), "{run:?}");
        assert!(run.took < Duration::from_secs(10), "{run:?}");
        host.join().unwrap();
    }
}

#[test]
fn nobody_listening_is_said_at_once() {
    let (listener, port) = tcp_listener();
    drop(listener);
    let run = ask(port, "off", &["-t", "60"]);
    run.assert_failed(1, &["127.0.0.1", &port.to_string(), "refused"]);
    assert!(run.took < Duration::from_secs(30), "{run:?}");
}
