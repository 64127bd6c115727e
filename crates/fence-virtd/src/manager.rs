//! What the service manager is told: what the daemon waits for or does, that it is ready, reads its configuration
//! anew, ends, and is well. Without a service manager nobody is told.

use std::sync::Mutex;

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::board::Board;
use crate::sync::lock;

/// The daemon's word to the service manager.
#[derive(Debug, Default)]
pub struct Manager {
    /// Whether READY was said. Taken while it, or what depends on it, is said.
    ready: Mutex<bool>,
    /// What else is in the status.
    remark: watch::Sender<String>,
}

impl Manager {
    /// The daemon does not serve yet.
    pub fn waiting(&self, text: &str) {
        tell(&[NotifyState::Status(&line(text))]);
    }

    /// The configuration is read anew.
    pub fn reloading(&self) {
        let ready = lock(&self.ready);
        // While the start goes on it would be the wrong answer to "is it ready?".
        if *ready && let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// That is over; why it came to nothing, if it did.
    pub fn reloaded(&self, refused: Option<&str>) {
        let remark = refused.map(|why| format!("the configuration was not read anew: {why}"));
        self.remark.send_replace(remark.unwrap_or_default());
        if *lock(&self.ready) {
            tell(&[NotifyState::Ready]);
        }
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("ending")]);
    }

    /// The daemon is well.
    pub fn well(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// Says what the listeners do and how the backend is, and once that all serve. Never ends while there are
    /// listeners.
    pub async fn keep_informed(
        &self,
        mut board: watch::Receiver<Board>,
        condition: Option<watch::Receiver<String>>,
    ) {
        // One that never changes, where there is none.
        let (_keeper, none) = watch::channel(String::new());
        let mut condition = condition.unwrap_or(none);
        let mut remark = self.remark.subscribe();
        loop {
            let (mut text, all_serve) = {
                let now = board.borrow_and_update();
                (now.to_string(), now.all_serve())
            };
            for more in [&mut condition, &mut remark] {
                let more = more.borrow_and_update();
                if !more.is_empty() {
                    text = format!("{text}; {}", *more);
                }
            }
            self.serving(&text, all_serve);
            let changed = tokio::select! {
                changed = board.changed() => changed,
                changed = condition.changed() => changed,
                changed = remark.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    fn serving(&self, text: &str, all_serve: bool) {
        let mut ready = lock(&self.ready);
        let words = line(text);
        let status = NotifyState::Status(&words);
        if all_serve && !*ready {
            *ready = true;
            tell(&[NotifyState::Ready, status]);
            tracing::info!("ready: {text}");
        } else {
            tell(&[status]);
        }
    }
}

fn tell(what: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(what);
}

/// In one line: the next one would be another word to the manager.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_one_line_whatever_is_in_it() {
        assert_eq!(line("waiting: no\nSTOPPING=1\r"), "waiting: no STOPPING=1 ");
    }
}
