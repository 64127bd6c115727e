//! The core with one of its rules bent, from outside: what it is told or says is changed on the way.
//! Each bend must be caught; else the rule is not needed, or the model cannot see it.

use std::marker::PhantomData;

use fence_cluster::Cluster;
use fence_cluster::seam::{Event, MemberId, Migration, Now, Outcome, Output, Proof};
use fence_cluster::wire::message::{Change, Finding, Message};
use fence_cluster::wire::record::Record;
use fence_proto::Moment;

use crate::rules::{Rules, Setup, Word};

/// How the core is bent.
pub(crate) trait Bend: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Changes what it is told; `None`: it is not told at all.
    fn told(event: Event<'_>) -> Option<Event<'_>> {
        Some(event)
    }

    /// Changes what it hears from the group; `None`: it does not hear it.
    fn heard(message: Message) -> Option<Message> {
        Some(message)
    }

    /// What becomes of what it says.
    fn said(_: &Output) -> Said {
        Said::Done
    }

    /// When it wants to be woken.
    fn wakes(deadline: Option<Moment>) -> Option<Moment> {
        deadline
    }
}

/// What becomes of an output.
pub(crate) enum Said {
    /// It is done.
    Done,
    /// Instead it is told this.
    Instead(Event<'static>),
    /// It is sent, and for the sender it has come back already and nothing else is waiting.
    Echoed(Vec<u8>),
}

/// A bent core.
#[derive(Debug, Clone)]
pub(crate) struct Bent<B: Bend> {
    core: Cluster,
    me: MemberId,
    bend: PhantomData<B>,
}

impl<B: Bend> Rules for Bent<B> {
    const ANNOUNCES: bool = true;

    fn explain(bytes: &[u8]) -> String {
        Cluster::explain(bytes)
    }

    fn word(bytes: &[u8]) -> Option<Word> {
        Cluster::word(bytes)
    }

    fn start(setup: Setup, now: Now) -> Self {
        Self {
            core: Rules::start(setup, now),
            me: setup.me,
            bend: PhantomData,
        }
    }

    fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Output>) {
        let Some(event) = B::told(event) else {
            return;
        };
        let mut said = Vec::new();
        match event {
            Event::Delivered { from, bytes } => {
                // Messages of the original's kind are not bent.
                let heard = Message::decode(bytes).map(B::heard);
                let bent = heard.map(|heard| heard.map(|message| message.encode()));
                if let Some(bytes) = bent.unwrap_or_else(|_| Some(bytes.to_vec())) {
                    let bytes = &bytes[..];
                    let event = Event::Delivered { from, bytes };
                    self.core.handle(now, event, &mut said);
                }
            }
            event => self.core.handle(now, event, &mut said),
        }
        for output in said {
            match B::said(&output) {
                Said::Done => out.push(output),
                Said::Instead(event) => self.handle(now, event, out),
                Said::Echoed(bytes) => {
                    out.push(output);
                    let from = self.me;
                    let bytes = &bytes[..];
                    self.handle(now, Event::Delivered { from, bytes }, out);
                    self.handle(now, Event::Tick, out);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Moment> {
        B::wakes(self.core.deadline())
    }

    fn digest(&self, now: Now) -> u64 {
        self.core.fingerprint(now)
    }
}

/// Every departed host counts as fenced.
#[derive(Debug, Clone)]
pub(crate) struct TakesEveryHostForFenced;

impl Bend for TakesEveryHostForFenced {
    fn said(output: &Output) -> Said {
        match output {
            Output::AskProof { node, since, .. } => Said::Instead(Event::Proof {
                node: *node,
                since: *since,
                proof: Proof::Fenced {
                    at: *since,
                    by: "nobody".to_owned(),
                },
            }),
            _ => Said::Done,
        }
    }
}

/// It hears of no request's end.
#[derive(Debug, Clone)]
pub(crate) struct HearsNoClosed;

impl Bend for HearsNoClosed {
    fn heard(message: Message) -> Option<Message> {
        Some(message).filter(|message| !matches!(message, Message::Closed { .. }))
    }
}

/// It takes its announcements for delivered as soon as it has made them.
#[derive(Debug, Clone)]
pub(crate) struct DoesNotWaitForItsBegin;

impl Bend for DoesNotWaitForItsBegin {
    fn said(output: &Output) -> Said {
        match output {
            Output::Send(bytes) if matches!(Message::decode(bytes), Ok(Message::Begin { .. })) => {
                Said::Echoed(bytes.clone())
            }
            _ => Said::Done,
        }
    }
}

/// Nothing wakes it.
#[derive(Debug, Clone)]
pub(crate) struct SleepsForEver;

impl Bend for SleepsForEver {
    fn wakes(_: Option<Moment>) -> Option<Moment> {
        None
    }
}

/// It always has quorum.
#[derive(Debug, Clone)]
pub(crate) struct AlwaysHasQuorum;

impl Bend for AlwaysHasQuorum {
    fn told(event: Event<'_>) -> Option<Event<'_>> {
        Some(match event {
            Event::Quorum(_) => Event::Quorum(true),
            event => event,
        })
    }
}

/// A libvirt that does not answer has nothing.
#[derive(Debug, Clone)]
pub(crate) struct TakesSilenceForAbsence;

impl Bend for TakesSilenceForAbsence {
    fn told(event: Event<'_>) -> Option<Event<'_>> {
        Some(match event {
            Event::InventoryLost => return None,
            Event::Done(job, Outcome::Silent) => Event::Done(job, Outcome::Found(Vec::new())),
            event => event,
        })
    }
}

/// Nothing is looked at again: not after something was destroyed, and not because of what hosts say of
/// themselves meanwhile. (Either alone is enough.)
#[derive(Debug, Clone)]
pub(crate) struct LooksOnce;

fn idle(record: &mut Record) {
    record.active = false;
    record.migration = Migration::None;
}

impl Bend for LooksOnce {
    fn heard(message: Message) -> Option<Message> {
        Some(match message {
            Message::Result {
                key,
                round,
                finding: Finding::Destroyed { .. },
            } => Message::Result {
                key,
                round,
                finding: Finding::Absent,
            },
            Message::Inventory { mut part } => {
                part.records.iter_mut().for_each(|(_, record)| idle(record));
                Message::Inventory { part }
            }
            Message::Changed {
                stand,
                change: Change::Record { uuid, mut record },
            } => {
                idle(&mut record);
                let change = Change::Record { uuid, record };
                Message::Changed { stand, change }
            }
            message => message,
        })
    }
}

/// Halves of migrations are copies like any other.
#[derive(Debug, Clone)]
pub(crate) struct SeesNoMigration;

impl Bend for SeesNoMigration {
    fn told(event: Event<'_>) -> Option<Event<'_>> {
        Some(match event {
            Event::Inventory(mut all) => {
                for domain in &mut all {
                    domain.migration = Migration::None;
                }
                Event::Inventory(all)
            }
            Event::Changed(mut domain) => {
                domain.migration = Migration::None;
                Event::Changed(domain)
            }
            Event::Done(job, Outcome::Found(mut all)) => {
                for domain in &mut all {
                    domain.migration = Migration::None;
                }
                Event::Done(job, Outcome::Found(all))
            }
            Event::Done(job, Outcome::Off { vanished, .. }) => Event::Done(
                job,
                Outcome::Off {
                    migrating: false,
                    vanished,
                },
            ),
            event => event,
        })
    }
}
