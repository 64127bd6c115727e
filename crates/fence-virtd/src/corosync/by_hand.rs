//! For tests: a group of one member whose corosync says what the test says.

use std::sync::Arc;

use fence_cluster::seam::{MemberId, NodeId};

use super::{Corosync, Happening, Shared};
use crate::sync::lock;

/// Corosync, by hand.
pub(crate) struct ByHand(Arc<Shared>);

impl ByHand {
    pub(crate) fn new() -> (Corosync, Self) {
        let corosync = Corosync::idle("test").unwrap();
        let shared = Arc::clone(&corosync.shared);
        (corosync, Self(shared))
    }

    async fn say(&self, happening: Happening) {
        let generation = lock(&self.0.state).generation;
        let said = self.0.happenings.send((generation, happening)).await;
        assert!(said.is_ok(), "nobody listens");
    }

    /// Lets the member join alone, with quorum, under this id; it hears what it sends.
    pub(crate) async fn join(self, node: u32) {
        let me = MemberId {
            node: NodeId(node),
            pid: std::process::id(),
        };
        {
            let mut state = lock(&self.0.state);
            state.generation += 1;
            state.connected = true;
        }
        self.say(Happening::Connected { node: me.node }).await;
        let hosts = vec![(me.node, "here".to_owned())];
        self.say(Happening::Hosts(hosts)).await;
        self.say(Happening::Quorum(true)).await;
        self.say(Happening::Nodes(vec![me.node])).await;
        let (members, left) = (vec![me], Vec::new());
        self.say(Happening::Membership { members, left }).await;
        tokio::spawn(async move {
            loop {
                let (sent, barriers) = {
                    let mut state = lock(&self.0.state);
                    let sent: Vec<_> = std::iter::from_fn(|| state.outbox.pop()).collect();
                    (sent, std::mem::take(&mut state.barriers))
                };
                for bytes in sent {
                    self.say(Happening::Delivered { from: me, bytes }).await;
                }
                for barrier in barriers {
                    self.say(Happening::Barrier(barrier)).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        });
    }
}
