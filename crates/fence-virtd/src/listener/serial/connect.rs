//! Connecting a line, and being let in.
//!
//! A socket has the name by which it was made, for ever, and tells it to whoever connects. The hypervisor makes it by
//! the name that is in the domain's XML. So a line is served only on a socket that has exactly that name: what
//! another domain made in its place, by a link or another way to write the path, has another one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::claims::LineId;
use super::looks::Looks;
use super::socket::{Socket, Unfit};

/// How long a connection may take. The kernel makes one at once, or never.
const CONNECT: Duration = Duration::from_secs(2);

/// How long finding the socket may take.
const FIND: Duration = Duration::from_secs(2);

/// How long a connected line waits to be let in. What arrives meanwhile must not get old (row L37).
const LET_IN: Duration = Duration::from_secs(4);

/// Word of a line that is connected.
#[derive(Debug)]
pub(super) struct Knock {
    /// Which line.
    pub line: LineId,
    /// To be told when it may come in.
    pub answer: oneshot::Sender<()>,
}

/// What a line needs to connect.
#[derive(Debug, Clone)]
pub(super) struct Doorstep {
    /// The line.
    pub line: LineId,
    /// Where its socket must be.
    pub directory: Option<PathBuf>,
    /// The looks at its domain's sockets.
    pub looks: Looks,
    /// Places for connections, of all lines.
    pub places: Arc<Semaphore>,
    /// Whether it may try.
    pub up: watch::Receiver<bool>,
    /// Who lets it in.
    pub knocks: mpsc::Sender<Knock>,
}

/// A line's connection, and the place that it has.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket.
    pub stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

/// Why a line is not connected.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The socket cannot be used.
    Unfit(Unfit),
    /// Nobody takes the connection.
    Failed(io::Error),
    /// The socket was made by another name, for somebody else.
    MadeAs(Option<PathBuf>),
    /// It was not let in in time: libvirt does not say that the domain is still what it was.
    NotLetIn,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => write!(f, "{unfit}"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::MadeAs(Some(name)) => {
                write!(
                    f,
                    "what is there was made as {name:?}: it may be another domain's"
                )
            }
            Self::MadeAs(None) => f.write_str("what is there has no name of its own"),
            Self::NotLetIn => f.write_str("it cannot be told whose it is"),
        }
    }
}

impl Doorstep {
    /// Waits for a place, connects and waits to be let in.
    pub(super) async fn enter(mut self) -> Result<Connection, Refusal> {
        let places = Arc::clone(&self.places);
        // Nobody closes it.
        let place = places
            .acquire_owned()
            .await
            .map_err(|_| Refusal::NotLetIn)?;
        // Its sender goes with the listener, and so do all lines.
        let _ = self.up.wait_for(|up| *up).await;
        let socket = self.find().await.map_err(Refusal::Unfit)?;
        let connecting = timeout(CONNECT, UnixStream::connect(socket.address())).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(Refusal::Failed)?;
        let peer = stream.peer_addr().map_err(Refusal::Failed)?;
        let name = peer.as_pathname();
        if name.map(Path::as_os_str) != Some(self.line.path.as_os_str()) {
            return Err(Refusal::MadeAs(name.map(Path::to_owned)));
        }
        let let_in = async { self.knock().await?.await.ok() };
        match timeout(LET_IN, let_in).await {
            Ok(Some(())) => Ok(Connection {
                stream,
                _place: place,
            }),
            Ok(None) | Err(_) => Err(Refusal::NotLetIn),
        }
    }

    async fn knock(&self) -> Option<oneshot::Receiver<()>> {
        let (answer, answered) = oneshot::channel();
        let line = self.line.clone();
        let knock = Knock { line, answer };
        self.knocks.send(knock).await.ok()?;
        Some(answered)
    }

    async fn find(&self) -> Result<Socket, Unfit> {
        let (path, directory) = (self.line.path.clone(), self.directory.clone());
        let look = move || Socket::find(&path, directory.as_deref());
        let found = self.looks.take(FIND, look).await;
        found.unwrap_or_else(|| Err(Unfit::Missing(io::ErrorKind::TimedOut.into())))
    }
}
