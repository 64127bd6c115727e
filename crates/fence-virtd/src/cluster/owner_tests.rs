//! A daemon before its first join, and what becomes of its requests then.

use std::sync::Arc;
use std::time::Duration;

use fence_cluster::seam::{Job, NameMode, UnknownDomain};
use fence_proto::{Access, Action, DomainRef, Reply, Requester, Source, Uuid};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::FenceProof;
use crate::corosync::by_hand::ByHand;
use crate::libvirt::LibvirtBackend;
use crate::libvirt::tests::{Dir, domain_in, uuid};

const ON: u8 = 1;
const OFF: u8 = 5;

/// An owner whose host has the domains "a" and "b", which run, and "c", which is shut off.
struct Rig {
    _dir: Dir,
    libvirt: LibvirtBackend,
    clock: Clock,
    commands: mpsc::Sender<Command>,
    tickets: u64,
}

impl Rig {
    async fn new() -> (Self, ByHand) {
        let dir = Dir::new();
        let domains = [("a", 1, ON), ("b", 2, ON), ("c", 3, OFF)];
        let domains = domains.map(|(name, id, state)| domain_in(name, uuid(id), state, ""));
        let uris = vec![dir.node("node", &domains)];
        let clock = Clock::start();
        let libvirt = LibvirtBackend::new(&uris, clock);
        libvirt.ready().await.unwrap();
        let settings = CpgSettings {
            uris,
            name_mode: NameMode::Name,
            group: "test".to_owned(),
            request_timeout: Duration::from_secs(20),
            unknown_domain: UnknownDomain::Failure,
            fence_proof: None,
            hosts: Vec::new(),
        };
        let (corosync, by_hand) = ByHand::new();
        let (commands, receiver) = mpsc::channel(16);
        let owner = Owner::new(
            (settings, clock),
            (corosync, receiver),
            Jobs::new(libvirt.clone()),
            Prover::new(Some(&FenceProof::None)),
            Arc::default(),
        );
        tokio::spawn(owner.run());
        let rig = Self {
            _dir: dir,
            libvirt,
            clock,
            commands,
            tickets: 0,
        };
        (rig, by_hand)
    }

    async fn ask(
        &mut self,
        action: Action,
        domain: &str,
    ) -> oneshot::Receiver<(Answer, Option<String>)> {
        let (reply, answer) = oneshot::channel();
        let now = self.clock.now();
        let source = Source::Ip([127, 0, 0, 1].into());
        let request = Request {
            action,
            domain: DomainRef::new(domain).unwrap(),
            requester: Requester::new(source, Arc::new(Access::unrestricted())),
            start_by: now + Duration::from_secs(20),
            answer_by: now + Duration::from_secs(25),
        };
        self.tickets += 1;
        let command = Command::Request {
            ticket: Ticket(self.tickets),
            request,
            reply,
        };
        assert!(self.commands.send(command).await.is_ok());
        answer
    }

    async fn runs(&self, uuid: Uuid) -> bool {
        let jobs = Jobs::new(self.libvirt.clone());
        match jobs.execute(Job::Look(uuid)).await {
            Outcome::Found(found) => found.iter().any(|it| it.active),
            other => panic!("{other:?}"),
        }
    }
}

async fn answer(answer: oneshot::Receiver<(Answer, Option<String>)>) -> Answer {
    let answer = timeout(Duration::from_secs(30), answer).await;
    answer.expect("in time").expect("an answer").0
}

#[tokio::test]
async fn what_runs_here_is_seen_and_destroyed_by_a_daemon_that_has_never_joined() {
    let (mut rig, _by_hand) = Rig::new().await;
    let status = rig.ask(Action::Status, "b").await;
    assert_eq!(answer(status).await, Answer::Reply(Reply::Success));
    let off = rig.ask(Action::Off, "a").await;
    answer(off).await;
    assert!(!rig.runs(uuid(1)).await && rig.runs(uuid(2)).await);
}

#[tokio::test]
async fn request_that_waits_for_the_first_join_is_answered_after_it() {
    let (mut rig, by_hand) = Rig::new().await;
    let mut status = rig.ask(Action::Status, "c").await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(status.try_recv(), Err(TryRecvError::Empty));
    by_hand.join(1).await;
    assert_eq!(answer(status).await, Answer::Reply(Reply::Off));
    let off = rig.ask(Action::Off, "a").await;
    assert_eq!(answer(off).await, Answer::Reply(Reply::Success));
}

#[tokio::test]
async fn what_was_begun_before_the_join_is_over_before_the_group_is_heard() {
    let (mut rig, by_hand) = Rig::new().await;
    let status = rig.ask(Action::Status, "a").await;
    assert_eq!(answer(status).await, Answer::Reply(Reply::Success));
    let turn = rig.libvirt.take_turn(uuid(1)).await;
    let mut off = rig.ask(Action::Off, "a").await;
    sleep(Duration::from_millis(300)).await;
    by_hand.join(1).await;
    let mut status = rig.ask(Action::Status, "c").await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(off.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(status.try_recv(), Err(TryRecvError::Empty));
    drop(turn);
    answer(off).await;
    assert!(!rig.runs(uuid(1)).await);
    assert_eq!(answer(status).await, Answer::Reply(Reply::Off));
    let off = rig.ask(Action::Off, "b").await;
    assert_eq!(answer(off).await, Answer::Reply(Reply::Success));
}
