//! The agent's session on a serial line or VM channel (section 6): wait for silence, ask once, find
//! the response.
//!
//! What is here: the decisions, as a function of `(now, event)`. What is not here: the device, its
//! modem lines and the clock.
//!
//! A response does not say which request it is for, and what a host sent to an agent that gave up may
//! still be on its way. So the session asks only after the line was silent for a moment, and throws
//! away what came before; and it ignores a response whose [tag](crate::serial::TAG_LEN) names another
//! request. Without a tag, from a host of the original, a response that was sent in the very moment of
//! asking cannot be told from the right one.
//!
//! The request is sent once. Of one that is lost (its host was being restarted) nothing comes but the
//! time-out; but a host of the original may execute what is sent twice, and the second response would
//! wait in the line for the next agent.

#[cfg(test)]
mod tests;

use core::time::Duration;

use super::{Failure, Tally, Verdict};
use crate::action::Action;
use crate::domain::DomainRef;
use crate::host_list::{Decoder, ReceivedEntry};
use crate::reply::Reply;
use crate::serial::{Heard, RESPONSE_LEN, Request, ResponseScanner};
use crate::time::Moment;

/// How long the line must be silent before a request.
const SILENCE: Duration = Duration::from_millis(100);

/// How long the response behind a list is waited for, so that the next agent does not find it.
const TRAILER_WAIT: Duration = Duration::from_millis(200);

/// What to ask, and for how long.
#[derive(Debug, Clone)]
pub struct SerialConfig {
    /// What is asked.
    pub action: Action,
    /// For which domain; empty where none is needed.
    pub domain: DomainRef,
    /// Whether `domain` is meant as a UUID.
    pub uuid_flag: bool,
    /// Identifies the request; random.
    pub seqno: u32,
    /// The time from [`Event::Opened`] to the request, at least: for devices that need it.
    pub settle: Duration,
    /// The bound on everything together.
    pub timeout: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The line is open.
    Opened,
    /// Bytes have come.
    Bytes(&'a [u8]),
    /// The line has ended, in whatever way.
    Closed,
    /// Time has passed.
    Tick,
}

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Throw away what has come and was not reported, then send these bytes.
    Ask(Vec<u8>),
    /// The session has ended.
    Finish(Verdict),
}

#[derive(Debug)]
enum Stage {
    /// The line is not open.
    Opening,
    /// Waiting for silence.
    Settling {
        opened: Moment,
        noise: Moment,
    },
    /// The request is sent.
    Asked(ResponseScanner),
    /// Somebody else's list, and the response behind it.
    SkippingList(Decoder, usize),
    /// Our list.
    Listing(Decoder),
    /// The list is whole; the response behind it may still come.
    Listed {
        entries: Vec<ReceivedEntry>,
        missing: usize,
        until: Moment,
    },
    Over,
}

/// One request of an agent, from opening the line to the result.
#[derive(Debug)]
pub struct SerialSession {
    config: SerialConfig,
    began: Moment,
    stage: Stage,
    /// The host tags its responses, so that one without a tag is none.
    tagged: bool,
    tally: Tally,
}

impl SerialSession {
    /// A session whose total time-out starts now.
    #[must_use]
    pub fn new(config: SerialConfig, now: Moment) -> Self {
        Self {
            config,
            began: now,
            stage: Stage::Opening,
            tagged: false,
            tally: Tally::default(),
        }
    }

    /// When the total time-out is over. Opening the line is bounded by it, too.
    #[must_use]
    pub fn gives_up(&self) -> Moment {
        self.began + self.config.timeout
    }

    /// When [`Event::Tick`] is due, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let next = match &self.stage {
            Stage::Settling { opened, noise } => self.settled(*opened, *noise),
            Stage::Listed { until, .. } => *until,
            _ => self.gives_up(),
        };
        next.min(self.gives_up())
    }

    /// What came of it so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    fn settled(&self, opened: Moment, noise: Moment) -> Moment {
        (opened + self.config.settle).max(noise + SILENCE)
    }

    /// Takes what happened and says what is to be done. After [`Output::Finish`] every event is
    /// ignored; from the total time-out on every event means just that.
    pub fn handle(&mut self, now: Moment, event: Event<'_>) -> Option<Output> {
        let output = match event {
            _ if matches!(self.stage, Stage::Over) => None,
            _ if now >= self.gives_up() => Some(self.timed_out()),
            Event::Opened if !matches!(self.stage, Stage::Opening) => None,
            Event::Opened => {
                self.stage = Stage::Settling {
                    opened: now,
                    noise: now,
                };
                None
            }
            Event::Bytes(bytes) => self.heard(now, bytes),
            Event::Closed => Some(self.closed()),
            Event::Tick => None,
        };
        let output = output.or_else(|| self.passed(now));
        if matches!(output, Some(Output::Finish(_))) {
            self.stage = Stage::Over;
        }
        output
    }

    /// What time alone brings about.
    fn passed(&mut self, now: Moment) -> Option<Output> {
        match &mut self.stage {
            Stage::Settling { opened, noise } => {
                let (opened, noise) = (*opened, *noise);
                if now >= self.settled(opened, noise) {
                    return Some(self.ask());
                }
                // Half of the time is left for the answer.
                let patience = self.config.timeout.checked_div(2).unwrap_or_default();
                let restless = noise > opened && now >= self.began + patience;
                restless.then(|| failed(Failure::NeverQuiet))
            }
            Stage::Listed { entries, until, .. } if now >= *until => Some(listed(entries)),
            _ => None,
        }
    }

    fn ask(&mut self) -> Output {
        self.stage = Stage::Asked(ResponseScanner::default());
        let SerialConfig {
            action,
            domain,
            uuid_flag,
            seqno,
            ..
        } = &self.config;
        let request = Request {
            action: *action,
            domain: domain.clone(),
            uuid_flag: *uuid_flag,
            seqno: *seqno,
        };
        Output::Ask(request.encode().to_vec())
    }

    /// A line that is closed is never a result (row F5), but for a list that is whole.
    fn closed(&mut self) -> Output {
        match &mut self.stage {
            Stage::Opening | Stage::Settling { .. } => failed(Failure::NotConnected),
            Stage::Listing(_) => failed(Failure::ListCut),
            Stage::Listed { entries, .. } => listed(entries),
            Stage::Asked(_) | Stage::SkippingList(..) | Stage::Over => {
                failed(Failure::ClosedWithoutReply)
            }
        }
    }

    fn timed_out(&mut self) -> Output {
        match &mut self.stage {
            Stage::Settling { opened, noise } if *noise > *opened => failed(Failure::NeverQuiet),
            Stage::Listing(_) => failed(Failure::ListUnfinished),
            Stage::Listed { entries, .. } => listed(entries),
            _ => failed(Failure::TimedOut),
        }
    }

    fn heard(&mut self, now: Moment, mut bytes: &[u8]) -> Option<Output> {
        while !bytes.is_empty() {
            if let Some(output) = self.heard_some(now, &mut bytes) {
                return Some(output);
            }
        }
        None
    }

    /// Takes what the stage has use for off the front, at least a byte.
    fn heard_some(&mut self, now: Moment, bytes: &mut &[u8]) -> Option<Output> {
        match &mut self.stage {
            Stage::Asked(scanner) => {
                let heard = scanner.next(bytes)?;
                self.responded(heard)
            }
            Stage::Listing(decoder) => match decoder.take(bytes) {
                Err(_) => Some(failed(Failure::ListTooLong)),
                Ok(false) => None,
                Ok(true) => {
                    let entries = core::mem::take(decoder).finish().unwrap_or_default();
                    self.stage = Stage::Listed {
                        entries,
                        missing: RESPONSE_LEN,
                        until: now + TRAILER_WAIT,
                    };
                    None
                }
            },
            Stage::SkippingList(decoder, missing) => {
                let whole = decoder.take(bytes).unwrap_or(true);
                if whole && drop_some(bytes, missing) {
                    self.stage = Stage::Asked(ResponseScanner::default());
                }
                None
            }
            Stage::Listed {
                entries, missing, ..
            } => drop_some(bytes, missing).then(|| listed(entries)),
            Stage::Opening | Stage::Settling { .. } | Stage::Over => {
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.tally.discarded = self.tally.discarded.saturating_add(count);
                *bytes = &[];
                if let Stage::Settling { noise, .. } = &mut self.stage {
                    *noise = now;
                }
                None
            }
        }
    }

    fn responded(&mut self, Heard { reply, seqno }: Heard) -> Option<Output> {
        self.tagged |= seqno.is_some();
        let ours = seqno.map_or(!self.tagged, |seqno| seqno == self.config.seqno);
        let lists = self.config.action == Action::List;
        match reply {
            _ if !ours => {
                self.tally.stale = self.tally.stale.saturating_add(1);
                if reply == Reply::HostListFollows && seqno.is_some() {
                    self.stage = Stage::SkippingList(Decoder::default(), RESPONSE_LEN);
                }
                None
            }
            Reply::HostListFollows if lists => {
                self.stage = Stage::Listing(Decoder::default());
                None
            }
            Reply::HostListFollows => Some(failed(Failure::ListUnexpected)),
            Reply::Success if lists => Some(failed(Failure::ListMissing)),
            reply => Some(Output::Finish(Verdict::Replied(reply))),
        }
    }
}

const fn failed(failure: Failure) -> Output {
    Output::Finish(Verdict::Failed(failure))
}

fn listed(entries: &mut Vec<ReceivedEntry>) -> Output {
    Output::Finish(Verdict::Listed(core::mem::take(entries)))
}

/// Drops the bytes that are missing, or as many as there are; whether none is missing any more.
fn drop_some(bytes: &mut &[u8], missing: &mut usize) -> bool {
    let count = bytes.len().min(*missing);
    *bytes = bytes.get(count..).unwrap_or_default();
    *missing = missing.saturating_sub(count);
    *missing == 0
}
