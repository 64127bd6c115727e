//! A host of the tests' own, made of the core's other half.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use fence_proto::frame::{Demand, FRAME_LEN};
use fence_proto::handshake::{HostHandshake, Step};
use fence_proto::{HashAlgorithm, Key, RequestFrame};

/// What a host is configured with.
pub(crate) struct Host {
    pub(crate) key: Key,
    pub(crate) hash: HashAlgorithm,
    pub(crate) auth: HashAlgorithm,
}

impl Host {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self {
            key: Key::from_bytes(key).unwrap(),
            hash: HashAlgorithm::Sha256,
            auth: HashAlgorithm::Sha256,
        }
    }

    pub(crate) fn without_auth(key: &[u8]) -> Self {
        Self {
            auth: HashAlgorithm::None,
            ..Self::new(key)
        }
    }

    /// Takes a frame, or says that it would drop it.
    pub(crate) fn accept(&self, bytes: &[u8]) -> Option<RequestFrame> {
        let demand = Demand {
            key: Some(&self.key),
            weakest: self.hash,
        };
        Some(demand.accept(bytes).ok()?.frame().clone())
    }

    /// Reads the frame at the start of a stream.
    pub(crate) fn read_frame(&self, stream: &mut TcpStream) -> Option<RequestFrame> {
        let mut bytes = [0; FRAME_LEN];
        stream.read_exact(&mut bytes).ok()?;
        self.accept(&bytes)
    }

    /// Waits for a frame that is for us.
    pub(crate) fn receive_frame(&self, socket: &UdpSocket) -> RequestFrame {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut bytes = [0; 2048];
        loop {
            let count = match socket.recv_from(&mut bytes) {
                Ok((count, _)) => count,
                // A machine that was suspended wakes who waits.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("no request within 20 s: {error}"),
            };
            if let Some(frame) = self.accept(&bytes[..count]) {
                return frame;
            }
        }
    }

    /// The host's half of the handshake; false if the agent did not go through with it.
    pub(crate) fn authenticate(&self, stream: &mut TcpStream) -> bool {
        // As a C host makes it: noise.
        let mut challenge = [0x5c; 64];
        challenge[..2].copy_from_slice(&stream.local_addr().unwrap().port().to_le_bytes());
        let Ok(mut handshake) = HostHandshake::new(self.auth, challenge) else {
            return true;
        };
        loop {
            let mut bytes = [0; 64];
            if stream.read_exact(&mut bytes).is_err() {
                return false;
            }
            match handshake.push(&self.key, &bytes) {
                Step::Send(bytes) => stream.write_all(&bytes).unwrap(),
                Step::Done(..) => return true,
                Step::Wait => {}
                Step::Drop(_) => return false,
            }
        }
    }
}

/// Reads until the other side has closed.
pub(crate) fn wait_for_close(stream: &mut TcpStream) {
    let mut rest = [0; 256];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
}
