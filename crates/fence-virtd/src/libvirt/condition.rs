//! How the hypervisors are, in a few words for the service manager.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::host::{Host, Link};

/// Words that change with the hypervisors, for as long as somebody reads them. Needs a runtime.
pub(super) fn follow(hosts: &[Arc<Host>]) -> watch::Receiver<String> {
    let mut links: Vec<_> = hosts
        .iter()
        .map(|host| (host.name().to_owned(), host.link()))
        .collect();
    let (words, reader) = watch::channel(in_words(&mut links));
    tokio::spawn(async move {
        loop {
            let mut changes = JoinSet::new();
            for (_, link) in &links {
                let mut link = link.clone();
                changes.spawn(async move { link.changed().await.is_ok() });
            }
            tokio::select! {
                () = words.closed() => return,
                changed = changes.join_next() => {
                    // Without the sender the hypervisor is gone, and with it the daemon.
                    if !matches!(changed, Some(Ok(true))) {
                        return;
                    }
                }
            }
            words.send_replace(in_words(&mut links));
        }
    });
    reader
}

fn in_words(links: &mut [(String, watch::Receiver<Link>)]) -> String {
    let mut all = Vec::new();
    for (name, link) in links {
        let how = match &*link.borrow_and_update() {
            Link::Up => "answers",
            Link::Untried => "is being tried",
            Link::Down(_) => "can't be reached",
            Link::Hung => "does not answer",
        };
        all.push(format!("{name} {how}"));
    }
    all.join(", ")
}
