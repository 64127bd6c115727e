//! The agent's session on a line under any events in any order: nothing is believed that came before
//! the request, or that says that it is for another one; a list is whole or no list.

use std::time::Duration;

use fence_proto::agent::Verdict;
use fence_proto::agent::serial::{Event, Output, SerialConfig, SerialSession};
use fence_proto::host_list::{ENTRY_LEN, Entry};
use fence_proto::serial::{TAG_LEN, list_response, response};
use fence_proto::{Action, DomainRef, Moment, Reply, Uuid};

use super::script::Script;

const TIMEOUT: Duration = Duration::from_secs(30);
const SEQNO: u32 = 0x0bad_f00d;

/// Runs the script.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::new(script.byte());
    while let Some(operation) = script.next() {
        model.step(operation, &mut script);
    }
    model.now = model.now.max(Moment::ZERO + TIMEOUT);
    model.feed(Event::Tick);
    assert!(model.verdict.is_some(), "the time-out ends it");
}

struct Model {
    action: Action,
    session: SerialSession,
    now: Moment,
    /// What came after the request; `None` before it.
    heard: Option<Vec<u8>>,
    verdict: Option<Verdict>,
}

impl Model {
    fn new(mode: u8) -> Self {
        let action = [Action::Off, Action::List][usize::from(mode & 1)];
        let config = SerialConfig {
            action,
            domain: DomainRef::new("vm").expect("a name"),
            uuid_flag: false,
            seqno: SEQNO,
            settle: Duration::from_millis(u64::from(mode >> 1) * 4),
            timeout: TIMEOUT,
        };
        Self {
            action,
            session: SerialSession::new(config, Moment::ZERO),
            now: Moment::ZERO,
            heard: None,
            verdict: None,
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 8 {
            0 => self.feed(Event::Opened),
            1 => {
                let count = usize::from(script.byte());
                self.hear(script.take(count));
            }
            2 => {
                let bytes = response(seqno(script), Reply::from_wire(script.byte()));
                let from = if script.byte() & 1 == 0 { 0 } else { TAG_LEN };
                self.hear(&bytes[from..]);
            }
            3 => {
                let entry = Entry {
                    name: "abba".to_owned(),
                    uuid: Uuid([script.byte(); 16]),
                    state: 1,
                };
                let entries = vec![entry; usize::from(script.byte() & 3)];
                let bytes = list_response(seqno(script), &entries);
                let length = bytes.len().min(usize::from(script.byte()) * 3);
                self.hear(&bytes[..length]);
            }
            4 => self.feed(Event::Closed),
            5 => {
                self.feed(Event::Tick);
                let waits = self.session.deadline() > self.now;
                assert!(self.verdict.is_some() || waits, "the shell would spin");
            }
            _ => self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 10),
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if let Some(heard) = &mut self.heard {
            heard.extend_from_slice(bytes);
        }
        self.feed(Event::Bytes(bytes));
    }

    fn feed(&mut self, event: Event<'_>) {
        let output = self.session.handle(self.now, event);
        assert!(self.session.deadline() <= Moment::ZERO + TIMEOUT);
        match output {
            None => {}
            Some(_) if self.verdict.is_some() => panic!("nothing follows the verdict"),
            Some(Output::Ask(_)) => {
                assert!(self.heard.is_none(), "it asks once");
                self.heard = Some(Vec::new());
            }
            Some(Output::Finish(verdict)) => {
                self.check(&verdict);
                self.verdict = Some(verdict);
            }
        }
    }

    fn check(&self, verdict: &Verdict) {
        let reply = match verdict {
            Verdict::Failed(_) => return,
            Verdict::Replied(reply) => *reply,
            Verdict::Listed(_) => Reply::HostListFollows,
        };
        assert!(self.action == Action::List || reply != Reply::HostListFollows);
        assert!(self.action != Action::List || reply != Reply::Success);
        let heard = self.heard.as_ref().expect("a result before the request");
        let wanted = [b"abba".as_slice(), &[reply.to_wire()]].concat();
        let found = (0..heard.len()).any(|at| {
            let (before, rest) = heard.split_at(at);
            let Some(rest) = rest.strip_prefix(wanted.as_slice()) else {
                return false;
            };
            let listed = match verdict {
                Verdict::Listed(entries) => {
                    let whole = (entries.len() + 1) * ENTRY_LEN;
                    let list = rest.get(..whole).unwrap_or_default();
                    list.len() == whole && list[whole - ENTRY_LEN..].iter().all(|byte| *byte == 0)
                }
                _ => true,
            };
            listed && !is_for_another(before)
        });
        assert!(found, "{verdict:?} was never said");
    }
}

fn seqno(script: &mut Script<'_>) -> u32 {
    SEQNO.wrapping_add(u32::from(script.byte() & 1))
}

/// Whether what is in front of a magic says that the response is for another request.
fn is_for_another(before: &[u8]) -> bool {
    let ours = response(SEQNO, Reply::Success);
    let tag = &before[before.len().saturating_sub(TAG_LEN)..];
    tag.starts_with(b"<FV1 ")
        && tag.ends_with(b">")
        && tag != &ours[..TAG_LEN]
        && tag[5..TAG_LEN - 1].iter().all(u8::is_ascii_hexdigit)
}
