//! Whatever arrives from the group or the shell, in whatever order: nothing panics, nothing grows
//! without bound, every request is answered once and in time.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use fence_cluster::Cluster;
use fence_cluster::seam::{
    Config, Event, Job, JobId, LeaveReason, Level, LocalDomain, MemberId, Migration, NameMode,
    NodeId, Now, Outcome, Output, Proof, Request, Ticket, UnknownDomain, WallTime,
};
use fence_cluster::wire::message::Message;
use fence_proto::{Access, Action, DomainIdentity, DomainRef, Moment, Requester, Source, Uuid};
use proptest::prelude::*;

const ME: MemberId = MemberId {
    node: NodeId(1),
    pid: 10,
};
const OTHER: MemberId = MemberId {
    node: NodeId(2),
    pid: 20,
};

fn at(ms: u64) -> Now {
    Now {
        moment: Moment::from_epoch(Duration::from_millis(ms)),
        wall: WallTime(1_000_000 + ms),
    }
}

fn cluster() -> Cluster {
    let config = Config {
        me: ME,
        request_timeout: Duration::from_secs(20),
        unknown: UnknownDomain::Failure,
        name_mode: NameMode::Name,
        proofs: true,
    };
    Cluster::new(config, at(0))
}

fn domain(number: u8, active: bool) -> LocalDomain {
    LocalDomain {
        identity: DomainIdentity {
            name: format!("vm{number}"),
            uuid: Uuid([number; 16]),
        },
        active,
        state: if active { 1 } else { 5 },
        migration: Migration::None,
    }
}

fn request(now: u64, action: Action, number: u8) -> Request {
    let source = Source::Ip("10.0.0.1".parse().unwrap());
    Request {
        action,
        domain: DomainRef::new(&format!("vm{number}")).unwrap(),
        requester: Requester::new(source, Arc::new(Access::unrestricted())),
        start_by: at(now + 20_000).moment,
        answer_by: at(now + 25_000).moment,
    }
}

/// Something that happens, before it has the bytes and numbers of the moment.
#[derive(Debug, Clone)]
enum Step {
    Bytes(bool, Vec<u8>),
    /// A message that the core itself has sent, as it is or damaged, from either member.
    Echo(bool, usize, Option<(usize, u8)>),
    Membership(bool),
    Disconnected,
    Quorum(bool),
    Nodes(bool),
    Hosts,
    Inventory(u8, bool),
    Changed(u8, bool),
    Gone(u8),
    Lost,
    Proof(bool),
    Request(u8, u8),
    Abandoned(u64),
    Done(u8),
    Tick,
    Later(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let body = proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..180);
    let damage = proptest::option::of((any::<usize>(), any::<u8>()));
    prop_oneof![
        1 => (any::<bool>(), body).prop_map(|(own, bytes)| Step::Bytes(own, bytes)),
        6 => (any::<bool>(), any::<usize>(), damage).prop_map(|(own, n, d)| Step::Echo(own, n, d)),
        2 => any::<bool>().prop_map(Step::Membership),
        1 => Just(Step::Disconnected),
        2 => any::<bool>().prop_map(Step::Quorum),
        1 => any::<bool>().prop_map(Step::Nodes),
        1 => Just(Step::Hosts),
        1 => (0_u8..4, any::<bool>()).prop_map(|(n, on)| Step::Inventory(n, on)),
        2 => (0_u8..4, any::<bool>()).prop_map(|(n, on)| Step::Changed(n, on)),
        1 => (0_u8..4).prop_map(Step::Gone),
        1 => Just(Step::Lost),
        1 => any::<bool>().prop_map(Step::Proof),
        3 => (0_u8..7, 0_u8..4).prop_map(|(action, n)| Step::Request(action, n)),
        1 => (0_u64..20).prop_map(Step::Abandoned),
        4 => any::<u8>().prop_map(Step::Done),
        4 => Just(Step::Tick),
        3 => (0_u16..4_000).prop_map(Step::Later),
    ]
}

/// A core, and what it has said.
struct Bench {
    core: Cluster,
    now: u64,
    sent: Vec<Vec<u8>>,
    jobs: Vec<(JobId, Job)>,
    asked: Vec<(Ticket, u64)>,
    answered: Vec<Ticket>,
}

impl Bench {
    fn new() -> Self {
        Self {
            core: cluster(),
            now: 0,
            sent: Vec::new(),
            jobs: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event<'_>) {
        let mut out = Vec::new();
        self.core.handle(at(self.now), event, &mut out);
        for output in out {
            match output {
                Output::Send(bytes) => self.sent.push(bytes),
                Output::Do(id, job) => {
                    let twice = self.jobs.iter().any(|(other, _)| *other == id);
                    assert!(!twice, "two jobs with one number");
                    self.jobs.push((id, job));
                }
                Output::Reply(ticket, ..) => {
                    assert!(!self.answered.contains(&ticket), "answered twice");
                    self.answered.push(ticket);
                }
                Output::AskProof { .. } => {}
                Output::Note(level, text) => {
                    assert!(level >= Level::Warn && !text.is_empty());
                }
            }
        }
    }

    fn delivered(&mut self, own: bool, bytes: &[u8]) {
        let from = if own { ME } else { OTHER };
        self.feed(Event::Delivered { from, bytes });
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of event")]
    fn run(&mut self, step: Step) {
        match step {
            Step::Bytes(own, bytes) => self.delivered(own, &bytes),
            Step::Echo(own, number, damage) => {
                let Some(mut bytes) = self.sent.get(number % self.sent.len().max(1)).cloned()
                else {
                    return;
                };
                if let Some((position, byte)) = damage {
                    let position = position % bytes.len();
                    bytes[position] = byte;
                }
                self.delivered(own, &bytes);
            }
            Step::Membership(both) => {
                let members = if both { vec![ME, OTHER] } else { vec![ME] };
                let left = if both {
                    vec![]
                } else {
                    vec![(OTHER, LeaveReason::NodeDown)]
                };
                self.feed(Event::Membership { members, left });
            }
            Step::Disconnected => self.feed(Event::Disconnected),
            Step::Quorum(quorum) => self.feed(Event::Quorum(quorum)),
            Step::Nodes(both) => {
                let nodes = if both {
                    vec![ME.node, OTHER.node]
                } else {
                    vec![ME.node]
                };
                self.feed(Event::Nodes(nodes));
            }
            Step::Hosts => {
                let hosts = vec![(ME.node, "a".to_owned()), (OTHER.node, "b".to_owned())];
                self.feed(Event::Hosts(hosts));
            }
            Step::Inventory(count, active) => {
                let all = (0..count).map(|number| domain(number, active)).collect();
                self.feed(Event::Inventory(all));
            }
            Step::Changed(number, active) => self.feed(Event::Changed(domain(number, active))),
            Step::Gone(number) => self.feed(Event::Gone(Uuid([number; 16]))),
            Step::Lost => self.feed(Event::InventoryLost),
            Step::Proof(fenced) => {
                let proof = if fenced {
                    Proof::Fenced {
                        at: at(self.now).wall,
                        by: "test".to_owned(),
                    }
                } else {
                    Proof::NotFenced
                };
                self.feed(Event::Proof {
                    node: OTHER.node,
                    since: at(0).wall,
                    proof,
                });
            }
            Step::Request(action, number) => {
                let ticket = Ticket(u64::try_from(self.asked.len()).unwrap());
                self.asked.push((ticket, self.now));
                let action = Action::ALL[usize::from(action)];
                let request = request(self.now, action, number);
                self.feed(Event::Request(ticket, request));
            }
            Step::Abandoned(ticket) => self.feed(Event::Abandoned(Ticket(ticket))),
            Step::Done(how) => self.done(how),
            Step::Tick => self.feed(Event::Tick),
            Step::Later(ms) => self.now += u64::from(ms),
        }
    }

    fn done(&mut self, how: u8) {
        if self.jobs.is_empty() {
            // One that was never given.
            return self.feed(Event::Done(JobId(u64::from(how)), Outcome::Alive));
        }
        let (id, job) = self.jobs.remove(usize::from(how) % self.jobs.len());
        let outcome = match (job, how % 4) {
            (_, 0) => Outcome::Silent,
            (_, 1) => Outcome::Failed("no".to_owned()),
            (Job::Look(uuid), _) => Outcome::Found(vec![domain(uuid.0[0], how % 4 == 2)]),
            (Job::Find(_), _) => Outcome::Found(vec![]),
            (Job::Off { .. }, 2) => Outcome::Off {
                migrating: false,
                vanished: false,
            },
            (Job::Off { .. }, _) => Outcome::WasOff,
            (Job::Start { .. }, _) => Outcome::Started,
            (Job::Forget(_), _) => Outcome::WasAbsent,
            (Job::Ping, _) => Outcome::Alive,
        };
        self.feed(Event::Done(id, outcome));
    }

    /// Lets the clock do the rest: every request ends by its time, without any help.
    fn wait(&mut self) {
        let end = self.now + 30_000;
        for _ in 0..10_000 {
            let due = self
                .core
                .deadline()
                .map(|due| due.since_epoch().as_millis());
            let due = due.map_or(end, |due| u64::try_from(due).unwrap());
            if due >= end {
                break;
            }
            assert!(due >= self.now || due == self.now || self.core.deadline().is_some());
            self.now = self.now.max(due);
            self.feed(Event::Tick);
        }
        self.now = end;
        self.feed(Event::Tick);
        for (ticket, asked) in &self.asked {
            assert!(
                self.answered.contains(ticket),
                "{ticket:?} of {asked} is not answered"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_and_every_request_is_answered_once(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut bench = Bench::new();
        for step in steps {
            bench.run(step);
        }
        bench.wait();
    }
}

#[test]
fn deadline_that_was_kept_is_not_due_again() {
    // A shell that ticks whenever it is told must come to rest.
    let mut bench = Bench::new();
    for step in [
        Step::Hosts,
        Step::Inventory(2, true),
        Step::Membership(true),
        Step::Quorum(true),
        Step::Request(1, 0),
    ] {
        bench.run(step);
    }
    let mut at_once = 0;
    for _ in 0..500 {
        let due = bench.core.deadline().unwrap().since_epoch().as_millis();
        let due = u64::try_from(due).unwrap();
        at_once = if due <= bench.now { at_once + 1 } else { 0 };
        assert!(at_once < 5, "it is due again and again at {}", bench.now);
        bench.now = bench.now.max(due);
        bench.feed(Event::Tick);
    }
}

#[test]
fn rubbish_is_counted_by_its_reason() {
    let mut bench = Bench::new();
    bench.run(Step::Membership(true));
    bench.delivered(false, &[]);
    bench.delivered(false, &[0xff; 40]);
    let mut ping = Message::Ping { number: 1 }.encode();
    ping.push(0);
    bench.delivered(false, &ping);
    let stranger = MemberId {
        node: NodeId(9),
        pid: 9,
    };
    ping.pop();
    bench.feed(Event::Delivered {
        from: stranger,
        bytes: &ping,
    });
    assert_eq!(
        bench.core.summary(),
        "wrong-length=2 unknown-type=1 not-a-member=1"
    );
}
