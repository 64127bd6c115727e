//! A supervisor with its event loop, told what to do by its test.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::common::*;
use fence_proto::frame::{RequestFrame, Signature};
use fence_proto::host::Limits;
use fence_proto::{Access, Key};
use fence_virtd::config::{Authentication, Listener, ListenerSettings, TcpSettings};
use fence_virtd::hub::Hub;
use fence_virtd::supervisor::{Supervisor, SupervisorError};
use tokio::sync::oneshot;

pub(crate) fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

pub(crate) fn key_of(byte: u8) -> Key {
    Key::from_bytes(&[byte; 4096]).unwrap()
}

pub(crate) fn tcp(name: &str, address: SocketAddr, key: Key) -> Listener {
    Listener {
        name: name.to_owned(),
        settings: ListenerSettings::Tcp(TcpSettings {
            authentication: Authentication {
                key: Some(key),
                hash: SHA256,
                auth: SHA256,
            },
            address,
        }),
        access: Access::unrestricted(),
    }
}

/// What a running daemon is told by its test.
enum Word {
    Stop(&'static str, mpsc::Sender<()>),
    Change(Vec<Listener>, mpsc::Sender<Result<String, String>>),
}

/// A supervisor on a thread of its own, with its event loop.
pub(crate) struct Daemon {
    pub(crate) hub: Arc<Hub>,
    pub(crate) backend: Arc<FakeBackend>,
    words: tokio::sync::mpsc::UnboundedSender<Word>,
    pub(crate) board: tokio::sync::watch::Receiver<fence_virtd::supervisor::Board>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(listeners: Vec<Listener>, wait: bool) -> Result<Self, SupervisorError> {
        Self::with(FakeBackend::new(true), listeners, wait)
    }

    pub(crate) fn with(
        backend: Arc<FakeBackend>,
        listeners: Vec<Listener>,
        wait: bool,
    ) -> Result<Self, SupervisorError> {
        let hub = hub(&backend, Limits::default());
        let (words, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (started, outcome) = mpsc::channel();
        let serving = Arc::clone(&hub);
        let thread = start(move || async move {
            let mut supervisor = Supervisor::new(&serving, wait);
            let result = supervisor.start(&listeners).await;
            started.send(result.map(|()| supervisor.board())).unwrap();
            let obey = async {
                while let Some(word) = heard.recv().await {
                    match word {
                        Word::Stop(name, done) => {
                            supervisor.stop(name).await;
                            done.send(()).unwrap();
                        }
                        Word::Change(listeners, done) => {
                            let changed = supervisor.change(&listeners).await;
                            let changed = changed.map(|changed| changed.to_string());
                            done.send(changed.map_err(|error| error.to_string()))
                                .unwrap();
                        }
                    }
                }
            };
            tokio::select! {
                _ = ended => {}
                () = obey => {}
            }
        });
        let board = outcome.recv().unwrap()?;
        Ok(Self {
            hub,
            backend,
            words,
            board,
            end: Some(end),
            thread: Some(thread),
        })
    }

    pub(crate) fn stop(&self, name: &'static str) {
        let (done, stopped) = mpsc::channel();
        self.words.send(Word::Stop(name, done)).ok().unwrap();
        stopped.recv().unwrap();
    }

    /// What a new configuration with these listeners does.
    pub(crate) fn change(&self, listeners: Vec<Listener>) -> Result<String, String> {
        let (done, changed) = mpsc::channel();
        self.words.send(Word::Change(listeners, done)).ok().unwrap();
        changed.recv().unwrap()
    }

    pub(crate) fn status(&self) -> String {
        self.board.borrow().to_string()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A whole request; `None` if the host closes without an answer.
pub(crate) fn ask_with(key: &Key, address: SocketAddr, request: &RequestFrame) -> Option<u8> {
    use std::io::Write;
    let mut stream = connect(address);
    let frame = request.encode(Signature::Keyed(key, SHA256));
    stream.write_all(&frame).ok()?;
    authenticate_with(key, &mut stream)?;
    reply(&mut stream)
}
