//! A host that runs the original, as it was seen to behave (docs/protocol.md, section 7), and what
//! ours make of it.

use std::collections::BTreeMap;
use std::time::Duration;

use fence_cluster::seam::{MemberId, Migration, NodeId};
use fence_cluster::wire::legacy::Legacy;
use fence_proto::host::Answer;
use fence_proto::{Action, Reply, Uuid};

use super::bus::Handed;
use super::host::Setup;
use super::world::{World, name, uuid};

/// A daemon of the original.
#[derive(Debug, Clone)]
pub(crate) struct COriginal {
    pub(crate) me: MemberId,
    members: Vec<MemberId>,
    /// What others have said that they have.
    remote: BTreeMap<Uuid, (String, u32)>,
    /// What was replied to its requests: from whom, number, response.
    pub(crate) replies: Vec<(u32, u32, i32)>,
}

impl World {
    pub(crate) fn start_original(&mut self, node: u32) {
        let me = MemberId {
            node: NodeId(node),
            pid: 7_000 + node,
        };
        self.host(node).original = Some(COriginal {
            me,
            members: Vec::new(),
            remote: BTreeMap::new(),
            replies: Vec::new(),
        });
        self.bus.join(self.now, me);
    }

    /// What its corosync hands it.
    pub(crate) fn hand_original(&mut self, node: u32, handed: Handed) {
        match handed {
            Handed::Membership { members, left } => {
                let original = self.host(node).original.as_mut().unwrap();
                original.members = members;
                for (gone, _) in left {
                    original
                        .remote
                        .retain(|_, (_, owner)| *owner != gone.node.0);
                }
                self.broadcast(node);
            }
            Handed::Nodes { .. } => {}
            Handed::Message { from, bytes } => {
                if let Ok(message) = Legacy::decode(&bytes) {
                    self.original_hears(node, from, message);
                }
            }
        }
    }

    fn original_sends(&mut self, node: u32, message: &Legacy) {
        let me = self.host(node).original.as_ref().unwrap().me;
        self.bus.send(self.now, me, message.encode());
    }

    fn broadcast(&mut self, node: u32) {
        for domain in self.host(node).libvirt.all() {
            let message = Legacy::State {
                name: domain.identity.name,
                uuid: domain.identity.uuid,
                owner: NodeId(node),
                state: i32::from(domain.state),
            };
            self.original_sends(node, &message);
        }
    }

    fn original_hears(&mut self, node: u32, from: MemberId, message: Legacy) {
        let original = self.host(node).original.as_mut().unwrap();
        match message {
            Legacy::State {
                name, uuid, owner, ..
            } if owner.0 != node => {
                original.remote.insert(uuid, (name, owner.0));
            }
            Legacy::State { .. } => {}
            Legacy::Reply {
                target,
                seqno,
                response,
                ..
            } => {
                if target.0 == node {
                    original.replies.push((from.node.0, seqno, response));
                }
            }
            Legacy::Request {
                seqno,
                domain,
                request,
            } => {
                self.broadcast(node);
                if let Some(response) = self.original_acts(node, &domain, request) {
                    let message = Legacy::Reply {
                        target: from.node,
                        seqno,
                        domain,
                        request,
                        response,
                    };
                    self.original_sends(node, &message);
                }
            }
        }
    }

    fn original_acts(&mut self, node: u32, domain: &str, request: i32) -> Option<i32> {
        let all = self.host(node).libvirt.all().into_iter();
        let mut called = all.filter(|local| local.identity.name.eq_ignore_ascii_case(domain));
        let Some(local) = called.next() else {
            let original = self.host(node).original.as_ref().unwrap();
            let mut remote = original.remote.values();
            let highest = original.members.iter().all(|member| *member <= original.me);
            return if remote.any(|(name, _)| name.eq_ignore_ascii_case(domain)) || !highest {
                None
            } else {
                Some([1, 0, 0, 1, 2][usize::try_from(request).unwrap()])
            };
        };
        let uuid = local.identity.uuid;
        Some(match (request, local.active) {
            (4, true) | (1 | 2, false) | (3, true) => 0,
            (4, false) => 2,
            (1, true) => {
                self.abandon_migration(uuid, node);
                self.host(node).libvirt.end(uuid, Migration::None);
                0
            }
            (2, true) => {
                panic!("ours never have an original reboot anything");
            }
            (3, false) => {
                let run = self.fresh_run();
                self.host(node).libvirt.run(uuid, &local.identity.name, run);
                self.starts.push((self.now, node, uuid));
                self.check_start(node, uuid);
                0
            }
            _ => 1,
        })
    }

    /// An agent of the original's asks for a domain.
    fn original_asks(&mut self, node: u32, seqno: u32, action: Action, domain: &str) {
        let message = Legacy::Request {
            seqno,
            domain: domain.to_owned(),
            request: i32::from(action.to_wire()),
        };
        self.original_sends(node, &message);
    }

    /// The same, and what it is told within half a minute.
    fn ask_original(&mut self, node: u32, seqno: u32, action: Action, domain: &str) -> Vec<i32> {
        self.original_asks(node, seqno, action, domain);
        self.run_for(Duration::from_secs(30));
        let replies = &self.host(node).original.as_ref().unwrap().replies;
        let mine = replies.iter().filter(|(_, of, _)| *of == seqno);
        mine.map(|(_, _, response)| *response).collect()
    }
}

/// Ours on 1 and 2, the original on 3; vm1 is defined on 2 and 3, and runs on one of them.
pub(crate) fn mixed(runs_on: u32) -> World {
    let mut world = World::cold(3, Setup::default());
    world.define(2, 1);
    world.define(3, 1);
    world.define(3, 7);
    world.install(runs_on, 1);
    world.start_daemon(1);
    world.start_daemon(2);
    world.start_original(3);
    world.run_for(Duration::from_secs(5));
    world
}

fn notes(world: &World, node: u32) -> Vec<String> {
    world.hosts[&node].daemon.as_ref().unwrap().notes.clone()
}

#[test]
fn original_is_warned_of_once_by_name_and_ours_never_are() {
    let mut world = mixed(2);
    world.run_for(Duration::from_secs(30));
    for node in [1, 2] {
        let notes = notes(&world, node);
        let warned = notes.iter().filter(|note| note.contains("original"));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].contains("h3"));
    }
    // One of ours that comes back while ours speak to the original is not taken for it.
    world.end_daemon(2, fence_cluster::seam::LeaveReason::Left);
    world.run_for(Duration::from_secs(1));
    world.start_daemon(2);
    world.run_for(Duration::from_secs(10));
    assert!(
        !notes(&world, 1)
            .iter()
            .any(|n| n.contains("original") && n.contains("h2"))
    );
}

#[test]
fn domain_that_runs_on_the_original_is_fenced_there_with_proof() {
    for node in [1, 2] {
        let mut world = mixed(3);
        assert_eq!(world.reply(node, Action::Status, "vm1"), Reply::Success);
        assert_eq!(
            world.reply(node, Action::Off, &uuid(1).to_string()),
            Reply::Success
        );
        assert_eq!(world.runs_on(1), [0; 0]);
        assert_eq!(world.reply(node, Action::Status, "vm1"), Reply::Off);
        assert_eq!(world.reply(node, Action::Off, "vm1"), Reply::Success);
    }
}

#[test]
fn domain_that_ran_on_the_original_is_rebooted_there() {
    let mut world = mixed(3);
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [3]);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn domain_that_only_originals_have_is_started_if_it_is_only_one() {
    let mut world = mixed(2);
    assert_eq!(world.reply(1, Action::On, "vm7"), Reply::Success);
    assert_eq!(world.runs_on(7), [3]);

    // Two originals would both start it.
    let mut world = World::cold(4, Setup::default());
    world.define(3, 7);
    world.define(4, 7);
    for node in [1, 2] {
        world.start_daemon(node);
    }
    for node in [3, 4] {
        world.start_original(node);
    }
    world.run_for(Duration::from_secs(5));
    let told = world.ask(1, Action::On, "vm7");
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert!(world.starts.is_empty());
}

#[test]
fn leftover_definition_of_the_original_does_not_answer_for_ours() {
    // It replies "off" at once, and success before anything is destroyed.
    let mut world = mixed(2);
    assert_eq!(world.reply(1, Action::Status, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::Reboot, "vm1"), Reply::Success);
    assert_eq!(world.reply(1, Action::On, "vm1"), Reply::Success);
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn original_that_goes_away_with_a_running_domain_needs_a_proof() {
    let mut world = mixed(3);
    world.host(3).original = None;
    world
        .bus
        .leave(world.now, 3, fence_cluster::seam::LeaveReason::ProcessDown);
    world.run_for(Duration::from_secs(1));
    for action in [Action::Off, Action::Status] {
        assert_eq!(world.reply(1, action, "vm1"), Reply::Failure);
    }
    assert_eq!(world.runs_on(1), [3]);
    world.fence(3);
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.reply(1, Action::Off, "vm1"), Reply::Success);
}

#[test]
fn originals_request_is_answered_by_exactly_one_of_ours_when_it_is_proven() {
    let mut world = mixed(2);
    world.install(2, 5);
    world.define(1, 6);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.ask_original(3, 11, Action::Status, "vm5"), [0]);
    assert_eq!(world.ask_original(3, 12, Action::Off, "vm5"), [0]);
    assert_eq!(world.runs_on(5), [0; 0]);
    assert_eq!(world.ask_original(3, 13, Action::Status, "vm5"), [2]);
    assert_eq!(world.ask_original(3, 14, Action::On, "vm6"), [0]);
    assert_eq!(world.runs_on(6), [1]);
    assert_eq!(world.ask_original(3, 15, Action::Reboot, "vm6"), [0]);
    assert_eq!(world.runs_on(6), [1]);
}

#[test]
fn originals_request_for_its_own_running_domain_is_left_to_it() {
    let mut world = mixed(2);
    world.boot(3, 7);
    world.run_for(Duration::from_secs(1));
    world.start_daemon(1);
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.ask_original(3, 11, Action::Status, "vm7"), [0]);
}

#[test]
fn originals_request_for_a_departed_hosts_domain_fails_and_it_does_not_take_it_for_unknown() {
    // The original is the highest id: what it does not know, it takes for off.
    let mut world = mixed(2);
    world.install(2, 5);
    world.run_for(Duration::from_secs(1));
    world.end_daemon(2, fence_cluster::seam::LeaveReason::ProcessDown);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.ask_original(3, 11, Action::Off, "vm5"), [1]);
    assert_eq!(world.runs_on(5), [2]);
}

#[test]
fn reply_of_an_original_that_nobody_asked_counts_for_nothing() {
    let mut world = mixed(2);
    world.freeze_daemon(2);
    let ticket = world.request(1, Action::Off, "vm1");
    world.run_for(Duration::from_millis(100));
    // Success, for every number it may have.
    for seqno in 0..50 {
        let message = Legacy::Reply {
            target: NodeId(1),
            seqno,
            domain: name(1),
            request: 1,
            response: 0,
        };
        world.original_sends(3, &message);
    }
    let told = world.answer(ticket);
    assert_eq!(told.answer, Answer::Reply(Reply::Failure));
    assert_eq!(world.runs_on(1), [2]);
}

#[test]
fn only_so_many_of_the_originals_requests_are_under_way_and_more_fail_at_once() {
    let mut world = mixed(2);
    world.install(2, 4);
    world.install(1, 5);
    world.run_for(Duration::from_millis(100));
    // What is asked about does not answer.
    world.freeze_daemon(2);
    for seqno in 1..=70 {
        world.original_asks(3, seqno, Action::Status, "vm4");
    }
    world.run_for(Duration::from_millis(100));
    let replies = |world: &World| {
        let replies = &world.hosts[&3].original.as_ref().unwrap().replies;
        let mut replies: Vec<_> = replies.iter().map(|(_, of, with)| (*of, *with)).collect();
        replies.sort_unstable();
        replies
    };
    let refused: Vec<_> = (65..=70).map(|seqno| (seqno, 1)).collect();
    assert_eq!(replies(&world), refused);
    // This host's own agents are served all the same.
    assert_eq!(world.reply(1, Action::Off, "vm5"), Reply::Success);
    world.thaw_daemon(2);
    world.run_for(Duration::from_secs(2));
    let all: Vec<_> = (1..=64).map(|seqno| (seqno, 0)).chain(refused).collect();
    assert_eq!(replies(&world), all);
}

#[test]
fn repeated_request_of_the_original_is_answered_once() {
    let mut world = mixed(2);
    world.install(2, 4);
    world.run_for(Duration::from_millis(100));
    world.freeze_daemon(2);
    for _ in 0..3 {
        world.original_asks(3, 11, Action::Status, "vm4");
    }
    world.run_for(Duration::from_millis(100));
    world.thaw_daemon(2);
    assert_eq!(world.ask_original(3, 12, Action::Status, "vm4"), [0]);
    let replies = &world.hosts[&3].original.as_ref().unwrap().replies;
    let to_first = replies.iter().filter(|(_, of, _)| *of == 11);
    assert_eq!(to_first.count(), 1);
}

#[test]
fn nothing_is_sent_to_originals_where_there_are_none() {
    let mut world = World::new(3);
    world.install(2, 1);
    world.run_for(Duration::from_millis(100));
    world.reply(1, Action::Off, "vm1");
    assert_eq!(world.bus.legacy, 0);
}
