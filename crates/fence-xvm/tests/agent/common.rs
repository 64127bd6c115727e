//! What the tests share: running the program, and places to meet it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fence_xvm");

/// The key of these tests.
pub(crate) const KEY: &[u8] = b"the key that the tests share";

/// What one run of an agent came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Run {
    /// Failed with this code, said why in one line on stderr, and nothing on stdout (row F20).
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.ends_with('\n'), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word}: {self:?}");
        }
    }

    /// Succeeded, said this and nothing else.
    #[track_caller]
    pub(crate) fn assert_done(&self, stdout: &str) {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.stdout, stdout, "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
    }
}

/// Runs the program under a name, with arguments and stdin.
pub(crate) fn run(name: &str, args: &[&str], stdin: &[u8]) -> Run {
    let began = Instant::now();
    let mut child = Command::new(PROGRAM)
        .arg0(name)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        took: began.elapsed(),
    }
}

/// A directory of the test's own, removed at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Directory {
    pub(crate) fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fence-xvm-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file in it; its path as text.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The tests' key in a file.
    pub(crate) fn key(&self) -> String {
        self.file("key", KEY)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A TCP listener on any free port of the loopback.
pub(crate) fn tcp_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The first port to try; below those that the kernel gives to outgoing connections, which would
/// be in the way of an agent's listener.
static PORT: AtomicU32 = AtomicU32::new(0);

/// A UDP socket that hears the default group on the loopback interface, on a port that is free for
/// TCP as well.
pub(crate) fn group_listener() -> (UdpSocket, u16) {
    let start = std::process::id().wrapping_mul(64);
    for _ in 0..1000 {
        let step = PORT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(12_000 + start.wrapping_add(step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
            continue;
        }
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) else {
            continue;
        };
        let group = Ipv4Addr::new(225, 0, 0, 12);
        socket
            .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        return (socket, port);
    }
    panic!("no free port");
}

/// Connects as soon as somebody listens.
pub(crate) fn connect_when_open(address: SocketAddr) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) if Instant::now() > until => panic!("{address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
