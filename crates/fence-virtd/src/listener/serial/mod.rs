//! The serial listener (section 6): it connects to the sockets that hypervisors make for the serial lines
//! or vmchannels of the domains that run on this host, and serves what comes out of them.
//!
//! | file | for |
//! |---|---|
//! | `claims.rs` | which lines there are to be, from the domains' XML; no IO |
//! | `socket.rs` | finding a socket on disk, safely |
//! | `looks.rs` | looking at files without waiting for them |
//! | `connect.rs` | connecting, and being let in |
//! | `line.rs` | one line: a task that serves it until its domain's run is over |
//! | `orders.rs` | a line's orders that the backend has |
//! | `outgoing.rs` | what a guest has not read yet of its answers |
//!
//! **Who speaks is told by the socket**, so a line must not be taken for another domain's. Having
//! connected, a line is served only when libvirt has said *afterwards* that this very run of its domain is
//! on and that no other domain names that socket, and the socket itself that it was made by that name. From then on the connection cannot change its other end.
//! While libvirt is lost, lines that are connected go on, and none is connected.

mod claims;
mod connect;
mod line;
mod looks;
mod orders;
mod outgoing;
mod socket;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fence_proto::Uuid;
use tokio::sync::{mpsc, watch};

use self::claims::{Change, Claims, LineId};
use self::connect::{Doorstep, Knock};
use self::line::{Line, Wish};
use self::looks::Looks;
use super::ListenerError;
use crate::config::SerialSettings;
use crate::door::Door;
use crate::libvirt::watch::{Notice, WatchSettings, Watcher};

/// Lines that may wait to be heard at one time; the others wait for room.
const KNOCKS: usize = 64;

/// The listener, connected to libvirt.
#[derive(Debug)]
pub struct Serial {
    door: Door,
    watcher: Watcher,
    claims: Claims,
    directory: Option<PathBuf>,
    /// Whether libvirt can be asked: lines are connected only then.
    up: watch::Sender<bool>,
    lines: HashMap<LineId, watch::Sender<Wish>>,
    /// The looks at each domain's sockets.
    looks: HashMap<Uuid, Looks>,
    /// There are more lines than can be connected, and that was said.
    crowded: bool,
    /// Lines that are connected and want to be let in.
    waiting: Vec<(Instant, Knock)>,
    knocks: (mpsc::Sender<Knock>, mpsc::Receiver<Knock>),
}

impl Serial {
    /// Connects to libvirt and starts a line for each socket that there is.
    ///
    /// # Errors
    /// [`ListenerError::Libvirt`]: it cannot be reached, or does not answer.
    pub async fn bind(
        settings: &SerialSettings,
        door: impl Into<Door>,
    ) -> Result<Self, ListenerError> {
        let mut serial = Self::new(settings, door.into());
        match serial.until_up().await {
            None => Ok(serial),
            Some(reason) => Err(ListenerError::Libvirt(reason)),
        }
    }

    /// As [`Self::bind`], but waits for libvirt. It is one watcher that tries again and again: a libvirt that hangs would
    /// keep the threads of many.
    pub async fn bind_late(settings: &SerialSettings, door: Door) -> Self {
        let mut serial = Self::new(settings, door);
        while serial.until_up().await.is_some() {}
        serial
    }

    fn new(settings: &SerialSettings, door: Door) -> Self {
        let mut watched = WatchSettings::new(settings.uri.as_deref().unwrap_or_default());
        watched.devices = true;
        Self {
            door,
            watcher: Watcher::start(watched),
            claims: Claims::new(settings.mode),
            directory: settings.path.clone(),
            up: watch::Sender::new(false),
            lines: HashMap::new(),
            looks: HashMap::new(),
            crowded: false,
            waiting: Vec::new(),
            knocks: mpsc::channel(KNOCKS),
        }
    }

    /// Waits until the domains are known, or until it is known why they are not.
    async fn until_up(&mut self) -> Option<String> {
        while !*self.up.borrow() {
            match self.watcher.next().await {
                Notice::Lost(reason) => return Some(reason),
                notice => self.take(notice),
            }
        }
        None
    }

    /// Serves until the door is closed or the daemon drains. Closed or dropped before, its lines end when what they do is done.
    ///
    /// # Errors
    /// None: what is lost is made again.
    pub async fn serve(mut self) -> Result<(), ListenerError> {
        let door = self.door.clone();
        let closing = door.closing();
        tokio::pin!(closing);
        loop {
            tokio::select! {
                biased;
                () = &mut closing => return Ok(()),
                notice = self.watcher.next() => self.take(notice),
                Some(knock) = self.knocks.1.recv() => self.heard(knock),
            }
        }
    }

    fn take(&mut self, notice: Notice) {
        match &notice {
            Notice::Lost(_) => {
                self.up.send_replace(false);
            }
            Notice::Snapshot(_) => {
                self.up.send_replace(true);
            }
            Notice::Current(moment) => return self.let_in(*moment),
            Notice::Changed(_) | Notice::Gone(_) | Notice::MigratedAway(_) => {}
        }
        for change in self.claims.take(notice) {
            self.make(change);
        }
    }

    fn make(&mut self, change: Change) {
        let listener = self.door.name();
        match change {
            Change::Stop(line) => {
                if let Some(wishes) = self.lines.remove(&line) {
                    wishes.send_replace(Wish::End);
                }
            }
            Change::Start(line, name) => {
                let (wishes, wish) = watch::channel(Wish::Serve);
                self.lines.insert(line.clone(), wishes);
                self.looks.retain(|_, looks| !looks.is_alone());
                let looks = self.looks.entry(line.domain).or_default().clone();
                self.warn_if_crowded();
                let doorstep = Doorstep {
                    line,
                    looks,
                    places: Arc::clone(&self.door.hub().lines),
                    directory: self.directory.clone(),
                    up: self.up.subscribe(),
                    knocks: self.knocks.0.clone(),
                };
                let line = Line::new(&self.door, name, doorstep, wish);
                tokio::spawn(line.run());
            }
            Change::Contested(path, names) => {
                tracing::warn!(
                    listener,
                    "domains {names:?} name one socket, {path:?}: none of them is served on it"
                );
            }
            Change::Unreadable(domain, error) => {
                tracing::warn!(listener, domain, "its sockets are not served: {error:?}");
            }
        }
    }

    /// Says once in a while that there are more lines than can be connected.
    fn warn_if_crowded(&mut self) {
        let crowded = self.door.hub().lines.available_permits() == 0;
        if crowded && !std::mem::replace(&mut self.crowded, crowded) {
            tracing::warn!(
                listener = self.door.name(),
                "too many serial lines for the limit of open files: some wait until others end"
            );
        }
        self.crowded = crowded;
    }

    /// A line is connected and waits to be let in.
    fn heard(&mut self, knock: Knock) {
        self.waiting.retain(|(_, other)| !other.answer.is_closed());
        self.waiting.push((Instant::now(), knock));
        self.watcher.refresh();
    }

    /// Everything that had happened to the domains by this moment is known: who knocked before and still is what
    /// it was may come in.
    fn let_in(&mut self, moment: Instant) {
        let (known, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(since, _)| *since <= moment);
        self.waiting = waiting;
        let known: Vec<(Instant, Knock)> = known;
        for (_, knock) in known {
            if self.claims.has(&knock.line) {
                // Who has gone meanwhile comes again.
                let _ = knock.answer.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
