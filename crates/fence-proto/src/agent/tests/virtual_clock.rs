//! The agent and several fake hosts over a link that loses and delays, on a clock of its own.

use super::*;

/// How a fake host behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Connects and says nothing.
    Silent,
    /// Has another key.
    Stranger,
    /// Proves itself, hears the answer and hangs up.
    HangsUp,
}

/// Something under way.
enum Parcel {
    Request(usize),
    CallBack(usize),
    ToAgent(ConnectionId, Vec<u8>),
    ToHost(usize, ConnectionId, Vec<u8>),
    HangUp(ConnectionId),
}

struct FakeHost {
    manner: Manner,
    /// Milliseconds that anything takes to or from it.
    delay: u64,
    /// How many requests are lost on their way to it.
    deaf_for: u32,
    heard: bool,
    acted: u32,
    handshake: Option<HostHandshake>,
}

fn host(manner: Manner, delay: u64, deaf_for: u32) -> FakeHost {
    FakeHost {
        manner,
        delay,
        deaf_for,
        heard: false,
        acted: 0,
        handshake: None,
    }
}

struct World {
    watched: Watched,
    now: u64,
    under_way: Vec<(u64, Parcel)>,
    hosts: Vec<FakeHost>,
    /// Which host is at the other end.
    ends: Vec<usize>,
    end: Option<(u64, Verdict)>,
}

impl World {
    fn new(hosts: Vec<FakeHost>) -> Self {
        Self {
            watched: Watched::new(config(MULTICAST, Action::Off, AUTH)),
            now: 0,
            under_way: Vec::new(),
            hosts,
            ends: Vec::new(),
            end: None,
        }
    }

    /// Runs to the end of the session: when it was, and its verdict.
    fn run(mut self) -> (u64, Verdict, Vec<FakeHost>) {
        let outputs = self.watched.event(0, Event::Listening);
        self.carry_out(outputs);
        let mut steps = 0;
        while self.end.is_none() {
            steps += 1;
            assert!(steps < 10_000, "the session does not get on");
            let deadline = self.watched.session.deadline().since_epoch().as_millis();
            let deadline = u64::try_from(deadline).unwrap();
            let next = self
                .under_way
                .iter()
                .enumerate()
                .min_by_key(|(_, (due, _))| *due);
            match next.map(|(index, (due, _))| (index, *due)) {
                Some((index, due)) if due < deadline => {
                    self.now = due;
                    let (_, parcel) = self.under_way.remove(index);
                    self.deliver(parcel);
                }
                _ => {
                    self.now = deadline;
                    let outputs = self.watched.event(deadline, Event::Tick);
                    self.carry_out(outputs);
                }
            }
        }
        let (when, verdict) = self.end.unwrap();
        (when, verdict, self.hosts)
    }

    fn post(&mut self, host: usize, parcel: Parcel) {
        self.under_way
            .push((self.now + self.hosts[host].delay, parcel));
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::SendRequest => {
                    for host in 0..self.hosts.len() {
                        self.post(host, Parcel::Request(host));
                    }
                }
                Output::Send(id, bytes) => {
                    let host = self.ends[usize::try_from(id.0).unwrap()];
                    self.post(host, Parcel::ToHost(host, id, bytes));
                }
                Output::Close(..) => {}
                Output::Finish(verdict) => self.end = Some((self.now, verdict)),
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Request(host) => self.hear(host),
            Parcel::CallBack(host) => {
                self.ends.push(host);
                let (_, outputs) = self.watched.accept(self.now);
                self.carry_out(outputs);
            }
            Parcel::ToAgent(id, bytes) => {
                let outputs = self.watched.event(self.now, Event::Bytes(id, &bytes));
                self.carry_out(outputs);
            }
            Parcel::ToHost(host, id, bytes) => self.host_reads(host, id, &bytes),
            Parcel::HangUp(id) => {
                let outputs = self.watched.event(self.now, Event::Closed(id));
                self.carry_out(outputs);
            }
        }
    }

    fn hear(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if host.deaf_for > 0 {
            host.deaf_for -= 1;
        } else if !host.heard {
            // Retransmissions of one request act once.
            host.heard = true;
            let challenge = c_challenge(u8::try_from(index).unwrap());
            host.handshake = HostHandshake::new(AUTH, challenge).ok();
            self.post(index, Parcel::CallBack(index));
        }
    }

    fn host_reads(&mut self, index: usize, id: ConnectionId, bytes: &[u8]) {
        let host = &mut self.hosts[index];
        if host.manner == Manner::Silent {
            return;
        }
        let key = if host.manner == Manner::Stranger {
            wrong_key()
        } else {
            key()
        };
        match host.handshake.as_mut().unwrap().push(&key, bytes) {
            Step::Send(bytes) => self.post(index, Parcel::ToAgent(id, bytes)),
            Step::Done(..) if host.manner == Manner::HangsUp => {
                self.post(index, Parcel::HangUp(id));
            }
            Step::Done(..) => {
                host.acted += 1;
                self.post(index, Parcel::ToAgent(id, vec![0]));
            }
            Step::Wait | Step::Drop(_) => {}
        }
    }
}

#[test]
fn nearest_of_several_hosts_acts_alone() {
    let hosts = vec![
        host(Manner::Honest, 5, 0),
        host(Manner::Honest, 3, 0),
        host(Manner::Honest, 7, 0),
    ];
    let (when, verdict, hosts) = World::new(hosts).run();
    assert_eq!(verdict, Verdict::Replied(Reply::Success));
    // Request, call-back, opening, challenge, answer, reply.
    assert_eq!(when, 6 * 3);
    let acted: Vec<_> = hosts.iter().map(|host| host.acted).collect();
    assert_eq!(acted, [0, 1, 0]);
}

#[test]
fn lost_requests_are_made_up_for_by_retransmission() {
    let (when, verdict, _) = World::new(vec![host(Manner::Honest, 1, 3)]).run();
    assert_eq!(verdict, Verdict::Replied(Reply::Success));
    assert_eq!(when, 3 * 2000 + 6);
}

#[test]
fn bad_hosts_in_front_do_not_keep_an_honest_one_out() {
    let hosts = vec![
        host(Manner::Silent, 1, 0),
        host(Manner::Stranger, 1, 0),
        host(Manner::HangsUp, 1, 0),
        host(Manner::Honest, 50, 0),
    ];
    let (when, verdict, hosts) = World::new(hosts).run();
    assert_eq!(verdict, Verdict::Replied(Reply::Success));
    assert_eq!(when, 6 * 50);
    assert_eq!(hosts[3].acted, 1);
}

#[test]
fn only_bad_hosts_end_with_the_time_out() {
    let hosts = vec![host(Manner::Silent, 1, 0), host(Manner::HangsUp, 1, 0)];
    let (when, verdict, _) = World::new(hosts).run();
    assert_eq!(verdict, Verdict::Failed(Failure::TimedOut));
    assert_eq!(when, 30_000);
}
