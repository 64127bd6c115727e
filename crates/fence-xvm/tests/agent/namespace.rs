//! What the loopback interface of the machine cannot show: IPv6, and interfaces that come up late.
//!
//! Each test runs itself again in a network namespace of its own. That takes root, or user
//! namespaces for everybody.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{Directory, KEY, Run, run};
use crate::host::Host;
use crate::line;
use crate::multicast::serve;
use fence_proto::Reply;
use fence_proto::serial::response;

const INSIDE: &str = "FENCE_XVM_TEST_NAMESPACE";
const PORT: u16 = 1229;

/// Runs `test` in a fresh network namespace. `name` is the test's own path.
fn in_a_namespace(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    // Root needs no user namespace, and there may be none to have.
    let as_root = nix::unistd::geteuid().is_root();
    let user: &[&str] = if as_root { &[] } else { &["--map-root-user"] };
    let output = Command::new("unshare")
        .args(user)
        .args(["--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs unshare: apt install util-linux");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // That one test ran is part of it: a name that matches nothing would succeed, too.
    let ran = text.contains("1 passed");
    assert!(
        output.status.success() && ran,
        "in a namespace (needs root or user namespaces): {text}"
    );
}

/// `ip`, with these words.
fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status();
    let status = status.expect("this test needs ip: apt install iproute2");
    assert!(status.success(), "ip {words}");
}

/// An interface with fd00:fe::1 and a link-local address, both usable at once.
fn make_interface() -> u32 {
    ip("link set lo up");
    ip("link add fx0 type veth peer name fx1");
    for interface in ["fx0", "fx1"] {
        std::fs::write(
            format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad"),
            "0",
        )
        .unwrap();
        ip(&format!("link set {interface} up"));
    }
    ip("addr add fd00:fe::1/64 dev fx0 nodad");
    // /sys would show the namespace that it was mounted in.
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
    let line = table.lines().find(|line| line.ends_with("fx0")).unwrap();
    u32::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
}

fn hear_group(interface: u32) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let group: Ipv6Addr = "ff05::3:1".parse().unwrap();
    socket.join_multicast_v6(&group, interface).unwrap();
    socket
}

fn ask(more: &'static [&'static str]) -> JoinHandle<Run> {
    thread::spawn(move || {
        let directory = Directory::new();
        let key = directory.key();
        let args = [
            "-k", &key, "-o", "status", "-n", "vm1", "-t", "20", "-r", "2",
        ];
        run("fence_xvm", &[&args[..], more].concat(), b"")
    })
}

#[test]
fn ipv6_group_is_asked_from_global_addresses() {
    in_a_namespace(
        "namespace::ipv6_group_is_asked_from_global_addresses",
        || {
            let socket = hear_group(make_interface());
            let agent = ask(&["-i", "ipv6"]);
            let host = Host::new(KEY);
            let callback = host.receive_frame(&socket).callback.unwrap();
            assert_eq!(callback, "[fd00:fe::1]:1229".parse().unwrap());
            serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
            agent.join().unwrap().assert_done("Status: ON\n");
        },
    );
}

#[test]
fn link_local_addresses_serve_on_a_named_interface() {
    in_a_namespace(
        "namespace::link_local_addresses_serve_on_a_named_interface",
        || {
            let interface = make_interface();
            let socket = hear_group(interface);
            let agent = ask(&["-a", "ff05::3:1", "-I", "fx0"]);
            let host = Host::new(KEY);
            let callback = loop {
                let callback = host.receive_frame(&socket).callback.unwrap();
                if let IpAddr::V6(ip) = callback.ip()
                    && ip.is_unicast_link_local()
                {
                    break SocketAddrV6::new(ip, callback.port(), 0, interface);
                }
            };
            let mut stream = TcpStream::connect(SocketAddr::V6(callback)).unwrap();
            serve(&host, &mut stream, 0);
            agent.join().unwrap().assert_done("Status: ON\n");
        },
    );
}

#[test]
fn interface_that_comes_up_late_is_used() {
    in_a_namespace("namespace::interface_that_comes_up_late_is_used", || {
        let agent = thread::spawn(|| {
            let directory = Directory::new();
            let key = directory.key();
            let args = [
                "-k", &key, "-o", "status", "-n", "vm1", "-t", "20", "-r", "2",
            ];
            run("fence_xvm", &[&args[..], &["-p", "12345"]].concat(), b"")
        });
        thread::sleep(Duration::from_millis(300));
        assert!(!agent.is_finished());
        ip("link set lo up");
        let socket = UdpSocket::bind("0.0.0.0:12345").unwrap();
        let group = "225.0.0.12".parse().unwrap();
        socket
            .join_multicast_v4(&group, &"127.0.0.1".parse().unwrap())
            .unwrap();
        let host = Host::new(KEY);
        let callback = host.receive_frame(&socket).callback.unwrap();
        serve(&host, &mut TcpStream::connect(callback).unwrap(), 0);
        agent.join().unwrap().assert_done("Status: ON\n");
    });
}

/// As the original does, in spite of the /dev/ttyS1 that it calls the default.
#[test]
fn fence_virt_without_a_device_uses_the_default_channel() {
    in_a_namespace(
        "namespace::fence_virt_without_a_device_uses_the_default_channel",
        || {
            ip("link set lo up");
            ip("addr add 10.0.2.179/32 dev lo");
            let listener = TcpListener::bind("10.0.2.179:1229").unwrap();
            for stdin in [&b""[..], b"action=status\nplug=vm1\n"] {
                let agent = thread::spawn(move || match stdin {
                    b"" => run("fence_virt", &["-o", "status", "-n", "vm1"], b""),
                    stdin => run("fence_virt", &[], stdin),
                });
                let (mut stream, _) = listener.accept().unwrap();
                let request = line::request(&mut stream);
                let reply = response(request.seqno, Reply::Success);
                stream.write_all(&reply).unwrap();
                agent.join().unwrap().assert_done("Status: ON\n");
            }
        },
    );
}

#[test]
fn no_interface_at_all_is_said_at_the_time_out() {
    in_a_namespace(
        "namespace::no_interface_at_all_is_said_at_the_time_out",
        || {
            let run = ask(&["-t", "1"]).join().unwrap();
            run.assert_failed(1, &["no interface that is up has an ipv4 address"]);
            let run = ask(&["-t", "1", "-I", "lo"]).join().unwrap();
            run.assert_failed(1, &["interface lo is down"]);
        },
    );
}
