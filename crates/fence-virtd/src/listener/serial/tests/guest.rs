//! A domain's end of a line: the hypervisor's socket, and an agent's frames.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fence_proto::serial::{Heard, Request, ResponseScanner};
use fence_proto::{Action, DomainRef, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Nothing takes this long when all is well.
const PATIENCE: Duration = Duration::from_secs(40);

/// A socket on which a hypervisor listens.
pub(super) struct Guest {
    path: PathBuf,
    listener: UnixListener,
}

impl Guest {
    /// In place of whatever is at `path`, as QEMU does it.
    pub(super) fn listen(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        Self {
            path: path.to_owned(),
            listener: UnixListener::bind(path).unwrap(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The listener's next connection.
    pub(super) async fn accept(&self) -> Wire {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("nobody connects").unwrap();
        Wire {
            stream,
            scanner: ResponseScanner::default(),
        }
    }

    /// The next connection that is served: those of a listener that gives up are passed over.
    pub(super) async fn served(&self) -> Wire {
        loop {
            let mut wire = self.accept().await;
            if wire.try_ask(Action::Monitor, "", 1).await.is_some() {
                return wire;
            }
        }
    }

    pub(super) async fn nobody_connects(&self, within: Duration) {
        let accepted = timeout(within, self.listener.accept()).await;
        assert!(accepted.is_err(), "somebody connects to {:?}", self.path);
    }
}

/// A connected line.
pub(super) struct Wire {
    pub stream: UnixStream,
    scanner: ResponseScanner,
}

impl Wire {
    pub(super) async fn send(&mut self, action: Action, domain: &str, seqno: u32) {
        let _ = self.stream.write_all(&frame(action, domain, seqno)).await;
    }

    /// The next response; `None` if the line is closed.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        let mut buffer = [0; 4096];
        loop {
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            let count = read.expect("no answer").unwrap_or(0);
            let mut bytes = buffer.get(..count).filter(|bytes| !bytes.is_empty())?;
            if let Some(heard) = self.scanner.next(&mut bytes) {
                return Some(heard);
            }
        }
    }

    pub(super) async fn try_ask(
        &mut self,
        action: Action,
        domain: &str,
        seqno: u32,
    ) -> Option<Reply> {
        self.send(action, domain, seqno).await;
        let heard = self.hear().await?;
        assert_eq!(heard.seqno, Some(seqno));
        Some(heard.reply)
    }

    pub(super) async fn ask(&mut self, action: Action, domain: &str, seqno: u32) -> Reply {
        let reply = self.try_ask(action, domain, seqno).await;
        reply.expect("the line is closed instead of an answer")
    }

    /// Waits until the other side has closed; everything else that comes is thrown away.
    pub(super) async fn is_closed(&mut self) {
        while self.hear().await.is_some() {}
    }
}

pub(super) fn frame(action: Action, domain: &str, seqno: u32) -> [u8; 74] {
    let request = Request {
        action,
        domain: DomainRef::new(domain).unwrap(),
        uuid_flag: false,
        seqno,
    };
    request.encode()
}
