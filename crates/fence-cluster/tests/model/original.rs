//! The original's rules, as docs/protocol.md (section 7) describes them, behind the core's interface.
//!
//! A domain that nobody has is off, and the highest id says so; who leaves is forgotten, whyever;
//! whoever has the domain defined answers, shut off or not; every member that has it starts it; nobody waits
//! with a limit. The properties must be able to catch every one of these.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{Hash, Hasher};

use fence_cluster::seam::{Event, Job, JobId, LocalDomain, NodeId, Now, Outcome, Output, Ticket};
use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reply, Uuid};

use crate::rules::{Rules, Setup, Word};

/// A member that follows the original's rules.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Original {
    me: NodeId,
    members: BTreeSet<NodeId>,
    mine: BTreeMap<Uuid, bool>,
    theirs: BTreeSet<(NodeId, Uuid)>,
    waiting: BTreeMap<u32, Ticket>,
    doing: BTreeMap<JobId, Order>,
    next: u32,
}

/// A request as it travels.
#[derive(Debug, Clone, Copy, Hash)]
struct Order {
    from: NodeId,
    number: u32,
    action: Action,
    uuid: Uuid,
}

const REQUEST: u8 = 0;
const REPLY: u8 = 1;
const DOMAIN: u8 = 2;

fn uuid_of(bytes: &[u8]) -> Uuid {
    Uuid(bytes.try_into().unwrap())
}

impl Original {
    fn answer(order: &Order, reply: Reply, out: &mut Vec<Output>) {
        let mut bytes = vec![REPLY, u8::try_from(order.from.0).unwrap()];
        bytes.push(reply.to_wire());
        bytes.extend(order.number.to_le_bytes());
        out.push(Output::Send(bytes));
    }

    fn tell(&self, out: &mut Vec<Output>) {
        for uuid in self.mine.keys() {
            let mut bytes = vec![DOMAIN];
            bytes.extend(uuid.0);
            out.push(Output::Send(bytes));
        }
    }

    fn note(&mut self, domain: &LocalDomain) {
        self.mine.insert(domain.identity.uuid, domain.active);
    }

    fn start(&mut self, order: Order, job: fn(Uuid) -> Job, out: &mut Vec<Output>) {
        self.next += 1;
        let id = JobId(u64::from(self.next));
        self.doing.insert(id, order);
        out.push(Output::Do(id, job(order.uuid)));
    }

    fn request(&mut self, order: Order, out: &mut Vec<Output>) {
        self.tell(out);
        let known = self.theirs.iter().any(|(_, uuid)| *uuid == order.uuid);
        match self.mine.get(&order.uuid) {
            Some(active) => match order.action {
                Action::Off | Action::Reboot if *active => self.start(order, off, out),
                Action::Off | Action::Reboot => Self::answer(&order, Reply::Success, out),
                Action::On => self.start(order, on, out),
                _ if *active => Self::answer(&order, Reply::Success, out),
                _ => Self::answer(&order, Reply::Off, out),
            },
            None if known || self.members.last() != Some(&self.me) => {}
            None => {
                let reply = match order.action {
                    Action::Off | Action::Reboot => Reply::Success,
                    Action::Status => Reply::Off,
                    _ => Reply::Failure,
                };
                Self::answer(&order, reply, out);
            }
        }
    }

    fn done(&mut self, id: JobId, outcome: &Outcome, out: &mut Vec<Output>) {
        let Some(order) = self.doing.remove(&id) else {
            return;
        };
        match outcome {
            Outcome::Off { .. } if order.action == Action::Reboot => self.start(order, on, out),
            Outcome::Off { .. } | Outcome::WasOff | Outcome::Started => {
                Self::answer(&order, Reply::Success, out);
            }
            // The thread hangs in libvirt, and nobody looks.
            Outcome::Silent => {}
            _ => Self::answer(&order, Reply::Failure, out),
        }
    }

    fn delivered(&mut self, from: NodeId, bytes: &[u8], out: &mut Vec<Output>) {
        match bytes[0] {
            REQUEST => {
                let order = Order {
                    from,
                    action: Action::ALL[usize::from(bytes[1])],
                    number: u32::from_le_bytes(bytes[2..6].try_into().unwrap()),
                    uuid: uuid_of(&bytes[6..]),
                };
                self.request(order, out);
            }
            REPLY if u32::from(bytes[1]) == self.me.0 => {
                let number = u32::from_le_bytes(bytes[3..7].try_into().unwrap());
                if let Some(ticket) = self.waiting.remove(&number) {
                    let reply = Answer::Reply(Reply::from_wire(bytes[2]));
                    out.push(Output::Reply(ticket, reply, None));
                }
            }
            DOMAIN if from != self.me => {
                self.theirs.insert((from, uuid_of(&bytes[1..])));
            }
            _ => {}
        }
    }
}

const fn off(domain: Uuid) -> Job {
    Job::Off {
        domain,
        keep_definition: true,
        begin_by: FOREVER,
        end_by: FOREVER,
    }
}

const fn on(domain: Uuid) -> Job {
    Job::Start {
        domain,
        begin_by: FOREVER,
        end_by: FOREVER,
    }
}

const FOREVER: Moment = Moment::from_epoch(core::time::Duration::from_secs(1_000_000));

impl Rules for Original {
    const ANNOUNCES: bool = false;

    fn explain(bytes: &[u8]) -> String {
        let kind = ["REQUEST", "REPLY", "DOMAIN"][usize::from(bytes[0])];
        let mut text = kind.to_owned();
        for byte in bytes.iter().skip(1).take(6) {
            write!(text, " {byte}").unwrap();
        }
        text
    }

    fn word(_: &[u8]) -> Option<Word> {
        None
    }

    fn start(setup: Setup, _: Now) -> Self {
        Self {
            me: setup.me.node,
            members: BTreeSet::new(),
            mine: BTreeMap::new(),
            theirs: BTreeSet::new(),
            waiting: BTreeMap::new(),
            doing: BTreeMap::new(),
            next: 0,
        }
    }

    fn handle(&mut self, _: Now, event: Event<'_>, out: &mut Vec<Output>) {
        match event {
            Event::Membership { members, .. } => {
                self.members = members.iter().map(|member| member.node).collect();
                let members = &self.members;
                self.theirs.retain(|(owner, _)| members.contains(owner));
                self.tell(out);
            }
            Event::Delivered { from, bytes } => self.delivered(from.node, bytes, out),
            Event::Inventory(all) => {
                self.mine.clear();
                all.iter().for_each(|domain| self.note(domain));
                self.tell(out);
            }
            Event::Changed(domain) => self.note(&domain),
            Event::Gone(uuid) => {
                self.mine.remove(&uuid);
            }
            Event::Request(ticket, request) => {
                self.next += 1;
                self.waiting.insert(self.next, ticket);
                let action = Action::ALL
                    .iter()
                    .position(|action| *action == request.action);
                let mut bytes = vec![REQUEST, u8::try_from(action.unwrap()).unwrap()];
                bytes.extend(self.next.to_le_bytes());
                let number = request.domain.as_str().strip_prefix("vm").unwrap();
                bytes.extend(crate::truth::uuid(number.parse().unwrap()).0);
                out.push(Output::Send(bytes));
            }
            Event::Done(id, outcome) => self.done(id, &outcome, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Moment> {
        None
    }

    fn digest(&self, _: Now) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
