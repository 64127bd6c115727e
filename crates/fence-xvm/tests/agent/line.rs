//! The host's end of a line, for tests: of a serial device (a pseudo-terminal) or a VM channel.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fence_proto::serial::{Request, RequestScanner};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::common::{Run, run};

/// A serial line: what is written to one end comes out of the other.
pub(crate) struct SerialLine {
    pub(crate) host: File,
    /// Kept open, or the host's end reads errors while no agent has the device.
    pub(crate) guest: File,
    pub(crate) device: PathBuf,
}

impl SerialLine {
    pub(crate) fn new() -> Self {
        // Not openpty: agents of other tests must not inherit the host's end.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let host = posix_openpt(flags).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let device = PathBuf::from(ptsname_r(&host).unwrap());
        let guest = open_device(&device);
        let mut modes = tcgetattr(&guest).unwrap();
        cfmakeraw(&mut modes);
        tcsetattr(&guest, SetArg::TCSANOW, &modes).unwrap();
        let host = File::from(OwnedFd::from(host));
        Self {
            host,
            guest,
            device,
        }
    }

    /// Starts an agent on it.
    pub(crate) fn ask(&self, args: &[&str]) -> JoinHandle<Run> {
        let device = self.device.to_str().unwrap().to_owned();
        ask(&[&["-D", &device], args].concat())
    }
}

/// Opens a device as any program would.
pub(crate) fn open_device(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(path)
        .unwrap()
}

/// Starts an agent with these arguments, a domain and a time-out.
pub(crate) fn ask(args: &[&str]) -> JoinHandle<Run> {
    let mut all = vec!["-n".to_owned(), "vm1".to_owned()];
    if !args.contains(&"-t") {
        all.extend(["-t".to_owned(), "20".to_owned()]);
    }
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    thread::spawn(move || {
        let args: Vec<&str> = all.iter().map(String::as_str).collect();
        run("fence_virt", &args, b"")
    })
}

/// Reads the next request.
#[track_caller]
pub(crate) fn request(line: &mut impl Read) -> Request {
    let mut scanner = RequestScanner::default();
    let mut byte = [0];
    loop {
        line.read_exact(&mut byte).expect("a request");
        if let Some(found) = scanner.next(&mut byte.as_slice()) {
            return found.expect("a good request");
        }
    }
}

/// Waits for a request, answers it with this, and says how the agent ended.
#[track_caller]
pub(crate) fn serial_host_says(args: &[&str], say: impl FnOnce(&Request) -> Vec<u8>) -> Run {
    let mut line = SerialLine::new();
    let agent = line.ask(args);
    let request = request(&mut line.host);
    line.host.write_all(&say(&request)).unwrap();
    agent.join().unwrap()
}

/// The same over a VM channel. The connection is closed after what is said.
#[track_caller]
pub(crate) fn channel_host_says(args: &[&str], say: impl FnOnce(&Request) -> Vec<u8>) -> Run {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let agent = ask(&[&["-A", "127.0.0.1", "-p", &port], args].concat());
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let request = request(&mut stream);
    stream.write_all(&say(&request)).unwrap();
    drop(stream);
    agent.join().unwrap()
}
