//! `fence_virt` on a serial device.

use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::host_list::Entry;
use fence_proto::serial::{Request, list_response, response};
use fence_proto::{Action, Reply, Uuid};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::termios::{
    BaudRate, ControlFlags, InputFlags, LocalFlags, OutputFlags, cfgetospeed, tcgetattr,
};

use crate::common::{Directory, Run, run};
use crate::line::{SerialLine, channel_host_says, open_device, request, serial_host_says};

type Say = Box<dyn FnOnce(&Request) -> Vec<u8>>;

/// Both kinds of line, one after the other: the agent's end with the same host.
#[track_caller]
fn both(args: &[&str], say: impl Fn(&Request) -> Vec<u8> + Clone + 'static) -> [Run; 2] {
    let hosts: [fn(&[&str], Say) -> Run; 2] = [
        |args, say| serial_host_says(args, say),
        |args, say| channel_host_says(args, say),
    ];
    hosts.map(|host| host(args, Box::new(say.clone())))
}

fn list(seqno: u32) -> Vec<u8> {
    let entry = |number| Entry {
        name: format!("vm{number}"),
        uuid: Uuid([number; 16]),
        state: number,
    };
    list_response(seqno, &[entry(0), entry(1), entry(2)])
}

const LIST: &str = "vm0                              00000000-0000-0000-0000-000000000000 off\n\
                    vm1                              01010101-0101-0101-0101-010101010101 on\n\
                    vm2                              02020202-0202-0202-0202-020202020202 off\n";

#[test]
fn reply_byte_is_the_exit_code_from_hosts_with_and_without_tags() {
    for tagged in [false, true] {
        let say = move |byte| {
            move |request: &Request| match tagged {
                true => response(request.seqno, Reply::from_wire(byte)),
                false => [b"abba".as_slice(), &[byte]].concat(),
            }
        };
        for run in both(&["-o", "off"], say(0)) {
            run.assert_done("");
        }
        for run in both(&["-o", "status"], say(2)) {
            assert_eq!((run.code, run.stdout.as_str()), (2, "Status: OFF\n"));
        }
        for (byte, word) in [
            (1, "failed"),
            (3, "permission denied"),
            (77, "unknown reply 77"),
        ] {
            for run in both(&["-o", "reboot"], say(byte)) {
                run.assert_failed(byte.into(), &["reboot", "vm1", word]);
            }
        }
    }
}

#[test]
fn request_says_what_was_asked_and_needs_no_key() {
    let say = |request: &Request| {
        assert_eq!(request.action, Action::Status);
        assert_eq!(request.domain.as_str(), "vm1");
        assert!(!request.uuid_flag);
        response(request.seqno, Reply::Success)
    };
    for run in both(&["-o", "status", "-k", "/nonexistent/key"], say) {
        run.assert_done("Status: ON\n");
    }
}

#[test]
fn noise_before_the_response_is_skipped() {
    let say = |_: &Request| b"\r\nlogin: aabb \0abbabba\0".to_vec();
    for run in both(&["-o", "off"], say) {
        run.assert_done("");
    }
}

#[test]
fn list_is_printed_whole() {
    for run in both(&["-o", "list"], |request| list(request.seqno)) {
        run.assert_done(LIST);
    }
    let without_what_follows = |request: &Request| {
        let list = list(request.seqno);
        list[..list.len() - 5].to_vec()
    };
    for run in both(&["-o", "list-status"], without_what_follows) {
        run.assert_done(LIST);
    }
}

#[test]
fn partial_list_is_no_list() {
    for length in [19, 20, 148, 149, 150, 400, 538] {
        let cut = move |request: &Request| list(request.seqno)[..length].to_vec();
        // A VM channel that is closed, a serial device that says nothing more.
        channel_host_says(&["-o", "list"], cut).assert_failed(1, &["ended in the middle"]);
    }
    let cut = |request: &Request| list(request.seqno)[..400].to_vec();
    serial_host_says(&["-o", "list", "-t", "1"], cut)
        .assert_failed(1, &["list did not end", "1 s"]);
}

#[test]
fn closed_line_is_never_a_success() {
    let half = |request: &Request| response(request.seqno, Reply::Success)[..18].to_vec();
    channel_host_says(&["-o", "off"], half).assert_failed(1, &["without a reply"]);
    let mut line = SerialLine::new();
    let agent = line.ask(&["-o", "off"]);
    request(&mut line.host);
    line.host.write_all(b"abba").unwrap();
    drop((line.host, line.guest));
    let run = agent.join().unwrap();
    run.assert_failed(1, &["without a reply"]);
    assert!(run.took < Duration::from_secs(15), "{run:?}");
}

#[test]
fn silent_host_costs_one_time_out() {
    let silent = |_: &Request| Vec::new();
    let run = serial_host_says(&["-o", "off", "-t", "1"], silent);
    run.assert_failed(1, &["/dev/pts/", "did not answer", "1 s", "fence_virtd"]);
    assert!(run.took >= Duration::from_secs(1), "{run:?}");
    assert!(run.took < Duration::from_secs(10), "{run:?}");
}

#[test]
fn what_came_before_the_request_is_no_response() {
    let mut line = SerialLine::new();
    line.host.write_all(b"abba\0").unwrap();
    let agent = line.ask(&["-o", "off"]);
    // Also while the agent waits for silence.
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        line.host.write_all(b"abba\0").unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    request(&mut line.host);
    line.host.write_all(b"abba\x01").unwrap();
    agent.join().unwrap().assert_failed(1, &["off", "failed"]);
}

#[test]
fn response_to_another_request_is_ignored() {
    let say = |request: &Request| {
        let mut bytes = response(request.seqno.wrapping_add(1), Reply::Success);
        bytes.extend(list(request.seqno.wrapping_add(2)));
        bytes.extend(response(request.seqno, Reply::PermissionDenied));
        bytes
    };
    for run in both(&["-o", "off"], say) {
        run.assert_failed(3, &["permission denied"]);
    }
    let only_another = |request: &Request| response(request.seqno ^ 1, Reply::Success);
    let run = serial_host_says(&["-o", "off", "-t", "1"], only_another);
    run.assert_failed(1, &["only to other requests"]);
}

#[test]
fn line_that_is_never_silent_is_given_up() {
    let mut line = SerialLine::new();
    let agent = line.ask(&["-o", "off", "-t", "2"]);
    while !agent.is_finished() {
        // The buffer fills once nobody reads.
        let _ = nix::unistd::write(&line.host, b"login: ");
        thread::sleep(Duration::from_millis(10));
    }
    agent
        .join()
        .unwrap()
        .assert_failed(1, &["never falls silent"]);
    // Not at the speed that puts the modem lines down.
    let modes = tcgetattr(&line.guest).unwrap();
    assert_eq!(cfgetospeed(&modes), BaudRate::B115200);
    line.host.flush().unwrap();
}

#[test]
fn device_that_is_none_is_an_error_with_the_cure() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let folder = directory.0.to_str().unwrap();
    for (device, words) in [
        ("/nonexistent/ttyS1", &["No such file", "-D"][..]),
        (&file, &["Inappropriate ioctl", "-D"]),
        (folder, &["directory", "-D"]),
        ("/dev/null", &["Inappropriate ioctl", "-D"]),
        ("", &["-D", "serial device"]),
    ] {
        let run = run("fence_virt", &["-D", device, "-o", "off", "-n", "vm1"], b"");
        run.assert_failed(1, &[&[device], words].concat());
        assert!(run.took < Duration::from_secs(15), "{run:?}");
    }
    let args = ["-D", "/nonexistent/ttyS1", "-o", "validate-all"];
    run("fence_virt", &args, b"").assert_failed(1, &["/nonexistent/ttyS1", "No such file"]);
    let line = SerialLine::new();
    let args = ["-D", line.device.to_str().unwrap(), "-o", "validate-all"];
    run("fence_virt", &args, b"").assert_done("");
}

#[test]
fn bad_serial_params_are_refused_before_the_device_is_opened() {
    let args = ["-D", "/nonexistent", "-P", "fast", "-n", "vm1"];
    run("fence_virt", &args, b"").assert_failed(1, &["-P", "'fast'", "115200,8N1"]);
    let stdin = b"action=off\nplug=vm1\nserial_device=/nonexistent\nserial_params=1,8N1\n";
    run("fence_virt", &[], stdin).assert_failed(1, &["serial_params", "'1,8N1'"]);
}

/// Locks the device as another program's agent does; the lock ends with the file.
fn lock(line: &SerialLine) -> File {
    let device = open_device(&line.device);
    let lock = libc::flock {
        l_type: libc::F_WRLCK.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&device, FcntlArg::F_SETLK(&lock)).unwrap();
    device
}

#[test]
fn device_in_use_is_waited_for_until_the_time_out() {
    let line = SerialLine::new();
    let _lock = lock(&line);
    let run = line.ask(&["-o", "off", "-t", "1"]).join().unwrap();
    let us = format!("process {}", std::process::id());
    run.assert_failed(1, &["in use", &us, line.device.to_str().unwrap()]);
    assert!(run.took >= Duration::from_secs(1), "{run:?}");
}

#[test]
fn device_that_becomes_free_is_used() {
    let mut line = SerialLine::new();
    let lock = lock(&line);
    let agent = line.ask(&["-o", "off"]);
    thread::sleep(Duration::from_millis(300));
    assert!(!agent.is_finished());
    drop(lock);
    let request = request(&mut line.host);
    let reply = response(request.seqno, Reply::Success);
    line.host.write_all(&reply).unwrap();
    agent.join().unwrap().assert_done("");
}

#[test]
fn two_agents_at_once_are_both_served() {
    let mut line = SerialLine::new();
    let agents = [line.ask(&["-o", "monitor"]), line.ask(&["-o", "off"])];
    for _ in 0..2 {
        let request = request(&mut line.host);
        let reply = response(request.seqno, Reply::Success);
        line.host.write_all(&reply).unwrap();
    }
    for agent in agents {
        agent.join().unwrap().assert_done("");
    }
}

#[test]
fn device_is_raw_and_as_serial_params_say() {
    for (params, speed, framing) in [
        ("115200,8N1", BaudRate::B115200, ControlFlags::CS8),
        (
            "9600,7E2",
            BaudRate::B9600,
            ControlFlags::CS7 | ControlFlags::PARENB | ControlFlags::CSTOPB,
        ),
        (
            "300,8O1",
            BaudRate::B300,
            ControlFlags::CS8 | ControlFlags::PARENB | ControlFlags::PARODD,
        ),
    ] {
        let mut line = SerialLine::new();
        let agent = line.ask(&["-o", "off", "-P", params]);
        let request = request(&mut line.host);
        let modes = tcgetattr(&line.guest).unwrap();
        assert_eq!(cfgetospeed(&modes), speed, "{params}");
        let mask = ControlFlags::CSTOPB | ControlFlags::PARENB | ControlFlags::PARODD;
        // A pseudo-terminal has 8 bits without parity, whatever it is told.
        let told = modes.control_flags & mask;
        assert_eq!(
            told - ControlFlags::PARENB,
            (framing & mask) - ControlFlags::PARENB
        );
        let control = ControlFlags::CLOCAL | ControlFlags::CREAD | ControlFlags::CRTSCTS;
        assert!(modes.control_flags.contains(control), "{params}");
        assert!(!modes.control_flags.contains(ControlFlags::HUPCL));
        assert_eq!(modes.local_flags, LocalFlags::empty());
        assert_eq!(modes.input_flags, InputFlags::empty());
        assert!(!modes.output_flags.contains(OutputFlags::OPOST));
        let reply = response(request.seqno, Reply::Success);
        line.host.write_all(&reply).unwrap();
        agent.join().unwrap().assert_done("");
    }
}

#[test]
fn channel_that_is_not_there_is_said_at_once() {
    let (listener, port) = crate::common::tcp_listener();
    drop(listener);
    let port = port.to_string();
    let run = crate::line::ask(&["-A", "127.0.0.1", "-p", &port, "-o", "off"]);
    let run = run.join().unwrap();
    run.assert_failed(1, &["127.0.0.1", &port, "VM channel", "refused", "-D"]);
    assert!(run.took < Duration::from_secs(15), "{run:?}");
}

#[test]
fn stdin_names_the_device_as_pacemaker_does() {
    let mut line = SerialLine::new();
    let device = line.device.display();
    let stdin = format!(
        "action=reboot\nnodename=node1\nplug=vm1\nserial_device={device}\nserial_params=9600\n"
    );
    let agent = thread::spawn(move || run("fence_virt", &[], stdin.as_bytes()));
    let request = request(&mut line.host);
    assert_eq!(request.action, Action::Reboot);
    assert_eq!(request.domain.as_str(), "vm1");
    let reply = response(request.seqno, Reply::Success);
    line.host.write_all(&reply).unwrap();
    agent.join().unwrap().assert_done("");
}
