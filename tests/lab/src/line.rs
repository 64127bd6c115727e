//! Lines between guest and host: serial devices and VM channels.
//!
//! [`Line`] is the guest's end, for cases in which the lab plays the host. [`Port`] is a whole
//! device as a hypervisor makes it: the host's end is a UNIX socket that a daemon connects to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fence_proto::serial::{Request, RequestScanner};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::net::Namespace;
use crate::wait::{self, PATIENCE};
use crate::{ensure, peer};

/// Which kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A serial device, for which a pseudo-terminal stands.
    Serial,
    /// A VM channel: a TCP connection that the hypervisor takes.
    Channel,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Serial, Self::Channel];

    /// The daemon's word for it (`mode`).
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Channel => "vmchannel",
        }
    }

    /// The device in a domain's XML.
    #[must_use]
    pub fn xml(self, socket: &Path) -> String {
        let source = format!("<source mode='bind' path='{}'/>", socket.display());
        match self {
            Self::Serial => format!("<serial type='unix'>{source}<target port='1'/></serial>"),
            Self::Channel => format!(
                "<channel type='unix'>{source}\
                 <target type='guestfwd' address='10.0.2.179' port='1229'/></channel>"
            ),
        }
    }
}

/// The host's side of a guest's device, not connected to any host.
#[derive(Debug)]
pub enum Line {
    /// The other end of a pseudo-terminal.
    Serial {
        /// What the guest writes comes out here.
        host: File,
        /// Held, or reading fails while no agent has the device.
        guest: File,
        /// The guest's device.
        device: PathBuf,
    },
    /// Where the guest connects.
    Channel {
        /// In the guest's namespace, on its loopback.
        listener: TcpListener,
        /// The guest's connection, once there is one.
        stream: Option<TcpStream>,
    },
}

impl Line {
    /// A line of a guest.
    ///
    /// # Errors
    /// There is no pseudo-terminal or no port.
    pub fn open(way: Way, guest: &Namespace) -> Result<Self, Failure> {
        match way {
            Way::Serial => serial(),
            Way::Channel => Ok(Self::Channel {
                listener: peer::listen(guest, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
                stream: None,
            }),
        }
    }

    /// The options that lead an agent here.
    ///
    /// # Errors
    /// The port is not known.
    pub fn options(&self) -> Result<Vec<String>, Failure> {
        let words = match self {
            Self::Serial { device, .. } => vec!["-D".to_owned(), device.display().to_string()],
            Self::Channel { listener, .. } => {
                let address = listener.local_addr()?;
                let (ip, port) = (address.ip().to_string(), address.port().to_string());
                vec!["-A".to_owned(), ip, "-p".to_owned(), port]
            }
        };
        Ok(words)
    }

    /// Whether an agent can be written to.
    pub fn is_up(&mut self) -> bool {
        match self {
            Self::Serial { .. } => true,
            Self::Channel { listener, stream } => {
                if stream.is_none()
                    && let Ok((accepted, _)) = listener.accept()
                    && accepted.set_nonblocking(true).is_ok()
                {
                    *stream = Some(accepted);
                }
                stream.is_some()
            }
        }
    }

    /// What has come from the guest; empty if nothing has.
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let read = match self {
            Self::Serial { host, .. } => host.read(&mut bytes),
            Self::Channel { stream, .. } => match stream {
                Some(connected) => {
                    let read = connected.read(&mut bytes);
                    if matches!(&read, Ok(0)) {
                        *stream = None;
                    }
                    read
                }
                None => Ok(0),
            },
        };
        let count = read.unwrap_or(0);
        bytes.get(..count).unwrap_or_default().to_vec()
    }

    /// Writes to the guest.
    ///
    /// # Errors
    /// Nobody takes it.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        wait::until("the guest to read", PATIENCE, || {
            let written = match self {
                Self::Serial { host, .. } => host.write(rest),
                Self::Channel {
                    stream: Some(stream),
                    ..
                } => stream.write(rest),
                Self::Channel { stream: None, .. } => Err(ErrorKind::NotConnected.into()),
            };
            match written {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
            rest.is_empty()
        })?;
        ensure!(rest.is_empty(), "the guest is gone");
        Ok(())
    }

    /// Waits for the guest's request.
    ///
    /// # Errors
    /// None came.
    pub fn request(&mut self) -> Result<Request, Failure> {
        let mut scanner = RequestScanner::default();
        wait::value("a request", PATIENCE, || {
            self.is_up();
            let bytes = self.take();
            scanner.next(&mut bytes.as_slice())?.ok()
        })
    }
}

fn serial() -> Result<Line, Failure> {
    // Programs that are started must not inherit it, or it would never be closed.
    let host = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&host)?;
    unlockpt(&host)?;
    let device = PathBuf::from(ptsname_r(&host)?);
    let guest = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(&device)?;
    let mut modes = tcgetattr(&guest)?;
    cfmakeraw(&mut modes);
    tcsetattr(&guest, SetArg::TCSANOW, &modes)?;
    fcntl(&host, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Line::Serial {
        host: File::from(OwnedFd::from(host)),
        guest,
        device,
    })
}

/// What a line carries beside frames.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    /// Heard by the host before each request.
    pub host: &'static [u8],
    /// Heard by the guest before each answer.
    pub guest: &'static [u8],
}

/// A device with both ends. What a guest writes while no host is connected is lost; what a host
/// writes waits for the guest; as with QEMU.
#[derive(Debug)]
pub struct Port {
    options: Vec<String>,
    socket: PathBuf,
    up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Port {
    /// A device of a guest whose host's end is this socket.
    ///
    /// # Errors
    /// The ends cannot be made.
    pub fn open(way: Way, socket: &Path, guest: &Namespace, noise: Noise) -> Result<Self, Failure> {
        let line = Line::open(way, guest)?;
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let (up, stop) = (Arc::default(), Arc::default());
        let options = line.options()?;
        let pump = Pump {
            line,
            listener,
            host: None,
            noise,
            up: Arc::clone(&up),
            stop: Arc::clone(&stop),
        };
        let worker = thread::spawn(move || pump.run());
        Ok(Self {
            options,
            socket: socket.to_owned(),
            up,
            stop,
            worker: Some(worker),
        })
    }

    /// The options that lead an agent here.
    #[must_use]
    pub fn options(&self) -> &[String] {
        &self.options
    }

    /// Writes to the device, as a program in the guest.
    ///
    /// # Errors
    /// It is no serial device, or takes nothing.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let [_, device] = self.options.as_slice() else {
            return Err(Failure::new("not a serial device"));
        };
        let mut device = OpenOptions::new().write(true).open(device)?;
        Ok(device.write_all(bytes)?)
    }

    /// Waits until a daemon has connected.
    ///
    /// # Errors
    /// None came.
    pub fn wait_connected(&self) -> Result<(), Failure> {
        wait::until("the daemon to connect", 3 * PATIENCE, || {
            self.is_connected()
        })
    }

    /// Whether a daemon is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Carries bytes between the ends.
struct Pump {
    line: Line,
    listener: UnixListener,
    host: Option<UnixStream>,
    noise: Noise,
    up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Pump {
    fn run(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            if self.host.is_none()
                && let Ok((host, _)) = self.listener.accept()
                && host.set_nonblocking(true).is_ok()
            {
                self.host = Some(host);
            }
            self.up.store(self.host.is_some(), Ordering::SeqCst);
            let up = self.line.is_up();
            let asked = self.line.take();
            if !asked.is_empty() {
                self.tell_host(&asked);
                // The guest is there: it has just asked.
                let _ = self.line.say(self.noise.guest);
            }
            // Unread, it waits in the socket.
            if up {
                self.tell_guest();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn tell_host(&mut self, bytes: &[u8]) {
        if let Some(host) = &mut self.host {
            // Less than any socket's buffer.
            let _ = host.write_all(&[self.noise.host, bytes].concat());
        }
    }

    fn tell_guest(&mut self) {
        let mut bytes = [0; 4096];
        let read = self.host.as_mut().map(|host| host.read(&mut bytes));
        match read {
            Some(Ok(count)) if count > 0 => {
                let _ = self.line.say(bytes.get(..count).unwrap_or_default());
            }
            Some(Err(error)) if is_transient(&error) => {}
            None => {}
            Some(_) => self.host = None,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
