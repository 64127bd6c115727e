//! A go-between for libvirt's remote protocol that can keep a call back at an exact point.
//!
//! Stopping libvirtd by signal stops it somewhere; this stops it when a certain call is made, for
//! example when a domain is about to be destroyed.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// Procedure numbers of libvirt's remote protocol (remote_protocol.x).
pub mod procedure {
    /// virDomainDestroy.
    pub const DESTROY: u32 = 12;
    /// virDomainCreate.
    pub const CREATE: u32 = 9;
}

/// Bytes of a message's length word and header: length, program, version, procedure, type, serial,
/// status.
const HEADER: usize = 28;

/// Longer messages than libvirt allows are nothing it sends.
const LONGEST: usize = 64 << 20;

#[derive(Debug, Default)]
struct Gate {
    /// The procedure that is kept back; 0 for none.
    procedure: AtomicU32,
    /// Whether a call of it is being kept back.
    holding: AtomicBool,
    /// Whether the go-between is at its end.
    over: AtomicBool,
}

impl Gate {
    fn keep_back(&self, procedure: u32) {
        let wanted = || self.procedure.load(Ordering::SeqCst) == procedure;
        if !wanted() || self.holding.swap(true, Ordering::SeqCst) {
            return;
        }
        while wanted() {
            thread::sleep(Duration::from_millis(2));
        }
        self.holding.store(false, Ordering::SeqCst);
    }
}

/// The go-between. Runs on threads until dropped.
#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    gate: Arc<Gate>,
}

impl Proxy {
    /// Listens on `socket` and forwards to `libvirtd`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(socket: &Path, libvirtd: &Path) -> Result<Self, Failure> {
        let listener = UnixListener::bind(socket)?;
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        let libvirtd = libvirtd.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                // A libvirtd that is away is a connection that ends.
                let _ = forward(client, &libvirtd, &shared);
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            gate,
        })
    }

    /// The URI for a daemon's configuration.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket.display())
    }

    /// Keeps the next call of a procedure back; others of it that come meanwhile pass.
    pub fn hold(&self, procedure: u32) {
        self.gate.procedure.store(procedure, Ordering::SeqCst);
    }

    /// Lets go of what is kept back.
    pub fn release(&self) {
        self.gate.procedure.store(0, Ordering::SeqCst);
    }

    /// Whether a call is being kept back at this moment.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.gate.holding.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.over.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(&self.socket);
    }
}

fn forward(client: UnixStream, libvirtd: &Path, gate: &Arc<Gate>) -> io::Result<()> {
    let server = UnixStream::connect(libvirtd)?;
    let (calls, answers) = (client.try_clone()?, client);
    let (to_server, from_server) = (server.try_clone()?, server);
    let gate = Arc::clone(gate);
    thread::spawn(move || {
        let _ = pass_calls(calls, to_server, &gate);
    });
    thread::spawn(move || {
        let (mut from, mut to) = (from_server, answers);
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}

/// Passes whole messages on, after having looked which call they are.
fn pass_calls(mut client: UnixStream, mut server: UnixStream, gate: &Gate) -> io::Result<()> {
    loop {
        let mut message = vec![0; HEADER];
        if let Err(error) = client.read_exact(&mut message) {
            let _ = server.shutdown(std::net::Shutdown::Both);
            return Err(error);
        }
        let length = usize::try_from(word(&message, 0)).unwrap_or(LONGEST);
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        message.resize(length, 0);
        client.read_exact(message.get_mut(HEADER..).unwrap_or_default())?;
        let procedure = word(&message, 12);
        gate.keep_back(procedure);
        server.write_all(&message)?;
    }
}

/// A big-endian word of a message's header.
fn word(message: &[u8], at: usize) -> u32 {
    message
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}
