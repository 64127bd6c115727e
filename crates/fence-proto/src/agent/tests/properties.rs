//! What holds for any order of any events.

use proptest::prelude::*;

use super::*;

/// A thing that may happen; peers are counted from the first connection.
#[derive(Debug, Clone)]
enum Act {
    Connect,
    /// The peer says the host's part with the right key, as far as these many bytes.
    Prove(usize, usize),
    /// The peer says anything.
    Noise(usize, Vec<u8>),
    Close(usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let peer = 0..24_usize;
    prop_oneof![
        3 => Just(Act::Connect),
        3 => (peer.clone(), 1..=128_usize).prop_map(|(peer, count)| Act::Prove(peer, count)),
        2 => (peer.clone(), prop::collection::vec(any::<u8>(), 1..200))
            .prop_map(|(peer, bytes)| Act::Noise(peer, bytes)),
        2 => peer.prop_map(Act::Close),
        1 => (0..3000_u64).prop_map(Act::Wait),
    ]
}

/// What an observer knows of one connection.
#[derive(Default)]
struct Seen {
    open: bool,
    answered: bool,
    /// What is left of the host's part; there once the agent has spoken.
    script: Option<Vec<u8>>,
    /// Whether the host's answer was said unspoilt. Its challenge may be any bytes.
    honest: bool,
}

/// Plays one script and checks every output.
struct Play {
    watched: Watched,
    now: u64,
    peers: Vec<Seen>,
    done: bool,
    key: Key,
}

impl Play {
    fn check(&mut self, outputs: &[Output]) -> Result<(), TestCaseError> {
        for output in outputs {
            prop_assert!(!self.done, "nothing follows the end: {output:?}");
            match output {
                Output::SendRequest => prop_assert!(
                    !self.peers.iter().any(|peer| peer.open && peer.answered),
                    "a request while a host is at work"
                ),
                Output::Send(id, bytes) => self.check_sent(*id, bytes)?,
                Output::Close(id, _) => self.peer(*id).open = false,
                Output::Finish(verdict) => {
                    self.done = true;
                    self.check_verdict(verdict)?;
                }
            }
        }
        let open = self.peers.iter().filter(|peer| peer.open).count();
        prop_assert!(self.done || open <= MAX_CONNECTIONS, "{open} connections");
        let deadline = self.watched.session.deadline();
        prop_assert!(deadline <= self.watched.session.gives_up());
        Ok(())
    }

    fn peer(&mut self, id: ConnectionId) -> &mut Seen {
        &mut self.peers[usize::try_from(id.0).unwrap()]
    }

    fn check_sent(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), TestCaseError> {
        let key = self.key.clone();
        let peer = self.peer(id);
        if peer.script.is_none() {
            let talk = Talk::new(id, &key, AUTH, 1, bytes);
            peer.script = Some(talk.says);
            peer.honest = true;
            return Ok(());
        }
        prop_assert!(peer.honest, "an answer to a peer without the key");
        peer.answered = true;
        let at_once = self
            .peers
            .iter()
            .filter(|peer| peer.open && peer.answered)
            .count();
        prop_assert!(at_once <= 1, "{at_once} hosts were told to act");
        Ok(())
    }

    fn check_verdict(&self, verdict: &Verdict) -> Result<(), TestCaseError> {
        let proved = self.peers.iter().any(|peer| peer.answered && peer.honest);
        let timed_out = self.now >= 30_000;
        match verdict {
            Verdict::Failed(Failure::TimedOut) => prop_assert!(timed_out),
            _ => prop_assert!(proved && !timed_out, "{verdict:?} without a host"),
        }
        Ok(())
    }

    fn play(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let outputs = match act {
            Act::Connect => {
                self.peers.push(Seen {
                    open: true,
                    ..Seen::default()
                });
                self.watched.accept(self.now).1
            }
            Act::Prove(peer, count) => {
                let seen = self.peers.get_mut(*peer);
                let Some(script) = seen.and_then(|seen| seen.script.as_mut()) else {
                    return Ok(());
                };
                let bytes: Vec<u8> = script.drain(..script.len().min(*count)).collect();
                self.say(*peer, &bytes)
            }
            Act::Noise(peer, bytes) => {
                let Some(seen) = self.peers.get_mut(*peer) else {
                    return Ok(());
                };
                seen.honest &= seen.script.as_ref().is_some_and(|left| left.len() <= 64);
                self.say(*peer, bytes)
            }
            Act::Close(peer) => {
                let Some(seen) = self.peers.get_mut(*peer) else {
                    return Ok(());
                };
                seen.open = false;
                let id = ConnectionId(u64::try_from(*peer).unwrap());
                self.watched.event(self.now, Event::Closed(id))
            }
            Act::Wait(millis) => {
                self.now += millis;
                self.watched.event(self.now, Event::Tick)
            }
        };
        self.check(&outputs)
    }

    fn say(&mut self, peer: usize, bytes: &[u8]) -> Vec<Output> {
        let id = ConnectionId(u64::try_from(peer).unwrap());
        self.watched.event(self.now, Event::Bytes(id, bytes))
    }
}

proptest! {
    #[test]
    fn one_host_at_a_time_and_no_verdict_without_proof(
        acts in prop::collection::vec(act(), 0..200)
    ) {
        let mut play = Play {
            watched: Watched::listening(Action::Off, AUTH),
            now: 0,
            peers: Vec::new(),
            done: false,
            key: key(),
        };
        for act in &acts {
            play.play(act)?;
        }
        play.now = 30_000;
        let outputs = play.watched.event(30_000, Event::Tick);
        play.check(&outputs)?;
        prop_assert!(play.done, "the time-out ends it");
    }
}
